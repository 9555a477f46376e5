"""Declarations of metrics, and the common part of those that take pairs of confidence and hit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, update_wrapper
from inspect import isfunction, signature

import numpy as np
import torch

from .._judging.column_order import better_order
from .._utils.arrays import n_axes, tensor_of, to_numpy
from .._utils.labels import check_labels, check_same_length, encode_labels, resolve_classes
from .._utils.outputs import (
    are_known,
    array_of_places,
    check_columns,
    check_not_swapped,
    encode_places,
    matrix_of,
    other_places,
)
from .._utils.parameters import check_choice, check_number, check_whole_number
from .._utils.warnings import warn_caller
from ..exceptions import CalibrationSetWarning
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
    plain : callable or None, default=None
        Like `resampled`: the form of an error that is the same without noise, whose interval is taken.
    """

    of_event: bool
    resampled: Callable | None
    is_error: bool = True
    plain: Callable | None = None


# Of each metric, which says so itself.
FACTS: dict[Callable, Facts] = {}


def facts_of(metric):
    """Return `Facts` of a metric, its options fixed or not; None for another package's, or a function around one."""
    function = metric.func if isinstance(metric, partial) else metric
    return FACTS.get(function) if isfunction(function) else None


def of_outputs(metric=None, *, takes_labels=True):
    """Let a metric of rows, which are given as column indices and `Probabilities`, take all that users have.

    A sample has a class, several labels that don't exclude each other, unless the metric's `takes_labels` is False, or
    a class at each place. `average` puts its rows together; one of the metric's own is over classes, and that of places
    knows "samples" beside it.
    """
    if metric is None:
        return partial(of_outputs, takes_labels=takes_labels)
    own = signature(metric)
    over_classes = "average" in own.parameters

    def of_any(
        y_true,
        y_proba,
        *,
        labels=None,
        pos_label=None,
        sample_weight=None,
        average="macro",
        ignore_index=-100,
        **options,
    ):
        rows = split_rows(y_true, y_proba, labels, sample_weight, ignore_index, takes_labels, pos_label)
        are_labels = rows.kind == "labels"
        if over_classes:
            options["average"] = average if average != "samples" else "macro"
        elif average not in ("macro", "micro", None) and (average != "samples" or are_labels):
            known = "'macro', 'micro'" if are_labels else "'macro', 'micro', 'samples'"
            raise ValueError(f"average must be {known} or None; got {average!r}")
        if are_labels and labels is not None:
            raise ValueError("labels must be None where y_true has several labels a sample: they are columns")
        if rows.are_together(average) or (over_classes and average is None):
            return metric(rows.y_encoded, rows.proba, **options)
        for name in ("return_bins", "return_bandwidth"):
            if options.get(name):
                raise ValueError(f"{name} needs average='micro', of which there is one answer; got {average!r}")
        each = rows.each(partial(metric, **options))
        return each if average is None else rows.mean_of(each)

    shared = [each for each in signature(of_any).parameters.values() if each.kind is each.KEYWORD_ONLY]
    added = [each for each in shared if each.name not in own.parameters]
    update_wrapper(of_any, metric)
    # Whoever unwraps it, as scorers do, is to find this one.
    del vars(of_any)["__wrapped__"]
    whole = own.replace(parameters=[*own.parameters.values(), *added])
    vars(of_any).update(__signature__=whole, takes_labels=takes_labels)
    return of_any


@dataclass(frozen=True)
class Rows:
    """Column indices and probabilities, a row for each sample or, where it has several, for each label or place of it.

    Attributes
    ----------
    kind : {"classes", "labels", "places"}
        What a sample has: a class, several labels, which are events that come true or don't, or a class at each place.
    y_encoded : ndarray of shape (n_rows,), int64
        Column index of each row.
    proba : Probabilities
        Of all rows, without weight where nothing is known; those of a sample are resampled together.
    names : ndarray of shape (n_classes,)
        Labels of the columns.
    of_samples : ndarray of shape (n_samples,) or None
        Weights of the samples, where these aren't of their places.
    """

    kind: str
    y_encoded: np.ndarray
    proba: Probabilities
    names: np.ndarray | None = None
    of_samples: np.ndarray | None = None

    def are_together(self, average):
        """Return whether this average is the value of all rows together."""
        return self.kind == "classes" or average == "micro" or (self.kind == "places" and average == "macro")

    def each(self, metric):
        """Return the value of each label or, of places, of each sample; NaN of one that has no weight."""
        if self.kind == "labels" and self.proba.weight is not None:
            there = self.proba.weight.reshape(-1, self.proba.rows_a_sample).any(0)
            if not there.all():
                raise ValueError(
                    "sample_weight must leave each label a sample of which it is known, unless average is 'micro'; got "
                    f"none for label {there.argmin()}"
                )
        parts = self.proba.parts(self.y_encoded, of_labels=self.kind == "labels")
        return np.array([metric(y, own) if own.masses.any() else np.nan for y, own in parts])

    def weights_of(self, each):
        """Return weights of these values, none of NaN."""
        return np.where(np.isnan(each), 0.0, 1.0 if self.of_samples is None else self.of_samples)

    def mean_of(self, each):
        """Return the mean over labels or samples."""
        return float(np.average(np.nan_to_num(each), weights=self.weights_of(each)))


