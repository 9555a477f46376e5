"""Bootstrap intervals and the paired test: replicates are reweighted metrics, and truths are covered."""

from functools import partial

import numpy as np
import pytest
from _metrics import draw, draw_calibrated
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.utils import check_random_state

from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    brier_score,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
    smooth_calibration_error,
)

REPLICATED = {
    "ece": expected_calibration_error,
    "ece, l2": partial(expected_calibration_error, norm="l2", n_bins=7),
    "ece, top 2": partial(expected_calibration_error, top_k=2),
    "ece, thresholded": partial(expected_calibration_error, threshold=0.6),
    "mce": maximum_calibration_error,
    "sce": classwise_calibration_error,
    "sce, one bin": partial(classwise_calibration_error, n_bins=1),
    "sce, max": partial(classwise_calibration_error, norm="max"),
    "sce, thresholded": partial(classwise_calibration_error, threshold=0.1),
    "debiased": debiased_calibration_error,
    "ks": ks_calibration_error,
    "ks, thresholded": partial(ks_calibration_error, threshold=0.6),
    "ks, classwise": partial(ks_calibration_error, mode="classwise"),
    "smooth, fixed": partial(smooth_calibration_error, bandwidth=0.05),
    "nll": negative_log_likelihood,
    "brier": brier_score,
    "aurc": area_under_risk_coverage,
}


def test_labels_that_miss_a_class_are_told_once():
    """And of each sample's places not at all, which may miss any."""
    rng = np.random.default_rng(0)
    proba, y = rng.dirichlet([1, 1, 1], size=40), rng.integers(1, 3, size=40)
    for metric in REPLICATED.values():
        with pytest.warns(CalibrationSetWarning, match="are taken for column indices") as told:
            bootstrap_interval(metric, y, proba, n_resamples=5, random_state=0)
        assert len(told) == 1
    with pytest.warns(CalibrationSetWarning, match="are taken for column indices") as told:
        paired_bootstrap_test(brier_score, y, proba, proba[::-1], n_resamples=5, random_state=0)
    assert len(told) == 1
    places = np.moveaxis(rng.dirichlet([1, 1, 1], size=(30, 2, 2)), -1, 1)
    of_samples = partial(expected_calibration_error, average="samples")
    bootstrap_interval(of_samples, rng.integers(3, size=(30, 2, 2)), places, n_resamples=5, random_state=0)


WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, 400)


def resample_counts(y, proba, n_resamples, seed):
    """How often each sample is in each resample: what a metric of another package is given, by its first column."""
    rows = []
    foreign = partial(bootstrap_interval, lambda y_true, y_proba: rows.append(y_proba[:, 0]) or 0.0)
    foreign(y, proba, n_resamples=n_resamples, random_state=seed)
    order = np.argsort(proba[:, 0])
    places = [order[np.searchsorted(proba[order, 0], drawn)] for drawn in rows[1:]]
    return np.array([np.bincount(place, minlength=len(y)) for place in places])


def check_quantiles(metric, y, proba, weight, tolerance=1e-9, n_resamples=30):
    """Ends and standard error of percentile and basic intervals are those of the metric under the same resamples."""
    counts = resample_counts(y, proba, n_resamples, 3)
    weights = counts if weight is None else counts * weight
    values = [metric(y, proba, sample_weight=row) for row in weights]
    low, high = np.quantile(values, 0.05, method="lower"), np.quantile(values, 0.95, method="higher")
    plain = metric(y, proba, sample_weight=weight)
    least = -np.inf if metric in (brier_score, negative_log_likelihood, area_under_risk_coverage) else 0
    basic = max(2 * plain - high, least), max(2 * plain - low, least)
    for method, ends in (("percentile", (low, high)), ("basic", basic)):
        interval = bootstrap_interval(
            metric,
            y,
            proba,
            method=method,
            n_resamples=n_resamples,
            confidence_level=0.9,
            sample_weight=weight,
            random_state=3,
        )
        assert (interval.low, interval.high) == pytest.approx(ends, rel=tolerance)
        assert interval.standard_error == pytest.approx(np.std(values, ddof=1), rel=10 * tolerance)
        assert interval.value == pytest.approx(plain)


# Replicates


