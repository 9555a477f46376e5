"""Checks of labels, class names and sample weights, and the warnings they give rise to."""

import hashlib

import numpy as np
import torch
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import unique_labels

from ..exceptions import CalibrationSetWarning
from .arrays import as_numbers, is_missing, tensor_of, to_numpy
from .warnings import note, warn_caller

# What Hugging Face's models call their labels, and their data sets mostly do.
LABELS = ("labels", "label")

# Where the largest weight lies between these, sums of weights and of their squares are neither 0 nor infinite; weights
# that are less than this part of it are 0 beside it.
_WEIGHT_LIMITS = (1e-100, 1e100)
_MIN_PART = 1e-50
_UNLABELLED = (
    ". Where -1 stands for no label, leave these samples out, or give neural clamping X_unlabelled; of places say "
    "ignore_index=-1"
)
_NUMBERED = (
    ". scikit-learn's cross_val_predict(method='predict_proba') numbers labels in sorted order before it fits, and so "
    "do its voting and stacking: pass the columns' numbers as y"
)
_SOFT_LABELS = (
    ". Soft labels aren't taken: give the likeliest class; or each sample once for each class, with its probability as "
    "sample_weight"
)


def check_labels(y, name="y"):
    """One-dimensional class labels as a numpy array.

    Raises
    ------
    ValueError
        If `y` is missing, not one-dimensional, continuous, or holds NaN.
    """
    if y is None:
        raise ValueError(
            f"requires y to be passed, but the target {name} is None, and X brings no labels: pass {name}, one class "
            "label per sample. It may be left out only when X brings them: a Dataset of (input, label) pairs, or a "
            "dict with 'labels' or 'label'"
        )
    y = to_numpy(y, name)
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead: {name} must have shape (n_samples,), "
            f"one class label a sample{_likely_mistake(y, name)}"
        )
    if y.ndim != 1:
        # In the words that scikit-learn's own checks look for.
        warn_caller(
            f"A column-vector y was passed when a 1d array was expected: give {name}.ravel()", DataConversionWarning
        )
        y = y.ravel()
    y = as_numbers(y)
    if y.dtype.kind in "Of":
        bad = np.flatnonzero(~np.isfinite(y) if y.dtype.kind == "f" else list(map(is_missing, y.tolist())))
        if len(bad):
            raise ValueError(
                f"{name} must not hold NaN or infinity: Input {name} contains NaN or infinity, or a label is missing; "
                f"got {y[bad[0]]} for sample {bad[0]}"
            )
    if y.dtype.kind == "O":
        try:
            np.unique(y)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must hold labels of one type, which can be sorted: {error}") from error
    fractions = y[y != np.floor(y)] if y.dtype.kind == "f" else y[:0]
    if len(fractions):
        raise ValueError(
            f"Unknown label type: continuous. {name} must hold class labels; got real values such as {fractions[0]}"
            f"{_SOFT_LABELS if y.min() >= 0 and y.max() <= 1 else ''}"
        )
    return y


def split_missing(y):
    """The labels that are there, as `check_labels` returns them, and which are missing: None, NaN or pandas' NA."""
    values = check_labels(y) if y is None else to_numpy(y, "y")
    if isinstance(y, (list, tuple)) and values.dtype.kind in "US":
        # Beside strings, numpy makes one of NaN.
        values = np.array(y, dtype=object)
    if values.shape[1:] not in ((), (1,)) or not values.ndim:
        check_labels(values)
    values = as_numbers(values.ravel())
    missing = np.array([is_missing(label) for label in values.tolist()], dtype=bool)
    there = values[~missing]
    return check_labels(np.array(there.tolist()) if there.dtype.kind == "O" else there), missing


def _likely_mistake(y, name):
    """The likely mistake where labels aren't one-dimensional, in words."""
    if y.ndim > 2:
        return ". A class at each place of a sample is for logits at each, (n_samples, n_classes, *places)"
    if not y.ndim:
        return ""
    if y.dtype.kind == "f" and ((y >= 0) & (y <= 1)).all() and (y != y.round()).any():
        return f". Got {y[y != y.round()][0]:.4g} in it{_SOFT_LABELS}"
    return (
        ". Several labels, each 0, 1 or NaN, which -1 isn't taken for, are for calibrators (outputs='sigmoid' where X "
        f"brings them) and metrics; of one-hot ones take {name}.argmax(1)"
    )


def check_same_length(y, n_samples, name, of="X"):
    """Raise unless there is one value per sample of what is called `of`."""
    if len(y) != n_samples:
        single = f". The first axis of {of} is the samples: a single one is {of}[None]" if len(y) == 1 else ""
        raise ValueError(
            f"{name} must have one value per sample: {of} and {name} have inconsistent numbers of samples, "
            f"{n_samples} and {len(y)}{single}"
        )


def accuracy(y, predicted, sample_weight=None):
    """Return scikit-learn's accuracy; raise for labels of another kind than the predicted ones."""
    try:
        unique_labels(y, predicted)
    except ValueError as error:
        kinds = f"such as {predicted.ravel().tolist()[0]!r}; got {np.ravel(y).tolist()[0]!r}"
        raise ValueError(f"y must hold labels of the kind of fit, {kinds}: {error}") from error
    return float(accuracy_score(y, predicted, sample_weight=sample_weight))


