"""Binned calibration errors: expected, adaptive, classwise and maximum."""

from dataclasses import replace

import numpy as np

from .._utils.parameters import check_whole_number
from ._binning import Pairs, bin_indices, equal_mass_edges, ratios
from ._metric import FACTS, Facts, check_options, each_class, of_outputs, some_pairs
from ._resampling import ErrorOfPairs, grouped, norm_of

# Of numpy's norms.
_ORDERS = {"l1": 1, "l2": 2, "max": np.inf}
# Pairs of all classes that replicates take sums of.
_MAX_PAIRS = 2**22


@of_outputs
def expected_calibration_error(
    y_true,
    y_proba,
    *,
    n_bins=15,
    return_bins=False,
    norm="l1",
    top_k=1,
    threshold=None,
):
    """Expected calibration error (ECE) of the most probable class, or of an event's probability.

    The confidences are sorted into `n_bins` bins of equal width, and the absolute differences between accuracy and mean
    confidence in each bin are averaged over the samples. A perfectly calibrated classifier, too, has an ECE above 0 on
    a finite sample: print :func:`calibration_noise_floor` beside it.

    Of two classes the most probable one hides much: where 1 % are positive and the classifier says 11 % on average, its
    answers are nearly always the negative class, and right as often as it says. Pass ``y_proba[:, 1]`` to ask how often
    the second class comes true where it is given that probability.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes, which is then the event
        in place of the most probable class.
    n_bins : int, default=15
        Number of bins (0, 1/n_bins], ..., closed on the right; a confidence of 0 would be in the first.
    return_bins : bool, default=False
        Whether to return the bins too.
    norm : {"l1", "l2", "max"}, default="l1"
        How the bins' gaps are put together: their mean over the samples, their root mean square, or the largest.
    top_k : int, default=1
        How many of the most probable classes are taken together: the confidence is the sum of their probabilities, and
        a sample is right if its label is among them.
    threshold : float, default=None
        Only samples whose confidence exceeds it count; it lies in [0, 1).
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns, in their order. Not needed where `y_true` holds column indices or every label at
        least once; then the columns are in the labels' sorted order.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others, as of two classes; probabilities of one dimension are
        then of this class. None takes them for those of the second of `labels` or, of numbers, of the larger one. Of
        strings one of the two must be given.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    average : {"macro", "micro", "samples"} or None, default="macro"
        Of a class at each place of a sample "macro" and "micro" both stand for the value of all places, which count
        alike; "samples" is the mean over samples of each one's own value, and None an array of these, NaN where nothing
        is known. Without effect on one class a sample. Of several labels a sample that don't exclude each other: of
        `y_true`, 0, 1 or NaN, and `y_proba`, both of shape (n_samples, n_labels), the mean over labels, the value of
        all labels' events together ("micro"), or an array of each label's value (None). NaN isn't known, and left out.
    ignore_index : int, default=-100
        Of a class at each place of a sample, such as the pixels of an image, what stands for one that isn't known.
        `y_true` is then of shape ``(n_samples, *places)`` and `y_proba` of shape ``(n_samples, n_classes, *places)``
        or, for the second of two classes, ``(n_samples, 1, *places)``. Two axes of places or more don't need the 1. Of
        several labels at each place, both of shape ``(n_samples, n_labels, *places)``, all are events together: for
        each label's value give one, ``y_true[:, k]`` and ``y_proba[:, k]``. `sample_weight` is of shape (n_samples,) or
        that of `y_true`.

    Returns
    -------
    ece : float
        Between 0 (best) and 1.
    bins : BinTable
        Edges, counts, mean confidence and accuracy of each bin; only if `return_bins` is True.

    Raises
    ------
    ValueError
        If `y_proba` isn't finite, lies outside [0, 1], has rows that don't sum to 1 or no rows. If `y_true` has another
        length, isn't made of class labels, or holds labels that aren't among the columns'. If `sample_weight` is
        negative or not finite. If `n_bins` or `top_k` is less than 1 or `top_k` greater than the number of classes. If
        `norm` is unknown. If no confidence exceeds `threshold`.
    TypeError
        If `y_proba` isn't numeric or `n_bins` isn't a whole number.

    See Also
    --------
    calibration_noise_floor : What a perfectly calibrated classifier would show.
    adaptive_expected_calibration_error : The same with bins of equal mass.

    References
    ----------
    C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3. K. Gupta et al., "Calibration of
    Neural Networks using Splines", ICLR 2021, section 2 (`top_k`).

    Examples
    --------
    >>> from skclamp.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(expected_calibration_error([0, 0, 0, 1], y_proba, n_bins=5), 4)
    0.25
    >>> ece, bins = expected_calibration_error([0, 0, 0, 1], y_proba, n_bins=5, return_bins=True)
    >>> bins.count
    array([0, 0, 1, 2, 1])

    Of the second class's probability:

    >>> round(expected_calibration_error([0, 0, 0, 1], [0.1, 0.2, 0.7, 0.6], n_bins=5), 4)
    0.35
    """
    check_options(norm=norm, threshold=threshold)
    table = some_pairs(y_proba, y_true, top_k, threshold).table(y_proba.equal_width_edges(n_bins))
    ece = float(table.error(norm))
    return (ece, table) if return_bins else ece


