"""The interactive page in a browser: the numbers of Python for whatever the reader chooses."""

from functools import partial

import numpy as np
import pytest
from _report_pages import FEW, SEED, choose, choose_threshold, numbers
from scipy.stats import binomtest

from skclamp import CalibratorComparison, TemperatureScaling, compare_calibrators
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
    risk_coverage_curve,
)
from skclamp.metrics._binning import Pairs, Probabilities, bin_indices
from skclamp.selection._scoring import Scoring

pytestmark = pytest.mark.slow


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
    values, texts = numbers(page.locator(f"#{side}-figure figcaption"))
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


@pytest.mark.parametrize("event", [None, 3])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_diagrams_show_the_numbers_of_the_metrics(digits, open_page, event, strategy):
    comparison, proba, y = digits
    page = open_page(comparison)
    choose(page, strategy=strategy, event="most probable class" if event is None else str(event))
    for n_bins, left, right in ((12, "uncalibrated", "clamping"), (1, "bins", "clamping"), (40, "temperature", "bins")):
        choose(page, left=left, right=right, n_bins=n_bins)
        for side, name in (("left", left), ("right", right)):
            _assert_shows(page, side, proba[name], y, event, n_bins, strategy)


def test_starts_with_the_comparisons_own_bins_and_scores(digits, open_page):
    comparison, _, _ = digits
    page = open_page(comparison)
    for side, name in (("left", "uncalibrated"), ("right", comparison.best)):
        row = comparison[name]
        values, _ = numbers(page.locator(f"#{side}-figure figcaption"))
        assert values[:3] == pytest.approx([row.ece, row.ece_floor, row.ece_floor_quantile], abs=1e-6)
    assert page.locator("#bins-value").text_content() == "12"
    # The mean over all classes is the classwise error.
    values, _ = numbers(page.locator("#classes-note"))
    expected = [comparison[name].sce for name in ("uncalibrated", comparison.best)]
    assert values == pytest.approx(expected, rel=2e-5)


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
        choose(page, strategy=strategy, n_bins=n_bins, event="most probable class" if event is None else str(event))
        _assert_shows(page, "left", proba, y, event, n_bins, strategy)
    for threshold in (0.5, 0.7, 0.95):
        choose_threshold(page, threshold)
        own = Probabilities(proba).pairs(y).above(float(dtype(threshold)))
        values, _ = numbers(page.locator("#cut-table tbody tr").filter(has_text="uncalibrated"))
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
    return CalibratorComparison(comparison.rows, comparison.calibrators, binned=binned, content=comparison._content)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.999])
def test_thresholds_show_what_would_have_happened(digits, open_page, threshold):
    comparison, proba, y = digits
    page = open_page(comparison)
    choose_threshold(page, threshold)
    assert page.locator("#cut-value").text_content() == f"{threshold:g}"
    for row in comparison.rows:
        pairs = Probabilities(proba[row.name]).pairs(y).above(threshold)
        shown = page.locator("#cut-table tbody tr").filter(has=page.get_by_role("rowheader", name=row.name))
        values, texts = numbers(shown)
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


def test_risk_over_coverage_is_the_metrics(digits, open_page):
    comparison, proba, y = digits
    page = open_page(comparison)
    choose_threshold(page, 0.5)
    for left, right in (("uncalibrated", "clamping"), ("bins", "temperature")):
        choose(page, left=left, right=right)
        for side, name in (("left", left), ("right", right)):
            row, curve = comparison[name], risk_coverage_curve(y, proba[name])
            values, _ = numbers(page.locator(f"#{side}-risk figcaption"))
            expected = [row.aurc, row.aurc_low, row.aurc_high, curve.area_at_best, curve.area_by_chance]
            assert values == pytest.approx(expected, rel=1e-9)
            coverage = (proba[name].max(1) > 0.5).mean()
            spoken = page.locator(f"#{side}-risk svg").get_attribute("aria-label")
            assert f"a coverage of {100 * coverage:.2f} %" in spoken


def test_scores_can_be_sorted(digits, open_page):
    comparison, _, _ = digits
    page = open_page(comparison)
    table = page.locator("#score-table")

    def order():
        return table.locator("tbody th[scope=row]").all_text_contents()

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
    values, _ = numbers(table.locator("tbody tr").filter(has_text="temperature"))
    expected = [row.nll, row.nll_difference, row.nll_difference_se, row.accuracy, row.brier, row.ece, row.ece_low]
    expected += [row.ece_high, row.ece_floor, row.ece_floor_quantile, row.aece, row.sce, row.auroc]
    expected += [row.aurc, row.aurc_low, row.aurc_high, row.fit_time, row.predict_time]
    assert values == expected
