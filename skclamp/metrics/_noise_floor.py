"""The noise floor of a metric: what a perfectly calibrated classifier would show on a sample of this size."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._utils.arrays import tensor_of
from .._utils.parameters import check_whole_number
from .._utils.warnings import unheard
from . import _calibration, _kernel_density, _kolmogorov_smirnov, _less_biased, _proper_scores, _smooth
from ._reduction import as_probabilities

# Metrics that take `Probabilities`, so that all draws share what a pass over the array yields.
_SHARING = (
    _calibration.expected_calibration_error,
    _calibration.adaptive_expected_calibration_error,
    _calibration.maximum_calibration_error,
    _calibration.classwise_calibration_error,
    _less_biased.debiased_calibration_error,
    _less_biased.sweep_calibration_error,
    _smooth.smooth_calibration_error,
    _kolmogorov_smirnov.ks_calibration_error,
    _kernel_density.kde_calibration_error,
    _proper_scores.brier_score,
    _proper_scores.negative_log_likelihood,
)


class NoiseFloor(NamedTuple):
    """Mean and upper quantile of a metric over draws of labels.

    Attributes
    ----------
    mean : float
        Mean over the draws.
    quantile : float
        The quantile that was asked for.

    Examples
    --------
    >>> from skclamp.metrics import calibration_noise_floor, expected_calibration_error
    >>> floor = calibration_noise_floor(expected_calibration_error, [0.2, 0.9, 0.6, 0.4], random_state=0)
    >>> 0 < floor.mean < floor.quantile
    True
    """

    mean: float
    quantile: float


def calibration_noise_floor(metric, y_proba, *, n_draws=200, quantile=0.95, sample_weight=None, random_state=None):
    """Distribution of a metric when the labels are drawn from the probabilities themselves.

    A perfectly calibrated classifier, too, has a calibration error above 0 on a finite sample. A value within this
    floor is no evidence of miscalibration, and differences between values within it say nothing; for a comparison
    prefer paired differences of proper scores. Don't subtract the floor.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba) -> float``, given column indices for `y_true`. Fix its options with
        ``functools.partial``. Metrics of this package read the probabilities once for all draws.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_draws : int, default=200
        Number of draws of all the labels.
    quantile : float, default=0.95
        Which quantile of the draws to return, in [0, 1].
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, for metrics of this package; others take theirs with ``functools.partial``.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    NoiseFloor
        Named tuple of `mean` and `quantile`.

    Raises
    ------
    ValueError
        If `y_proba` isn't made of probabilities, `n_draws` is less than 1 or `quantile` outside [0, 1].
    TypeError
        If `metric` isn't callable, `n_draws` isn't a whole number, or `sample_weight` is given for a foreign metric.

    References
    ----------
    J. Bröcker and L. A. Smith, "Increasing the Reliability of Reliability Diagrams", Weather and Forecasting 22, 2007:
    "consistency resampling".

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import calibration_noise_floor, expected_calibration_error
    >>> y_proba = np.random.default_rng(0).dirichlet([0.5, 0.5, 0.5], size=1000)
    >>> floor = calibration_noise_floor(expected_calibration_error, y_proba, random_state=0)
    >>> bool(0 < floor.mean < floor.quantile < 0.1)
    True
    """
    _check_parameters(metric, n_draws, quantile, sample_weight)
    proba = as_probabilities(y_proba, sample_weight)
    given = proba if is_ours(metric) else y_proba
    draws = draw_labels(proba, n_draws, check_random_state(random_state))
    return floor_of(metric, given, draws, quantile)


def floor_of(metric, given, draws, quantile=0.95):
    """The floor from labels that were drawn already, shape (n_draws, n_samples)."""
    values = values_of(metric, given, draws)
    return NoiseFloor(float(np.mean(values)), float(np.quantile(values, quantile)))


def values_of(metric, given, draws):
    """The metric under each row of labels that were drawn: what is odd about them is chance."""
    with unheard():
        return [metric(labels, given) for labels in draws]


def draw_labels(proba, n_draws, random_state):
    """Column indices drawn from each row's probabilities, shape (n_draws, n_samples)."""
    labels = np.empty((n_draws, proba.n_samples), np.int32)
    for rows, chunk in proba.chunks():
        labels[:, rows] = _draw_rows(chunk, n_draws, random_state).T
    return labels


def _draw_rows(chunk, n_draws, random_state):
    """Draws from each row, shape (n_rows, n_draws), by inversion of its distribution function."""
    cumulative = tensor_of(chunk, "y_proba").cumsum(1, dtype=torch.float64)
    draws = torch.from_numpy(random_state.random_sample((len(chunk), n_draws))) * cumulative[:, -1:]
    # The product may round up to the row's sum, beyond its last class.
    return torch.searchsorted(cumulative, draws, right=True).clamp(max=chunk.shape[1] - 1).numpy()


def is_ours(metric):
    """Whether a metric, its options fixed or not, takes `Probabilities`."""
    return (metric.func if isinstance(metric, partial) else metric) in _SHARING


def _check_parameters(metric, n_draws, quantile, sample_weight):
    if not callable(metric):
        raise TypeError(f"metric must be a callable metric(y_true, y_proba); got {metric!r}")
    if sample_weight is not None and not is_ours(metric):
        raise TypeError(
            f"sample_weight must be None for a metric of another package, whose own weights functools.partial can fix; "
            f"got weights for {metric!r}"
        )
    check_whole_number(n_draws, "n_draws")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must be in [0, 1]; got {quantile!r}")
