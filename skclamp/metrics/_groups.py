"""Calibration within groups: the mean error over groups, and the largest one in standard deviations."""

import numpy as np

from .._utils.labels import group_numbers
from ._binning import ratios
from ._metric import FACTS, Facts, of_outputs
from ._resampling import ErrorOfPairs, cumulated, grouped, neighbours, norm_of

# Groups of neighbouring confidences between which replicates are looked at.
_MAX_NEIGHBOURS = 2**8


@of_outputs
def group_calibration_error(y_true, y_proba, *, by):
    """Mean over groups of the distance between mean confidence and accuracy, or the event's frequency.

    A classifier that is calibrated on the whole may be over-confident in one hospital and under-confident in another.
    Each group counts alike. Chance adds to it the more, the smaller the groups are:
    ``calibration_noise_floor(partial(group_calibration_error, by=by), y_proba)`` says how much.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.
    by : array-like of shape (n_samples,)
        Names or numbers of the groups, such as sites, categories or scanners.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others. None is the second of two classes, where `y_proba` has one
        dimension, and else the most probable class.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, which count as repetitions.
    average : {"macro", "micro"} or None, default="macro"
        How the values of several labels a sample are put together; see :func:`expected_calibration_error`.
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
        As :func:`expected_calibration_error`; if `by` hasn't a name for each sample.

    References
    ----------
    G. Pleiss et al., "On Fairness and Calibration", NeurIPS 2017.

    Examples
    --------
    >>> from skclamp.metrics import group_calibration_error
    >>> round(group_calibration_error([1, 0, 1, 1], [0.6, 0.6, 0.8, 0.8], by=["A", "A", "B", "B"]), 4)
    0.15
    """
    pairs, group = _of_groups(y_true, y_proba, by)
    residual, mass = (np.bincount(group, sums) for sums in (pairs.masses * pairs.residual, pairs.masses))
    return float(abs(residual / mass).mean())


@of_outputs
def multicalibration_error(y_true, y_proba, *, by):
    """Largest calibration error of any group, in standard deviations of what chance makes of it.

    Of each group, residuals are summed up in the order of the confidences. The range of the sums, over their standard
    deviation if the probabilities are true, is the group's error: no bins, and large groups show smaller errors. A
    calibrated group has some 1.6, and the largest of many groups more; ``calibration_noise_floor`` says how much.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.
    by : array-like of shape (n_samples,)
        Names or numbers of the groups, such as sites, categories or scanners.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others; None is the second of two classes, where `y_proba` has
        one dimension, and else the most probable class.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, which count as repetitions.
    average : {"macro", "micro"} or None, default="macro"
        How the values of several labels a sample are put together; see :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    error : float
        At least 0, in standard deviations.

    Raises
    ------
    ValueError, TypeError
        As :func:`group_calibration_error`.

    References
    ----------
    I. Arrieta-Ibarra et al., "Metrics of calibration for probabilistic predictions", Journal of Machine Learning
    Research 23, 2022; N. Tax et al., "MCGrad: Multicalibration at Web Scale", 2025 (arXiv:2509.19884).

    Examples
    --------
    Group B has nine events of ten where six are told, a variance of 0.24 each: 3 / sqrt(2.4).

    >>> from skclamp.metrics import multicalibration_error
    >>> y_true = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0] + 9 * [1] + [0]
    >>> round(multicalibration_error(y_true, 10 * [0.5] + 10 * [0.6], by=10 * ["A"] + 10 * ["B"]), 4)
    1.9365
    """
    pairs, cells, largest = _in_cells(y_true, y_proba, by, y_proba.n_samples)
    return float(largest(pairs.masses * pairs.residual @ cells))


def _of_groups(y_encoded, proba, by):
    """Pairs of confidence and hit that have weight, and the number of each one's group, of those that have some."""
    numbers = group_numbers(by, proba.n_samples // proba.rows_a_sample, "by")
    of_rows = np.repeat(numbers, proba.rows_a_sample)
    return proba.pairs(y_encoded), np.unique(of_rows[proba.masses > 0], return_inverse=True)[1]


def _gaps(value, y_encoded, proba, *, by, **_):
    """Form of the mean over groups."""
    pairs, group = _of_groups(y_encoded, proba, by)
    groups = grouped(group, group.max() + 1)
    return ErrorOfPairs(
        value, pairs, groups, lambda residual, mass: ratios(residual, mass) / groups.shape[1], norm_of(1)
    )


FACTS[group_calibration_error] = Facts(of_event=True, resampled=_gaps)


def _in_cells(y_encoded, proba, by, most):
    """Pairs, cells of a group and at most so many neighbours, and the largest range of a group of sums over these."""
    pairs, group = _of_groups(y_encoded, proba, by)
    deviation = np.bincount(group, pairs.masses * abs(pairs.confidence - pairs.confidence**2)) ** 0.5
    # Between samples of one confidence no order is the right one.
    near = neighbours(pairs.confidence, most)
    cells, cell = np.unique(group * near.shape[1] + near.indices, return_inverse=True)
    first = np.unique(cells // near.shape[1], return_index=True)[1]
    starts = first + np.arange(len(first))

    def largest(residual):
        # Each group's sums start from those of the groups before it.
        sums = cumulated(np.insert(residual, first, 0.0, axis=-1))
        spread = np.maximum.reduceat(sums, starts, axis=-1) - np.minimum.reduceat(sums, starts, axis=-1)
        # Probabilities of 0 and 1 vary by nothing: what they miss can't be chance.
        return np.divide(spread, deviation, out=np.where(spread > 0, np.inf, 0.0), where=deviation > 0).max(-1)

    return pairs, grouped(cell, len(cells)), largest


def _ranges(value, y_encoded, proba, *, by, **_):
    """Form of the largest range of a group, over the sample's standard deviations."""
    pairs, cells, largest = _in_cells(y_encoded, proba, by, _MAX_NEIGHBOURS)
    form = ErrorOfPairs(value, pairs, cells, lambda residual, _: residual, largest, allows_for_noise=True)
    form.largest = np.inf
    return form


FACTS[multicalibration_error] = Facts(of_event=True, resampled=_ranges)