def split_rows(y_true, y_proba, labels, sample_weight, ignore_index, takes_labels=True, pos_label=None):
    """Return the `Rows` of what a metric is given; of `Probabilities` `y_true` are column indices."""
    if isinstance(y_proba, Probabilities):
        return Rows("classes", y_true, y_proba)
    check_whole_number(ignore_index, "ignore_index", low=None)
    y_true, y_proba, labels = against_rest(y_true, y_proba, labels, pos_label)
    if max(n_axes(y_true, "y_true"), n_axes(y_proba, "y_proba")) > 2:
        return _rows_of_places(y_true, y_proba, labels, sample_weight, ignore_index)
    matrix = matrix_of(y_true) if takes_labels else None
    if matrix is None:
        return rows_of_classes(y_true, y_proba, labels, sample_weight)
    if hasattr(y_proba, "columns"):
        check_columns(y_true, list(y_proba.columns), "y_true", "y_proba")
    return _rows_of_labels(matrix, y_proba, sample_weight)


def rows_of_classes(y_true, y_proba, labels, sample_weight=None):
    """Return the rows of samples of one class each."""
    y_proba = y_proba if hasattr(y_proba, "shape") else to_numpy(y_proba, "y_proba")
    # Checked first: labels that are swapped with probabilities don't pass as these.
    check_not_swapped(y_proba, y_true, "y_proba", "y_true")
    y = check_labels(y_true, "y_true")
    proba = Probabilities(y_proba, sample_weight)
    names = resolve_classes(y, proba.n_classes, classes=labels, likely=proba.names, parameter="labels")
    if proba.is_event and labels is None and names.dtype.kind not in "biuf":
        raise ValueError(
            "pos_label must name the class that y_proba, of one column, is the probability of, where labels are "
            f"strings; got None for {names.tolist()}. Or give labels, the positive class last"
        )
    y_encoded = encode_labels(y, names, "y_true")
    check_same_length(y_encoded, proba.n_samples, "y_true", "y_proba")
    # Names are taken sorted, as scikit-learn takes them; columns of frames have their own.
    if labels is None and proba.names is None and names.dtype.kind not in "biuf":
        _look_at_order(y_encoded, proba)
    return Rows("classes", y_encoded, proba, names)


def _look_at_order(y_encoded, proba):
    """Warn where the columns fit the labels significantly better in another order than that of sorted names."""
    weight = np.ones(len(y_encoded)) if proba.weight is None else proba.weight
    if better_order(proba.prediction, y_encoded, weight, np.arange(len(y_encoded))) is not None:
        warn_caller(
            "the columns of y_proba fit the labels better in another order than sorted: give labels, a name for each "
            "column, such as labels=calibrator.classes_",
            CalibrationSetWarning,
        )


def against_rest(y_true, y_proba, labels, pos_label):
    """Return whether each label is the one in question, 0 or 1, its probability, and these labels.

    All are returned as they are where `pos_label` is None.
    """
    if pos_label is None:
        return y_true, y_proba, labels
    if np.shape(y_true)[1:] not in ((), (1,)):
        raise ValueError(f"pos_label must be None for several labels or places a sample; got {pos_label!r}")
    proba = Probabilities(y_proba)
    y = check_labels(y_true, "y_true")
    if not proba.is_event:
        names = resolve_classes(y, proba.n_classes, classes=labels, likely=proba.names, parameter="labels").tolist()
    else:
        names = (np.unique(y) if labels is None else to_numpy(labels)).tolist()
        if labels is None and len(names) == 1 and np.append(names, pos_label).dtype.kind in "biuf":
            # Where no sample is positive, one dimension is of what isn't there; words may be misspelt.
            names.append(pos_label)
    if pos_label not in names:
        raise ValueError(
            f"pos_label must be among the labels {names}; got {pos_label!r}. Give labels where no sample has it"
        )
    if not proba.is_event:
        y_proba = tensor_of(y_proba, "y_proba")[:, names.index(pos_label)]
    return (y == pos_label).astype(int), y_proba, [0, 1]


