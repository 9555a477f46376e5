"""Calibration errors, the Brier score and entropy: thin shells over the bins of `_binning`.

Imports `_binning` and `_validation`. All take class labels (or column indices) and class probabilities, numpy arrays
or torch tensors.
"""

import numpy as np
import torch

from .._binning import Probabilities


def as_probabilities(y_proba, sample_weight=None):
    """Probabilities that share their passes: those given, or new ones of an array."""
    if not isinstance(y_proba, Probabilities):
        return Probabilities(y_proba, sample_weight)
    if sample_weight is not None:
        raise ValueError("sample_weight must be None where y_proba is a Probabilities object, which has its own")
    return y_proba


def expected_calibration_error(y_true, y_proba, *, n_bins=15, labels=None, sample_weight=None, return_bins=False):
    """Expected calibration error (ECE) of the most probable class.

    The confidences are sorted into `n_bins` bins of equal width, and the absolute differences between accuracy and mean
    confidence in each bin are averaged over the samples. A perfectly calibrated classifier, too, has an ECE above 0 on
    a finite sample: print :func:`calibration_noise_floor` beside it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_bins : int, default=15
        Number of bins (0, 1/n_bins], ..., closed on the right; a confidence of 0 would be in the first.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns, in their order. Not needed where `y_true` holds column indices or every label at least
        once; then the columns are in the labels' sorted order.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    return_bins : bool, default=False
        Whether to return the bins too.

    Returns
    -------
    ece : float
        Between 0 (best) and 1.
    bins : BinTable
        Edges, counts, mean confidence and accuracy of each bin; only if `return_bins` is True.

    Raises
    ------
    ValueError
        If `y_proba` isn't finite, lies outside [0, 1], has rows that don't sum to 1 or no rows; if `y_true` has another
        length, isn't made of class labels, or holds labels that aren't among the columns'; if `sample_weight` is
        negative or not finite; if `n_bins` is less than 1.
    TypeError
        If `y_proba` isn't numeric or `n_bins` isn't a whole number.

    See Also
    --------
    calibration_noise_floor : What a perfectly calibrated classifier would show.
    adaptive_expected_calibration_error : The same with bins of equal mass.

    References
    ----------
    C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.

    Examples
    --------
    >>> from skclamp.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(expected_calibration_error([0, 0, 0, 1], y_proba, n_bins=5), 4)
    0.25
    >>> ece, bins = expected_calibration_error([0, 0, 0, 1], y_proba, n_bins=5, return_bins=True)
    >>> bins.count
    array([0, 0, 1, 2, 1])
    """
    proba = as_probabilities(y_proba, sample_weight)
    table = _equal_width_table(y_true, proba, n_bins, labels)
    ece = float(table.expected_gap())
    return (ece, table) if return_bins else ece


def adaptive_expected_calibration_error(
    y_true, y_proba, *, n_bins=15, labels=None, sample_weight=None, include_lowest="auto", return_bins=False
):
    """Expected calibration error with bins of equal mass (AECE) of the most probable class.

    The edges are confidences, such that each bin holds an equal number (or weight) of samples as far as ties allow:
    samples of one confidence are never parted.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_bins : int, default=15
        Number of bins.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    include_lowest : bool or "auto", default="auto"
        Whether samples of the lowest confidence count. False leaves the first bin open on the left, as widespread
        implementations and the reference implementation of neural clamping do: the least confident sample then counts
        as calibrated, and a classifier of constant confidence has no error. "auto" agrees with them on ordinary data,
        where one sample is the least confident, and counts those that share the lowest confidence.
    return_bins : bool, default=False
        Whether to return the bins too.

    Returns
    -------
    aece : float
        Between 0 (best) and 1.
    bins : BinTable
        Edges, counts, mean confidence and accuracy of each bin; only if `return_bins` is True.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`.

    References
    ----------
    K. Nguyen and B. O'Connor, "Posterior Calibration and Exploratory Analysis for Natural Language Processing Models",
    EMNLP 2015; J. Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020, section 3.

    Examples
    --------
    >>> from skclamp.metrics import adaptive_expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(adaptive_expected_calibration_error([0, 0, 0, 1], y_proba, n_bins=2, include_lowest=True), 4)
    0.05
    """
    proba = as_probabilities(y_proba, sample_weight)
    codes = proba.encode(y_true, labels)
    table = proba.top_label_table(codes, proba.equal_mass_edges(n_bins), include_lowest)
    aece = float(table.expected_gap())
    return (aece, table) if return_bins else aece


