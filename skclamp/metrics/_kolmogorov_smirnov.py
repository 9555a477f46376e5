"""Kolmogorov-Smirnov calibration error: the largest gap between cumulated confidence and cumulated hits."""

import numpy as np

from ._binning import ratios
from ._metric import FACTS, Facts, error_of_pairs, of_outputs, some_pairs
from ._resampling import ErrorOfPairs, cumulated, neighbours, norm_of

# Groups of neighbouring confidences between which replicates are looked at.
_MAX_GROUPS = 2**12


@of_outputs
def ks_calibration_error(y_true, y_proba, *, mode="top-label", top_k=1, threshold=None):
    """Kolmogorov-Smirnov (KS) calibration error: no bins, no kernel, nothing to choose.

    Confidence and hits are summed up in the order of the confidences. The largest difference of the sums, over the
    number of samples, is the error. Where all gaps have one sign it is their mean; gaps of opposite signs may cancel.
    Samples of one confidence are never parted, so their order doesn't matter.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1. Of one dimension, those of the second of two classes, which is then the event
        in place of the most probable class.
    mode : {"top-label", "classwise"}, default="top-label"
        Of the most probable class or the event, or the mean over the one-vs-rest errors of every class.
    top_k : int, default=1
        How many of the most probable classes are taken together; see :func:`expected_calibration_error`.
    threshold : float, default=None
        Only confidences above it count; it lies in [0, 1).
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, or of their places or labels.
    average : {"macro", "micro", "samples"} or None, default="macro"
        How the values of several labels, or of the places, of a sample are put together; see
        :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    error : float
        Between 0 (best) and 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`; if `mode` is unknown, or `top_k` isn't 1 where every class is its own.

    References
    ----------
    K. Gupta et al., "Calibration of Neural Networks using Splines", ICLR 2021, section 3.

    Examples
    --------
    >>> from skclamp.metrics import ks_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(ks_calibration_error([0, 0, 0, 1], y_proba), 4)
    0.1
    """
    return error_of_pairs(pairs_ks_error, y_true, y_proba, mode=mode, top_k=top_k, threshold=threshold)


def pairs_ks_error(pairs):
    """KS error of pairs."""
    _, place = np.unique(pairs.confidence, return_inverse=True)
    return abs(np.bincount(place, pairs.masses * pairs.residual).cumsum()).max() / pairs.masses.sum()


def _resampled(value, y_encoded, proba, *, mode, top_k, threshold, **_):
    """Form of the error, looked at between at most 4,096 groups of confidences."""
    if mode != "top-label":
        return None
    pairs = some_pairs(proba, y_encoded, top_k, threshold)
    groups = neighbours(pairs.confidence, _MAX_GROUPS)
    return ErrorOfPairs(value, pairs, groups, _path, norm_of(np.inf), allows_for_noise=True)


def _path(residual, mass):
    return cumulated(ratios(residual, mass.sum(1, keepdims=True)))


FACTS[ks_calibration_error] = Facts(of_event=True, resampled=_resampled)
