"""Checks of labels, logits, probabilities and parameters: every error a user meets is worded here.

The only importer of scikit-learn's private helpers.
"""

import numbers

import numpy as np
import torch
from sklearn.metrics._scorer import _BaseScorer as BaseScorer
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _num_samples as num_samples

from ._arrays import tensor_over
from ._warnings import note
from .exceptions import CalibrationSetWarning

# float32's largest number: whatever a network yields. From there on float64's squares and quotients stay finite.
LARGEST_LOGIT = torch.finfo(torch.float32).max
# Where the largest weight lies between these, sums of weights and of their squares are neither 0 nor infinite; weights
# that are less than this part of it are 0 beside it.
_WEIGHT_LIMITS = (1e-100, 1e100)
_LEAST_PART = 1e-50

__all__ = ["BaseScorer", "Interval", "StrOptions", "num_samples", "take_rows"]


def to_numpy(values):
    """An array of what the user gave, in this machine's byte order; tensors on any device included."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    array = np.asarray(values)
    # HDF5 and FITS keep big-endian numbers, which torch doesn't take.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_labels(y, name="y"):
    """One-dimensional class labels as a numpy array.

    Raises
    ------
    ValueError
        If `y` is missing, not one-dimensional, continuous, or holds NaN.
    """
    if y is None:
        raise ValueError(
            f"requires y to be passed, but the target {name} is None: {name} must hold one class label a sample, and "
            "may be left out only when X brings them: a Dataset of (input, label) pairs, or a dict with 'labels'"
        )
    y = to_numpy(y)
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead: {name} must hold one class label a "
            f"sample. Multilabel targets aren't supported; of one-hot ones take {name}.argmax(1)"
        )
    if y.ndim != 1:
        y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"{name} must not hold NaN or infinity: Input {name} contains NaN or infinity")
    # Whole numbers need no look at their kind, which would sort them.
    if len(y) and y.dtype.kind not in "iub" and _kind_of(y, name) == "continuous":
        raise ValueError(
            f"Unknown label type: continuous. {name} must hold class labels; "
            f"got real values such as {first_fraction(y)}"
        )
    return y


def _kind_of(y, name):
    """scikit-learn's type of target, without its warning of many classes: few samples a class are usual here."""
    try:
        # Labels that are all there twice are no more than half as many as the samples.
        return type_of_target(np.repeat(y, 2), input_name=name)
    except TypeError as error:
        raise ValueError(f"{name} must hold labels of one type, which can be sorted: {error}") from error


def first_fraction(y):
    """The first value of a float array that isn't a whole number."""
    return y[np.flatnonzero(y != np.floor(y))[0]]


def check_same_length(y, n_samples, name="y"):
    """Raise unless there is one value a sample."""
    if len(y) != n_samples:
        raise ValueError(
            f"{name} must have one value a sample: X and {name} have inconsistent numbers of samples, "
            f"{n_samples} and {len(y)}"
        )


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
        What the network's makers call the columns: their names where all labels are among these, which are strings.
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
        names = _check_class_names(to_numpy(classes), n_columns, parameter)
        if known is not None:
            _check_order(names, to_numpy(known), parameter)
        return names
    if known is not None:
        return _check_class_names(to_numpy(known), n_columns, "the estimator's classes_")
    if likely is not None and len(set(likely.tolist())) == n_columns and set(y.tolist()) <= set(likely.tolist()):
        return likely
    if _are_column_indices(y, n_columns):
        _warn_of_another_origin(y, n_columns, parameter)
        return _column_indices(n_columns, y.dtype)
    distinct = np.unique(y)
    if len(distinct) != n_columns:
        raise ValueError(
            f"{parameter} must be given when the labels are neither 0 ... {n_columns - 1} nor of exactly {n_columns} "
            f"kinds, one for each column of the logits; y has {len(distinct)} distinct labels: {_some(distinct)}"
        )
    return distinct


def _warn_of_another_origin(y, n_columns, parameter):
    """Labels 1 ... K without the last look like column indices without the first."""
    if y.min() == 1 and len(np.unique(y)) == n_columns - 1 > 1:
        note(
            f"labels 1 ... {n_columns - 1} are taken for column indices, of which 0 is missing; if they count from 1, "
            f"give {parameter}",
            CalibrationSetWarning,
        )


def _check_order(names, known, parameter):
    """Columns can be renamed, but the estimator's own names in another order would swap the classes."""
    if not np.array_equal(names, known) and set(names.tolist()) == set(known.tolist()):
        raise ValueError(
            f"{parameter} must be in the order of the estimator's classes_, {_some(known)}; got {_some(names)}"
        )


def _check_class_names(names, n_columns, what):
    if names.ndim != 1 or len(names) != n_columns:
        raise ValueError(f"{what} must name the {n_columns} columns of the logits; got shape {names.shape}")
    if len(np.unique(names)) != len(names):
        raise ValueError(f"{what} must not repeat a name; got {_some(names)}")
    return names