@pytest.mark.parametrize("weight", [None, WEIGHTS, 1e-4 * WEIGHTS], ids=["none", "weights", "small weights"])
@pytest.mark.parametrize("name", REPLICATED)
def test_replicates_are_the_metric_under_weights(name, weight):
    # The smooth error's replicates have a coarser grid.
    check_quantiles(REPLICATED[name], *draw(), weight, tolerance=1e-9 if "smooth" not in name else 1e-3)


@pytest.mark.parametrize("method", ["debiased", "percentile"])
def test_classwise_bins_of_equal_mass_stay_those_of_the_sample(method):
    """Of two classes whose bins have as many samples each, both are the event's error, by labels drawn too."""
    y, proba = draw(k=2)
    run = partial(bootstrap_interval, method=method, n_resamples=30, random_state=0)
    classwise = run(partial(classwise_calibration_error, strategy="quantile", n_bins=16), y, proba)
    event = run(partial(adaptive_expected_calibration_error, n_bins=16), y, proba[:, 1])
    assert classwise == pytest.approx(event, abs=0.01)


def test_replicates_are_resamples():
    counts = resample_counts(*draw(), 50, 0)
    assert counts.shape == (50, 400) and (counts.sum(1) == 400).all()
    assert np.mean(counts == 0) == pytest.approx(np.exp(-1), abs=0.02)


# Intervals


def test_proper_scores_have_the_intervals_of_a_mean():
    y, proba = draw_calibrated(2000, 4)
    losses = -np.log(proba[np.arange(2000), y])
    interval = bootstrap_interval(negative_log_likelihood, y, proba, n_resamples=4000, random_state=0)
    error = losses.std() / np.sqrt(2000)
    assert interval.value == interval.debiased == pytest.approx(losses.mean())
    assert interval.standard_error == pytest.approx(error, rel=0.05)
    assert interval.low == pytest.approx(losses.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(losses.mean() + 1.96 * error, abs=0.15 * error)


@pytest.mark.parametrize("weight", [None, WEIGHTS, 1e-4 * WEIGHTS], ids=["none", "weights", "small weights"])
@pytest.mark.parametrize("metric", [negative_log_likelihood, brier_score])
def test_intervals_of_proper_scores_are_the_bootstrap_ts(metric, weight):
    y, proba = draw()
    losses = np.array([metric(y[[i]], proba[[i]]) for i in range(400)])
    counts, own = resample_counts(y, proba, 200, 3), np.ones(400) if weight is None else weight

    def mean_and_error(count):
        mean = np.average(losses, weights=count * own)
        return mean, np.sqrt((count * own**2 * (losses - mean) ** 2).sum()) / (count * own).sum()

    mean, error = mean_and_error(np.ones(400))
    studentised = [(replicate - mean) / spread for replicate, spread in map(mean_and_error, counts)]
    options = {"n_resamples": 200, "confidence_level": 0.9, "sample_weight": weight, "random_state": 3}
    interval = bootstrap_interval(metric, y, proba, **options)
    expected = mean - error * np.quantile(studentised, [0.95, 0.05])
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-9)
    # Against a constant the differences' mean and errors are the same, whatever the constant.
    paired = paired_bootstrap_test(metric, y, proba, np.full_like(proba, 1 / proba.shape[1]), **options)
    constant = metric(y, np.full_like(proba, 1 / proba.shape[1]))
    assert (paired.low, paired.high) == pytest.approx(expected - constant, rel=1e-9)


def sure_of_two(random, n):
    """Two classes, and 4 % errors."""
    second = 1 / (1 + np.exp(-random.normal(scale=14.0, size=n)))
    return (random.uniform(size=n) < second).astype(int), np.stack([1 - second, second], 1)


def ten_classes(random, n):
    z = random.normal(scale=4.0, size=(n, 10))
    return (z + random.gumbel(size=z.shape)).argmax(1), softmax(z, axis=1)


DESIGNS = {
    "few errors": (sure_of_two, 300, False),
    "weights": (sure_of_two, 300, True),
    "ten classes": (ten_classes, 300, False),
}