def names_of_columns(frame):
    """Return the names of a frame's columns; None of one alone, and of numbers, which may be what a slice left."""
    names = np.array(list(getattr(frame, "columns", ())))
    return names if names.dtype.kind in "US" and names.ndim == 1 and len(names) > 1 else None


def columns_of_labels(found, classes):
    """Return what is said of 1 for each label: of a list, as some classifiers have, the columns of 1, else as it is.

    A label that a classifier has seen no 1 of has 0.
    """
    if not isinstance(found, list):
        return to_numpy(found)
    columns = []
    for each, values in zip(found, map(np.asarray, classes), strict=True):
        if not set(values.tolist()) <= {0, 1}:
            raise ValueError(f"estimator must have labels of 0 and 1 each; got classes_ {values.tolist()}")
        columns.append(to_numpy(each)[:, values == 1].sum(1))
    return np.column_stack(columns)


def predict_labelled(estimator, X, y, *, in_order=False, name="y"):
    """Return probabilities for X, an array, and the labels: y, or those that X brings.

    `in_order` says that something beside X goes by the order of its samples, `name` what the user calls y. A calibrator
    reads labels as it predicts.
    """
    if hasattr(estimator, "_predict_labelled"):
        return estimator._predict_labelled(X, y, in_order=in_order, name=name)
    if y is None:
        y = check_labels(y, name)
    return columns_of_labels(estimator.predict_proba(X), getattr(estimator, "classes_", ())), y


def resolve_classes(y, n_columns, *, classes=None, known=None, likely=None, parameter="classes"):
    """Names of the columns of the logits.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels, as `check_labels` returns them.
    n_columns : int
        Width K of the logits.
    classes : array-like of shape (K,), default=None
        What the user says.
    known : array-like of shape (K,), default=None
        What the estimator knows (its ``classes_``).
    likely : array-like of shape (K,), default=None
        What the network's makers, or a frame of logits, call the columns: their names where all labels are among these.
    parameter : str, default="classes"
        What the user calls `classes`, for messages.

    Returns
    -------
    ndarray of shape (K,)

    Raises
    ------
    ValueError
        If the names are of another number than the columns, repeat, are the estimator's in another order, or can't be
        told from `y`.
    """
    if classes is not None:
        names = check_class_names(to_numpy(classes), n_columns, parameter)
        own = names if known is None else to_numpy(known)
        # Columns can be renamed, but the estimator's own names in another order would swap the classes.
        if not np.array_equal(names, own) and set(names.tolist()) == set(own.tolist()):
            raise ValueError(
                f"{parameter} must be in the order of the estimator's classes_, {_some(own)}; got {_some(names)}"
            )
        return names
    if known is not None:
        return check_class_names(to_numpy(known), n_columns, "the estimator's classes_")
    if likely is not None and len(set(likely.tolist())) == n_columns and set(y.tolist()) <= set(likely.tolist()):
        return likely
    if _are_column_indices(y, n_columns):
        # Labels 1 ... K without the last look like column indices without the first.
        if y.min() == 1 and len(np.unique(y)) == n_columns - 1 > 1:
            note(
                f"labels 1 ... {n_columns - 1} are taken for column indices, of which 0 is missing; if they count from "
                f"1, give {parameter}",
                CalibrationSetWarning,
            )
        # In the labels' own dtype, where it is wide enough for all of them.
        indices = np.arange(n_columns)
        cast = indices.astype(y.dtype)
        return cast if np.array_equal(cast, indices) else indices
    distinct = np.unique(y)
    n_distinct = len(distinct)
    if n_distinct > n_columns:
        scores = "y_proba" if parameter == "labels" else "the logits"
        alone = (
            f". One dimension, shape ({len(y)},), is read as the second of two classes: pass all {n_distinct} columns"
        )
        raise ValueError(
            f"{scores} must have one column per class: got {n_columns} columns for {n_distinct} distinct labels "
            f"in y: {_some(distinct)}{alone if n_columns == 2 else ''}{_UNLABELLED if -1 in distinct.tolist() else ''}"
        )
    if n_distinct != n_columns:
        raise ValueError(
            f"{parameter} must be given when the labels are neither 0 ... {n_columns - 1} nor of exactly {n_columns} "
            f"kinds, one for each column of the logits; y has {n_distinct} distinct labels: {_some(distinct)}. Give "
            f"the names of all {n_columns} columns in their order, such as {parameter}=range({n_columns})"
        )
    return distinct


def check_class_names(names, n_columns, what):
    if names.ndim != 1 or len(names) != n_columns:
        raise ValueError(f"{what} must name the {n_columns} columns of the logits; got shape {names.shape}")
    if len(np.unique(names)) != len(names):
        raise ValueError(f"{what} must not repeat a name; got {_some(names)}")
    return names