def _are_column_indices(y, n_columns):
    if y.dtype.kind not in ("biuf" if n_columns == 2 else "iuf"):
        return False
    return len(y) > 0 and y.min() >= 0 and y.max() <= n_columns - 1


def _column_indices(n_columns, dtype):
    """0 ... K - 1 in the labels' own dtype, where it is wide enough for all of them."""
    indices = np.arange(n_columns)
    cast = indices.astype(dtype)
    return cast if np.array_equal(cast, indices) else indices


def encode_labels(y, classes, name="y"):
    """Column index of each label, int64.

    Raises
    ------
    ValueError
        If a label isn't among the classes.
    """
    if _are_column_indices(y, len(classes)) and np.array_equal(classes, np.arange(len(classes))):
        return y.astype(np.int64, copy=False)
    order = np.argsort(classes)
    places = np.searchsorted(classes, y, sorter=order)
    codes = order[np.minimum(places, len(classes) - 1)]
    unknown = classes[codes] != y
    if np.any(unknown):
        raise ValueError(
            f"{name} must hold labels among the classes {_some(classes)}; got {_some(np.unique(y[unknown]))}"
        )
    return codes.astype(np.int64, copy=False)


def _some(values, most=10):
    shown = ", ".join(repr(v) for v in values[:most].tolist())
    return f"[{shown}{', ...' if len(values) > most else ''}]"


def check_sample_weight(sample_weight, n_samples, *, some=True):
    """Finite, non-negative weights, and some positive ones if so asked, as a float64 tensor; None stays None."""
    if sample_weight is None:
        return None
    weight = np.asarray(to_numpy(sample_weight), dtype=np.float64, order="C")
    if weight.ndim == 0:
        weight = np.full(n_samples, float(weight))
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar; sample_weight has shape {weight.shape}")
    check_same_length(weight, n_samples, "sample_weight")
    if not np.isfinite(weight).all() or (weight < 0).any() or (some and not weight.any()):
        raise ValueError(
            "sample_weight must be finite, non-negative and not zero everywhere; got values from "
            f"{weight.min()} to {weight.max()}"
        )
    low, high = _WEIGHT_LIMITS
    if weight.any() and not low <= weight.max() <= high:
        raise ValueError(
            f"sample_weight must have a largest value between {low:g} and {high:g}, within which weights can be "
            f"squared and summed; got {weight.max()}"
        )
    negligible = (weight > 0) & (weight < _LEAST_PART * weight.max())
    return torch.from_numpy(np.where(negligible, 0.0, weight) if negligible.any() else weight)


def check_finite(values, name):
    """Raise unless every entry of a floating-point tensor is finite."""
    # One sum tells nearly always; only when it overflows or meets NaN is a second, exact look needed.
    if torch.isfinite(values.sum()) or torch.isfinite(values).all():
        return
    bad = values[~torch.isfinite(values)][0].item()
    raise ValueError(f"{name} must be finite: Input {name} contains NaN or infinity; got {bad}")


def check_logit_range(logits, name):
    """Raise unless logits are finite, and small enough to be computed with; one pass over them."""
    low, high = (bound.item() for bound in logits.aminmax())
    if low >= -LARGEST_LOGIT and high <= LARGEST_LOGIT:
        return
    check_finite(logits, name)
    raise ValueError(
        f"{name} must hold logits of at most {LARGEST_LOGIT:.2g} in magnitude, float32's largest number; got values "
        f"from {low:.6g} to {high:.6g}"
    )


def check_scores(X, name="X"):
    """Logits or probabilities given as an array: a finite floating-point tensor of shape (n, K) or (n,).

    Raises
    ------
    ValueError
        If X is empty, of another shape, or holds NaN, infinity or numbers beyond float32's range.
    TypeError
        If X isn't numeric.
    """
    values = tensor_of(X, name)
    values = values if values.is_floating_point() else values.double()
    if values.ndim not in (1, 2):
        raise ValueError(
            f"{name} must hold one row of logits or probabilities a sample, shape (n_samples, n_classes), when no "
            f"estimator is given; got shape {tuple(values.shape)}"
        )
    if values.numel() == 0:
        raise ValueError(f"{name} must not be empty; got shape {tuple(values.shape)}")
    check_logit_range(values, name)
    return values


def tensor_of(values, name):
    """A tensor of a real-valued array or tensor, sharing its memory.

    Raises
    ------
    TypeError
        If the entries are complex or no numbers.
    """
    if isinstance(values, torch.Tensor):
        if values.is_complex():
            raise TypeError(f"{name} must be numeric and real: Complex data not supported; got {values.dtype}")
        return values.detach()
    values = to_numpy(values)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric and real; got dtype {values.dtype}")
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    values = np.asarray(values, order="C")
    return tensor_over(values)


def row_sum_tolerance(eps):
    """How far a row's sum may be from 1; float32 and float64 rows may have been half precision once."""
    return max(1e-3, 4 * eps)


