"""What is proved of the e-values, checked against plain computations; and what is seen of known changes."""

import copy
import pickle
import re

import numpy as np
import pytest
from scipy.special import log_softmax

from skclamp import CalibrationMonitor, TemperatureScaling

N, K = 400, 4


def drawn(seed=0, n=N, temperature=1.0, offsets=0.0, n_classes=K):
    """Logits, and labels drawn from what a recalibration makes of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.5, size=(n, n_classes))
    return logits, (logits / temperature + offsets + rng.gumbel(size=logits.shape)).argmax(1)


def log_likelihoods(logits, y, temperature=1.0, weights=1.0):
    return log_softmax(logits / temperature + np.log(weights), 1)[np.arange(len(y)), y]


def definition(logits, y, tolerance, slack=0.0):
    """Logarithms of the mixture over starts and of the sum over them, label by label, sample by sample."""
    betas = np.exp(np.arange(-12, 13) / 10)
    betas = betas[np.abs(np.log(betas)) > np.log(1 + tolerance)]
    against = np.clip(betas, 1 / (1 + tolerance), 1 + tolerance)
    at, at_nearest = ([log_likelihoods(logits, y, 1 / b) for b in grid] for grid in (betas, against))
    counts, of_weights = np.zeros((2, K)), []
    fine = np.linspace(1 / (1 + tolerance), 1 + tolerance, 2001)[:, None]
    for z, label in zip(logits, y, strict=True):
        weights = (5 + counts[0]) / (5 + counts[1])
        expected = np.exp(log_softmax(fine * z, 1)) @ weights
        of_weights.append(np.log(weights[label]) - np.log(expected.max()) - slack)
        counts = (1 - 1 / (100 * K)) * counts + [np.eye(K)[label], np.exp(log_softmax(z))]
    e_values = np.exp([*np.subtract(at, at_nearest), of_weights]).T
    shares = np.append(np.full(len(betas), 0.5 / len(betas)), 0.5)
    rest = lambda t: 1 / (1 + np.log(t))  # noqa: E731
    mixed, summed, paths = np.zeros(len(shares)), np.zeros(len(shares)), []
    for t, e in enumerate(e_values, start=1):
        mixed, summed = e * (mixed + rest(t) - rest(t + 1)), e * (summed + 1)
        paths.append([shares @ mixed + rest(t + 1), shares @ summed])
    return np.log(paths)


CHANGED = [{"temperature": 2.0}, {"temperature": 0.4}, {"offsets": [2, 0, 0, -1]}, {}]


@pytest.mark.parametrize("tolerance", [0, 0.1, 1.0])
@pytest.mark.parametrize("changed", CHANGED)
def test_evidence_is_the_definition(changed, tolerance):
    logits, y = drawn(**changed)
    watched = CalibrationMonitor(tolerance=tolerance).partial_fit(logits, y).trajectory_[1:, 1:]
    # The expected weight is bounded from above; by how little the mean spacing of the grid says.
    assert (watched <= definition(logits, y, tolerance) + 1e-9).all()
    assert (watched >= definition(logits, y, tolerance, slack=3e-4 if tolerance else 0) - 1e-9).all()


def test_single_samples_are_e_values_whatever_temperature_the_null_has():
    # After one more sample both are what they were and the stake on it, times its e-values at most.
    logits = drawn(n=20)[0]
    history, past = drawn(seed=1, n=200, offsets=[2, 0, 0, -1])
    before = CalibrationMonitor(tolerance=0.2).partial_fit(history, past)
    mixed, summed = np.exp(before.trajectory_[-1, 1:])
    for row in logits:
        after = [copy.deepcopy(before).partial_fit(row[None], [label]).trajectory_[-1, 1:] for label in range(K)]
        for temperature in np.linspace(1 / 1.2, 1.2, 41):
            expected = np.exp(log_softmax(row / temperature)) @ np.exp(after)
            assert (expected <= np.array([mixed, 1 + summed]) * (1 + 1e-9)).all()


@pytest.mark.parametrize("size", [1, 7, 150])
def test_chunks_make_no_difference(size):
    logits, y = drawn(temperature=1.5)
    whole, parts = CalibrationMonitor(average_run_length=50), CalibrationMonitor(average_run_length=50)
    whole.partial_fit(logits, y)
    for start in range(0, N, size):
        parts.partial_fit(logits[start : start + size], y[start : start + size])
    for name in ("log_e_value_", "p_value_", "temperature_", "gain_", "trajectory_"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    for name in ("alarm_", "change_alarm_", "n_samples_", "since_"):
        assert getattr(parts, name) == getattr(whole, name)
    assert parts.summary() == whole.summary()


def test_p_value_and_alarms_stay():
    logits, y = drawn(n=300, temperature=2.5)
    monitor = CalibrationMonitor(tolerance=0, average_run_length=100).partial_fit(logits, y)
    assert monitor.alarm_ and monitor.change_alarm_
    p_value, log_e = monitor.p_value_, monitor.log_e_value_
    monitor.partial_fit(*drawn(seed=1, n=2000, temperature=0.8))
    assert monitor.log_e_value_ < log_e
    assert monitor.p_value_ <= p_value
    assert monitor.alarm_ and monitor.change_alarm_


ALTERED = {
    "over-confident": {"temperature": 2.0},
    "under-confident": {"temperature": 0.6},
    "frequencies": {"offsets": np.array([2.0, 0, 0, -1])},
}


def watched(seed, n_true, altered):
    """A monitor that has seen labels that are as calibrated at first, and altered after so many."""
    monitor = CalibrationMonitor(average_run_length=10_000)
    if n_true:
        monitor.partial_fit(*drawn(seed, n=n_true))
    monitor.partial_fit(*drawn(seed + 100, n=600, **altered))
    return monitor


@pytest.mark.parametrize("altered", ALTERED)
def test_what_was_never_true_is_told_from_what_has_changed(altered):
    """Odds of a hundred to one are asked for, of an estimate that errs in a few draws of a hundred."""
    never = [watched(seed, 0, ALTERED[altered]) for seed in range(20)]
    said = [
        "The probabilities were never true, or changed before labels could tell: " in each.summary() for each in never
    ]
    assert np.mean(said) >= 0.9
    assert said == [each.since_ == 0 for each in never]
    later = [watched(seed, 800, ALTERED[altered]) for seed in range(20)]
    said = [
        "The probabilities were true at first, and have changed since about label " in each.summary() for each in later
    ]
    assert np.mean(said) >= 0.9
    assert abs(np.median([each.since_ for each in later]) - 800) < 40
    assert "since then" in later[0].summary()
    assert "A refit of T on all of them" in never[0].summary()


def test_where_the_start_cannot_be_told_the_newest_labels_are_advised():
    watched_few = [watched(seed, 50, ALTERED["over-confident"]) for seed in range(20)]
    summaries = [monitor.summary() for monitor in watched_few]
    assert np.mean(["A refit of T on all of them" in summary for summary in summaries]) <= 0.2
    doubted = [seed for seed, summary in enumerate(summaries) if "which these can't tell" in summary]
    assert len(doubted) >= 4
    for seed in doubted:
        told = re.search(
            r"from the first label on or since about label (\d+), which these can't tell\. A refit of T on the newest "
            r"labels, those since about label \1, to",
            summaries[seed],
        )
        monitor, start = watched_few[seed], int(told[1])
        assert monitor.since_ == 0 and 20 <= start == monitor.refit_from_ < monitor.n_samples_
        parts = drawn(seed, n=50), drawn(seed + 100, n=600, **ALTERED["over-confident"])
        logits, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        newest = TemperatureScaling().fit(logits[start:], y[start:])
        assert monitor.temperature_ == pytest.approx(newest.temperature_, rel=1e-3)


@pytest.mark.parametrize("size", [5800, 500, 37])
def test_the_start_stays_when_the_change_has_gone(size):
    parts = [drawn(seed, n=n, temperature=t, n_classes=3) for seed, n, t in ((0, 500, 1), (1, 300, 3), (2, 5000, 1))]
    logits, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    at_alarm = CalibrationMonitor(average_run_length=1000).partial_fit(logits[:500], y[:500])
    while at_alarm.since_ is None:
        n = at_alarm.n_samples_
        at_alarm.partial_fit(logits[n : n + 1], y[n : n + 1])
    assert abs(at_alarm.since_ - 500) < 30
    monitor = CalibrationMonitor(average_run_length=1000)
    for start in range(0, 5800, size):
        monitor.partial_fit(logits[start : start + size], y[start : start + size])
    assert monitor.since_ == at_alarm.since_
    since = TemperatureScaling().fit(logits[monitor.since_ :], y[monitor.since_ :])
    assert monitor.temperature_ == pytest.approx(since.temperature_, rel=1e-4)


def test_false_alarms_are_rare():
    p_values = [CalibrationMonitor(tolerance=0).partial_fit(*drawn(seed, n=300)).p_value_ for seed in range(200)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05
    assert max(p_values) <= 1


def grouped(seed, n=200, size=4, temperature=1.0):
    """Frames of scenes, in an order of their own, with one label a scene."""
    logits, y = drawn(seed, n, temperature)
    group = np.random.default_rng(seed).permutation(np.repeat(np.arange(n), size))
    return logits[group], y[group], group


def test_copies_in_groups_count_once():
    X, y, groups = grouped(0, temperature=2.0)
    rows = np.sort(np.unique(groups, return_index=True)[1])
    monitor = CalibrationMonitor().partial_fit(X, y, groups=groups)
    once = CalibrationMonitor().partial_fit(X[rows], y[rows])
    np.testing.assert_allclose(monitor.trajectory_, once.trajectory_, atol=1e-9)
    assert (monitor.n_samples_, monitor.since_) == (200, once.since_)
    assert monitor.gain_ == pytest.approx(once.gain_, abs=1e-9)


def test_a_group_has_the_mean_of_its_e_values():
    history, (X, y) = drawn(n=50, temperature=2.0), drawn(seed=1, n=3)
    before = CalibrationMonitor().partial_fit(*history)
    each = [copy.deepcopy(before).partial_fit(X[i : i + 1], y[i : i + 1]).trajectory_[-1, 1:] for i in range(3)]
    together = copy.deepcopy(before).partial_fit(X, y, groups=["a"] * 3).trajectory_[-1, 1:]
    np.testing.assert_allclose(together, np.log(np.exp(each).mean(0)), atol=1e-12)


def test_temperature_is_that_of_a_refit():
    logits, y = drawn(n=2000, temperature=1.05)
    monitor = CalibrationMonitor().partial_fit(logits, y)
    refit = TemperatureScaling().fit(logits, y)
    assert monitor.temperature_ == pytest.approx(refit.temperature_, rel=1e-4)
    gain = log_likelihoods(logits, y, refit.temperature_).mean() - log_likelihoods(logits, y).mean()
    assert monitor.gain_ == pytest.approx(gain, abs=2e-6)


def test_memory_is_bounded():
    monitor = CalibrationMonitor()
    for seed in range(8):
        monitor.partial_fit(*drawn(seed, n=5000, n_classes=2))
        number = monitor.trajectory_[:, 0]
        assert number[0] == 0
        assert number[-1] == monitor.n_samples_ == 5000 * (seed + 1)
        assert (np.diff(number) > 0).all()
        assert 512 <= len(number) <= 1025
        # Eight bytes a sample would be 320,000 in the end.
        assert len(pickle.dumps(monitor)) < 100_000


def test_labels_of_no_probability_are_finite():
    p = np.tile([1.0, 0.0, 0.0], (3, 1))
    monitor = CalibrationMonitor(response="probabilities", average_run_length=100).partial_fit(p, [0, 1, 2])
    assert np.isfinite(monitor.log_e_value_)
    assert np.isfinite(monitor.trajectory_[1:]).all()
    assert monitor.alarm_
    huge = CalibrationMonitor().partial_fit([[1e30, 0.0], [0.0, -1e30]], [1, 1])
    assert np.isfinite([huge.log_e_value_, huge.gain_, huge.temperature_]).all()
