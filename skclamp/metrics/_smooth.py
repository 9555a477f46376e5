"""Smooth calibration error: residuals smoothed by a kernel as wide as the error itself."""

from functools import partial

import numpy as np
from scipy.fft import dct
from scipy.optimize import brentq
from scipy.sparse import csr_array

from .._utils.parameters import check_number
from ._binning import ratios
from ._metric import FACTS, Facts, error_of_pairs, of_outputs, some_pairs
from ._resampling import ErrorOfPairs, norm_of

# Cells of the grid on [0, 1]: far narrower than the bandwidths that errors above the noise ask for.
_N_CELLS = 2**13
# Those of replicates.
_N_CELLS_RESAMPLED = 2**11
_BANDWIDTH_TOLERANCE = 1e-7
# Of bandwidth 1, in half waves: exp(-9**2 / 2) is 3e-18.
_LARGEST_WAVE = 9 / np.pi


@of_outputs
def smooth_calibration_error(
    y_true,
    y_proba,
    *,
    bandwidth=None,
    mode="top-label",
    top_k=1,
    threshold=None,
    return_bandwidth=False,
):
    """Smooth expected calibration error (smECE): no bins, and no bandwidth to choose.

    The differences between outcome and confidence are smoothed along the confidence by a Gaussian kernel reflected at 0
    and 1, and their absolute values integrated. Wider kernels give smaller errors; smECE is the one error that equals
    its kernel's bandwidth. It is consistent: within a constant factor of the distance to the nearest calibrated
    predictor, and continuous in the probabilities.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes, which is then the event
        in place of the most probable class.
    bandwidth : float, default=None
        Standard deviation of the kernel, above 0 and at most 1; None finds the fixed point.
    mode : {"top-label", "classwise"}, default="top-label"
        Of the most probable class or the event, or the mean over the one-vs-rest errors of every class. For two classes
        "classwise" is the error of the second's probability.
    top_k : int, default=1
        How many of the most probable classes are taken together; see :func:`expected_calibration_error`.
    threshold : float, default=None
        Only confidences above it count; it lies in [0, 1).
    return_bandwidth : bool, default=False
        Whether to return the bandwidth too; only with ``mode="top-label"``.
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
    bandwidth : float
        Of the kernel; only if `return_bandwidth` is True.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`. If `bandwidth` is outside (0, 1] or `mode` unknown. If `top_k` isn't 1,
        or a bandwidth asked for, where every class is its own.

    References
    ----------
    J. Błasiok and P. Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024
    (arXiv:2309.12236).

    Examples
    --------
    >>> from skclamp.metrics import smooth_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> round(smooth_calibration_error([0, 0, 0, 1], y_proba), 4)
    0.0963
    """
    if bandwidth is not None:
        check_number(bandwidth, "bandwidth", closed="right")
    if return_bandwidth and mode == "classwise":
        raise ValueError("return_bandwidth must be False with mode='classwise', where every class has its own")
    smooth_error = partial(pairs_smooth_error, bandwidth=bandwidth)
    error = error_of_pairs(smooth_error, y_true, y_proba, mode=mode, top_k=top_k, threshold=threshold)
    if return_bandwidth:
        return error, error if bandwidth is None else float(bandwidth)
    return error


def pairs_smooth_error(pairs, bandwidth=None):
    """Smooth error of pairs at a bandwidth, or where the two are equal."""
    cosines = cosines_of(pairs.masses * pairs.residual @ cells_beside(pairs.confidence, _N_CELLS)) / pairs.masses.sum()
    return _fixed_point(cosines) if bandwidth is None else _integral(smooth(cosines, bandwidth))


def cells_beside(confidence, n_cells):
    """Share of each confidence in the two beside it of points 1 / n_cells apart on [0, 1], a sparse matrix."""
    place = np.minimum(confidence, 1.0) * n_cells
    below = np.minimum(place.astype(np.int64), n_cells - 1)
    points = np.stack([below, below + 1], 1).ravel()
    shares = np.stack([1 - place + below, place - below], 1).ravel()
    return csr_array((shares, points, np.arange(0, len(points) + 1, 2)), shape=(len(place), n_cells + 1))


def cosines_of(grid):
    """Cosine coefficients of values on a grid, the last axis, by a transform that counts its two ends by half."""
    grid[..., [0, -1]] *= 2
    return dct(grid, type=1) / 2


def smooth(cosines, bandwidth):
    """Density on the grid after smoothing by the reflected Gaussian, under which each cosine only shrinks."""
    n_points = cosines.shape[-1]
    # Beyond these nothing is left of any.
    waves = np.pi * bandwidth * np.arange(min(n_points, 2 + int(_LARGEST_WAVE / bandwidth)))
    return dct(cosines[..., : len(waves)] * np.exp(-(waves**2) / 2), type=1, n=n_points)


def _integral(density):
    """Integral over [0, 1] of the absolute value, by the trapezoidal rule along the last axis."""
    size = abs(density)
    return (size.sum(-1) - size[..., [0, -1]].mean(-1)) / (size.shape[-1] - 1)


def _fixed_point(cosines):
    """The bandwidth that equals the error which it gives: unique, as the error falls while the bandwidth grows."""

    def excess(bandwidth):
        return _integral(smooth(cosines, bandwidth)) - bandwidth

    largest = float(_integral(smooth(cosines, _BANDWIDTH_TOLERANCE)))
    if largest <= _BANDWIDTH_TOLERANCE:
        return max(0.0, largest)
    # Of residuals that were scaled up it may lie beyond 1.
    return brentq(excess, _BANDWIDTH_TOLERANCE, max(1.0, largest) + _BANDWIDTH_TOLERANCE, xtol=_BANDWIDTH_TOLERANCE)


def _resampled(value, y_encoded, proba, *, mode, bandwidth, top_k, threshold, **_):
    """Form of the error, with the bandwidth of the whole sample on a coarser grid."""
    if mode != "top-label":
        return None
    pairs = some_pairs(proba, y_encoded, top_k, threshold)
    bandwidth = max(bandwidth or value, 1 / _N_CELLS_RESAMPLED)
    groups = cells_beside(pairs.confidence, _N_CELLS_RESAMPLED)
    return ErrorOfPairs(value, pairs, groups, partial(_path, bandwidth=bandwidth), norm_of(1))


def _path(residual, mass, bandwidth):
    """Smoothed residuals as parts of their integral."""
    density = smooth(cosines_of(ratios(residual, mass.sum(1, keepdims=True))), bandwidth) / _N_CELLS_RESAMPLED
    density[:, [0, -1]] /= 2
    return density


FACTS[smooth_calibration_error] = Facts(of_event=True, resampled=_resampled)
