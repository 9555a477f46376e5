"""Few events, which carry much of a mean loss: they are told, and the upper end allows for those that chance hides."""

from functools import partial

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    expected_calibration_error,
    ks_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
)

LOSSES = {
    negative_log_likelihood: lambda p: (-np.log(p), -np.log1p(-p)),
    brier_score: lambda p: ((1 - p) ** 2, p**2),
}
every_loss = pytest.mark.parametrize("metric", LOSSES)
told = partial(pytest.warns, CalibrationSetWarning)


@every_loss
@pytest.mark.parametrize("positive", [0, 1])
def test_no_event_has_the_exact_upper_end(metric, positive):
    """Fifty zeros, or ones: as many events as they leave possible, 7.1 %, each at its loss."""
    p = np.full(50, 0.012)
    with told(match="y_true has 0 samples, or groups with some, of one of two classes, fewer than 5"):
        found = bootstrap_interval(metric, np.full(50, 1 - positive), p if positive else 1 - p, random_state=0)
    of_event, rest = (each[0] for each in LOSSES[metric](p))
    most = 1 - 0.025 ** (1 / 50)
    assert found.high == pytest.approx(rest + most * (of_event - rest))
    assert found.low <= found.value == pytest.approx(rest)


@every_loss
def test_some_events_weights_and_groups(metric):
    p, y = np.full(60, 0.03), np.arange(60) % 30 == 0
    of_event, rest = (each[0] for each in LOSSES[metric](p))
    run = partial(bootstrap_interval, metric, random_state=0)
    with told(match="y_true has 2 samples"):
        found = run(y.astype(int), p)
    assert found.high >= (1 - 1e-12) * (rest + beta.isf(0.025, 3, 58) * (of_event - rest))
    with told(match="y_true has 2 samples"):
        assert run(y.astype(int), p, sample_weight=np.full(60, 2.0)) == found
    # Copies of a sample in a group are one of it.
    with told(match="y_true has 2 samples"):
        copied = run(np.repeat(y.astype(int), 5), np.repeat(p, 5), groups=np.repeat(range(60), 5))
    assert copied.high >= found.high * (1 - 1e-9)
    with told(match="y_true has 2 samples"):
        paired_bootstrap_test(metric, y.astype(int), p, p / 2, n_resamples=20, random_state=0)


@every_loss
def test_enough_events_and_more_classes_are_told_nothing(metric):
    y, p = np.arange(60) % 12 == 0, np.full(60, 0.03)
    bootstrap_interval(metric, y.astype(int), p, n_resamples=20, random_state=0)
    proba = np.full((20, 3), 1 / 3)
    bootstrap_interval(metric, np.zeros(20, int), proba, labels=range(3), n_resamples=20, random_state=0)


@every_loss
def test_probabilities_of_zero_hide_no_event(metric):
    with told(match="y_true has 0 samples"):
        found = bootstrap_interval(metric, np.zeros(50, int), np.zeros(50), random_state=0)
    assert found.high == pytest.approx(36.04 * 0.0711 if metric is negative_log_likelihood else 0.0711, rel=1e-3)


@pytest.mark.filterwarnings("ignore:y_true has [0-4] samples:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.parametrize(
    ("metric", "largest"),
    [
        (negative_log_likelihood, -np.log(np.finfo(float).eps)),
        (brier_score, 1),
        (partial(brier_score, scale_by_half=False), 2),
    ],
    ids=["nll", "brier", "brier, whole"],
)
def test_ends_are_scores_that_there_are(metric, largest):
    """Of four rows, three of which are wrong with hardly a doubt, what is added reaches beyond the worst."""
    found = bootstrap_interval(metric, [0, 0, 1, 1], [1, 1, 0, 1], random_state=0)
    assert found.high == pytest.approx(largest)
    assert 0 <= found.low <= found.value


@pytest.mark.filterwarnings("ignore:y_true has [0-4] samples:skclamp.exceptions.CalibrationSetWarning")
@every_loss
@pytest.mark.parametrize("sharpness", [1.0, 1.5])
def test_intervals_of_few_events_hold_the_truth(metric, sharpness):
    """Of 60 rows with half an event in expectation, or two; without the upper end up to three in five miss."""
    missed = []
    for mean in (-5.5, -4.0):
        rng = np.random.default_rng(0)
        z = rng.normal(mean, 1, size=200_000)
        true, (of_event, rest) = 1 / (1 + np.exp(-z)), LOSSES[metric](1 / (1 + np.exp(-sharpness * z)))
        truth = (true * of_event + (1 - true) * rest).mean()
        for seed in range(100):
            rng = np.random.default_rng(seed)
            z = rng.normal(mean, 1, size=60)
            y, p = rng.uniform(size=60) < 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-sharpness * z))
            found = bootstrap_interval(metric, y.astype(int), p, n_resamples=100, random_state=seed)
            missed.append(not found.low <= truth <= found.high)
    assert np.mean(missed) <= 0.07


# Calibration errors, whose labels are drawn


@pytest.mark.parametrize("metric", [expected_calibration_error, ks_calibration_error])
@pytest.mark.parametrize("told", [0.0, 0.02])
def test_no_positive_leaves_as_many_possible_as_the_exact_binomial_interval(metric, told):
    """Of fifty, 7.1 %: replicates, none of which has a positive either, have the value alone."""
    for positive in (0, 1):
        p = np.full(50, told)
        found = bootstrap_interval(metric, np.full(50, positive), 1 - p if positive else p, random_state=0)
        assert found.value == pytest.approx(told)
        # Fewer than calibrated probabilities allow are no proof, and draws have an error.
        assert 1 - 0.025 ** (1 / 50) - told - 0.015 < found.high < 0.14
        assert found.low == 0


