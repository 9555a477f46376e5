"""A proper score in two parts: what recalibration could save, and what would remain."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.isotonic import isotonic_regression

from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.arrays import tensor_of, tensor_over
from .._utils.least_probability import MIN_PROBABILITY, log_of
from .._utils.parameters import check_choice
from ._metric import as_probabilities
from ._proper_scores import brier_losses, log_losses

_SCORES = ("log_loss", "brier")
_RECALIBRATIONS = ("auto", "temperature", "isotonic")


class CalibrationRefinement(NamedTuple):
    """A proper score and its parts.

    Attributes
    ----------
    score : float
        Mean score of the probabilities: `calibration` plus `refinement`.
    calibration : float
        What the recalibration saves, at least 0.
    refinement : float
        The score after recalibration.

    Examples
    --------
    >>> from skclamp.metrics import calibration_refinement
    >>> parts = calibration_refinement([0, 1, 1, 0], [0.2, 0.9, 0.6, 0.4])
    >>> abs(parts.calibration + parts.refinement - parts.score) < 1e-9
    True
    """

    score: float
    calibration: float
    refinement: float


def calibration_refinement(y_true, y_proba, *, score="log_loss", recalibration="auto", labels=None, sample_weight=None):
    """Decompose the negative log-likelihood or the Brier score into calibration and refinement.

    The score's expectation is the divergence of the probabilities from the true ones given the prediction, which is
    its calibration error, plus the score of those: its refinement. What the best of a family of recalibrations leaves
    on the same samples stands for the latter. A narrow family sees only some of the miscalibration, and a wide one
    takes some of the noise for it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    score : {"log_loss", "brier"}, default="log_loss"
        The negative log-likelihood in nats, or the Brier score, halved for two classes.
    recalibration : {"auto", "temperature", "isotonic"}, default="auto"
        The family: one temperature, for the log loss, or an increasing function for every class's probability. The
        latter decomposes the Brier score class by class, and the log loss only of two classes. "auto" is "isotonic"
        where that is possible.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    CalibrationRefinement
        Named tuple of `score`, `calibration` and `refinement`.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`; if `score` or `recalibration` is unknown, "temperature" is asked for with
        the Brier score, or "isotonic" with the log loss of more than two classes.

    Notes
    -----
    Of a calibrated classifier `calibration` falls as 1 / n_samples by "temperature", and as n_samples ** (-2/3) by
    "isotonic".

    References
    ----------
    J. Bröcker, "Reliability, sufficiency, and the decomposition of proper scores", Quarterly Journal of the Royal
    Meteorological Society 135, 2009. T. Dimitriadis, T. Gneiting and A. I. Jordan, "Stable reliability diagrams for
    probabilistic classifiers", PNAS 118, 2021 ("isotonic"). E. Berta et al., "Rethinking Early Stopping: Refine, Then
    Calibrate", 2025 ("temperature").

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import calibration_refinement
    >>> random = np.random.default_rng(0)
    >>> logits = 2 * random.normal(size=(5000, 3))
    >>> true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    >>> y_true = (random.uniform(size=(5000, 1)) > true.cumsum(1)).sum(1)
    >>> overconfident = true**2 / (true**2).sum(1, keepdims=True)
    >>> print("{:.2f} = {:.2f} + {:.2f}".format(*calibration_refinement(y_true, overconfident)))
    0.68 = 0.10 + 0.58
    """
    check_choice(score, "score", _SCORES)
    check_choice(recalibration, "recalibration", _RECALIBRATIONS)
    proba = as_probabilities(y_proba, sample_weight)
    y_encoded = proba.encode(y_true, labels)
    isotonic_is_possible = score == "brier" or proba.n_classes == 2
    if recalibration == "auto":
        recalibration = "isotonic" if isotonic_is_possible else "temperature"
    if recalibration == "isotonic" and not isotonic_is_possible:
        raise ValueError("recalibration must not be 'isotonic' with score='log_loss' and more than two classes")
    if recalibration == "temperature" and score == "brier":
        raise ValueError("recalibration must not be 'temperature' with score='brier'")
    total = proba.average((log_losses if score == "log_loss" else brier_losses)(proba, y_encoded))
    # The identity is in either family: only a solver's tolerance could lie above it.
    left = min(float(_REFINEMENTS[score, recalibration](proba, y_encoded)), total)
    return CalibrationRefinement(total, total - left, left)


def _isotonic_brier(proba, y_encoded):
    parts = [
        np.average((pairs.hits - _increasing(pairs)) ** 2, weights=pairs.weight) for pairs in _classes(proba, y_encoded)
    ]
    return sum(parts)


def _isotonic_log_loss(proba, y_encoded):
    (pairs,) = _classes(proba, y_encoded)
    fitted = _increasing(pairs)
    own = np.where(pairs.hits > 0, fitted, 1 - fitted)
    return np.average(-np.log(np.clip(own, MIN_PROBABILITY, 1.0)), weights=pairs.weight)


def _classes(proba, y_encoded):
    """Pairs of every class; of two, the second's tell all, and their halved Brier score is the binary one."""
    classes = list(proba.class_pairs(y_encoded)) if proba.n_classes == 2 else proba.class_pairs(y_encoded)
    return classes[1:] if proba.n_classes == 2 else classes


def _increasing(pairs):
    """Increasing function of the confidence that fits the hits best; one value for each distinct confidence."""
    distinct, group = np.unique(pairs.confidence, return_inverse=True)
    mass = np.bincount(group, pairs.masses, len(distinct))
    hits = np.bincount(group, pairs.masses * pairs.hits, len(distinct))
    some = mass > 0
    fitted = np.zeros(len(distinct))
    fitted[some] = isotonic_regression(hits[some] / mass[some], sample_weight=mass[some])
    return fitted[group]


def _temperature_log_loss(proba, y_encoded):
    # Finite ones, by the logarithm's floor.
    logits = torch.cat([log_of(tensor_of(chunk, "y_proba")) for _, chunk in proba.chunks()])
    y, weight = tensor_over(y_encoded), None if proba.weight is None else torch.from_numpy(proba.weight)
    temperature = solve_temperature(logits, y, sample_weight=weight).temperature
    return proba.average(-log_likelihoods(logits, y, temperature).numpy())


_REFINEMENTS = {
    ("log_loss", "temperature"): _temperature_log_loss,
    ("log_loss", "isotonic"): _isotonic_log_loss,
    ("brier", "isotonic"): _isotonic_brier,
}