def _rows_of_labels(matrix, y_proba, sample_weight):
    """Return the rows of several labels a sample, of 0, 1 or NaN each: whether each came true, of two classes."""
    proba = to_numpy(y_proba, "y_proba")
    if proba.shape != matrix.shape:
        raise ValueError(f"y_proba must have a column per label, shape {matrix.shape}; got shape {proba.shape}")
    if (matrix.sum(1) == 1).all() and np.allclose(proba.sum(1), 1, atol=1e-3):
        raise ValueError(
            "y_true should be a 1d array, got one-hot rows beside probabilities of classes: give y_true.argmax(1)"
        )
    known = ~np.isnan(matrix)
    weight = weights_of_rows(sample_weight, matrix.shape) * known.ravel()
    if not known.any(0).all():
        raise ValueError(f"y_true must know each label of some sample; got NaN alone in {(~known).all(0).argmax()}")
    weight = None if sample_weight is None and known.all() else weight
    y_encoded = np.nan_to_num(matrix).astype(int).ravel()
    return Rows("labels", y_encoded, Probabilities(proba.ravel(), weight, matrix.shape[1]), np.arange(2))


def _rows_of_places(y_true, y_proba, labels, sample_weight, ignore_index):
    """Return the rows of samples with a class at each place; the second of two has no axis of classes, or one of 1."""
    values = array_of_places(y_true, "y_true")
    proba = y_proba if isinstance(y_proba, torch.Tensor) else to_numpy(y_proba, "y_proba")
    if values.ndim < 2:
        raise ValueError(
            "y_proba must have shape (n_samples, n_classes), or (n_samples,) for two classes, where y_true has one "
            f"class a sample; got shape {tuple(proba.shape)}"
        )
    check_same_length(values, len(proba), "y_true", "y_proba")
    if proba.shape == values.shape:
        proba = proba.reshape(len(proba), 1, *proba.shape[1:])
    n_samples, n_classes, *others = proba.shape
    if values.shape != (n_samples, *others):
        mended = "np.moveaxis(y_proba, -1, 1)"
        places = values.shape[1:], tuple(others)
        raise ValueError(other_places("y_true", *places, n_classes, scores="y_proba", mended=mended))
    flat = values.ravel()
    known = are_known(flat, ignore_index)
    names, y_encoded = encode_places(flat, known, max(2, n_classes), "y_true", classes=labels, parameter="labels")
    of_samples = None
    if sample_weight is not None and n_axes(sample_weight, "sample_weight") == 1:
        of_samples = to_numpy(sample_weight)
    if not known.all():
        # What isn't known has no weight.
        weight = 1.0 if sample_weight is None else weights_of_rows(sample_weight, values.shape)
        sample_weight = (weight * known).reshape(values.shape)
    return Rows("places", y_encoded.clip(min=0), Probabilities(proba, sample_weight), names, of_samples)


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


def check_options(*, norm="l1", strategy="uniform", mode="top-label", top_k=1, threshold=None):
    """Raise unless the options that calibration errors share are known and fit together."""
    check_choice(norm, "norm", ("l1", "l2", "max"))
    check_choice(strategy, "strategy", ("uniform", "quantile"))
    check_choice(mode, "mode", ("top-label", "classwise"))
    if threshold is not None:
        check_number(threshold, "threshold", closed="left")
    if mode == "classwise" and top_k != 1:
        raise ValueError(f"top_k must be 1 with mode='classwise'; got {top_k!r}")


def some_pairs(proba, y_encoded, top_k, threshold):
    """Pairs of the most probable classes above a threshold, of which there must be some."""
    pairs = proba.pairs(y_encoded, top_k, threshold)
    if threshold is not None and not pairs.masses.any():
        largest = proba.pairs(y_encoded, top_k).confidence.max()
        raise ValueError(
            f"threshold must be below the confidence of some sample, the largest of which is {largest:.6g}; "
            f"got {threshold!r}"
        )
    return pairs


def each_class(error, proba, y_encoded, threshold):
    """An error of every class's pairs, an array; 0 for a class that never has a probability above the threshold."""
    return np.array([error(pairs) if pairs.masses.any() else 0.0 for pairs in proba.class_pairs(y_encoded, threshold)])


def error_of_pairs(error, y_encoded, proba, *, mode, top_k, threshold):
    """An error of the most probable classes' pairs, or its mean over every class's."""
    check_options(mode=mode, top_k=top_k, threshold=threshold)
    if mode == "classwise":
        return float(each_class(error, proba, y_encoded, threshold).mean())
    return float(error(some_pairs(proba, y_encoded, top_k, threshold)))
