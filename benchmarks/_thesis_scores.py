"""The scores of Tang's (2022) tables, each with a bootstrap interval; noise floors under the calibration errors."""

import numpy as np
from scipy.stats import bootstrap

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
)

ERRORS = {
    "ece": expected_calibration_error,
    "aece": adaptive_expected_calibration_error,
    "sce": classwise_calibration_error,
}
PROPER = {"nll": negative_log_likelihood, "brier": brier_score}
SCORES = ("entropy", "accuracy", *PROPER, *ERRORS, "nll_difference")
COLUMNS = (
    *(f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")),
    *(f"{error}_floor{end}" for error in ERRORS for end in ("", "_95")),
)
LEVEL = 0.95


def evaluate(y, log_proba, baseline, n_resamples=1000):
    """Scores by the names of `COLUMNS`; accuracy and calibration errors in per cent, NLL and entropy in nats.

    Intervals are of 95 %, for the test samples' randomness alone; those of calibration errors are of the true error
    and may lie below the value, which noise enlarges.

    Parameters
    ----------
    y : array of shape (n,)
        Column indices.
    log_proba, baseline : arrays of shape (n, K)
        Log-probabilities, and temperature scaling's, from which `nll_difference` is taken.
    n_resamples : int, default=1000
        Bootstrap replicates.
    """
    proba = np.exp(log_proba)
    scores = {
        **mean("entropy", -(proba * np.maximum(log_proba, -1e3)).sum(1), n_resamples),
        **mean("accuracy", 100.0 * (log_proba.argmax(1) == y), n_resamples),
        **difference(y, proba, np.exp(baseline), n_resamples),
    }
    for name, metric in {**PROPER, **ERRORS}.items():
        found = bootstrap_interval(metric, y, proba, n_resamples=n_resamples, confidence_level=LEVEL, random_state=0)
        scores |= interval(name, found.value, found.low, found.high, 100 if name in ERRORS else 1)
    for name, metric in ERRORS.items():
        floor = calibration_noise_floor(metric, proba, random_state=0)
        scores |= {f"{name}_floor": 100 * floor.mean, f"{name}_floor_95": 100 * floor.quantile}
    return scores


def mean(name, values, n_resamples):
    """A mean over the samples with its interval."""
    ends = bootstrap(
        (values,),
        np.mean,
        n_resamples=n_resamples,
        batch=100,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return interval(name, values.mean(), ends.low, ends.high)


def difference(y, proba, baseline, n_resamples):
    """NLL less the baseline's, paired sample by sample."""
    if np.array_equal(proba, baseline):
        return interval("nll_difference", 0.0, 0.0, 0.0)
    found = paired_bootstrap_test(
        negative_log_likelihood,
        y,
        proba,
        baseline,
        n_resamples=n_resamples,
        confidence_level=LEVEL,
        random_state=0,
    )
    return interval("nll_difference", found.difference, found.low, found.high)


def interval(name, value, low, high, factor=1):
    return {name: factor * value, f"{name}_low": factor * low, f"{name}_high": factor * high}
