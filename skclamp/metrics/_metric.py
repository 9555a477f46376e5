"""Declarations of metrics, and the common part of those that take pairs of confidence and hit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, isfunction, signature

import numpy as np

from .._utils.arrays import to_numpy
from .._utils.labels import check_same_length, check_sample_weight
from .._utils.outputs import matrix_of
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
# Those that take several labels a sample.
OF_LABELS: set[Callable] = set()


def facts_of(metric):
    """Return `Facts` of a metric, its options fixed or not; None for another package's, or a function around one."""
    function = metric.func if isinstance(metric, partial) else metric
    return FACTS.get(function) if isfunction(function) else None


_AVERAGE = """    average : {"macro", "micro"} or None, default="macro"
        Of several labels a sample that don't exclude each other: of `y_true`, 0, 1 or NaN, and `y_proba`, both of shape
        (n_samples, n_labels), the mean over labels, the value of all labels' events together, or an array of each
        label's value. NaN isn't known, and left out. Without effect on classes that exclude each other.
"""


def of_labels(metric):
    """Let a metric of events take several labels a sample that don't exclude each other, put together by `average`."""

    def of_any(y_true, y_proba, *, average="macro", **options):
        matrix = None if isinstance(y_proba, Probabilities) else matrix_of(y_true)
        if average not in ("macro", "micro", None):
            raise ValueError(f"average must be 'macro', 'micro' or None; got {average!r}")
        if matrix is None:
            return metric(y_true, y_proba, **options)
        if options.get("return_bins") and average != "micro":
            raise ValueError(f"return_bins needs average='micro', of which there are bins; got {average!r}")
        events = Events(matrix, y_proba, options.pop("sample_weight", None))
        if options.pop("labels", None) is not None:
            raise ValueError("labels must be None where y_true has several labels a sample: they are columns")
        if average == "micro":
            return metric(events.hits, events.together, labels=[0, 1], **options)
        each = [metric(hits, proba, labels=[0, 1], **options) for hits, proba in events.by_label()]
        return np.array(each) if average is None else float(np.mean(each))

    own = signature(metric)
    average = Parameter("average", Parameter.KEYWORD_ONLY, default="macro")
    told = {name: getattr(metric, name) for name in ("__name__", "__qualname__", "__module__", "__doc__")}
    if metric.__doc__:
        before, heading, after = metric.__doc__.partition("\n    Returns\n")
        told["__doc__"] = f"{before.rstrip()}\n{_AVERAGE}{heading}{after}"
    told["__signature__"] = own.replace(parameters=[*own.parameters.values(), average])
    # Not by wraps: whoever unwraps it, as scorers do, is to find this one.
    for name, value in told.items():
        setattr(of_any, name, value)
    OF_LABELS.add(of_any)
    return of_any


class Events:
    """Several labels a sample as events: whether each came true, and the probability that it was given.

    Parameters
    ----------
    labels : ndarray of shape (n_samples, n_labels), float64
        0, 1 or NaN.
    y_proba : array-like or tensor of shape (n_samples, n_labels)
        Probabilities of 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    """

    def __init__(self, labels, y_proba, sample_weight=None):
        proba = to_numpy(y_proba, "y_proba")
        if proba.shape != labels.shape:
            raise ValueError(f"y_proba must have a column per label, shape {labels.shape}; got shape {proba.shape}")
        check_same_length(labels, len(proba), "y_true")
        if (labels.sum(1) == 1).all() and np.allclose(proba.sum(1), 1, atol=1e-3):
            raise ValueError(
                "y_true should be a 1d array, got one-hot rows beside probabilities of classes: give y_true.argmax(1)"
            )
        self._known = ~np.isnan(labels)
        if not self._known.any(0).all():
            raise ValueError(
                f"y_true must know each label of some sample; got NaN alone in {(~self._known).all(0).argmax()}"
            )
        given = sample_weight is not None or not self._known.all()
        weight = check_sample_weight(sample_weight, len(proba)).numpy()[:, None] * self._known
        self._labels, self._proba, self._weight = np.nan_to_num(labels).astype(int), proba, weight if given else None

    @property
    def hits(self):
        """Labels of each sample, in turn."""
        return self._labels.ravel()

    @property
    def together(self):
        """All labels' probabilities as those of one event; a sample's are resampled together."""
        weight = None if self._weight is None else self._weight.ravel()
        return Probabilities(self._proba.ravel(), weight, rows_a_sample=self._labels.shape[1])

    def by_label(self):
        """Yield hits and probabilities of each label."""
        for label, (hits, proba) in enumerate(zip(self._labels.T, self._proba.T, strict=True)):
            yield hits, Probabilities(proba, None if self._weight is None else self._weight[:, label])


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