def test_errors_are_of_relative_weights():
    p, y, weight = np.array([0.1, 0.3, 0.6, 0.8, 1.0] * 4), np.array([0, 0, 1, 0, 1] * 4), np.arange(20.0) % 7
    found, other = (
        bootstrap_interval(ks_calibration_error, y, p, sample_weight=factor * weight, random_state=0)
        for factor in (1, 100)
    )
    assert found == pytest.approx(other)


@pytest.mark.parametrize("positive", [0, 1])
def test_groups_without_an_event_have_the_exact_upper_end_and_no_test(positive):
    """Rows of 25 groups, all others than the next, came true together: 13.7 % may yet."""
    p, groups = np.linspace(0.01, 0.05, 50), np.repeat(range(25), 2)
    y, told = np.full(50, positive), 1 - p if positive else p
    for metric in (expected_calibration_error, ks_calibration_error):
        high = bootstrap_interval(metric, y, told, groups=groups, random_state=0).high
        assert 1 - 0.025 ** (1 / 25) - 0.03 - 0.015 < high < 0.25
        for of in (None, groups):
            test = paired_bootstrap_test(metric, y, told, np.sqrt(told), groups=of, random_state=0)
            assert test[1:] == (-1, 1, 1)
    # Of one class that is told right and the other wrong, something varies.
    assert paired_bootstrap_test(metric, y, np.eye(2)[y], np.eye(2)[1 - y], random_state=0).pvalue < 0.01


@pytest.mark.parametrize(
    "metric", [expected_calibration_error, adaptive_expected_calibration_error, ks_calibration_error]
)
def test_rows_without_weight_take_no_draws(metric):
    y, p, _ = over_confident(60, np.random.default_rng(0))
    at = np.arange(0, 60, 4)
    found = bootstrap_interval(metric, y, p, sample_weight=np.ones(60), random_state=0)
    weight = np.insert(np.ones(60), at, 0)
    other = bootstrap_interval(metric, np.insert(y, at, 1), np.insert(p, at, 0.3), sample_weight=weight, random_state=0)
    assert other == pytest.approx(found)


@pytest.mark.parametrize("metric", [expected_calibration_error, ks_calibration_error])
@pytest.mark.parametrize("y", [np.zeros(50, int), np.arange(50) % 10 == 0])
def test_ends_widen_with_the_level(metric, y):
    found = [
        bootstrap_interval(metric, y, np.full(50, 0.02), confidence_level=level, n_resamples=20, random_state=0)
        for level in (0.9, 0.95, 0.99, 0.999)
    ]
    assert np.all(np.diff([each.high for each in found]) > 0)
    assert np.all(np.diff([each.low for each in found]) <= 0)


def test_ends_hardly_vary_with_the_seed():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=60)
    y = (rng.uniform(size=60) < p).astype(int)
    highs = [bootstrap_interval(expected_calibration_error, y, p, random_state=seed).high for seed in range(20)]
    assert np.ptp(highs) < 0.03


def told_too_low(n, rng):
    """Two in a hundred are positive, and told to be one."""
    z = rng.normal(-5, 1.5, size=n)
    return (rng.uniform(size=n) < expit(z)).astype(int), expit(z - 1), expit(z)


def over_confident(n, rng):
    z = rng.normal(0, 2, size=n)
    return (rng.uniform(size=n) < expit(z)).astype(int), expit(1.6 * z), expit(z)


def wrong_in_the_middle(n, rng):
    """Right but for three of fifteen bins."""
    p = rng.uniform(size=n)
    true = np.where(abs(p - 0.5) < 0.1, p - 0.4, p)
    return (rng.uniform(size=n) < true).astype(int), p, true


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 400, 1500])
def test_lower_ends_hold_the_truth_where_few_bins_are_off(n):
    """Of 200 draws three standard errors more than 2.5 % miss at most; 12 to 28 % do where all gaps grow alike."""
    _, p, true = wrong_in_the_middle(400_000, np.random.default_rng(0))
    y, weight = np.repeat([0, 1], len(p)), np.r_[1 - true, true]
    truth = expected_calibration_error(y, np.tile(p, 2), sample_weight=weight)
    missed = []
    for seed in range(200):
        y, p, _ = wrong_in_the_middle(n, np.random.default_rng([1, seed]))
        run = partial(bootstrap_interval, expected_calibration_error, n_resamples=200, random_state=seed)
        missed.append(run(y, p).low > truth)
    assert np.mean(missed) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "problem", "n"),
    [
        (ks_calibration_error, told_too_low, 50),
        (ks_calibration_error, told_too_low, 200),
        (expected_calibration_error, over_confident, 30),
        (expected_calibration_error, over_confident, 100),
    ],
)
def test_intervals_of_calibration_errors_of_few_samples_hold_the_truth(metric, problem, n):
    """Of 200 draws three standard errors more than 5 % miss at most; of replicates 30 % do where positives are few."""
    _, told, true = problem(200_000, np.random.default_rng(0))
    y, weight = np.repeat([0, 1], len(told)), np.r_[1 - true, true]
    truth = metric(y, np.tile(told, 2), sample_weight=weight)
    missed = []
    for seed in range(200):
        y, told, _ = problem(n, np.random.default_rng([1, seed]))
        found = bootstrap_interval(metric, y, told, n_resamples=100, random_state=seed)
        missed.append(not found.low <= truth <= found.high)
    assert np.mean(missed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
