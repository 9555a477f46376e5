"""The noise floor of a metric: what a perfectly calibrated classifier would show on a sample of this size."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._utils.arrays import n_axes, tensor_of, to_numpy
from .._utils.outputs import OUTPUTS
from .._utils.parameters import check_choice, check_number, check_whole_number
from .._utils.warnings import silenced
from ._binning import Probabilities
from ._metric import check_metric, facts_of, options_of


class NoiseFloor(NamedTuple):
    """Mean and upper quantile of a metric over draws of labels.

    Attributes
    ----------
    mean : float
        Mean over the draws; an array of each label's where the metric gives one.
    quantile : float
        The quantile that was asked for, likewise.

    Examples
    --------
    >>> from skclamp.metrics import calibration_noise_floor, expected_calibration_error
    >>> floor = calibration_noise_floor(expected_calibration_error, [0.2, 0.9, 0.6, 0.4], random_state=0)
    >>> 0 < floor.mean < floor.quantile
    True
    """

    mean: float
    quantile: float


def calibration_noise_floor(
    metric,
    y_proba,
    *,
    outputs="softmax",
    n_draws=200,
    quantile=0.95,
    sample_weight=None,
    groups=None,
    random_state=None,
):
    """Distribution of a metric when the labels are drawn from the probabilities themselves.

    A perfectly calibrated classifier, too, has a calibration error above 0 on a finite sample. A value within this
    floor is no evidence of miscalibration, and differences between values within it say nothing. For a comparison
    prefer paired differences of proper scores. Don't subtract the floor.

    Several labels a sample are drawn independently of each other, as probabilities don't tell how they depend. That
    holds for ``average=None`` and for the mean of ``average="macro"``. Of labels that come together the quantile of
    "macro", and "micro" altogether, may be more than this floor says: of 100 calibrated sets with ten labels of
    correlation 0.7 up to 16 have a "micro" error above the quantile of 95 % (``benchmarks/many_labels.py --coverage``).

    Those at the places of a sample, such as the pixels of an image, agree with their neighbours where they aren't
    drawn: errors of calibrated probabilities are then far above this floor, and :func:`bootstrap_interval`, which
    resamples whole samples, is what tells noise from miscalibration.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba) -> float``, given column indices for `y_true`. Fix its options with
        ``functools.partial``. Metrics of this package read the probabilities once for all draws.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes. Of several labels a
        sample, NaN where the label isn't known. Or ``(n_samples, n_classes, *places)``, of classes at each place of a
        sample.
    outputs : {"softmax", "sigmoid"}, default="softmax"
        Whether columns are classes that exclude each other, or labels that don't.
    n_draws : int, default=200
        Number of draws of all the labels.
    quantile : float, default=0.95
        Which quantile of the draws to return, in [0, 1].
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, for metrics of this package; others take theirs with ``functools.partial``.
    groups : array-like of shape (n_samples,), default=None
        What each sample belongs to, such as a patient: names or numbers, two at least. Labels of a group are then drawn
        by one random number: samples of a group are right together or, of one event, it comes true for all of them, as
        far as the probabilities let them. No dependence makes the mean of their :func:`expected_calibration_error`
        larger. The quantile, and other metrics, are those of this one. :func:`~skclamp.compare_calibrators` has another
        floor, of groups that depend on each other as the residuals do. None draws each label by itself.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    NoiseFloor
        Named tuple of `mean` and `quantile`.

    Raises
    ------
    ValueError
        If `y_proba` isn't made of probabilities, `metric` takes no such labels, `n_draws` is less than 1 or `quantile`
        outside [0, 1].
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
    check_choice(outputs, "outputs", OUTPUTS)
    check_whole_number(n_draws, "n_draws")
    check_number(quantile, "quantile")
    random_state = check_random_state(random_state)
    is_ours = facts_of(metric) is not None
    options = options_of(metric) if is_ours else {}
    if outputs == "sigmoid":
        if is_ours and not getattr(metric, "func", metric).takes_labels:
            raise ValueError(f"metric must take several labels a sample where outputs='sigmoid'; got {metric!r}")
        given, draws = _of_labels(y_proba, groups, n_draws, random_state)
        metric = metric if sample_weight is None else partial(metric, sample_weight=sample_weight)
    else:
        proba = y_proba if isinstance(y_proba, Probabilities) else Probabilities(y_proba, sample_weight)
        if n_axes(y_proba, "y_proba") > 2 and options.get("average") not in ("macro", "micro"):
            raise ValueError(
                "metric must be one of this package with average='macro' or 'micro' where y_proba has probabilities at "
                f"each place of a sample; got {metric!r}"
            )
        if not proba.is_event and options.get("pos_label") is not None:
            raise ValueError(
                "metric must have pos_label=None where y_proba has columns; give the positive class's alone"
            )
        given = proba if is_ours else y_proba
        draws = draw_labels(proba.in_units(groups), n_draws, random_state, alike=groups is not None)
    # What is odd about the labels is chance.
    with silenced():
        values = [metric(labels, given) for labels in draws]
    mean = np.mean(values, 0)
    quantile = np.quantile(values, quantile, 0)
    return NoiseFloor(mean, quantile) if np.ndim(mean) else NoiseFloor(float(mean), float(quantile))


def _of_labels(y_proba, groups, n_draws, random_state):
    """Return probabilities of several labels a sample, without NaN, and a generator of draws, which have it."""
    proba = to_numpy(y_proba, "y_proba")
    if proba.ndim != 2 or proba.shape[1] < 2:
        raise ValueError(
            "y_proba must be of shape (n_samples, n_labels), two labels or more, where outputs='sigmoid'; got shape "
            f"{proba.shape}"
        )
    known = ~np.isnan(proba)
    proba = np.where(known, proba, 0.5)
    rows = Probabilities(proba.ravel(), None, proba.shape[1]).in_units(groups)
    draws = draw_labels(rows, n_draws, random_state, alike=groups is not None).reshape(-1, *proba.shape)
    return proba, (np.where(known, labels, np.nan) for labels in draws)


def draw_labels(proba, n_draws, random_state, *, alike=False):
    """Column indices drawn from each row's probabilities, (n_draws, n_samples); those of a unit may be `alike`."""
    labels = np.empty((n_draws, proba.n_samples), np.int32)
    shared: Any = random_state.random_sample((proba.n_units, n_draws)) if alike else None
    for rows, chunk in proba.chunks():
        values = tensor_of(chunk, "y_proba")
        cumulative = values.cumsum(1, dtype=torch.float64)
        total = cumulative[:, -1:]
        # By inversion of each row's distribution function; the product may round up to the sum, beyond the last class.
        parts = shared[proba.unit[rows]] if alike else random_state.random_sample((len(chunk), n_draws))
        places = torch.from_numpy(parts) * total
        if alike and not proba.is_event:
            # The most probable class comes first, so that rows of a unit are right together.
            places = (places + (cumulative - values).gather(1, values.argmax(1, keepdim=True))) % total
        labels[:, rows] = torch.searchsorted(cumulative, places, right=True).clamp(max=proba.n_classes - 1).T
    return labels