@of_outputs
def adaptive_expected_calibration_error(
    y_true,
    y_proba,
    *,
    n_bins=15,
    include_lowest="auto",
    return_bins=False,
    norm="l1",
    top_k=1,
    threshold=None,
):
    """Expected calibration error with bins of equal mass (AECE) of the most probable class, or of an event.

    The edges are confidences, such that each bin holds an equal number (or weight) of samples as far as ties allow:
    samples of one confidence are never parted.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes, which is then the event
        in place of the most probable class.
    n_bins : int, default=15
        Number of bins.
    include_lowest : bool or "auto", default="auto"
        Whether samples of the lowest confidence count. False leaves the first bin open on the left, as widespread
        implementations and the reference implementation of neural clamping do: the least confident sample then counts
        as calibrated, and a classifier of constant confidence has no error. "auto" agrees with them on ordinary data,
        where one sample is the least confident, and counts those that share the lowest confidence.
    return_bins : bool, default=False
        Whether to return the bins too.
    norm : {"l1", "l2", "max"}, default="l1"
        Mean, root mean square or largest of the bins' gaps.
    top_k : int, default=1
        How many of the most probable classes are taken together; see :func:`expected_calibration_error`.
    threshold : float, default=None
        Only samples whose confidence exceeds it count, and share the bins.
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
    check_options(norm=norm, threshold=threshold)
    pairs = some_pairs(y_proba, y_true, top_k, threshold)
    table = pairs.table(*_adaptive_bins(pairs, y_proba, n_bins, include_lowest))
    aece = float(table.error(norm))
    return (aece, table) if return_bins else aece


@of_outputs
def maximum_calibration_error(y_true, y_proba, *, n_bins=15, top_k=1, threshold=None):
    """Maximum calibration error (MCE): the largest gap between a bin's accuracy and mean confidence.

    Bins of few samples dominate it; prefer an average where you compare classifiers.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes, which is then the event
        in place of the most probable class.
    n_bins : int, default=15
        Number of bins of equal width, closed on the right.
    top_k : int, default=1
        How many of the most probable classes are taken together; see :func:`expected_calibration_error`.
    threshold : float, default=None
        Only samples whose confidence exceeds it count.
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
    return expected_calibration_error(y_true, y_proba, n_bins=n_bins, norm="max", top_k=top_k, threshold=threshold)


@of_outputs(takes_labels=False)
def classwise_calibration_error(
    y_true,
    y_proba,
    *,
    n_bins=15,
    average="macro",
    norm="l1",
    strategy="uniform",
    threshold=None,
):
    """Classwise (static) expected calibration error (SCE): the one-vs-rest ECE of every class's probability.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_bins : int, default=15
        Number of bins of equal width, closed on the right.
    average : {"macro", "samples"} or None, default="macro"
        The mean over the classes, or None for one value per class. Of a class at each place of a sample, "samples" is
        the mean over samples of each one's own mean over the classes.
    norm : {"l1", "l2", "max"}, default="l1"
        Mean, root mean square or largest of the gaps of a class's bins.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of an equal number of samples; the latter sorts every class's probabilities.
    threshold : float, default=None
        Only probabilities above it count; it lies in [0, 1). With ``strategy="quantile"`` that is TACE, the
        thresholded adaptive calibration error. A class without any has an error of 0.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, or of their places.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    sce : float or ndarray of shape (n_classes,)
        Between 0 (best) and 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`, and if `average` or `strategy` is unknown.

    References
    ----------
    J. Nixon et al., "Measuring Calibration in Deep Learning", CVPR Workshops 2019, section 3 (SCE, ACE, TACE). M. Kull
    et al., "Beyond temperature scaling", NeurIPS 2019.

    Examples
    --------
    >>> from skclamp.metrics import classwise_calibration_error
    >>> y_proba = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]
    >>> classwise_calibration_error([0, 1, 2, 1], y_proba, n_bins=5, average=None).round(3)
    array([0.2  , 0.225, 0.125])
    """
    if average not in ("macro", None):
        raise ValueError(f"average must be 'macro', 'samples' or None; got {average!r}")
    check_options(norm=norm, strategy=strategy, threshold=threshold)
    if strategy == "uniform" and threshold is None:
        per_class = y_proba.classwise_table(y_true, y_proba.equal_width_edges(n_bins)).error(norm)
    else:
        check_whole_number(n_bins, "n_bins")

        def error(pairs):
            return pairs.table(edges_of(pairs, y_proba, n_bins, strategy)).error(norm)

        per_class = each_class(error, y_proba, y_true, threshold)
    return float(per_class.mean()) if average else per_class