def coverage(metric, design, n_draws):
    """Share of drawn samples whose interval covers the score of a large one."""
    make, n, weighted = DESIGNS[design]
    expected = np.mean([metric(*make(np.random.default_rng(seed), 400_000)) for seed in range(5)])
    ends = []
    for seed in range(n_draws):
        random = np.random.default_rng([1, seed])
        y, proba = make(random, n)
        weight = random.uniform(0.2, 3, n) ** 2 if weighted else None
        # Of 1,000 resamples the ends are hardly better, and take twice as long.
        found = bootstrap_interval(metric, y, proba, n_resamples=400, sample_weight=weight, random_state=seed)
        ends.append((found.low, found.high))
    low, high = np.array(ends).T
    return np.mean((low <= expected) & (expected <= high))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "design"),
    [*((negative_log_likelihood, design) for design in DESIGNS), (brier_score, "few errors")],
)
def test_intervals_of_proper_scores_cover_the_truth(metric, design):
    """Three standard errors about 95 %: of few errors percentiles cover 90 to 93 %."""
    n_draws = 1000
    covered = coverage(metric, design, n_draws)
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / n_draws))


def tempered(proba, exponent):
    """The probabilities after a temperature of 1 / exponent."""
    return proba**exponent / (proba**exponent).sum(1, keepdims=True)


def truth(metric, temperature):
    """Value for a large sample of which each prediction is right with its true probability."""
    _, proba = draw_calibrated(200_000, 10, seed=1)
    predicted, right = proba.argmax(1), proba.max(1)
    y, weight = np.r_[predicted, (predicted + 1) % 10], np.r_[right, 1 - right]
    return metric(y, np.tile(tempered(proba, 1 / temperature), (2, 1)), sample_weight=weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ece", "ece, l2", "ks", "smooth"])
@pytest.mark.parametrize("temperature", [1.0, 1.05, 1.5])
def test_debiased_intervals_cover_the_truth(name, temperature):
    metric = {**REPLICATED, "smooth": smooth_calibration_error}[name]
    expected = truth(metric, temperature)
    # A draw of this one's takes ten times as long as any other's.
    n_draws = 40 if (name, temperature) == ("smooth", 1.5) else 80
    data = [draw_calibrated(500, 10, seed) for seed in range(n_draws)]

    def intervals(method):
        run = partial(bootstrap_interval, metric, method=method, n_resamples=100, random_state=0)
        return np.array([run(y, tempered(proba, 1 / temperature)) for y, proba in data])

    value, debiased, low, high, _ = intervals("debiased").T
    # Three standard errors of the draws below 95 %; the truth has an error of its own.
    inside = (low <= expected + 1e-4) & (expected - 1e-4 <= high)
    assert inside.mean() >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / n_draws)
    # Percentiles never cover a calibrated classifier.
    if temperature == 1.0:
        assert (intervals("percentile")[:, 2] > expected + 1e-4).all()
        assert debiased.mean() < 0.6 * value.mean()


@pytest.mark.parametrize(
    ("metric", "weight"),
    [
        (expected_calibration_error, None),
        (adaptive_expected_calibration_error, 2.0),
        (partial(expected_calibration_error, top_k=1, threshold=0.3), None),
        (smooth_calibration_error, 2.0),
        (classwise_calibration_error, None),
        (debiased_calibration_error, 2.0),
    ],
)
def test_lower_ends_call_a_calibrated_few_off_no_more_often_than_promised(metric, weight):
    n_simulations = 60
    above = []
    for seed in range(n_simulations):
        y, proba = draw_calibrated(100, 10, seed)
        weights = None if weight is None else np.full(100, weight)
        interval = bootstrap_interval(metric, y, proba, n_resamples=50, sample_weight=weights, random_state=seed)
        assert 0 <= interval.low <= interval.debiased
        above.append(interval.low > 0)
    # Three standard errors above the half of 5 % that is promised.
    assert np.mean(above) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / n_simulations)


@pytest.mark.parametrize("convert", [np.asarray, list])
def test_foreign_metrics_are_resampled_row_by_row(convert):
    y, proba = draw(k=2)
    run = partial(
        bootstrap_interval, y_true=y, y_proba=convert(proba[:, 1]), method="percentile", n_resamples=100, random_state=0
    )
    assert run(brier_score_loss) == pytest.approx(run(brier_score))


def test_seeds_and_the_global_random_state():
    shared = check_random_state(None)
    before = shared.get_state()[1].copy()
    run = partial(bootstrap_interval, expected_calibration_error, *draw(), n_resamples=30)
    assert run(random_state=1) == run(random_state=np.random.RandomState(1)) != run(random_state=2)
    np.testing.assert_array_equal(shared.get_state()[1], before)


