"""Two classes: what is compared is the second one's probability, where the most probable class hides much."""

import numpy as np
import pytest
from _report_pages import read_page
from sklearn.linear_model import LogisticRegression

from skclamp import IsotonicCalibration, PlattScaling, TemperatureScaling, compare_calibrators
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    calibration_noise_floor,
    expected_calibration_error,
)

FEW = {"n_resamples": 50, "n_draws": 40}


@pytest.fixture(scope="module")
def fraud():
    """Probabilities of a classifier that was trained as if frauds were half of all, and of the test set its labels."""
    random = np.random.default_rng(0)
    y = (random.uniform(size=12_000) < 0.01).astype(int)
    X = random.normal(size=(12_000, 4)) + 1.2 * y[:, None]
    names = np.array(["bona fide", "fraud"])[y]
    model = LogisticRegression(class_weight="balanced").fit(X[:3000], names[:3000])
    data = X[3000:6000], names[3000:6000], X[6000:], names[6000:]
    maps = {"isotonic": IsotonicCalibration(), "platt": PlattScaling()}
    return compare_calibrators(model, *data, calibrators=maps, random_state=0, **FEW), model, X[6000:], y[6000:]


def test_the_positive_classs_calibration_leads(fraud):
    comparison, model, X, y = fraud
    proba = model.predict_proba(X)[:, 1]
    row = comparison["uncalibrated"]
    # What the most probable class shows is less than half of it.
    assert proba.mean() - y.mean() > 0.08 > 2 * expected_calibration_error(y, model.predict_proba(X))
    assert row.ece == pytest.approx(expected_calibration_error(y, proba))
    assert row.ece > 0.08 > 3 * row.ece_floor_quantile
    assert row.aece == pytest.approx(adaptive_expected_calibration_error(y, proba))
    assert row.ece_low > 0.04
    platt = comparison["platt"]
    assert platt.ece <= 1.5 * platt.ece_floor_quantile and platt.ece_low == 0
    seed = np.random.RandomState(0).randint(2**31 - 1)
    interval = bootstrap_interval(expected_calibration_error, y, proba, n_resamples=50, random_state=seed)
    assert (row.ece_low, row.ece_high) == pytest.approx((interval.low, interval.high))
    floor = calibration_noise_floor(expected_calibration_error, proba, n_draws=40, random_state=seed)
    assert (row.ece_floor, row.ece_floor_quantile) == pytest.approx(tuple(floor))


def test_table_figure_and_page_name_the_event(fraud, tmp_path):
    comparison = fraud[0]
    data = read_page(comparison, tmp_path / "page.html").data
    assert data["classNames"][data["event"]] == "fraud"
    assert str(comparison).endswith("ECE: of P(fraud).")
    assert "of the probability of class fraud." in " ".join(comparison.to_string(wide=True).split())
    figure = comparison.plot()
    assert figure.axes[1].get_xlabel() == "ECE of P(fraud) (%)"


def test_a_notebook_shows_names_as_they_are():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(200, 2)), np.array(["0", "1<b>bold & 'so'"])[random.integers(2, size=200)]
    maps = {"<i>T</i>": TemperatureScaling()}
    shown = compare_calibrators(None, X[:100], y[:100], X[100:], y[100:], calibrators=maps, **FEW)._repr_html_()
    assert "<b>" not in shown and "<i>" not in shown and shown.count("1&lt;b&gt;bold &amp; ") == 1
    assert "Tukey's range test" in shown
