"""Fixtures for the report page: a comparison on images, and what opens its page."""

import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _report_pages import FEW, SEED

from skclamp import HistogramBinning, NeuralClampingCalibrator, TemperatureScaling, compare_calibrators


@pytest.fixture(scope="session")
def data():
    """Digits seen by a camera whose gain is off: X and y to calibrate with, X and y to test on."""
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    return shifted(X_cal, "gain and offset"), y_cal, shifted(X_test, "gain and offset"), y_test


@pytest.fixture(scope="session")
def digits(data):
    """The comparison on these digits, probabilities by calibrator, and labels."""
    X_test, y_test = data[2:]
    network = convolutional_network()
    calibrators = {
        "temperature": TemperatureScaling(),
        "bins": HistogramBinning(),
        "clamping": NeuralClampingCalibrator(output=None, random_state=0),
    }
    options = {"calibrators": calibrators, "n_bins": 12, "random_state": SEED, **FEW}
    comparison = compare_calibrators(network, *data, **options)
    proba = {name: own.predict_proba(X_test) for name, own in comparison.calibrators.items()}
    with torch.no_grad():
        proba["uncalibrated"] = torch.softmax(network(torch.as_tensor(X_test)).double(), 1).numpy()
    return comparison, proba, y_test


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens the page of a comparison; what it says on the console or asks of the network fails the test."""
    pages = []

    def open_page(comparison, *, width=1440, dark=False, **options):
        comparison.to_html(tmp_path / "report.html", **options)
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.said == []
        assert page.asked == [(tmp_path / "report.html").as_uri()]
        page.close()


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables as they are without a terminal; pytest's workers have one of 80 columns."""
    monkeypatch.setenv("COLUMNS", "1000")
