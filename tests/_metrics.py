"""The registry of metrics that tests hold to common promises, and the data they are held on."""

from functools import partial

import numpy as np
from _templates import template

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    brier_score,
    calibration_refinement,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    smooth_calibration_error,
)


def part_of(name, score, recalibration="auto"):
    """One part of a decomposition, as a metric."""

    def part(y_true, y_proba, **options):
        found = calibration_refinement(y_true, y_proba, score=score, recalibration=recalibration, **options)
        return getattr(found, name)

    return part


BINNED = {
    "ece": expected_calibration_error,
    "ece, l2": partial(expected_calibration_error, norm="l2"),
    "ece, max": partial(expected_calibration_error, norm="max"),
    "ece, top 2": partial(expected_calibration_error, top_k=2),
    "aece": adaptive_expected_calibration_error,
    "aece, l2": partial(adaptive_expected_calibration_error, norm="l2"),
    "aece, max": partial(adaptive_expected_calibration_error, norm="max", include_lowest=True),
    "aece, top 2": partial(adaptive_expected_calibration_error, top_k=2),
    "mce": maximum_calibration_error,
    "sce": classwise_calibration_error,
    "sce, l2": partial(classwise_calibration_error, norm="l2"),
    "sce, max": partial(classwise_calibration_error, norm="max"),
    "sce, equal mass": partial(classwise_calibration_error, strategy="quantile"),
    "tace": partial(classwise_calibration_error, strategy="quantile", threshold=0.01),
    "debiased": debiased_calibration_error,
    "debiased, l1": partial(debiased_calibration_error, norm="l1", strategy="uniform"),
    "debiased, classwise": partial(debiased_calibration_error, mode="classwise"),
}
UNBINNED = {
    "smooth": smooth_calibration_error,
    "smooth, fixed": partial(smooth_calibration_error, bandwidth=0.05),
    "smooth, classwise": partial(smooth_calibration_error, mode="classwise"),
    "smooth, top 2": partial(smooth_calibration_error, top_k=2),
    "ks": ks_calibration_error,
    "ks, classwise": partial(ks_calibration_error, mode="classwise"),
}
THRESHOLDED = {
    "ece, thresholded": partial(expected_calibration_error, threshold=0.5),
    "aece, thresholded": partial(adaptive_expected_calibration_error, threshold=0.5),
    "mce, thresholded": partial(maximum_calibration_error, threshold=0.5),
    "smooth, thresholded": partial(smooth_calibration_error, threshold=0.5),
    "ks, thresholded": partial(ks_calibration_error, threshold=0.5),
}
PROPER = {"nll": negative_log_likelihood, "brier": brier_score, "to copy": template("metric_full").spherical_score}
RANKED = {"aurc": area_under_risk_coverage}
DECOMPOSED = {
    "calibration, nll": part_of("calibration", "log_loss", "temperature"),
    "calibration, brier": part_of("calibration", "brier"),
    "refinement, nll": part_of("refinement", "log_loss", "temperature"),
    "refinement, brier": part_of("refinement", "brier"),
}
ERRORS = {**BINNED, **UNBINNED, **THRESHOLDED}
METRICS = {**ERRORS, **PROPER, **RANKED, **DECOMPOSED}

# Which stand for the others in what is done alike for all: labels, weights, formats, bad input.
REPRESENTATIVES = ["ece", "sce", "debiased", "smooth", "nll", "aurc", "refinement, brier"]

# How far from calibrated depends on the number of samples, for which weights stand.
SCALE_MATTERS = {"debiased", "debiased, l1", "debiased, classwise"}


def largest(name):
    """The greatest value that a metric can have."""
    if "nll" in name:
        return 709.0
    return 2.0 if name in ("brier", "calibration, brier", "refinement, brier") else 2**0.5


def draw(n=400, k=5, dtype=np.float64, seed=0):
    """Labels that have nothing to do with the probabilities."""
    random = np.random.default_rng(seed)
    proba = random.dirichlet(np.full(k, 0.4), n)
    return random.integers(k, size=n), proba.astype(dtype)


def draw_calibrated(n, k, seed=0):
    """Probabilities of a softmax and labels drawn from them."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, k))
    proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return (random.uniform(size=(n, 1)) > proba.cumsum(1)[:, :-1]).sum(1), proba
