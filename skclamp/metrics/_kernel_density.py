"""Canonical calibration error by Dirichlet kernels on the simplex: of the whole probability vector."""

import math
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from .._utils.parameters import check_number
from ._metric import as_probabilities, check_options, declare

# Entries of a block of kernel values: 1 MB, which a core's second-level cache holds.
_BLOCK_SIZE = 2**17
_BANDWIDTHS = (1e-4, 1.0)
_N_LIKELIHOOD = 512
# Of log bandwidth: the likelihood is flat around its maximum.
_BANDWIDTH_TOLERANCE = 0.02
# Stands for log 0, so that its product with 0 is 0.
_OUT_OF_REACH = -(2.0**500)
_TINY = np.finfo(np.float64).tiny


def kde_calibration_error(y_true, y_proba, *, bandwidth=None, norm="l1", labels=None, sample_weight=None):
    """Canonical calibration error by kernel density estimation: of the whole vector of probabilities.

    At each sample the other samples' labels are averaged with Dirichlet kernels around their probabilities, and
    compared with its own probabilities. Time grows with the square of the number of samples, and what can be seen on a
    simplex shrinks fast with its dimension: it is for few classes (up to about five) and a few thousand samples.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    bandwidth : float, default=None
        Of the kernels, above 0 and at most 1. None takes the maximum of the leave-one-out likelihood of 512 samples
        spread over all, narrowed by ``(512 / n_samples) ** (2 / (n_classes + 3))``, which lets noise and blur fall at
        one rate. Compare values of one bandwidth.
    norm : {"l1", "l2", "max"}, default="l1"
        The mean over the samples of the sum over the classes of the absolute differences, the root of the mean of
        their sum of squares, or the largest of all. Two classes have the same difference: their "l1" is twice that of
        the second's probability.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        How many samples each stands for. Their scale matters, as those that a sample stands for beside itself are
        neighbours of its.

    Returns
    -------
    error : float
        Between 0 (best) and 2 ("l1"), the root of 2 ("l2"), or 1 ("max"). A sample without neighbours counts as
        calibrated.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`, and if `bandwidth` is outside (0, 1].

    References
    ----------
    T. Popordanoska, R. Sayer and M. B. Blaschko, "A Consistent and Differentiable Lp Canonical Calibration Error
    Estimator", NeurIPS 2022, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import kde_calibration_error
    >>> random = np.random.default_rng(0)
    >>> y_proba = random.dirichlet([1, 1, 1], 500)
    >>> calibrated = (random.uniform(size=(500, 1)) > y_proba.cumsum(1)).sum(1)
    >>> kde_calibration_error(calibrated, y_proba) < 0.3 < kde_calibration_error(np.zeros(500, int), y_proba)
    True
    """
    check_options(norm=norm)
    if bandwidth is not None:
        check_number(bandwidth, "bandwidth", 0, 1, closed="right")
    proba = as_probabilities(y_proba, sample_weight)
    y_encoded = proba.encode(y_true, labels)
    kernels = proba.kept("kernels", lambda: _kernels_of(proba))
    gaps = np.abs(kernels.mean_labels(y_encoded, bandwidth or kernels.bandwidth) - kernels.points)
    if norm == "max":
        return float(gaps[kernels.weight > 0].max())
    if norm == "l1":
        return float(np.average(gaps.sum(1), weights=kernels.weight))
    return float(np.sqrt(np.average((gaps**2).sum(1), weights=kernels.weight)))


def _kernels_of(proba):
    points = np.concatenate([chunk.astype(np.float64) for _, chunk in proba.chunks()])
    # Rows of half precision have sums that round.
    points /= points.sum(1, keepdims=True)
    return _Kernels(points, np.ones(len(points)) if proba.weight is None else proba.weight)


class _Kernels:
    """Dirichlet kernels around points of the simplex, each left out at itself."""

    def __init__(self, points, weight):
        self.points, self.weight = points, weight
        # A sample of weight 3 has two neighbours at its own place.
        self.repeated = np.maximum(self.weight - 1, 0)

    def mean_labels(self, y_encoded, bandwidth):
        """Kernel mean at each point of the other points' unit vectors; the point itself where it has no neighbour."""
        unit = np.zeros_like(self.points)
        unit[np.arange(len(y_encoded)), y_encoded] = 1
        means = np.empty_like(self.points)
        for rows in self._blocks():
            kernel, total = self._likelihood(rows, bandwidth)
            alone = torch.isinf(total)[:, None]
            share = (kernel - total[:, None]).exp_().numpy()
            means[rows] = np.where(alone, self.points[rows], share @ unit)
        return means

    @cached_property
    def bandwidth(self):
        """The likeliest bandwidth of some of the points, narrowed for their number."""
        total = self.weight.sum()
        if total <= _N_LIKELIHOOD:
            return self._likeliest_bandwidth()
        order = np.lexsort(self.points.T)
        places = (np.arange(_N_LIKELIHOOD) + 0.5) / _N_LIKELIHOOD * total
        some = self.points[order[np.searchsorted(np.cumsum(self.weight[order]), places)]]
        likeliest = _Kernels(some, np.ones(_N_LIKELIHOOD))._likeliest_bandwidth()
        # Of huge weights it would be narrower than the kernels can be computed.
        return max(_BANDWIDTHS[0], likeliest * (_N_LIKELIHOOD / total) ** (2 / (self.points.shape[1] + 3)))

    def _likeliest_bandwidth(self):
        """The bandwidth of the greatest leave-one-out likelihood."""

        def log_loss(log_bandwidth):
            densities = [self._likelihood(rows, math.exp(log_bandwidth))[1] for rows in self._blocks()]
            # Points that only a wider kernel reaches, and no infinity.
            return -np.dot(self.weight, np.maximum(np.concatenate(densities), math.log(_TINY)))

        bounds = tuple(map(math.log, _BANDWIDTHS))
        options = {"xatol": _BANDWIDTH_TOLERANCE}
        return math.exp(minimize_scalar(log_loss, bounds=bounds, method="bounded", options=options).x)

    def _likelihood(self, rows, bandwidth):
        """Log of weight times kernel of all points (columns) at some of them (rows), and the log of their sums."""
        with np.errstate(divide="ignore"):
            logs = torch.from_numpy(np.maximum(np.log(self.points[rows]), _OUT_OF_REACH))
            weights = np.log(np.stack([self.weight, self.repeated]))
        shape = self.points / bandwidth + 1
        constants = gammaln(shape.sum(1)) - gammaln(shape).sum(1)
        of_others, of_itself = torch.from_numpy(constants + weights)
        kernel = logs @ torch.from_numpy(self.points.T / bandwidth)
        # A point with p = 0 is out of a kernel's reach unless it has p = 0 too.
        kernel[kernel < _OUT_OF_REACH / 2**10] = -torch.inf
        itself = kernel.diagonal(rows.start) + of_itself[rows]
        kernel += of_others
        kernel.diagonal(rows.start).copy_(itself)
        return kernel, kernel.logsumexp(1)

    def _blocks(self):
        n, step = len(self.points), max(1, _BLOCK_SIZE // len(self.points))
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]


declare(kde_calibration_error, of_event=False, resampled=None)
