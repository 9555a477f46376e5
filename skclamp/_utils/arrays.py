"""Checks of arrays: logits, probabilities and their conversion to numpy or torch."""

import math
from contextlib import contextmanager
from decimal import Decimal
from numbers import Real

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn import get_config

# float32's largest number: whatever a network yields. From there on float64's squares and quotients stay finite.
LARGEST_LOGIT = torch.finfo(torch.float32).max
# Rows of probabilities of many classes, two decimals each, are off by so much.
MOST_BY_ROUNDING = 0.3


def to_numpy(values, name="an array"):
    """An array of what the user gave, in this machine's byte order; tensors on any device included."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16, nor what is narrower.
        foreign = values.is_floating_point() and values.dtype not in (torch.float16, torch.float32, torch.float64)
        return (values.float() if foreign else values).numpy()
    if isinstance(values, np.ma.MaskedArray) and (n_masked := np.ma.count_masked(values)):
        raise ValueError(
            f"{name} must have no masked entries, which would count; got {n_masked}: leave these samples out or, where "
            "labels at places are masked, give .filled(-100)"
        )
    try:
        array = np.asarray(values)
    except ValueError as error:
        rows = values if isinstance(values, (list, tuple, np.ndarray)) else ()
        shapes = {tuple(getattr(row, "shape", (len(row),) if isinstance(row, (list, tuple)) else ())) for row in rows}
        got = f"; got rows of shapes {shown_shapes(shapes)}" if len(shapes) > 1 else f": {error}"
        raise ValueError(f"{name} must hold numbers or names in equal rows{got}") from error
    # HDF5 and FITS keep big-endian numbers, which torch doesn't take.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_given(values, X):
    """Return an array, or with scikit-learn's array API dispatch, where X is a tensor, a tensor on its device."""
    if not isinstance(X, torch.Tensor) or not get_config()["array_api_dispatch"] or values.dtype.kind not in "biuf":
        return values
    # Apple's GPUs have no float64.
    narrow = X.device.type == "mps" and values.dtype == np.float64
    return torch.from_numpy(values).to(X.device, torch.float32 if narrow else None)


def as_numbers(array):
    """An array of objects, such as a nullable frame is, as one of numbers, with NaN for what is missing.

    One that holds anything else stays as it is, and so do others.
    """
    if array.dtype.kind != "O":
        return array
    values = [math.nan if is_missing(value) else value for value in array.ravel().tolist()]
    if not all(isinstance(value, (Real, Decimal, np.bool_)) for value in values):
        return array
    numbers = np.array(values).reshape(array.shape)
    return numbers.astype(float) if numbers.dtype.kind == "O" else numbers


def is_missing(value):
    """Return whether it is None, NaN or pandas' NA."""
    try:
        return value is None or bool(value != value)
    except (RuntimeError, ValueError):
        # Of arrays and tensors.
        return False
    except TypeError:
        # pandas' NA is neither equal to itself nor not.
        return True


def n_axes(values, name):
    """Return the number of axes of an array, a tensor or lists."""
    return values.ndim if hasattr(values, "ndim") else to_numpy(values, name).ndim


def shown_shapes(shapes):
    """Some of several shapes, as in a message."""
    return ", ".join(map(str, sorted(shapes)[:5])) + (", ..." if len(shapes) > 5 else "")


def check_finite(values, name, first_row=0):
    """Raise unless every entry of a floating-point tensor is finite; `first_row` is the number of its first row."""
    # One sum tells nearly always; only when it overflows or meets NaN is a second, exact look needed.
    if torch.isfinite(values.sum()) or torch.isfinite(values).all():
        return
    contains = f"Input {name} contains" if name.isidentifier() else "it contains"
    place = (~torch.isfinite(values)).nonzero()[0].tolist()
    row, *others = place
    row += first_row
    where = f"sample {row}, at {others}" if len(others) > 1 else ", column ".join(map(str, [f"row {row}", *others]))
    raise ValueError(f"{name} must be finite: {contains} NaN or infinity; got {values[tuple(place)].item()} in {where}")


