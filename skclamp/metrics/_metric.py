"""Declarations of metrics, and the common part of those that take pairs of confidence and hit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, isfunction, signature

import numpy as np
import torch

from .._utils.arrays import n_axes, to_numpy
from .._utils.labels import check_same_length, check_sample_weight, encode_labels, resolve_classes
from .._utils.outputs import (
    are_known,
    array_of_places,
    check_columns,
    labels_found,
    matrix_of,
    other_places,
    with_ignored,
)
from .._utils.parameters import check_choice, check_label_number, check_number
from ._binning import Probabilities, weights_of_rows


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


_AVERAGE = """    average : {"macro", "micro", "samples"} or None, default="macro"
        Of a class at each place of a sample "macro" and "micro" both stand for the value of all places, which count
        alike; "samples" is the mean over samples of each one's own value, and None an array of these, NaN where nothing
        is known. Without effect on one class a sample."""
_OF_LABELS = """
        Of several labels a sample that don't exclude each other: of `y_true`, 0, 1 or NaN, and `y_proba`, both of shape
        (n_samples, n_labels), the mean over labels, the value of all labels' events together ("micro"), or an array of
        each label's value (None). NaN isn't known, and left out.
"""
_IGNORE_INDEX = """    ignore_index : int, default=-100
        Of a class at each place of a sample, such as the pixels of an image, what stands for one that isn't known.
        `y_true` is then of shape ``(n_samples, *places)`` and `y_proba` of shape ``(n_samples, n_classes, *places)``
        or, for the second of two classes, ``(n_samples, 1, *places)``; two axes of places or more don't need the 1. Of
        several labels at each place, both of shape ``(n_samples, n_labels, *places)``, all are events together: for
        each label's value give one, ``y_true[:, k]`` and ``y_proba[:, k]``.
        `sample_weight` is of shape (n_samples,) or that of `y_true`.
