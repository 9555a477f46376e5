"""Proper scores and entropy: the negative log-likelihood, the Brier score, Shannon's entropy."""

import numpy as np
import torch

from .._utils.arrays import tensor_of
from .._utils.least_probability import LOG_MIN_PROBABILITY
from ._metric import as_probabilities, declare
from ._resampling import MeanScore


def negative_log_likelihood(y_true, y_proba, *, labels=None, sample_weight=None):
    """Negative log-likelihood (NLL, log loss): mean of ``-log p`` of each sample's class, in nats.

    A proper score: the true probabilities minimise it in expectation. A probability below 2.2e-16, float64's epsilon,
    counts as that (-log p = 36.04), whatever the dtype; the calibrators take such probabilities for as much.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    nll : float
        At least 0 (best).

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`.

    References
    ----------
    I. J. Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.

    Examples
    --------
    >>> from skclamp.metrics import negative_log_likelihood
    >>> round(negative_log_likelihood([0, 2], [[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]]), 4)
    0.4581
    """
    proba = as_probabilities(y_proba, sample_weight)
    return proba.average(log_losses(proba, proba.encode(y_true, labels)))


def brier_score(y_true, y_proba, *, labels=None, sample_weight=None, scale_by_half="auto"):
    """Multiclass Brier score: mean squared distance between the probabilities and the label's unit vector.

    A proper score: the true probabilities minimise it in expectation.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    scale_by_half : bool or "auto", default="auto"
        Whether to halve the sum over classes, so that the worst score is 1 instead of 2. "auto" halves it for two
        classes, as ``sklearn.metrics.brier_score_loss`` does.

    Returns
    -------
    score : float
        Between 0 (best) and 2, or 1 where halved.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`, and if `scale_by_half` is unknown.

    References
    ----------
    G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> from skclamp.metrics import brier_score
    >>> round(brier_score([0, 2], [[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]]), 4)
    0.22
    """
    if scale_by_half not in (True, False, "auto"):
        raise ValueError(f"scale_by_half must be True, False or 'auto'; got {scale_by_half!r}")
    proba = as_probabilities(y_proba, sample_weight)
    return proba.average(brier_losses(proba, proba.encode(y_true, labels), scale_by_half))


def predictive_entropy(y_proba, *, sample_weight=None):
    """Mean Shannon entropy of the predicted probabilities, in nats.

    Parameters
    ----------
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    entropy : float
        Between 0 (certain) and log(n_classes).

    Raises
    ------
    ValueError, TypeError
        If `y_proba` or `sample_weight` are bad, as for :func:`expected_calibration_error`.

    References
    ----------
    C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 1948.

    Examples
    --------
    >>> from skclamp.metrics import predictive_entropy
    >>> round(predictive_entropy([[0.5, 0.5], [1.0, 0.0]]), 4)
    0.3466
    """
    proba = as_probabilities(y_proba, sample_weight)
    entropy = np.empty(proba.n_samples)
    for rows, chunk in proba.chunks():
        entropy[rows] = _row_entropies(tensor_of(chunk, "y_proba"))
    return proba.average(entropy)


def _row_entropies(rows):
    """Entropy of each row of a tensor; torch's own `entr` takes four times as long."""
    tiny = torch.finfo(rows.dtype).tiny
    return (-(rows * rows.clamp_min(tiny).log()).sum(1, dtype=torch.float64)).numpy()


def brier_losses(proba, y_encoded, scale_by_half="auto"):
    """Squared distance of each row to its label's unit vector, in float64: never negative by rounding."""
    distance = np.empty(proba.n_samples)
    for rows, chunk in proba.chunks():
        error = chunk.astype(np.float64)
        error[np.arange(len(error)), y_encoded[rows]] -= 1
        distance[rows] = np.einsum("ij,ij->i", error, error)
    halve = proba.n_classes == 2 if scale_by_half == "auto" else scale_by_half
    # Rows whose sums round beyond 1 are no farther than others.
    return np.minimum(distance, 2) / (2 if halve else 1)


def log_losses(proba, y_encoded):
    """Negative log-probability of each sample's class, float64; the values are checked on the way."""
    _ = proba.top_label
    with np.errstate(divide="ignore"):
        own = np.log(proba.of_label(y_encoded))
    # A probability that rounds beyond 1 has no gain.
    return -np.clip(own, LOG_MIN_PROBABILITY, 0.0)


def _nll_resampled(value, y_encoded, proba, **_):
    return MeanScore(value, log_losses(proba, y_encoded))


def _brier_resampled(value, y_encoded, proba, *, scale_by_half, **_):
    return MeanScore(value, brier_losses(proba, y_encoded, scale_by_half))


declare(negative_log_likelihood, is_error=False, of_event=False, resampled=_nll_resampled)
declare(brier_score, is_error=False, of_event=False, resampled=_brier_resampled)