def check_logit_range(logits, name):
    """Raise unless logits are finite or -inf, and small enough to be computed with; one pass over them.

    A logit of -inf says that a sample doesn't have the class; each has one at least.
    """
    low, high = logits.aminmax()
    if max(-low, high) <= LARGEST_LOGIT:
        return
    absent = logits == -math.inf
    if logits.ndim == 2 and logits.shape[1] > 1 and (empty := absent.all(1)).any():
        raise ValueError(
            f"{name} must hold a finite logit in each row, -inf standing for classes that a sample doesn't have; got "
            f"-inf alone in row {int(empty.nonzero()[0])}"
        )
    finite = logits.masked_fill(absent, 0)
    check_finite(finite, name)
    if finite.abs().max() > LARGEST_LOGIT:
        raise ValueError(
            f"{name} must hold logits of at most {LARGEST_LOGIT:.2g} in magnitude, float32's largest number; got "
            f"values from {finite.min():.6g} to {finite.max():.6g}"
        )


def absent_among(logits):
    """Which logits are -inf, as those of classes that a sample doesn't have; None where all are finite.

    Where torch exports, or a look would hold up a GPU, it is not looked whether there are any.
    """
    # One sum tells nearly always.
    if not is_exporting() and logits.device.type == "cpu" and torch.isfinite(logits.sum()):
        return None
    return logits == -math.inf


def drawn_rows(n_rows, most):
    """Positions of so many of some rows, drawn the same way each time; of all where these are no more."""
    if n_rows <= most:
        return torch.arange(n_rows)
    return torch.from_numpy(np.random.default_rng(0).choice(n_rows, most, replace=False, shuffle=False))


def counted_rows(weight, most):
    """Positions of rows with weight or, of many, of so many of them, drawn the same way each time."""
    counted = weight.cpu().nonzero()[:, 0]
    return counted[drawn_rows(len(counted), most)]