"""
_AVERAGES = ("macro", "micro", "samples", None)


def of_outputs(metric=None, *, takes_labels=True):
    """Let a metric of rows take several a sample, put together by `average`.

    They are labels that don't exclude each other, unless the metric's `takes_labels` is False, or a class at each place
    of a sample. An `average` of the metric's own is over classes: that of places knows "samples" beside it.
    """
    if metric is None:
        return partial(of_outputs, takes_labels=takes_labels)
    own = signature(metric)
    over_classes = "average" in own.parameters

    def of_any(y_true, y_proba, *, average="macro", ignore_index=-100, **options):
        data = {name: options.get(name) for name in ("labels", "sample_weight")}
        rows = split_rows(y_true, y_proba, **data, ignore_index=ignore_index, takes_labels=takes_labels)
        if over_classes:
            if rows is None and average == "samples":
                raise ValueError("average must be 'macro' or None where y_true has one class a sample; got 'samples'")
            options["average"] = average if average != "samples" else "macro"
        else:
            check_average(average, _AVERAGES if rows is None else rows.averages)
        if rows is None:
            return metric(y_true, y_proba, **options)
        if isinstance(rows, Events) and options.get("labels") is not None:
            raise ValueError("labels must be None where y_true has several labels a sample: they are columns")
        options |= {"labels": rows.labels, "sample_weight": None}
        if rows.is_together(average) or (over_classes and average is None):
            return metric(rows.y_encoded, rows.together, **options)
        for name in ("return_bins", "return_bandwidth"):
            if options.get(name):
                raise ValueError(f"{name} needs average='micro', of which there is one answer; got {average!r}")
        each = rows.each(partial(metric, **options))
        return each if average is None else rows.mean_of(each)

    told = {name: getattr(metric, name) for name in ("__name__", "__qualname__", "__module__", "__doc__")}
    added = {"ignore_index": -100} if over_classes else {"average": "macro", "ignore_index": -100}
    if metric.__doc__:
        before, heading, after = metric.__doc__.partition("\n    Returns\n")
        of_labels = _OF_LABELS if takes_labels else "\n"
        average = "" if over_classes else f"{_AVERAGE}{of_labels}"
        told["__doc__"] = f"{before.rstrip()}\n{average}{_IGNORE_INDEX}{heading}{after}"
    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in added.items()]
    told["__signature__"] = own.replace(parameters=[*own.parameters.values(), *parameters])
    # Not by wraps: whoever unwraps it, as scorers do, is to find this one.
    for name, value in told.items():
        setattr(of_any, name, value)
    if takes_labels:
        OF_LABELS.add(of_any)
    return of_any


def check_average(average, known):
    """Raise unless it is one of those that are known, None the last of them."""
    if average not in known:
        raise ValueError(f"average must be {', '.join(map(repr, known[:-1]))} or None; got {average!r}")


def split_rows(y_true, y_proba, labels=None, sample_weight=None, ignore_index=-100, takes_labels=True):
    """Return several rows a sample, as `Events` or `PlaceRows`; None where each sample is one, or told already."""
    if isinstance(y_proba, Probabilities):
        return None
    check_label_number(ignore_index, "ignore_index")
    if max(n_axes(y_true, "y_true"), n_axes(y_proba, "y_proba")) > 2:
        return PlaceRows(y_true, y_proba, labels, sample_weight, ignore_index)
    matrix = matrix_of(y_true) if takes_labels else None
    if matrix is not None and hasattr(y_proba, "columns"):
        check_columns(y_true, list(y_proba.columns), "y_true", "y_proba")
    return None if matrix is None else Events(matrix, y_proba, sample_weight)


def encoded_rows(y_true, y_proba, labels=None, sample_weight=None, ignore_index=-100):
    """Return the column index of each row and the probabilities; each place of a sample is a row."""
    rows = split_rows(y_true, y_proba, labels, sample_weight, ignore_index, takes_labels=False)
    if rows is not None:
        return rows.y_encoded, rows.together
    proba = as_probabilities(y_proba, sample_weight)
    return proba.encode(y_true, labels), proba


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

    averages, labels, names = ("macro", "micro", None), (0, 1), (0, 1)

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

    def is_together(self, average):
        """Return whether this average is the value of all events together."""
        return average == "micro"

    @property
    def y_encoded(self):
        """Labels of each sample, in turn."""
        return self._labels.ravel()

    @property
    def together(self):
        """All labels' probabilities as those of one event; a sample's are resampled together."""
        weight = None if self._weight is None else self._weight.ravel()
        return Probabilities(self._proba.ravel(), weight, rows_a_sample=self._labels.shape[1])

    def each(self, metric):
        """Return the value of each label."""
        weights = [None] * len(self._proba.T) if self._weight is None else self._weight.T
        columns = zip(self._labels.T, self._proba.T, weights, strict=True)
        return np.array([metric(hits, Probabilities(proba, weight)) for hits, proba, weight in columns])

    def mean_of(self, each):
        """Return the mean over labels."""
        return float(np.mean(each))


class PlaceRows:
    """A class at each place of a sample, as rows: column indices, and probabilities with weights.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, *places)
        Class labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes, *places), (n_samples, 1, *places) or that of `y_true`
        Probabilities, of the second of two classes where there is no axis of classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns.
    sample_weight : array-like of shape (n_samples,) or (n_samples, *places), default=None
        Weights of the samples, or of their places.
    ignore_index : int, default=-100
        What stands for a class that isn't known, whose place has no weight.
    """

    averages = _AVERAGES

    def __init__(self, y_true, y_proba, labels=None, sample_weight=None, ignore_index=-100):
        values = array_of_places(y_true, "y_true")
        proba = y_proba if isinstance(y_proba, torch.Tensor) else to_numpy(y_proba, "y_proba")
        if values.ndim < 2:
            raise ValueError(
                "y_proba must have shape (n_samples, n_classes), or (n_samples,) for two classes, where y_true has one "
                f"class a sample; got shape {tuple(proba.shape)}"
            )
        check_same_length(values, len(proba), "y_true")
        if proba.shape == values.shape:
            proba = proba.reshape(len(proba), 1, *proba.shape[1:])
        places, others, n_classes = values.shape[1:], tuple(proba.shape[2:]), max(2, proba.shape[1])
        if others != places:
            told = {"scores": "y_proba", "mended": "np.moveaxis(y_proba, -1, 1)"}
            raise ValueError(other_places("y_true", places, others, proba.shape[1], **told))
        flat = values.reshape(-1)
        known = are_known(flat, ignore_index)
        found = labels_found(flat[known], n_classes, labels, ignore_index, "y_true")
        named = with_ignored(found, n_classes, ignore_index)
        self.names = resolve_classes(named, n_classes, classes=labels, parameter="labels")
        self.y_encoded = encode_labels(np.where(known, flat, found[0]), self.names, "y_true")
        self._of_samples = (
            to_numpy(sample_weight)
            if sample_weight is not None and n_axes(sample_weight, "sample_weight") == 1
            else None
        )
        if not known.all():
            weight = 1.0 if sample_weight is None else weights_of_rows(sample_weight, values.shape)
            sample_weight = (weight * known).reshape(values.shape)
        self.labels, self.together = np.arange(n_classes), Probabilities(proba, sample_weight)

    def is_together(self, average):
        """Return whether this average is the value of all places together."""
        return average in ("macro", "micro")

    def each(self, metric):
        """Return the value of each sample, NaN where none of its places has weight."""
        samples = self.together.samples()
        return np.array([metric(self.y_encoded[rows], own) if own.masses.any() else np.nan for rows, own in samples])

    def weights_of(self, each):
        """Return weights of samples, none where they have no value."""
        weight = np.ones(len(each)) if self._of_samples is None else self._of_samples
        return np.where(np.isnan(each), 0.0, weight)

    def mean_of(self, each):
        """Return the mean over samples."""
        return float(np.average(np.nan_to_num(each), weights=self.weights_of(each)))


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
