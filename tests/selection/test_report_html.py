"""The interactive page: one safe file, and in a browser the numbers of Python for whatever the reader chooses."""

import base64
import json
import re
import shutil
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _small_networks import labels_of, logits
from scipy.stats import binomtest

from skclamp import (
    CalibratorComparison,
    HistogramBinning,
    NeuralClampingCalibrator,
    NeuralClampingCalibratorCV,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
)
from skclamp.metrics._binning import Pairs, Probabilities, bin_indices
from skclamp.perturbations._families import PERTURBATIONS
from skclamp.selection._page import _bars, _image, page_of
from skclamp.selection._scoring import Scoring

FEW = {"n_resamples": 50, "n_draws": 20}
SEED = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
# A text that no name could be shown as unless it is escaped wherever it goes.
NASTY = "</script><img src=x onerror=\"document.title='broken'\">&amp;\u2028é"


class _Reader(HTMLParser):
    """Tags with their attributes, and what the scripts, styles and the title hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.tags[-1][0] if self.tags else None, data))

    @property
    def data(self):
        scripts = [(attrs, k) for k, (tag, attrs) in enumerate(self.tags) if tag == "script"]
        assert [attrs["type"] for attrs, _ in scripts] == ["application/json", "module"]
        return json.loads(next(text for tag, text in self.texts if tag == "script"))


def _read(comparison, path, **options):
    comparison.to_html(path, **options)
    return _Reader(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def digits():
    """The comparison on digits seen by a camera whose gain is off, probabilities by calibrator, and labels."""
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    X_cal, X_test = (shifted(X, "gain and offset") for X in (X_cal, X_test))
    network = convolutional_network()
    calibrators = {
        "temperature": TemperatureScaling(),
        "bins": HistogramBinning(),
        "clamping": NeuralClampingCalibrator(random_state=0),
    }
    comparison = compare_calibrators(
        network, X_cal, y_cal, X_test, y_test, calibrators=calibrators, n_bins=12, random_state=SEED, **FEW
    )
    proba = {name: own.predict_proba(X_test) for name, own in comparison.calibrators.items()}
    with torch.no_grad():
        proba["uncalibrated"] = torch.softmax(network(torch.as_tensor(X_test)).double(), 1).numpy()
    return comparison, proba, y_test


def _logits(n, k=3):
    return logits(n, k, seed=n, scale=2.0)


def _labels(n, k=3):
    return labels_of(_logits(n, k), temperature=1.0, seed=n + 1)


def _small(k=3, calibrators=None, **options):
    parts = _logits(200, k), _labels(200, k), _logits(300, k), _labels(300, k)
    calibrators = [TemperatureScaling()] if calibrators is None else calibrators
    return compare_calibrators(None, *parts, calibrators=calibrators, **FEW, **options)


def test_is_one_small_file_that_loads_nothing(digits, tmp_path):
    page = _read(digits[0], tmp_path / "report.html", title="Digits")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "report.html").stat().st_size < 400_000
    assert not re.search(r"https?:|//[a-z]+\.|@import|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch"}
    assert not any({"src", "srcset", "data", "action"} & set(attrs) for _, attrs in page.tags)
    assert all(attrs["href"].startswith("#") for _, attrs in page.tags if "href" in attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[^' ]+'; script-src 'sha256-[^' ]+'", policy)


def test_tells_the_comparison(digits, tmp_path):
    comparison, _, y = digits
    data = _read(comparison, tmp_path / "report.html").data
    for row, own in zip(data["rows"], comparison.rows, strict=True):
        assert row == {name: getattr(own, name) for name in row}
    assert data["classNames"] == [str(k) for k in range(10)]
    assert (data["nSamples"], data["nClasses"], data["nBins"]) == (len(y), 10, 12)


NASTY_CLASSES = [NASTY, "b", "a"]


def _nasty():
    names = np.array(NASTY_CLASSES)
    parts = _logits(200), names[_labels(200)], _logits(300), names[_labels(300)]
    return compare_calibrators(None, *parts, calibrators={NASTY: TemperatureScaling()}, classes=names, **FEW)


def test_names_stay_names(tmp_path):
    page = _read(_nasty(), tmp_path / "report.html", title=NASTY)
    assert page.data["classNames"] == NASTY_CLASSES
    assert NASTY in [row["name"] for row in page.data["rows"]]
    assert "img" not in [tag for tag, _ in page.tags]
    assert (page.data["title"], ("title", NASTY) in page.texts) == (NASTY, True)


def test_has_the_most_frequent_classes_and_fewer_where_there_is_no_room(tmp_path):
    comparison = _small(k=30, classes=np.arange(30))
    data = _read(comparison, tmp_path / "report.html").data

    def smaller(most_bytes):
        page = page_of(
            comparison, comparison._binned, title="Calibration report", channel_names=None, most_bytes=most_bytes
        )
        return _Reader(page).data

    counts = np.bincount(_labels(300, 30), minlength=30)
    kept = np.array(data["classNames"], int)
    assert len(kept) == 24 and list(kept) == sorted(kept)
    assert counts[kept].min() >= np.delete(counts, kept).max()
    size = (tmp_path / "report.html").stat().st_size
    fewer = smaller(size - 1)
    kept = np.array(fewer["classNames"], int)
    assert len(kept) == 12 and list(kept) == sorted(kept)
    assert counts[kept].min() >= np.delete(counts, kept).max()
    assert len(fewer["sizes"]) == 2 * 13
    assert smaller(1)["classNames"] == []


def test_needs_what_compare_calibrators_keeps(tmp_path):
    comparison = _small()
    bare = CalibratorComparison(comparison.rows, comparison.calibrators)
    with pytest.raises(ValueError, match="binned must be what compare_calibrators passes, for a page; got None"):
        bare.to_html(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def _perturbations(calibrators, tmp_path, shift="gain and offset", n=600, **options):
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    parts = shifted(X_cal, shift)[:n], y_cal[:n], shifted(X_test, shift), y_test
    comparison = compare_calibrators(convolutional_network(), *parts, calibrators=calibrators, **FEW)
    found = _read(comparison, tmp_path / "report.html", **options).data["perturbations"]
    return {own["name"]: own for own in found}, comparison.calibrators


def _of_every_family():
    options = {"validation_fraction": None, "max_epochs": 1, "random_state": 0}
    return {name: NeuralClampingCalibrator(perturbation=name, **options) for name in PERTURBATIONS}


def test_tells_what_every_family_learned(tmp_path):
    calibrators = _of_every_family()
    found, fitted = _perturbations(calibrators, tmp_path, channel_names=["plain", "inverted", "blurred"])
    assert list(found) == list(PERTURBATIONS)
    for own in found.values():
        assert (own["accepted"], own["verdict"]) == (True, None)
        assert own["temperature"] == fitted[own["name"]].temperature_
    affine = {panel["title"]: panel for panel in found["affine"]["panels"]}
    for key in ("gain", "offset"):
        values = getattr(fitted["affine"].perturbation_, key).detach().numpy().ravel()
        np.testing.assert_allclose(affine[f"affine: {key}"]["values"], values, rtol=1e-5)
        assert affine[f"affine: {key}"]["names"] == ["plain", "inverted", "blurred"]
        assert affine[f"affine: {key}"]["nothing"] == (key == "gain")
    matrix = found["color"]["panels"][0]
    np.testing.assert_allclose(
        matrix["numbers"], fitted["color"].perturbation_.matrix.detach().numpy().ravel(), rtol=1e-5
    )
    assert [panel["kind"] for panel in found["full"]["panels"]] == ["image"] * 3
    delta = fitted["full"].delta_
    for panel, channel in zip(found["full"]["panels"], delta, strict=True):
        pixels = np.frombuffer(base64.b64decode(panel["pixels"]), np.uint8).reshape(panel["shape"])
        low, high = panel["limits"]
        assert (low, high) == pytest.approx((delta.min(), delta.max()))
        np.testing.assert_allclose(low + pixels / 255 * (high - low), channel, atol=(high - low) / 509)
    curves = found["curve"]["panels"][0]
    bend, gain, offset = (
        getattr(fitted["curve"].perturbation_, key).detach().numpy().ravel() for key in ("bend", "gain", "offset")
    )
    for curve, *own in zip(curves["curves"], bend, gain, offset, strict=True):
        np.testing.assert_allclose(curve, np.polyval(own, curves["x"]), atol=1e-5)


def test_tells_what_was_refused_not_tried_and_not_asked_for(tmp_path):
    calibrators = {
        "refused": NeuralClampingCalibrator(random_state=0),
        "grid": NeuralClampingCalibratorCV(gammas=(0.0,), random_state=0),
        "not asked for": NeuralClampingCalibrator(perturbation=None),
        "with a map": NeuralClampingCalibrator(random_state=0, output=VectorScaling()),
    }
    found, fitted = _perturbations(calibrators, tmp_path, shift="none")
    for name in ("refused", "grid", "with a map"):
        verdict = fitted[name].verdict_
        assert found[name]["verdict"]["p_value"] == verdict.p_value > 0.02
        assert (found[name]["accepted"], found[name]["panels"]) == (False, [])
    assert found["not asked for"]["verdict"] is None
    assert found["with a map"]["temperature"] is None
    few, _ = _perturbations({"few": NeuralClampingCalibrator(random_state=0)}, tmp_path, n=90)
    assert few["few"]["verdict"] == {"accepted": False, "difference": 0.0, "standard_error": 0.0, "p_value": 1.0}


def test_large_perturbations_are_thinned():
    bars = _bars(np.arange(2000.0), None, 0.0)
    assert len(bars["values"]) == 500 and bars["values"][0] == 1.5 and bars["n"] == 2000
    image = _image(np.arange(300.0)[:, None] + np.zeros(520), None, (None, None))
    assert image["shape"] == [150, 174] and image["range"] == [0.0, 299.0]


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} on the machine")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


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


def _choose(page, *, n_bins=None, strategy=None, **selected):
    for control, label in selected.items():
        page.select_option(f"#{control}", label=label)
    if n_bins is not None:
        counts = page.evaluate("JSON.parse(document.getElementById('data').textContent).counts")
        page.locator("#bins").fill(str(counts.index(n_bins)))
    if strategy is not None:
        page.locator(f"input[value={strategy}]").focus()
        page.keyboard.press("Space")


def _numbers(locator):
    """What the data elements hold, and the texts that they show."""
    found = locator.locator("data").evaluate_all("all => all.map(own => [Number(own.value), own.textContent])")
    return [value for value, _ in found], [text for _, text in found]


def _expected(proba, y_encoded, event, n_bins, strategy):
    """Error, noise floor, bins and true hits of each, by the metrics; `event` is a class, or None for the top label."""
    given = Probabilities(proba)
    seed = np.random.RandomState(SEED).randint(2**31 - 1)
    if event is None:
        metric = expected_calibration_error if strategy == "uniform" else adaptive_expected_calibration_error
        error, table = metric(y_encoded, given, n_bins=n_bins, return_bins=True)
        floor = calibration_noise_floor(partial(metric, n_bins=n_bins), proba, n_draws=20, random_state=seed)
        pairs = given.pairs(y_encoded)
    else:

        def metric(labels, own):
            options = {"n_bins": n_bins, "strategy": strategy, "average": None, "labels": np.arange(proba.shape[1])}
            return classwise_calibration_error(labels, own, **options)[event]

        error = metric(y_encoded, given)
        floor = calibration_noise_floor(metric, proba, n_draws=20, random_state=seed)
        pairs = Pairs(proba[:, event].astype(float), (y_encoded == event).astype(float))
        edges = given.equal_width_edges(n_bins) if strategy == "uniform" else pairs.equal_mass_edges(n_bins)
        table = pairs.table(edges)
    hits = np.bincount(bin_indices(pairs.confidence, table.edges), pairs.hits, n_bins)
    return error, floor, table, hits, pairs


def _assert_shows(page, side, proba, y_encoded, event, n_bins, strategy):
    error, floor, table, hits, pairs = _expected(proba, y_encoded, event, n_bins, strategy)
    values, texts = _numbers(page.locator(f"#{side}-figure figcaption"))
    expected = [error, *floor, pairs.hits.mean(), pairs.confidence.mean(), table.maximum_gap()]
    assert values == pytest.approx(expected, rel=2e-5, abs=1e-6)
    assert texts[0] == f"{100 * values[0]:.2f}" and abs(float(texts[0]) - 100 * error) < 0.00501
    rows = page.locator(f"#{side}-figure tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('data')].map(own => Number(own.value)))"
    )
    assert len(rows) == n_bins
    for k, values in enumerate(rows):
        expected = [table.lower[k], table.upper[k], table.count[k], hits[k]]
        if table.count[k]:
            interval = binomtest(int(hits[k]), int(table.count[k])).proportion_ci(method="wilson")
            expected += [table.confidence[k], table.accuracy[k], interval.low, interval.high, table.gap[k]]
        assert values == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("event", [None, 3])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_diagrams_show_the_numbers_of_the_metrics(digits, open_page, event, strategy):
    comparison, proba, y = digits
    page = open_page(comparison)
    _choose(page, strategy=strategy, event="most probable class" if event is None else str(event))
    for n_bins, left, right in ((12, "uncalibrated", "clamping"), (1, "bins", "clamping"), (40, "temperature", "bins")):
        _choose(page, left=left, right=right, n_bins=n_bins)
        for side, name in (("left", left), ("right", right)):
            _assert_shows(page, side, proba[name], y, event, n_bins, strategy)


@pytest.mark.slow
def test_starts_with_the_comparisons_own_bins_and_scores(digits, open_page):
    comparison, _, _ = digits
    page = open_page(comparison)
    for side, name in (("left", "uncalibrated"), ("right", comparison.best)):
        row = comparison[name]
        values, _ = _numbers(page.locator(f"#{side}-figure figcaption"))
        assert values[:3] == pytest.approx([row.ece, row.ece_floor, row.ece_floor_quantile], abs=1e-6)
    assert page.locator("#bins-value").text_content() == "12"
    # The mean over all classes is the classwise error.
    values, _ = _numbers(page.locator("#classes-note"))
    expected = [comparison[name].sce for name in ("uncalibrated", comparison.best)]
    assert values == pytest.approx(expected, rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_confidences_on_an_edge_are_in_the_bin_of_the_metrics(open_page, dtype):
    random = np.random.default_rng(0)
    counts = random.multinomial(20, [0.6, 0.3, 0.1], size=400)
    proba = (counts / 20).astype(dtype)
    y = np.array([random.choice(3, p=own / 20) for own in counts])
    comparison = _of_probabilities(proba, y)
    page = open_page(comparison)
    for event, strategy, n_bins in (
        (None, "uniform", 20),
        (None, "quantile", 5),
        (1, "uniform", 10),
        (1, "quantile", 7),
    ):
        _choose(page, strategy=strategy, n_bins=n_bins, event="most probable class" if event is None else str(event))
        _assert_shows(page, "left", proba, y, event, n_bins, strategy)
    for threshold in (0.5, 0.7, 0.95):
        _choose_threshold(page, threshold)
        own = Probabilities(proba).pairs(y).above(float(dtype(threshold)))
        values, _ = _numbers(page.locator("#cut-table tbody tr").filter(has_text="uncalibrated"))
        assert values[0] == len(own.confidence)


def _of_probabilities(proba, y):
    """A comparison whose uncalibrated row has these probabilities in their own precision."""
    comparison = compare_calibrators(
        None,
        proba[::-1],
        y[::-1],
        proba,
        y,
        calibrators=[TemperatureScaling()],
        response="probabilities",
        random_state=SEED,
        **FEW,
    )
    scoring = Scoring(y, np.arange(3), n_bins=15, random_state=SEED, **FEW)
    binned = scoring.binned_test({**comparison._binned.predictions, "uncalibrated": scoring(proba)[2]})
    return CalibratorComparison(comparison.rows, comparison.calibrators, binned=binned)


def _choose_threshold(page, threshold):
    thresholds = page.evaluate("JSON.parse(document.getElementById('data').textContent).thresholds")
    page.locator("#cut").fill(str(thresholds.index(threshold)))


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.999])
def test_thresholds_show_what_would_have_happened(digits, open_page, threshold):
    comparison, proba, y = digits
    page = open_page(comparison)
    _choose_threshold(page, threshold)
    assert page.locator("#cut-value").text_content() == f"{threshold:g}"
    for row in comparison.rows:
        pairs = Probabilities(proba[row.name]).pairs(y).above(threshold)
        shown = page.locator("#cut-table tbody tr").filter(has=page.get_by_role("rowheader", name=row.name))
        values, texts = _numbers(shown)
        n, hits = len(pairs.confidence), pairs.hits.sum()
        expected = [n, n / len(y)]
        if n:
            interval = binomtest(int(hits), n).proportion_ci(method="wilson")
            errors = n - hits, (1 - pairs.confidence).sum()
            expected += [hits / n, interval.low, interval.high, *errors]
            assert abs(float(texts[-1]) - errors[1]) < 0.0501
            kept = interval.low <= pairs.confidence.mean() <= interval.high
            assert ("as promised" in shown.text_content()) == kept
        assert values == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.slow
def test_scores_can_be_sorted(digits, open_page):
    comparison, _, _ = digits
    page = open_page(comparison)
    table = page.locator("#score-table")

    def order():
        return table.locator("tbody th").all_text_contents()

    assert order() == [row.name for row in comparison.rows]
    for heading, key, first in (("Brier", "brier", "ascending"), ("accuracy", "accuracy", "descending")):
        button = table.get_by_role("button", name=heading)
        for direction in (first, {"ascending": "descending", "descending": "ascending"}[first]):
            button.press("Enter")
            values = [getattr(comparison[name], key) for name in order()]
            assert values == sorted(values, reverse=direction == "descending")
            assert table.locator(f"th[aria-sort={direction}]").text_content().startswith(heading)
            assert page.evaluate("document.activeElement.textContent").startswith(heading)
    row = comparison["temperature"]
    values, _ = _numbers(table.locator("tbody tr").filter(has_text="temperature"))
    expected = [row.nll, row.nll_difference, row.nll_difference_se, row.accuracy, row.brier, row.ece, row.ece_low]
    expected += [row.ece_high, row.ece_floor, row.ece_floor_quantile, row.aece, row.sce, row.fit_time, row.predict_time]
    assert values == expected


@pytest.mark.slow
def test_bins_are_read_by_pointer_and_by_keyboard(digits, open_page):
    page = open_page(digits[0])
    handle = page.get_by_role("slider", name="Bin of the left diagram")
    other = page.get_by_role("slider", name="Bin of the right diagram")
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 0.3 * box["height"])
    readout = page.locator("#left-figure .readout")
    assert readout.text_content().startswith("(0.9167, 1.0000]")
    rows = page.locator("#left-figure tbody tr")
    values, texts = _numbers(rows.nth(11))
    assert _numbers(readout)[0] == [values[3], values[5], values[6], values[7], values[4]]
    page.mouse.move(1, 1)
    assert readout.text_content().startswith("Point at a bar")
    handle.focus()
    handle.press("End")
    handle.press("ArrowLeft")
    assert handle.get_attribute("aria-valuenow") == other.get_attribute("aria-valuenow") == "11"
    assert handle.get_attribute("aria-valuetext") == readout.text_content()
    assert readout.text_content().startswith("(0.8333, 0.9167]")
    handle.press("Home")
    assert "holds no samples" in readout.text_content()
    handle.press("Escape")
    assert handle.get_attribute("aria-valuetext") == "no bin chosen"


@pytest.mark.slow
def test_every_control_has_a_name_and_works_from_the_keyboard(digits, open_page):
    page = open_page(digits[0])
    bins = page.get_by_role("slider", name=re.compile("^Bins"))
    bins.press("ArrowRight")
    assert bins.get_attribute("aria-valuetext") == "13 bins"
    assert page.locator("#left-figure tbody tr").count() == 13
    page.get_by_role("radio", name="equal width").press("ArrowRight")
    assert page.get_by_role("radio", name="equal mass").is_checked()
    assert "AECE" in page.locator("#left-figure .headline").text_content()
    page.get_by_role("button", name=re.compile("^7")).press("Enter")
    assert page.get_by_label("Event").evaluate("own => own.selectedOptions[0].text") == "7"
    assert page.evaluate("document.activeElement.dataset.class") == "7"
    cut = page.get_by_role("slider", name=re.compile("^Accept above"))
    cut.press("ArrowRight")
    assert cut.get_attribute("aria-valuetext") == "a confidence of 0.905"
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.get_by_role("status")).to_have_text(re.compile("^Above 0.905: uncalibrated: accepts "))
    for label in ("Left", "Right"):
        page.get_by_label(label, exact=True).select_option(label="bins")
    pictures = page.locator("svg[role=img], canvas[role=img]")
    assert pictures.count() >= 4
    assert all(pictures.nth(k).get_attribute("aria-label") for k in range(pictures.count()))
    unnamed = "[...document.querySelectorAll('svg:not([role=img]):not([aria-hidden=true])')].length"
    assert page.evaluate(unnamed) == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(own => own.id)")
    assert len(ids) == len({*ids})


@pytest.mark.slow
def test_the_reader_switches_the_theme(digits, open_page):
    page = open_page(digits[0], dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light").click()
    light = page.evaluate(ground)
    assert max(_rgb(dark)) < 60 and min(_rgb(light)) > 200
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) == dark


def _rgb(color):
    return [float(part) for part in re.findall(r"[\d.]+", color)][:3]


# Of every text that is shown, its colour and the first opaque ground behind it.
_TEXTS = """() => [...document.querySelectorAll("body *")].filter(own =>
  [...own.childNodes].some(node => node.nodeType === 3 && node.data.trim()) &&
  own.getClientRects().length && !own.closest(".unseen, script, style, noscript")
).map(own => {
  const style = getComputedStyle(own);
  let behind = own;
  const ground = () => getComputedStyle(behind).backgroundColor;
  while (/, 0\\)|transparent/.test(ground())) behind = behind.parentElement;
  const color = own.namespaceURI.endsWith("svg") ? style.fill : style.color;
  return [own.textContent, color, ground()];
})"""


def _luminance(color):
    shares = np.array(_rgb(color)) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def _assert_contrast(page):
    """Every text stands out as WCAG's level AA asks; returns how many there are."""
    texts = page.evaluate(_TEXTS)
    for text, color, ground in texts:
        lighter, darker = sorted([_luminance(color), _luminance(ground)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, color, ground)
    return len(texts)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_is_readable_at_any_width_in_light_and_dark(digits, open_page, width, dark):
    page = open_page(digits[0], width=width, dark=dark, title="Digits-of-a-camera-whose-gain-is-off-and-on")
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert _assert_contrast(page) > 150


@pytest.mark.slow
def test_draws_anew_where_the_width_changes(digits, open_page):
    page = open_page(digits[0])
    page.set_viewport_size({"width": 360, "height": 800})
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.locator("#left-figure .plot svg")).to_have_attribute("viewBox", re.compile(r"^0 0 [23]\d\d "))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_names_stay_names_in_the_browser(open_page):
    page = open_page(_nasty(), title=NASTY)
    _choose(page, left=NASTY, event=NASTY)
    assert page.title() == NASTY
    assert page.locator("img").count() == 0
    assert NASTY in page.locator("#left-figure .name").text_content()


