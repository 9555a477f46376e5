"""Contests of paired scores: who is taken of those that beat the baseline."""

import numpy as np
import pytest

from skclamp._judging.paired import Contest


def test_of_the_rows_that_beat_the_baseline_the_best_is_taken():
    """A noisier row may have the higher mean, and prove nothing."""
    noise = np.random.default_rng(0).normal(size=100)
    values = np.array([np.zeros(100), np.full(100, 0.05), 0.08 + 2 * (noise - noise.mean())])
    assert Contest(values, np.full(100, 0.01), 0).best() == 1


@pytest.mark.parametrize(("lag", "taken"), [(0.01, 2), (0.2, 1)])
def test_an_average_is_taken_within_one_standard_error_of_the_best(lag, taken):
    noise = np.random.default_rng(0).normal(size=100)
    noise -= noise.mean()
    values = np.array([np.zeros(100), np.full(100, 1.0), 1 - lag + noise / 2, 0.5 - lag + 20 * noise])
    contest = Contest(values, np.full(100, 0.01), baseline=0)
    assert contest.best() == 1
    assert contest.best_average([2, 3]) == taken