def check_unit_interval(probabilities, name="X", tolerance=1e-6):
    """Raise unless the entries of a tensor lie between 0 and 1, rounding errors above 1 aside."""
    low, high = probabilities.min().item(), probabilities.max().item()
    if low < 0 or high > 1 + tolerance:
        raise ValueError(f"{name} must hold probabilities between 0 and 1; got values from {low:.6g} to {high:.6g}")


def check_probability_rows(probabilities, name="X", dtype=None):
    """Raise unless every row of a tensor of shape (n, K) is a distribution, to the precision of its dtype or this."""
    tolerance = row_sum_tolerance(torch.finfo(dtype or probabilities.dtype).eps)
    check_unit_interval(probabilities, name, tolerance)
    total = probabilities.sum(1, dtype=torch.float64)
    worst = (total - 1).abs().argmax()
    if abs(total[worst].item() - 1) > tolerance:
        raise ValueError(
            f"{name} must hold probabilities: each row must sum to 1; row {worst} sums to {total[worst]:.6g}"
        )


def check_whole_number(value, name, low=1):
    """An int of at least `low`.

    Raises
    ------
    TypeError
        If `value` isn't a whole number.
    ValueError
        If it is less than `low`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number of at least {low}; got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}; got {value}")
    return int(value)


def check_choice(value, name, choices):
    """Raise ValueError unless `value` is one of the choices, which are strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}; got {value!r}")


def check_number(value, name, low, high, closed="both"):
    """A float between two bounds, which `closed` ("both", "left", "right" or "neither") counts in or out.

    Raises
    ------
    TypeError
        If `value` isn't a real number.
    ValueError
        If it is outside.
    """
    interval = Interval(numbers.Real, low, high, closed=closed)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {interval}; got {value!r}")
    if not interval.is_satisfied_by(value):
        raise ValueError(f"{name} must be {interval}; got {value!r}")
    return float(value)


def encode_targets(y_true, n_columns, labels=None):
    """Column index of each label that a metric is given, int64; `labels` names the columns.

    Raises
    ------
    ValueError
        If `y_true` isn't a vector of class labels, its columns can't be told, or a label isn't among them.
    """
    y = check_labels(y_true, "y_true")
    if labels is None and _are_column_indices(y, n_columns):
        return y.astype(np.int64)
    return encode_labels(y, resolve_classes(y, n_columns, classes=labels, parameter="labels"), "y_true")


def as_probability_matrix(y_proba):
    """Probabilities as an array or tensor of shape (n, K >= 2), its values not yet looked at.

    One dimension, or one column, holds the probabilities of the second of two classes.

    Raises
    ------
    ValueError
        If `y_proba` is empty or of another shape.
    TypeError
        If it isn't numeric.
    """
    proba = _as_floating(y_proba, "y_proba")
    if proba.ndim == 0 or proba.ndim > 2 or 0 in proba.shape:
        raise ValueError(
            "y_proba must have shape (n_samples, n_classes), or (n_samples,) for two classes, and not be empty; "
            f"got shape {tuple(proba.shape)}"
        )
    if proba.ndim == 2 and proba.shape[1] > 1:
        return proba
    second = proba.reshape(-1)
    stack = torch.stack if isinstance(proba, torch.Tensor) else np.stack
    return stack([1 - second, second], 1)


def _as_floating(values, name):
    if isinstance(values, torch.Tensor):
        return values.detach() if values.is_floating_point() else values.double()
    array = to_numpy(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric; got dtype {array.dtype}")
    return array if array.dtype in (np.float16, np.float32, np.float64) else array.astype(np.float64)


def check_probability_chunk(chunk, first_row, tolerance, name="y_proba"):
    """Raise unless every row of a C-contiguous array is a distribution, its sum 1 to within `tolerance`.

    Two reads of the chunk: NaN and infinity show in the sums, and with no negative entry the sums bound the entries.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total = chunk @ np.ones(chunk.shape[1], chunk.dtype)
        fine = chunk.min() >= 0 and np.abs(total - 1).max() <= tolerance
    if not fine:
        _explain_bad_probabilities(chunk, total, first_row, tolerance, name)


def _explain_bad_probabilities(chunk, total, first_row, tolerance, name):
    if not np.isfinite(chunk).all():
        value = chunk[~np.isfinite(chunk)][0]
        raise ValueError(f"{name} must be finite: Input {name} contains NaN or infinity; got {value}")
    low, high = chunk.min(), chunk.max()
    if low < 0 or high > 1 + tolerance:
        raise ValueError(f"{name} must hold probabilities between 0 and 1; got values from {low:.6g} to {high:.6g}")
    worst = np.abs(total - 1).argmax()
    raise ValueError(
        f"{name} must hold probabilities: each row must sum to 1; row {first_row + worst} sums to {total[worst]:.6g}"
    )


def check_grid(values, name, constraints):
    """Raise unless a grid has values and each is one that the parameter of a single estimator may take."""
    if not len(values):
        raise ValueError(f"{name} must hold at least one value; got an empty grid")
    for value in values:
        validate_parameter_constraints({name: constraints}, {name: value}, caller_name="each value of the grid")