@pytest.mark.slow
def test_shows_every_perturbation(open_page):
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    calibrators = _of_every_family()
    calibrators["refused"] = NeuralClampingCalibrator(perturbation="full", random_state=0)
    calibrators["found none"] = NeuralClampingCalibrator(random_state=0)
    calibrators["plain"] = NeuralClampingCalibrator(perturbation=None)
    comparison = compare_calibrators(
        convolutional_network(), X_cal, y_cal, X_test, y_test, calibrators=calibrators, **FEW
    )
    page = open_page(comparison, width=360)
    cards = page.locator("#perturbations article")
    assert cards.count() == len(calibrators)
    words = dict(zip(calibrators, cards.locator("> p").all_text_contents(), strict=True))
    assert words["affine"].startswith("✓ Kept. It wasn’t asked to prove itself. T = ")
    assert words["plain"].startswith("No perturbation. None was asked for. T = ")
    assert words["found none"].startswith("No perturbation. None promised anything on the folds")
    verdict = comparison.calibrators["refused"].verdict_
    assert words["refused"].startswith("Refused.")
    assert f"{abs(verdict.difference):.4f} ± {verdict.standard_error:.4f}" in words["refused"]
    full = cards.nth(list(calibrators).index("full"))
    assert full.locator("canvas[role=img]").count() == 3
    matrix, _ = _numbers(cards.nth(list(calibrators).index("color")).locator("table"))
    learned = comparison.calibrators["color"].perturbation_.matrix.detach().numpy()
    assert matrix == pytest.approx(list(learned.ravel()), rel=1e-5)
    assert _assert_contrast(page) > 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_works_with_two_samples_and_without_uncalibrated_classes_among_the_labels(open_page):
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    parts = _logits(200), _labels(200), logits, [0, 1]
    page = open_page(compare_calibrators(None, *parts, calibrators=[TemperatureScaling()], **FEW))
    _choose(page, strategy="quantile", n_bins=5, event="2")
    _choose_threshold(page, 0.9999)
    assert page.locator("#cut-table tbody tr").first.text_content().endswith("nothing accepted")
