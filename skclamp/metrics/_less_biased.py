"""Binned calibration error, corrected for the noise of each bin."""

import numpy as np
from scipy.special import ndtr

from .._utils.parameters import check_choice, check_whole_number
from ._binning import bin_indices, ratios
from ._calibration import edges_of, form_of_bins, form_of_classes
from ._metric import FACTS, Facts, check_options, error_of_pairs, of_outputs, some_pairs
from ._resampling import grouped


@of_outputs
def debiased_calibration_error(
    y_true,
    y_proba,
    *,
    n_bins=15,
    norm="l2",
    strategy="quantile",
    mode="top-label",
    top_k=1,
    threshold=None,
):
    """Binned calibration error less what the noise of the labels adds to it.

    A bin's squared gap is on average too large by the variance of its accuracy, which can be estimated and taken off:
    the squared l2 error is then unbiased. Of the l1 error the first-order bias is taken off, in closed form for normal
    accuracies. A result below 0 is 0, and a bin of fewer than two samples says nothing and counts as calibrated.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes, which is then the event
        in place of the most probable class.
    n_bins : int, default=15
        Number of bins.
    norm : {"l1", "l2"}, default="l2"
        Mean or root mean square of the bins' gaps.
    strategy : {"uniform", "quantile"}, default="quantile"
        Bins of equal width, or of an equal number of samples, ties aside.
    mode : {"top-label", "classwise"}, default="top-label"
        Of the most probable class or the event, or of all the one-vs-rest errors together: their mean, or the root of
        the mean of their squares.
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
        As :func:`expected_calibration_error`; if `norm`, `strategy` or `mode` is unknown, or `top_k` isn't 1 where
        every class is its own.

    Notes
    -----
    Weights say how many samples each stands for: the noise depends on the number of samples, and so on their scale.

    References
    ----------
    A. Kumar, P. Liang and T. Ma, "Verified Uncertainty Calibration", NeurIPS 2019, section 5.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import debiased_calibration_error, expected_calibration_error
    >>> random = np.random.default_rng(0)
    >>> y_proba = random.uniform(size=2000)
    >>> y_true = random.uniform(size=2000) < y_proba
    >>> plain = expected_calibration_error(y_true, y_proba, norm="l2")
    >>> debiased_calibration_error(y_true, y_proba) < plain
    True
    """
    check_choice(norm, "norm", ("l1", "l2"))
    check_options(strategy=strategy)
    check_whole_number(n_bins, "n_bins")

    def unbiased_power(pairs):
        table = pairs.table(edges_of(pairs, y_proba, n_bins, strategy))
        gap = table.gap
        variance = table.accuracy * (1 - table.accuracy)
        count = table.count
        # Without the variance of the accuracy.
        unbiased = gap**2 - variance / np.maximum(count - 1, 1) if norm == "l2" else _absolutes(gap, variance, count)
        return (table.share * unbiased)[count >= 2].sum()

    mean = max(error_of_pairs(unbiased_power, y_true, y_proba, mode=mode, top_k=top_k, threshold=threshold), 0.0)
    return mean if norm == "l1" else mean**0.5


def _absolutes(gap, variance, count):
    """Absolute gaps less their bias, were they the true ones: twice them minus the mean of a folded normal."""
    scale = np.sqrt(variance / np.maximum(count, 1))
    size = abs(gap)
    ratio = ratios(size, scale)
    folded = scale * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + size * (1 - 2 * ndtr(-ratio))
    return np.where(scale > 0, 2 * size - folded, size)


def _plain(value, y_encoded, proba, *, mode, top_k, **options):
    """Form of the plain error, which is the same without noise."""
    if mode == "classwise":
        return form_of_classes(value, y_encoded, proba, n_parts=1, **options)
    pairs = some_pairs(proba, y_encoded, top_k, options["threshold"])
    n_bins = options["n_bins"]
    groups = grouped(bin_indices(pairs.confidence, edges_of(pairs, proba, n_bins, options["strategy"])), n_bins)
    return form_of_bins(value, pairs, groups, options["norm"])


FACTS[debiased_calibration_error] = Facts(of_event=True, resampled=None, plain=_plain)
