"""Columns beside logits: found in X or in a table of their own, and learned as categories or numbers."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from torch.utils.data import DataLoader, Dataset

from .._backbones.inputs import Arrays
from .._utils.arrays import as_numbers, is_missing, to_numpy
from .._utils.encoding import register

# Of fewer samples a column may be the label by chance.
_MANY = 20


@register
class Column(NamedTuple):
    """What a fit has learned of a column.

    Attributes
    ----------
    name : str or int
    levels : list or None
        Its categories, None among them where some are missing; None of a column of numbers.
    mean, scale : float
        Of numbers that aren't missing.
    has_missing : bool
        Whether some numbers were missing, and have a term of their own.
    """

    name: Any
    levels: list | None = None
    mean: float = 0.0
    scale: float = 1.0
    has_missing: bool = False

    @property
    def n_features(self):
        """Number of categories; of a number itself, its square and, where some are missing, that it is."""
        return 2 + self.has_missing if self.levels is None else len(self.levels)

    def coded(self, values):
        """Return numbers of categories, -1 of one that wasn't seen; or the numbers themselves, NaN where missing."""
        if self.levels is None:
            return _numbers(values, self.name)
        numbers = {level: number for number, level in enumerate(self.levels)}
        return np.array([numbers.get(level, -1) for level in _categories(values)], dtype=float)


def split(X, covariates, estimator, owner):
    """Return what the estimator takes of X, and the columns of the covariates by name."""
    if isinstance(X, DataLoader):
        raise TypeError(
            f"X must be a dict, a table or a Dataset where {owner} takes covariates from it; got a DataLoader"
        )
    if hasattr(X, "with_format") and hasattr(X, "column_names"):
        names = _chosen(covariates, X, list(X.column_names))
        return X.remove_columns(names), {name: _column(X[name], name) for name in names}
    if isinstance(X, Arrays):
        # A dict that somebody has read before.
        X = X.tensors
    if isinstance(X, Mapping):
        names = _chosen(covariates, X, list(X))
        return {name: X[name] for name in X if name not in names}, {name: _column(X[name], name) for name in names}
    if isinstance(X, Dataset):
        return _split_dataset(X, covariates)
    if hasattr(X, "columns"):
        columns = list(X.columns)
        _check_unique(columns)
        names = _chosen(covariates, X, columns)
        table = {name: _column(X[name], name) for name in names}
        rest = [name for name in columns if name not in names]
    else:
        if not isinstance(X, torch.Tensor):
            X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(
                f"X must have columns where covariates are among them; got shape {tuple(X.shape)}. Give fit covariates="
            )
        columns = list(range(X.shape[1]))
        names = _chosen(covariates, X, columns)
        table = {name: _column(X[:, name], name) for name in names}
        rest = [name for name in columns if name not in names]
    taken = _as_trained(estimator, columns, rest)
    if taken == columns:
        return X, table
    X = X[taken] if hasattr(X, "columns") else X[:, taken]
    if estimator is None or not _is_classifier(estimator):
        # A network takes arrays, and logits are one.
        X = as_numbers(to_numpy(X))
    return X, table


def _is_classifier(estimator):
    return isinstance(estimator, BaseEstimator) and not isinstance(estimator, NeuralNet)


def _as_trained(estimator, columns, rest):
    """Return the columns that an estimator takes: of a fitted classifier those that it was trained with."""
    if estimator is None or not _is_classifier(estimator):
        return rest
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and set(names) <= set(columns):
        return list(names)
    return rest if getattr(estimator, "n_features_in_", len(columns)) == len(rest) else columns


def columns_of(table):
    """Return the columns of a table that was given beside X, by name."""
    if isinstance(table, Mapping):
        return {name: _column(values, name) for name, values in table.items()}
    if hasattr(table, "columns"):
        names = list(table.columns)
        _check_unique(names)
        return {name: _column(table[name], name) for name in names}
    if hasattr(table, "name") and hasattr(table, "to_numpy"):
        return {table.name if table.name is not None else 0: _column(table, table.name)}
    values = to_numpy(table, "covariates")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"covariates must be a table of shape (n_samples, n_columns); got shape {values.shape}")
    return {number: _column(values[:, number], number) for number in range(values.shape[1])}


def check_lengths(columns, n_samples):
    """Raise unless each column has an entry for each sample."""
    for name, values in columns.items():
        if len(values) != n_samples:
            raise ValueError(
                f"covariates must have one entry for each of {n_samples} samples; got {len(values)} in {name!r}"
            )


def learned_columns(columns, y, counted, categorical):
    """Return the `Column` of each that isn't constant, as the samples that count have it."""
    named = None if isinstance(categorical, str) else _names_in(categorical, columns, "categorical")
    found = []
    for name, values in columns.items():
        kept = values[counted]
        is_category = _is_categorical(values) if named is None else name in named
        _check_no_label(kept, y[counted], name)
        if is_category:
            levels = list(dict.fromkeys(_categories(kept)))
            # In an order that isn't that of the samples.
            levels.sort(key=lambda level: (level is None, str(type(level)), level if level is not None else 0))
            if len(levels) > 1:
                found.append(Column(name, levels))
            continue
        numbers = _numbers(kept, name)
        missing = np.isnan(numbers)
        there = numbers[~missing]
        if len(there) and np.ptp(there) > 0:
            found.append(Column(name, None, float(there.mean()), float(there.std()), bool(missing.any())))
        elif len(there) and missing.any():
            # Of one number all that it tells is whether it is there.
            found.append(Column(name, None, float(there[0]), 1.0, True))
    return found


