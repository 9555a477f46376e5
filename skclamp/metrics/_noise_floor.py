"""The noise floor of a metric: what a perfectly calibrated classifier would show on a sample of this size."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._utils.arrays import tensor_of
from .._utils.parameters import check_number, check_whole_number
from .._utils.warnings import silenced
from ._metric import as_probabilities, check_metric, facts_of


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
    check_metric(metric, sample_weight)
    check_whole_number(n_draws, "n_draws")
    check_number(quantile, "quantile", 0, 1)
    proba = as_probabilities(y_proba, sample_weight)
    given = y_proba if facts_of(metric) is None else proba
    # What is odd about the labels is chance.
    with silenced():
        values = [metric(labels, given) for labels in draw_labels(proba, n_draws, check_random_state(random_state))]
    return NoiseFloor(float(np.mean(values)), float(np.quantile(values, quantile)))


def draw_labels(proba, n_draws, random_state):
    """Column indices drawn from each row's probabilities, shape (n_draws, n_samples)."""
    labels = np.empty((n_draws, proba.n_samples), np.int32)
    for rows, chunk in proba.chunks():
        cumulative = tensor_of(chunk, "y_proba").cumsum(1, dtype=torch.float64)
        # By inversion of each row's distribution function; the product may round up to the sum, beyond the last class.
        places = torch.from_numpy(random_state.random_sample((len(chunk), n_draws))) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, places, right=True).clamp(max=proba.n_classes - 1)
        labels[:, rows] = drawn.T
    return labels
