"""Slope and intercept, the calibration curve's distance, net benefit, expected cost, and errors within groups."""

from functools import partial

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from skclamp.display import NetBenefitDisplay
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import (
    bootstrap_interval,
    calibration_intercept,
    calibration_noise_floor,
    calibration_slope,
    expected_cost,
    group_calibration_error,
    integrated_calibration_index,
    multicalibration_error,
    net_benefit,
    paired_bootstrap_test,
)

METRICS = {
    "slope": calibration_slope,
    "intercept": calibration_intercept,
    "ICI": integrated_calibration_index,
    "E90": partial(integrated_calibration_index, quantile=0.9),
    "net benefit": partial(net_benefit, threshold=0.3),
    "cost": partial(expected_cost, costs=[[0, 1], [4, 0]]),
}


def drawn(n_samples=400, slope=0.7, offset=0.4, seed=0):
    """Events, and probabilities whose log-odds have to be stretched and moved to be theirs."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(scale=1.5, size=n_samples)
    return (rng.random(n_samples) < expit(slope * log_odds + offset)).astype(int), expit(log_odds)


def test_slope_is_logistic_regressions():
    y, proba = drawn()
    weight = np.random.default_rng(1).integers(1, 4, len(y))
    regression = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(proba)[:, None], y, weight)
    assert calibration_slope(y, proba, sample_weight=weight) == pytest.approx(regression.coef_[0, 0], abs=1e-5)


@pytest.mark.parametrize("narrow", [0.01, 1e-4])
def test_slope_of_probabilities_that_are_close_together(narrow):
    y, proba = drawn()
    close = 0.5 + narrow * (proba - 0.5)
    expected = calibration_slope(y, expit((logit(close) - logit(close).mean()) / logit(close).std()))
    assert calibration_slope(y, close) == pytest.approx(expected / logit(close).std(), rel=1e-6)
    assert calibration_slope(y, close) > 50


def test_intercept_makes_the_mean_probability_the_frequency():
    y, proba = drawn()
    moved = expit(logit(proba) + calibration_intercept(y, proba))
    assert moved.mean() == pytest.approx(y.mean(), abs=1e-9)
    assert calibration_intercept(y, moved) == pytest.approx(0, abs=1e-8)


def test_curve_is_lowess_without_robust_steps():
    """Against a weighted polynomial of degree 1 at each point; all are within a hundredth of the range or alone."""
    y, proba = drawn(60)
    fits = []
    for point in proba:
        distance = abs(proba - point)
        width = np.sort(distance)[40 - 1]
        near = np.where(distance < 0.999 * width, (1 - (distance / width) ** 3) ** 3, 0)
        near[distance <= 0.001 * width] = 1
        fits.append(np.polyval(np.polyfit(proba, y, 1, w=np.sqrt(near)), point))
    distance = abs(proba - fits)
    # Between points that are nearer than a hundredth of the range R draws a line, too.
    assert integrated_calibration_index(y, proba) == pytest.approx(distance.mean(), abs=1e-4)
    assert integrated_calibration_index(y, proba, quantile=0.5) == pytest.approx(np.median(distance), abs=1e-4)
    assert integrated_calibration_index(y, proba, quantile=0.9) == pytest.approx(np.quantile(distance, 0.9), abs=1e-3)
    assert integrated_calibration_index(y, proba, quantile=1.0) == pytest.approx(distance.max(), abs=1e-3)
    # Weights that sum to 1 are no repetitions.
    for quantile in (None, 0.5, 0.9, 1.0):
        plain, weighted = (
            integrated_calibration_index(y, proba, quantile=quantile, sample_weight=weight)
            for weight in (None, np.full(60, 1 / 60))
        )
        assert weighted == pytest.approx(plain, abs=1e-9)


def test_net_benefit_is_vickers_and_elkins():
    y, proba = drawn()
    for threshold in (0.0, 0.1, 0.5, 0.9):
        acts = proba >= threshold
        expected = (acts & (y == 1)).mean() - (acts & (y == 0)).mean() * threshold / (1 - threshold)
        assert net_benefit(y, proba, threshold=threshold) == pytest.approx(expected, abs=1e-12)
    assert net_benefit(y, proba, threshold=0) == pytest.approx(y.mean() - 0 * (1 - y.mean()))


def test_costs_choose_decisions_that_needn_be_classes():
    y_proba = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8]])
    costs = [[0, 1, 1, 0.3], [1, 0, 1, 0.3], [1, 1, 0, 0.3]]  # the last decision asks a person
    assert expected_cost([0, 1, 0], y_proba, costs=costs) == pytest.approx((0 + 0.3 + 1) / 3)
    assert expected_cost([0, 1, 0], y_proba, costs=np.array(costs)[:, :3]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", METRICS)
def test_weights_are_repetitions(name):
    y, proba = drawn(120)
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    repeated = np.repeat(y, weight), np.repeat(proba, weight)
    assert METRICS[name](y, proba, sample_weight=weight) == pytest.approx(METRICS[name](*repeated), abs=1e-9)


@pytest.mark.parametrize("name", ["slope", "intercept", "ICI", "net benefit"])
def test_event_is_told_in_any_way(name):
    metric = METRICS[name]
    y, proba = drawn(120)
    value = metric(y, proba)
    assert metric(y, np.stack([1 - proba, proba], 1)) == pytest.approx(value, abs=1e-9)
    named = np.where(y == 1, "ill", "well")
    assert metric(named, proba, pos_label="ill") == pytest.approx(value, abs=1e-9)
    three = np.stack([0.5 * (1 - proba), proba, 0.5 * (1 - proba)], 1)
    assert metric(y, three, labels=[0, 1, 2], pos_label=1) == pytest.approx(value, abs=1e-9)
    with pytest.raises(ValueError, match="pos_label must name the class that is the event, of 3 classes; got None"):
        metric(y, three, labels=[0, 1, 2])
    several = np.stack([y, y], 1), np.stack([proba, proba**2], 1)
    each = metric(*several, average=None)
    assert each.shape == (2,)
    assert metric(*several) == pytest.approx(each.mean())


@pytest.mark.parametrize(("metric", "y"), [(calibration_slope, [0, 0, 0]), (calibration_intercept, [1, 1, 1])])
def test_what_has_no_most_likely_value_is_nan(metric, y):
    with pytest.warns(CalibrationSetWarning, match="is the most likely one: y_true must have events"):
        assert np.isnan(metric(y, [0.1, 0.5, 0.7]))


def test_slope_of_separable_events_is_nan():
    with pytest.warns(CalibrationSetWarning, match="no slope is the most likely one"):
        assert np.isnan(calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9]))


@pytest.mark.parametrize("seed", [169, 170, 172])
def test_replicates_of_uneven_weights_have_slopes(seed):
    """Events that are told apart but for a few mistakes: where these weigh little, nothing curves at the start."""
    rng = np.random.default_rng(seed)
    log_odds = 10 * rng.normal(size=100)
    y = ((log_odds > 0) ^ (rng.random(100) < 0.05)).astype(int)
    weight = rng.exponential(size=100) ** 3
    regression = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(log_odds[:, None], y, weight)
    found = bootstrap_interval(
        calibration_slope, y, expit(log_odds), sample_weight=weight, n_resamples=100, random_state=0
    )
    assert found.value == pytest.approx(regression.coef_[0, 0], rel=1e-4)
    assert found.low < found.value < found.high


def test_replicates_without_a_slope_lie_beyond_both_ends():
    """Of two events that nearly are told apart many replicates have no slope: any may be the true one."""
    y = np.r_[np.zeros(18), 1, 0, 1].astype(int)
    proba = np.linspace(0.05, 0.6, 21)
    found = bootstrap_interval(calibration_slope, y, proba, n_resamples=200, random_state=0)
    assert np.isfinite(found.value) and (found.low, found.high) == (-np.inf, np.inf)
    assert np.isnan(found.standard_error)
    test = paired_bootstrap_test(calibration_slope, y, proba, proba**2, n_resamples=200, random_state=0)
    assert test.pvalue == 1 and np.isnan([test.low, test.high]).all()


def test_costs_below_0_have_lower_ends_below_0():
    y, proba = drawn(100)
    costs = np.array([[0, 1], [4, 0]])
    paid, earned = (
        bootstrap_interval(partial(expected_cost, costs=each), y, proba, random_state=0) for each in (costs, costs - 4)
    )
    assert 0 <= paid.low < paid.high
    assert np.array(earned) == pytest.approx(np.array(paid) - [4, 4, 4, 4, 0])


def test_groups_that_are_off_each_way():
    y, proba = drawn(2000, slope=1.0, offset=0.0)
    by = np.repeat(["A", "B"], 1000)
    off = np.where(by == "A", 0.8 * proba, proba + 0.2 * (1 - proba))
    gaps = [abs((y - off)[by == name].mean()) for name in "AB"]
    assert group_calibration_error(y, off, by=by) == pytest.approx(np.mean(gaps))
    metric = partial(group_calibration_error, by=by)
    assert metric(y, proba) < calibration_noise_floor(metric, proba, random_state=0).quantile < metric(y, off)


def test_multicalibration_error_is_the_largest_range_of_cumulative_differences():
    y, proba = drawn(300)
    proba = proba.round(2)  # of which some are equal
    by = np.random.default_rng(0).choice(["A", "B", "C"], len(y))
    each = []
    for name in "ABC":
        own = by == name
        values = np.unique(proba[own])
        path = [(y - proba)[own & (proba <= value)].sum() for value in values]
        each.append((max(0, *path) - min(0, *path)) / np.sqrt((proba * (1 - proba))[own].sum()))
    assert multicalibration_error(y, proba, by=by) == pytest.approx(max(each))


def test_multicalibration_error_of_calibrated_groups_is_about_a_brownian_range():
    y, proba = drawn(20_000, slope=1.0, offset=0.0)
    each = [multicalibration_error(y[i::40], proba[i::40], by=np.zeros(500)) for i in range(40)]
    # Of Brownian motion on [0, 1] the range is 1.596 on average.
    assert np.mean(each) == pytest.approx(1.55, abs=0.2)


@pytest.mark.parametrize("metric", [group_calibration_error, multicalibration_error])
def test_samples_without_weight_leave_groups_alone(metric):
    y, proba = drawn(90)
    by = np.repeat(["A", "B", "C"], 30)
    weight = np.where(by == "B", 0, np.random.default_rng(0).integers(0, 3, 90))
    kept = np.repeat(np.arange(90), weight)
    expected = metric(y, proba, by=by, sample_weight=weight)
    assert expected == pytest.approx(metric(y, proba, by=by, sample_weight=weight * 1.0))
    assert expected == pytest.approx(metric(y[kept], proba[kept], by=by[kept]))
    unknown = np.where(weight == 0, np.nan, y)
    ones = metric(np.stack([unknown, y], 1), np.stack([proba, proba], 1), by=by, average=None)
    assert ones[0] == pytest.approx(metric(y[weight > 0], proba[weight > 0], by=by[weight > 0]))
    interval = bootstrap_interval(partial(metric, by=by), y, proba, n_resamples=50, random_state=0)
    assert 0 <= interval.low < interval.high


@pytest.mark.parametrize("metric", [group_calibration_error, multicalibration_error])
@pytest.mark.parametrize(("by", "what"), [(["A"] * 3, r"by must have shape \(4,\)"), (["A", None] * 2, "by must name")])
def test_bad_groups(metric, by, what):
    with pytest.raises(ValueError, match=what):
        metric([0, 1, 1, 0], [0.1, 0.5, 0.7, 0.2], by=by)


@pytest.mark.parametrize(
    ("metric", "options", "what"),
    [
        (net_benefit, {"threshold": 1}, "threshold"),
        (net_benefit, {"threshold": "0.1"}, "threshold"),
        (integrated_calibration_index, {"quantile": 1.5}, "quantile"),
        (expected_cost, {"costs": [[0, 1]]}, r"costs must be finite numbers of shape \(2, n_decisions\)"),
        (expected_cost, {"costs": [[0, np.nan], [1, 0]]}, "costs must be finite numbers"),
    ],
)
def test_bad_options(metric, options, what):
    with pytest.raises((ValueError, TypeError), match=what):
        metric([0, 1], [0.2, 0.9], **options)


@pytest.mark.slow
@pytest.mark.parametrize(("n_samples", "slope"), [(200, 1.0), (2000, 0.7)])
def test_intervals_cover(n_samples, slope):
    """Truth in closed form: the slope; and the benefit and the cost, of all quantiles of the log-odds."""
    log_odds = norm.ppf((np.arange(100_000) + 0.5) / 100_000, scale=1.5)
    true = expit(slope * log_odds + 0.4)
    everyone = np.repeat([0, 1], len(true)), np.tile(expit(log_odds), 2)
    truth = {"slope": slope}
    for name in ("net benefit", "cost"):
        truth[name] = METRICS[name](*everyone, sample_weight=np.r_[1 - true, true])
    samples = [drawn(n_samples, slope, seed=seed) for seed in range(200)]
    for name, true in truth.items():
        intervals = [bootstrap_interval(METRICS[name], *sample, n_resamples=200, random_state=0) for sample in samples]
        covered = np.mean([interval.low <= true <= interval.high for interval in intervals])
        assert 0.92 <= covered <= 0.98, name


@pytest.mark.slow
@pytest.mark.parametrize("n_samples", [200, 1000])
def test_intervals_of_multicalibration_errors_cover(n_samples):
    """Of draws three standard errors more than 5 % miss at most; of mirrored replicates over 20 % did."""
    z = np.random.default_rng(99).normal(0, 2, 200_000)
    true, told = expit(z), expit(1.6 * z + 0.3)
    gaps = np.sort((true - told)[told.argsort()].cumsum())
    # Of a group: four have as many samples each.
    size = n_samples / 4
    truth = (max(gaps[-1], 0) - min(gaps[0], 0)) / len(z) * size / np.sqrt(size * np.mean(told * (1 - told)))
    missed = []
    for seed in range(100):
        rng = np.random.default_rng([1, seed])
        z = rng.normal(0, 2, n_samples)
        y, told = (rng.random(n_samples) < expit(z)).astype(int), expit(1.6 * z + 0.3)
        metric = partial(multicalibration_error, by=np.arange(n_samples) % 4)
        found = bootstrap_interval(metric, y, told, n_resamples=200, random_state=seed)
        missed.append(not found.low <= truth <= found.high)
    assert np.mean(missed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


class TestDisplay:
    def test_curve_and_its_rivals(self):
        y, proba = drawn()
        display = NetBenefitDisplay.from_predictions(y, proba, name="net", thresholds=[0.1, 0.5], color="red")
        assert display.net_benefits == pytest.approx([net_benefit(y, proba, threshold=t) for t in (0.1, 0.5)])
        assert display.event_rate == pytest.approx(y.mean())
        assert [line.get_label() for line in display.ax_.lines] == ["act everywhere", "act nowhere", "net"]
        # Everywhere: as if all were told to have the event.
        everywhere = display.ax_.lines[0].get_ydata()
        assert everywhere == pytest.approx([net_benefit(y, np.ones(len(y)), threshold=t) for t in (0.1, 0.5)])
        assert display.line_.get_color() == "red"

    def test_rivals_are_drawn_beside_other_lines(self):
        y, proba = drawn()
        ax = pytest.importorskip("matplotlib.figure").Figure().subplots()
        ax.axvline(0.2)
        NetBenefitDisplay.from_predictions(y, proba, name="one", ax=ax)
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels == ["act everywhere", "act nowhere", "one"]

    def test_curves_share_their_rivals(self):
        y, proba = drawn()
        first = NetBenefitDisplay.from_predictions(y, proba, name="one")
        second = NetBenefitDisplay.from_predictions(y, proba**2, name="two", ax=first.ax_)
        labels = [text.get_text() for text in second.ax_.get_legend().get_texts()]
        assert labels == ["act everywhere", "act nowhere", "one", "two"]
        assert first.line_.get_color() != second.line_.get_color()

    @pytest.mark.parametrize("thresholds", [[], 0.5, [[0.1]]])
    def test_thresholds_are_several_numbers(self, thresholds):
        with pytest.raises(ValueError, match="thresholds must be one or more numbers"):
            NetBenefitDisplay.from_predictions([0, 1], [0.2, 0.7], thresholds=thresholds)

    def test_of_a_classifier(self):
        y, proba = drawn()
        classifier = LogisticRegression().fit(logit(proba)[:, None], y)
        display = NetBenefitDisplay.from_estimator(classifier, logit(proba)[:, None], y)
        assert display.line_.get_label() == "LogisticRegression"
        assert len(display.thresholds) == 99

    def test_more_classes_need_one(self):
        with pytest.raises(ValueError, match="pos_label must name the class"):
            NetBenefitDisplay.from_predictions([0, 1, 2], np.full((3, 3), 1 / 3))