def maximum_calibration_error(y_true, y_proba, *, n_bins=15, labels=None, sample_weight=None):
    """Maximum calibration error (MCE): the largest gap between a bin's accuracy and mean confidence.

    Bins of few samples dominate it; prefer an average where you compare classifiers.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_bins : int, default=15
        Number of bins of equal width, closed on the right.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    mce : float
        Between 0 (best) and 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`.

    References
    ----------
    C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 5.

    Examples
    --------
    >>> from skclamp.metrics import maximum_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(maximum_calibration_error([0, 0, 0, 1], y_proba, n_bins=5), 4)
    0.4
    """
    table = _equal_width_table(y_true, as_probabilities(y_proba, sample_weight), n_bins, labels)
    return float(table.maximum_gap())


def classwise_calibration_error(y_true, y_proba, *, n_bins=15, labels=None, sample_weight=None, average="macro"):
    """Classwise (static) expected calibration error (SCE): the one-vs-rest ECE of every class's probability.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_bins : int, default=15
        Number of bins of equal width, closed on the right.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    average : {"macro"} or None, default="macro"
        The mean over the classes, or None for one value a class.

    Returns
    -------
    sce : float or ndarray of shape (n_classes,)
        Between 0 (best) and 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`, and if `average` is unknown.

    References
    ----------
    J. Nixon et al., "Measuring Calibration in Deep Learning", CVPR Workshops 2019, section 3.2; M. Kull et al., "Beyond
    temperature scaling", NeurIPS 2019.

    Examples
    --------
    >>> from skclamp.metrics import classwise_calibration_error
    >>> y_proba = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]
    >>> classwise_calibration_error([0, 1, 2, 1], y_proba, n_bins=5, average=None).round(3)
    array([0.2  , 0.225, 0.125])
    """
    if average not in ("macro", None):
        raise ValueError(f"average must be 'macro' or None; got {average!r}")
    proba = as_probabilities(y_proba, sample_weight)
    table = proba.classwise_table(proba.encode(y_true, labels), proba.equal_width_edges(n_bins))
    per_class = table.expected_gap()
    return float(per_class.mean()) if average else per_class


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
    score = proba.average(_squared_distances(proba, proba.encode(y_true, labels)))
    halve = proba.n_classes == 2 if scale_by_half == "auto" else scale_by_half
    return score / 2 if halve else score


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
        entropy[rows] = _row_entropies(torch.from_numpy(chunk))
    return proba.average(entropy)


def _equal_width_table(y_true, proba, n_bins, labels):
    return proba.top_label_table(proba.encode(y_true, labels), proba.equal_width_edges(n_bins))


def _row_entropies(rows):
    """Entropy of each row of a tensor; torch's own `entr` takes four times as long."""
    tiny = torch.finfo(rows.dtype).tiny
    return (-(rows * rows.clamp_min(tiny).log()).sum(1, dtype=torch.float64)).numpy()


def _squared_distances(proba, codes):
    """Squared distance of each row to its label's unit vector, in float64: never negative by rounding."""
    distance = np.empty(proba.n_samples)
    for rows, chunk in proba.chunks():
        error = chunk.astype(np.float64)
        error[np.arange(len(error)), codes[rows]] -= 1
        distance[rows] = np.einsum("ij,ij->i", error, error)
    return distance