def edges_of(pairs, proba, n_bins, strategy):
    """Edges of bins of equal width or of equal mass."""
    if strategy == "uniform":
        return proba.equal_width_edges(n_bins)
    return equal_mass_edges(pairs.confidence, pairs.masses, n_bins)


def _adaptive_bins(pairs, proba, n_bins, include_lowest):
    """Edges of equal mass of the adaptive error, and its `include_lowest`.

    Those of one event are the ones of its classwise error, where every sample counts: only of the most probable class
    are there implementations to agree with.
    """
    edges = equal_mass_edges(pairs.confidence, pairs.masses, n_bins, "left" if proba.is_event else "right")
    return edges, include_lowest if include_lowest != "auto" or not proba.is_event else True


def _resampled(value, y_encoded, proba, *, n_bins, top_k, threshold, norm="max", include_lowest=None, **_):
    """Form of a binned error, in the bins of the whole sample: of equal mass where there is an `include_lowest`."""
    pairs = some_pairs(proba, y_encoded, top_k, threshold)
    if include_lowest is None:
        edges = proba.equal_width_edges(n_bins)
        include_lowest = True
    else:
        edges, include_lowest = _adaptive_bins(pairs, proba, n_bins, include_lowest)
    pairs = replace(pairs, hits=pairs.counted_hits(edges, include_lowest))
    return form_of_bins(value, pairs, grouped(bin_indices(pairs.confidence, edges), len(edges) - 1), norm)


def form_of_bins(value, pairs, groups, norm, n_parts=1):
    """Form of a binned error, or of the mean of several, each in an equal part of the groups."""

    def path(residual, mass):
        residual, mass = (sums.reshape(len(sums), n_parts, -1) for sums in (residual, mass))
        # Its plain norm is the error's.
        total = mass.sum(2, keepdims=True)
        return ratios(residual, {"l1": total, "l2": np.sqrt(mass * total), "max": mass}[norm])

    return ErrorOfPairs(value, pairs, groups, path, lambda path: norm_of(_ORDERS[norm])(path).mean(-1))


def form_of_classes(value, y_encoded, proba, *, n_bins, norm, strategy, threshold, n_parts=None, **_):
    """Form of the classwise error, or of all classes' bins together, in the bins of the whole sample."""
    n_classes = proba.n_classes
    if proba.values.size > _MAX_PAIRS:
        return None
    confidence = proba.columns(range(n_classes))
    weight = proba.masses * (confidence > (-1 if threshold is None else threshold))
    hits = (y_encoded == np.arange(n_classes)[:, None]).astype(float)
    places = []
    for k in range(n_classes):
        edges = edges_of(Pairs(confidence[k], hits[k], weight[k]), proba, n_bins, strategy)
        places.append(bin_indices(confidence[k], edges) + k * n_bins)
    unit = np.tile(proba.unit, n_classes)
    pairs = Pairs(confidence.ravel(), hits.ravel(), weight.ravel(), unit, proba.n_units, n_classes)
    return form_of_bins(value, pairs, grouped(np.concatenate(places), n_classes * n_bins), norm, n_parts or n_classes)


FACTS[expected_calibration_error] = FACTS[maximum_calibration_error] = Facts(of_event=True, resampled=_resampled)
FACTS[adaptive_expected_calibration_error] = Facts(of_event=True, resampled=_resampled)
FACTS[classwise_calibration_error] = Facts(of_event=False, resampled=form_of_classes)