def is_exporting():
    """Return whether torch records what happens to tensors, and can't be asked for their values."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def without(logits, absent):
    """Logits with 0 for absent ones; as they are where there are none."""
    return logits if absent is None else logits.masked_fill(absent, 0.0)


def absent_again(logits, absent):
    """Logits with -inf for absent ones; as they are where there are none."""
    return logits if absent is None else logits.masked_fill(absent, -math.inf)


def check_scores(X, name="X"):
    """Logits or probabilities given as an array: a floating-point tensor of shape (n, K), (n,) or (n, K, *places)."""
    values = tensor_of(X, name)
    values = values if values.is_floating_point() else values.double()
    if values.ndim > 2:
        values = as_rows(values)
    if not values.ndim:
        raise ValueError(
            f"{name} must hold one row of logits or probabilities per sample, shape (n_samples, n_classes), when no "
            f"estimator is given; got shape {tuple(values.shape)}. If {name} are a network's inputs, give the network "
            "as estimator"
        )
    if values.numel() == 0:
        raise ValueError(f"{name} must not be empty; got shape {tuple(values.shape)}")
    check_logit_range(values, name)
    return values


def as_rows(scores):
    """Scores of shape (n, K, 1, 1), as 1 x 1 convolutions and pooling leave them, as (n, K); others as they are."""
    return scores.flatten(1) if all(size == 1 for size in scores.shape[2:]) else scores


def tensor_of(values, name):
    """A tensor of a real-valued array or tensor, sharing its memory; TypeError if it isn't real-valued."""
    if issparse(values):
        raise TypeError(f"{name} must be dense; got a sparse {type(values).__name__}: pass {name}.toarray()")
    if isinstance(values, torch.Tensor):
        if values.layout != torch.strided:
            raise TypeError(f"{name} must be dense; got a sparse tensor of {values.layout}: pass {name}.to_dense()")
        if values.is_complex():
            raise TypeError(f"{name} must be numeric and real: Complex data not supported; got {values.dtype}")
        return values.detach()
    array = as_numbers(to_numpy(values, name))
    if array.dtype.kind not in "biuf":
        found = _text_in(array, values, "leave the column out, or give numbers in its place")
        if name == "X" and not found and array.size and isinstance(array.flat[0], str):
            found = ": tokenise texts first"
        raise TypeError(f"{name} must be numeric and real; got dtype {array.dtype}{found}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(float)
    return tensor_over(np.asarray(array, order="C"))


def _text_in(array, given, mend):
    """Words on the first thing in a table that is no number, its column and the mend; none where all are numbers.

    `given` is what the array was made of, such as a frame.
    """
    columns = list(getattr(given, "columns", ()))
    for place, entry in np.ndenumerate(array):
        if len(place) > 1 and not (is_missing(entry) or isinstance(entry, (Real, Decimal, np.bool_))):
            column = columns[place[1]] if columns else place[1]
            shown = repr(entry[:20] if isinstance(entry, str) else entry)
            return f", such as {shown} in column {column!r}: {mend}"
    return ""


@contextmanager
def naming_text(X, classifier):
    """Name the column of a table that holds text, where a classifier fails to make numbers of it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        table = np.asarray(X, dtype=object) if "could not" in str(error) else ()
        found = _text_in(table, X, "have a ColumnTransformer encode or drop it, in a Pipeline before the classifier")
        if not found:
            raise
        raise type(error)(f"X must hold numbers for {type(classifier).__name__}; got others{found}") from error


def at_least_single(tensor):
    """Return the tensor's dtype, or float32 where that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def at_labels(values, y):
    """Return what each row of a tensor (n, K) has in the column of its label."""
    return values.gather(1, y[:, None])[:, 0]


def rows_of_places(scores):
    """Rows (N, K) of an array or tensor (n, K, *places), one for each place of a sample after the other."""
    return scores.reshape(*scores.shape[:2], -1).swapaxes(1, 2).reshape(-1, scores.shape[1])


def row_sum_tolerance(dtype):
    """Largest difference of a row's sum from 1; float32 and float64 rows may have been half precision once."""
    return max(1e-3, 4 * torch.finfo(dtype).eps)


def check_unit_interval(probabilities, name, tolerance=1e-6, below=1e-6):
    """Raise unless the entries of a tensor lie between 0 and 1, rounding errors aside, such as those of 1 - p."""
    low = probabilities.min().item()
    high = probabilities.max().item()
    if low < -below or high > 1 + tolerance:
        mend = f"; of percentages give {name} / 100" if low >= 0 and 2 < high <= 101 else ""
        if mend and (probabilities == probabilities.round()).all():
            mend = f"{mend}; predicted labels are no probabilities"
        if low < 0:
            of_metric = "log-probabilities give their exp" if high <= 0 else "logits give their softmax"
            mend = "; of logits leave response out" if name == "X" else f"; of {of_metric}"
        raise ValueError(
            f"{name} must hold probabilities between 0 and 1; got values from {low:.6g} to {high:.6g}{mend}"
        )


def are_distributions(rows, tolerance):
    """Whether each row of a tensor, or of an array, is a distribution.

    Two reads: NaN and infinity show in the sums, and with no negative entry the sums bound the entries.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(rows.min() >= 0 and abs(rows.sum(1) - 1).max() <= tolerance)


def check_probability_rows(probabilities, name, tolerance, below=1e-6):
    """Raise unless every row of a tensor of shape (n, K) is a distribution, to a tolerance."""
    wide = probabilities.to(at_least_single(probabilities))
    if are_distributions(wide, tolerance):
        return
    check_finite(probabilities, name)
    check_unit_interval(probabilities, name, tolerance, below)
    total = wide.sum(1)
    off = (total - 1).abs()
    worst = int(off.argmax())
    if off[worst] > tolerance:
        mend = "of labels that don't exclude each other, y must hold 0 or 1 for each"
        if off[worst] < MOST_BY_ROUNDING:
            mend = f"of rounded ones give {name} / {name}.sum(1, keepdims=True)"
        raise ValueError(
            f"{name} must hold probabilities: each row must sum to 1; row {worst} sums to {total[worst]:.6g}; {mend}"
        )


def as_probability_matrix(y_proba):
    """Probabilities as a tensor of shape (n, K >= 2), its values not yet looked at.

    One dimension, or one column, holds the probabilities of the second of two classes. Of shape (n, K, *places) each
    place of a sample is a row.
    """
    given = tensor_of(y_proba, "y_proba")
    proba = given if given.is_floating_point() else given.double()
    if proba.ndim == 0 or 0 in proba.shape:
        raise ValueError(
            "y_proba must have shape (n_samples, n_classes), or (n_samples,) for two classes, and not be empty; "
            f"got shape {tuple(proba.shape)}"
        )
    if proba.ndim > 1 and proba.shape[1] > 1:
        return proba if proba.ndim == 2 else rows_of_places(proba)
    second = proba.ravel()
    check_unit_interval(second, "y_proba")
    return torch.stack([1 - second, second], 1)


class _Writable:
    """An array's memory, said to be writable."""

    def __init__(self, array):
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self.array = array


def tensor_over(array):
    """A tensor that shares an array's memory, which mustn't be written to where the array can't be.

    Of read-only arrays (memory maps, broadcast views) torch warns, and to silence a warning would do so in all threads.
    Negative strides, which an axis of one entry may have in what is contiguous, it doesn't take.
    """
    if min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))