# The paired test


def test_paired_test_of_a_mean_is_that_of_its_differences():
    y, proba = draw_calibrated(3000, 4)
    other = proba**1.1 / (proba**1.1).sum(1, keepdims=True)
    losses = -np.log(proba[np.arange(3000), y]) + np.log(other[np.arange(3000), y])
    error = losses.std() / np.sqrt(3000)
    found = paired_bootstrap_test(negative_log_likelihood, y, proba, other, n_resamples=4000, random_state=0)
    assert found.difference == pytest.approx(losses.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    z = abs(losses.mean()) / error
    assert found.pvalue == pytest.approx(2 * norm.sf(z), abs=0.03)


@pytest.mark.parametrize("metric", [expected_calibration_error, smooth_calibration_error, debiased_calibration_error])
def test_a_clear_difference_is_found_and_its_sign(metric):
    y, good = draw_calibrated(3000, 4)
    bad = good**2.5 / (good**2.5).sum(1, keepdims=True)
    run = partial(paired_bootstrap_test, metric, y, n_resamples=99, random_state=0)
    found = run(good, bad)
    assert found.high < 0 and found.pvalue == pytest.approx(0.01)
    assert run(good, bad, alternative="less").pvalue == pytest.approx(0.01)
    assert run(good, bad, alternative="greater").pvalue > 0.9


def one_sees_less(proba, random):
    """Both calibrated, and the second doesn't tell pairs of classes apart."""
    return proba, proba.reshape(len(proba), -1, 2).mean(2).repeat(2, axis=1)


def equally_far_off(proba, random):
    noisy = [proba * np.exp(0.7 * random.normal(size=proba.shape)) for _ in range(2)]
    return [scores / scores.sum(1, keepdims=True) for scores in noisy]


@pytest.mark.slow
@pytest.mark.parametrize("pair", [one_sees_less, equally_far_off])
def test_paired_test_of_equal_errors_keeps_its_level(pair):
    run = partial(paired_bootstrap_test, expected_calibration_error, n_resamples=99, random_state=0)
    rejected = []
    for seed in range(100):
        y, proba = draw_calibrated(600, 10, seed)
        rejected.append(run(y, *pair(proba, np.random.default_rng(seed + 1000))).pvalue <= 0.05)
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_resamples": 1}, ValueError, "n_resamples must be a whole number of at least 2; got 1"),
        ({"n_resamples": 9.5}, TypeError, "n_resamples must be a whole number of at least 2; got 9.5"),
        ({"confidence_level": 1.0}, ValueError, "confidence_level must be .*; got 1.0"),
        ({"confidence_level": "95%"}, TypeError, "confidence_level must be .*; got '95%'"),
        ({"metric": "ece"}, TypeError, r"metric must be a callable metric\(y_true, y_proba\); got 'ece'"),
        ({"metric": log_loss, "sample_weight": np.ones(400)}, TypeError, "sample_weight must be None for a metric of"),
        ({"y_true": np.zeros(399, int)}, ValueError, "y_true must have one value per sample"),
    ],
)
@pytest.mark.parametrize("function", [bootstrap_interval, paired_bootstrap_test])
def test_refuses_bad_parameters(function, options, error, match):
    y, proba = draw()
    given = {"metric": expected_calibration_error, "y_true": y, **options}
    probabilities = (proba,) if function is bootstrap_interval else (proba, proba)
    with pytest.raises(error, match=match):
        function(given.pop("metric"), given.pop("y_true"), *probabilities, **given)


def test_refuses_unknown_choices_and_other_lengths():
    y, proba = draw()
    with pytest.raises(ValueError, match="method must be one of .*; got 'bca'"):
        bootstrap_interval(expected_calibration_error, y, proba, method="bca")
    with pytest.raises(ValueError, match="alternative must be one of .*; got 'both'"):
        paired_bootstrap_test(expected_calibration_error, y, proba, proba, alternative="both")
    with pytest.raises(ValueError, match="y_true must have one value per sample.* 399 and 400"):
        paired_bootstrap_test(expected_calibration_error, y, proba, proba[1:])
    with pytest.raises(ValueError, match="y_proba must be finite"):
        bootstrap_interval(expected_calibration_error, y, np.full((400, 5), np.nan))
