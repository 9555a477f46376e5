"""Few events, which carry much of a mean loss, are told."""

from functools import partial

import numpy as np
import pytest

from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import bootstrap_interval, brier_score, negative_log_likelihood, paired_bootstrap_test

every_loss = pytest.mark.parametrize("metric", [negative_log_likelihood, brier_score])


@every_loss
def test_few_events_of_either_class_are_told(metric):
    y, p = (np.arange(60) % 30 == 0).astype(int), np.full(60, 0.03)
    run = partial(bootstrap_interval, metric, n_resamples=20, random_state=0)
    with pytest.warns(CalibrationSetWarning, match="y_true has 2 samples, or groups with some, .* fewer than 5"):
        found = run(y, p)
    with pytest.warns(CalibrationSetWarning, match="y_true has 2 samples"):
        assert run(1 - y, 1 - p) == pytest.approx(found)
    with pytest.warns(CalibrationSetWarning, match="y_true has 2 samples"):
        assert run(y, p, sample_weight=np.full(60, 2.0)) == pytest.approx(found)
    # Copies of a sample in a group are one of it.
    with pytest.warns(CalibrationSetWarning, match="y_true has 2 samples"):
        run(np.repeat(y, 5), np.repeat(p, 5), groups=np.repeat(range(60), 5))
    with pytest.warns(CalibrationSetWarning, match="y_true has 2 samples"):
        paired_bootstrap_test(metric, y, p, p / 2, n_resamples=20, random_state=0)
    with pytest.warns(CalibrationSetWarning, match="y_true has 0 samples"):
        assert run(np.zeros(50, int), np.zeros(50))[:4] == (0, 0, 0, 0)


@every_loss
def test_enough_events_and_more_classes_are_told_nothing(metric):
    y, p = np.arange(60) % 12 == 0, np.full(60, 0.03)
    bootstrap_interval(metric, y.astype(int), p, n_resamples=20, random_state=0)
    proba = np.full((20, 3), 1 / 3)
    bootstrap_interval(metric, np.zeros(20, int), proba, labels=range(3), n_resamples=20, random_state=0)
