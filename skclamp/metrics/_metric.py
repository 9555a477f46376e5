"""Declarations of metrics, and the common part of those that take pairs of confidence and hit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import isfunction, signature

import numpy as np

from .._utils.parameters import check_choice, check_number
from ._binning import Probabilities


@dataclass(frozen=True)
class Facts:
    """Properties of a metric of this package; any of them takes `Probabilities` in the place of an array.

    Attributes
    ----------
    of_event : bool
        Whether probabilities in one dimension ask for an event, where two columns ask for the most probable class.
    resampled : callable or None
        ``resampled(value, y_encoded, proba, **options)``: one of the forms of `_resampling`, or None where the options
        have none. None stands for a metric without such a form, which is computed anew for each replicate.
    is_error : bool, default=True
        Whether it is a calibration error, to which noise adds, instead of a score without bias.
    """

    of_event: bool
    resampled: Callable | None
    is_error: bool = True


# Of each metric, which says so itself.
FACTS: dict[Callable, Facts] = {}


def facts_of(metric):
    """Return `Facts` of a metric, its options fixed or not; None for another package's, or a function around one."""
    function = metric.func if isinstance(metric, partial) else metric
    return FACTS.get(function) if isfunction(function) else None


def options_of(metric):
    """Values of all options of a metric, those fixed by ``functools.partial`` and the usual ones."""
    parameters = signature(metric).parameters
    return {name: option.default for name, option in parameters.items() if option.default is not option.empty}


def check_metric(metric, sample_weight):
    """Raise unless this is a metric, and one of this package if there are weights."""
    if not callable(metric):
        raise TypeError(f"metric must be a callable metric(y_true, y_proba); got {metric!r}")
    if sample_weight is not None and facts_of(metric) is None:
        raise TypeError(
            f"sample_weight must be None for a metric of another package, whose own weights functools.partial can fix; "
            f"got weights for {metric!r}"
        )


def as_probabilities(y_proba, sample_weight=None):
    """Probabilities that share their passes: those given, or new ones of an array."""
    return y_proba if isinstance(y_proba, Probabilities) else Probabilities(y_proba, sample_weight)


def check_options(*, norm="l1", strategy="uniform", mode="top-label", top_k=1, threshold=None):
    """Raise unless the options that calibration errors share are known and fit together."""
    check_choice(norm, "norm", ("l1", "l2", "max"))
    check_choice(strategy, "strategy", ("uniform", "quantile"))
    check_choice(mode, "mode", ("top-label", "classwise"))
    if threshold is not None:
        check_number(threshold, "threshold", 0, 1, closed="left")
    if mode == "classwise" and top_k != 1:
        raise ValueError(f"top_k must be 1 with mode='classwise'; got {top_k!r}")


def some_pairs(proba, y_encoded, top_k=1, threshold=None):
    """Pairs of the most probable classes above a threshold, of which there must be some."""
    pairs = proba.pairs(y_encoded, top_k, threshold)
    if threshold is not None and not pairs.masses.any():
        largest = proba.pairs(y_encoded, top_k).confidence.max()
        raise ValueError(
            f"threshold must be below the confidence of some sample, the largest of which is {largest:.6g}; "
            f"got {threshold!r}"
        )
    return pairs


def each_class(error, proba, y_encoded, threshold=None):
    """An error of every class's pairs, an array; 0 for a class that never has a probability above the threshold."""
    classes = proba.class_pairs(y_encoded, threshold)
    return np.array([error(pairs) if pairs.masses.any() else 0.0 for pairs in classes])


def error_of_pairs(error, y_true, y_proba, *, mode, top_k, threshold, labels, sample_weight):
    """An error of the most probable classes' pairs, or its mean over every class's."""
    check_options(mode=mode, top_k=top_k, threshold=threshold)
    proba = as_probabilities(y_proba, sample_weight)
    y_encoded = proba.encode(y_true, labels)
    if mode == "classwise":
        return float(each_class(error, proba, y_encoded, threshold).mean())
    return float(error(some_pairs(proba, y_encoded, top_k, threshold)))