def _split_dataset(dataset, covariates):
    if not hasattr(dataset, "__len__"):
        raise TypeError(f"X must be a Dataset with a length where covariates are among its items; got {type(dataset)}")
    names = None
    found: dict = {}
    for number in range(len(dataset)):
        entries = _entries(dataset[number])
        if names is None:
            names = _chosen(covariates, entries, list(entries))
            found = {name: [] for name in names}
        for name in names:
            value = entries[name]
            found[name].append(value.item() if hasattr(value, "item") else value)
    return _Without(dataset, names), {name: _column(np.array(values), name) for name, values in found.items()}


def _entries(item):
    entries = item[0] if isinstance(item, tuple) else item
    if not isinstance(entries, Mapping):
        raise TypeError(
            "X must be a Dataset whose items are dicts, or pairs of a dict and a label, where covariates are among "
            f"their entries; got {type(entries).__name__}"
        )
    return entries


class _Without(Dataset):
    """A Dataset of dicts, or of pairs of a dict and a label, without some entries."""

    def __init__(self, dataset, names):
        self.dataset = dataset
        self.names = names

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        item = self.dataset[index]
        entries = {name: value for name, value in _entries(item).items() if name not in self.names}
        return (entries, *item[1:]) if isinstance(item, tuple) else entries


def _chosen(covariates, X, columns):
    """Return the names of the covariates among columns."""
    if callable(covariates):
        covariates = covariates(X)
    chosen = _names_in(covariates, columns, "covariates")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"covariates must name each column once; got {chosen}")
    return chosen


def _names_in(wanted, columns, parameter):
    """Return names of columns, each given by its name or number."""
    columns = list(columns)
    wanted = [wanted] if isinstance(wanted, (str, Integral)) else list(wanted)
    names = []
    for each in wanted:
        if each in columns:
            names.append(each)
        elif isinstance(each, Integral) and -len(columns) <= int(each) < len(columns):
            names.append(columns[int(each)])
        else:
            shown = ", ".join(map(repr, columns[:8])) + ", ..." * (len(columns) > 8)
            raise ValueError(f"{parameter} must be columns of the samples, {shown}; got {each!r}")
    return names


def _check_unique(columns):
    twice = [name for number, name in enumerate(columns) if name in columns[:number]]
    if twice:
        raise ValueError(f"X and covariates must have columns of different names; got {twice[0]!r} twice")


def _column(values, name):
    """One column as an array: numbers as such, NaN where they are missing; anything else as objects."""
    # pandas knows of a dtype of its own whether it holds numbers, polars by its name.
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "_is_numeric", False) and not getattr(dtype, "_is_boolean", False):
        array = values.to_numpy(dtype=float, na_value=np.nan)
    elif isinstance(values, torch.Tensor):
        array = to_numpy(values)
    else:
        array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"covariate {name!r} must have one value a sample; got shape {array.shape}")
    first = next((value for value in array.tolist() if not is_missing(value)), None) if array.dtype.hasobject else None
    if array.dtype.kind in "mM" or hasattr(first, "isoformat") or hasattr(first, "total_seconds"):
        raise TypeError(
            f"covariate {name!r} must hold categories or numbers; got datetimes: give what matters of them, such as "
            "the hour or the days since a date"
        )
    is_categorical = str(dtype).lower().startswith(("category", "categorical", "enum"))
    return array.astype(object) if is_categorical else as_numbers_not_bool(array)


def as_numbers_not_bool(array):
    """Return an array of objects that are all numbers as one of numbers; any other as it is."""
    if array.dtype.kind != "O" or any(isinstance(value, (bool, np.bool_)) for value in array.tolist()):
        return array
    return as_numbers(array)


def _is_categorical(values):
    return values.dtype.kind not in "iuf"


def _categories(values):
    """Return a hashable name for each entry: that of equal ones is the same whatever the column's type."""
    found = values.tolist()
    for level in dict.fromkeys(type(value) for value in found):
        if not issubclass(level, (str, bytes, bool, Real, type(None))) and not is_missing(level):
            found = [None if is_missing(value) else value if isinstance(value, Real) else str(value) for value in found]
            break
    return [None if is_missing(value) else _whole(value) for value in found]


def _whole(value):
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _numbers(values, name):
    numbers = as_numbers(values)
    if numbers.dtype.kind not in "biuf":
        raise TypeError(f"covariate {name!r} must hold numbers, as in fit; got dtype {values.dtype}")
    numbers = numbers.astype(float)
    if np.isinf(numbers).any():
        raise ValueError(f"covariate {name!r} must be finite, or NaN where it is missing; got infinity")
    return numbers


def _check_no_label(values, y, name):
    """Raise for a column that tells the label."""
    if y.ndim > 1 or len(y) < _MANY:
        return
    names = np.unique(np.array([str(value) for value in values.tolist()]), return_inverse=True)[1]
    n_labels = len(np.unique(y))
    if names.max() + 1 == n_labels > 1 and len(np.unique(names * (y.max() + 1) + y)) == n_labels:
        raise ValueError(f"covariates must be known before the label is; got {name!r}, which tells it")