def _are_column_indices(y, n_columns):
    if y.dtype.kind not in ("biuf" if n_columns == 2 else "iuf"):
        return False
    return len(y) > 0 and y.min() >= 0 and y.max() <= n_columns - 1


def are_in_no_class(y, classes):
    """Which labels are none of the classes; ValueError where none is one, as of names beside numbers."""
    found = ~np.isin(y, classes)
    if found.all():
        raise ValueError(f"y must hold some labels among the classes {_some(classes)}; got {_some(np.unique(y))}")
    return found


def encode_labels(y, classes, name="y"):
    """Column index of each label, int64; ValueError if one isn't among the classes."""
    n_classes = len(classes)
    if _are_column_indices(y, n_classes) and np.array_equal(classes, np.arange(n_classes)):
        return y.astype(np.int64, copy=False)
    order = classes.argsort()
    try:
        places = np.searchsorted(classes, y, sorter=order)
    except TypeError as error:
        raise ValueError(
            f"{name} must hold labels among the classes {_some(classes)}; got labels of another type: {error}"
        ) from error
    y_encoded = order[np.minimum(places, n_classes - 1)]
    unknown = classes[y_encoded] != y
    if np.any(unknown):
        others = np.unique(y[unknown])
        advice = _UNLABELLED if others.tolist() == [-1] else ""
        if classes.dtype.kind not in "biuf" and _are_column_indices(y, n_classes):
            advice = f"{_NUMBERED}, and classes=range({n_classes})"
        raise ValueError(f"{name} must hold labels among the classes {_some(classes)}; got {_some(others)}{advice}")
    return y_encoded.astype(np.int64, copy=False)


def _some(values):
    shown = ", ".join(repr(v) for v in values[:10].tolist())
    return f"[{shown}{', ...' if len(values) > 10 else ''}]"


def check_sample_weight(sample_weight, n_samples, *, some=True):
    """Finite, non-negative weights, some positive if so asked, as a float64 tensor; ones where there are none."""
    if sample_weight is None:
        return torch.ones(n_samples, dtype=torch.float64)
    weight = tensor_of(sample_weight, "sample_weight").cpu().double()
    weight = weight if weight.ndim else weight.expand(n_samples)
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar; sample_weight has shape {tuple(weight.shape)}")
    check_same_length(weight, n_samples, "sample_weight")
    if not n_samples:
        raise ValueError("X must not be empty: Found array with 0 sample(s); got as many in sample_weight")
    least = weight.min().item()
    most = weight.max().item()
    if not (0 <= least <= most < np.inf) or (some and not most):
        raise ValueError(
            f"sample_weight must be finite, non-negative and not zero everywhere; got values from {least} to {most}"
        )
    low, high = _WEIGHT_LIMITS
    if most and not low <= most <= high:
        raise ValueError(
            f"sample_weight must have a largest value between {low:g} and {high:g}, within which weights can be "
            f"squared and summed; got {most}"
        )
    return weight.where(weight >= _MIN_PART * most, 0.0)


def calibrator_in(estimator):
    """Return what takes classes of places, the estimator or what a search or Pipeline has in it; or None."""
    while estimator is not None and not hasattr(estimator, "ignore_index"):
        steps = getattr(estimator, "steps", None)
        estimator = steps[-1][1] if steps else getattr(estimator, "best_estimator_", None)
    return estimator


def check_groups(groups, n_samples, parameter="groups"):
    """Names of the samples' groups, an array; raises unless there is one for each sample."""
    names = to_numpy(groups, parameter)
    if names.dtype.kind == "U" and not all(isinstance(name, str) for name in groups):
        # Numbers among names stay numbers.
        names = np.array(groups, dtype=object)
    if names.shape != (n_samples,):
        got = f"{groups!r}: give the column itself" if isinstance(groups, str) else f"shape {names.shape}"
        raise ValueError(f"{parameter} must have shape ({n_samples},), a name or number a sample; got {got}")
    # Of other kinds any may be missing.
    for i, name in enumerate(names.tolist() if names.dtype.kind not in "biuU" else ()):
        if is_missing(name):
            which = "part" if parameter == "by" else "group"
            raise ValueError(f"{parameter} must name the {which} of every sample; got {name} for sample {i}")
    return names


def names_in_order(names):
    """Distinct names of an array, in order; where there are numbers and strings, the numbers first."""
    return sorted(set(names.tolist()), key=lambda name: (isinstance(name, str), name))


def group_numbers(groups, n_samples, parameter="groups"):
    """Return the number of each sample's group, from 0 on in the order in which they first occur."""
    names = check_groups(groups, n_samples, parameter).tolist()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def group_keys(groups, n_samples):
    """A number for each sample's group, the same in every process."""
    names = check_groups(groups, n_samples)
    keys = {}
    for name in dict.fromkeys(names.tolist()):
        # A column of whole numbers may come as one of floats.
        text = repr(int(name) if isinstance(name, float) and name.is_integer() else name)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        keys[name] = int.from_bytes(digest, "little", signed=True)
    return np.array([keys[name] for name in names.tolist()], dtype=np.int64)
