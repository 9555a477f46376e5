"""Columns beside logits: found in X or in a table of their own, and learned as categories or numbers."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from torch.utils.data import DataLoader, Dataset, Subset

from .._backbones.inputs import Arrays, LoadedDataset, dataset_behind
from .._utils.arrays import as_numbers, is_missing, to_numpy
from .._utils.encoding import register
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning

# Of fewer samples a column may be the label, or new, by chance.
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

    def coded(self, values):
        """Return numbers of categories, -1 of one that wasn't seen; or the numbers themselves, NaN where missing."""
        if self.levels is None:
            return _numbers(values, self.name)
        numbers = {level: number for number, level in enumerate(self.levels)}
        found = _categories(values)
        codes = np.array([numbers.get(level, -1) for level in found], dtype=float)
        if (codes < 0).all():
            self._check_kinds(found)
            if len(codes) >= _MANY:
                note(
                    f"covariate {self.name!r} has no category that fit has seen, among {len(codes):,} samples, such as "
                    f"{found[0]!r} for {self.levels[0]!r}: they share one map",
                    CalibrationSetWarning,
                )
        return codes

    def _check_kinds(self, found):
        """Raise where categories, none of which was seen, are of other types than those of the fit."""
        expected, given = _kinds(self.levels), _kinds(found)
        if given and expected.keys().isdisjoint(given):
            raise TypeError(
                f"covariate {self.name!r} must hold categories of a type of fit, {_shown(expected)}; got "
                f"{_shown(given)}"
            )


def split(X, covariates, estimator, owner):
    """Return what the estimator takes of X, and what it holds of each of the covariates by name."""
    if isinstance(X, (DataLoader, LoadedDataset)):
        raise TypeError(
            f"X must be a dict, a table or a Dataset where {owner} takes covariates from it; got a DataLoader: give "
            "its Dataset, whose items are dicts, or the arrays in a dict"
        )
    if isinstance(X, Mapping):
        return _split_entries(X, covariates)
    X = dataset_behind(X)
    if isinstance(X, Arrays):
        rest, found = _split_entries(X.tensors, covariates)
        return Arrays(rest, X.labels), found
    return _split_dataset(X, covariates) if isinstance(X, Dataset) else _split_table(X, covariates, estimator)


def _split_entries(entries, covariates):
    names = chosen(covariates, entries, entries)
    rest = {name: values for name, values in entries.items() if name not in names}
    return rest, {name: entries[name] for name in names}


def _split_table(X, covariates, estimator):
    is_frame = hasattr(X, "columns")
    if not is_frame and not isinstance(X, torch.Tensor):
        # Text would make text of the numbers beside it.
        X = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)
    if len(X.shape) != 2:
        raise ValueError(
            f"X must have columns where covariates are among them; got shape {tuple(X.shape)}. Give fit covariates="
        )
    columns = _by_name(X)
    names = chosen(covariates, X, columns)
    is_classifier = isinstance(estimator, BaseEstimator) and not isinstance(estimator, NeuralNet)
    rest = [name for name in columns if name not in names]
    taken = _as_trained(estimator, list(columns), rest) if is_classifier else rest
    found = {name: columns[name] for name in names}
    if taken == list(columns):
        return X, found
    X = X[taken] if is_frame else X[:, taken]
    # A network takes arrays, and logits are one.
    return X if is_classifier else as_numbers(to_numpy(X)), found


def _as_trained(classifier, columns, rest):
    """Return the columns that a classifier takes: a fitted one those that it was trained with."""
    names = getattr(classifier, "feature_names_in_", None)
    if names is not None and set(names) <= set(columns):
        return list(names)
    return rest if getattr(classifier, "n_features_in_", len(columns)) == len(rest) else columns


def _by_name(table):
    """Columns of a frame by name, of an array by number."""
    if not hasattr(table, "columns"):
        return {number: table[:, number] for number in range(table.shape[1])}
    names = list(table.columns)
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise ValueError(f"X and covariates must have columns of different names; got {twice[0]!r} twice")
    return {name: table[name] for name in names}


def columns_of(table, names=None):
    """Return the columns of a table as arrays by name; those of one without names have `names`, or numbers."""
    if table is None:
        return {}
    if isinstance(table, Mapping):
        found = table
    elif hasattr(table, "columns"):
        found = _by_name(table)
    elif hasattr(table, "to_numpy") and table.name is not None:
        found = {table.name: table}
    else:
        found = _named(table, names)
    return {name: _column(values, name) for name, values in found.items()}


def _named(table, names):
    """Columns of a table without names, by names in their order or by numbers."""
    values = [table] if np.ndim(table) == 1 else to_numpy(table, "covariates")
    if np.ndim(table) > 2 or not np.ndim(table):
        raise ValueError(f"covariates must be a table of shape (n_samples, n_columns); got shape {np.shape(table)}")
    columns = values if isinstance(values, list) else list(values.T)
    if names is not None and len(names) != len(columns):
        raise ValueError(
            f"covariates must be those of fit, of which a table without names has {len(names)} columns, {names}; got "
            f"{len(columns)}"
        )
    return dict(zip(names or range(len(columns)), columns, strict=True))


def check_lengths(columns, n_samples):
    """Raise unless each column has an entry for each sample."""
    for name, values in columns.items():
        if len(values) != n_samples:
            raise ValueError(
                f"covariates must have one entry for each of {n_samples} samples; got {len(values)} in {name!r}"
            )


def learned_columns(columns, y, weight, categorical):
    """Return the `Column` of each that isn't constant, as the samples that count have it."""
    counted = weight > 0
    named = None if isinstance(categorical, str) else _names_in(categorical, columns, "categorical")
    found = []
    for name, values in columns.items():
        kept = values[counted]
        _check_no_label(kept, y[counted], name)
        is_category = values.dtype.kind not in "iuf" if named is None else name in named
        if not is_category:
            found.append(_numerical(name, kept, weight[counted]))
            continue
        # In an order that isn't that of the samples.
        levels = sorted(set(_categories(kept)), key=lambda level: (level is None, str(type(level)), level))
        found.append(Column(name, levels) if len(levels) > 1 else None)
    return [column for column in found if column is not None]


def _numerical(name, values, weight):
    numbers = _numbers(values, name)
    known = ~np.isnan(numbers)
    numbers, weight = numbers[known], weight[known]
    varies = len(numbers) > 0 and np.ptp(numbers) > 0
    if not varies and (known.all() or not known.any()):
        return None
    mean = np.average(numbers, weights=weight)
    # Of one number all that it tells is whether it is there.
    scale = np.average((numbers - mean) ** 2, weights=weight) ** 0.5 if varies else 1.0
    return Column(name, None, float(mean), float(scale), not known.all())


def encoded(learned, columns, n_samples):
    """Return what is learned of as numbers (n_samples, n_columns), see `Column.coded`; several labels aside."""
    coded = [column.coded(columns[column.name]) for column in learned if column.name is not None]
    return np.column_stack([np.empty((n_samples, 0)), *coded])


def _split_dataset(dataset, covariates):
    if not hasattr(dataset, "__len__"):
        raise TypeError(f"X must be a Dataset with a length where covariates are among its items; got {type(dataset)}")
    if not len(dataset):
        raise ValueError("X must have samples; got a Dataset of none")
    entries = _entries(dataset[0])
    names = chosen(covariates, entries, entries)
    items = dataset
    if isinstance(dataset, Subset) and hasattr(dataset.dataset, "select_columns"):
        # Hugging Face's needn't decode the others.
        items = Subset(dataset.dataset.select_columns(names), dataset.indices)
    found: dict = {name: [] for name in names}
    for number in range(len(items)):
        entries = _entries(items[number])
        for name in names:
            value = entries[name]
            found[name].append(value.item() if hasattr(value, "item") else value)
    return _Without(dataset, names), {name: np.array(values, dtype=object) for name, values in found.items()}


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


def chosen(covariates, X, columns):
    """Return the names of the covariates among columns."""
    if callable(covariates):
        covariates = covariates(X)
    names = _names_in(covariates, columns, "covariates")
    if len(set(names)) < len(names):
        raise ValueError(f"covariates must name each column once; got {names}")
    return names


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


def _column(values, name):
    """One column as an array: numbers as such, NaN where they are missing; anything else as objects."""
    # pandas knows of a dtype of its own whether it holds numbers, polars by its name.
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "_is_numeric", False) and not getattr(dtype, "_is_boolean", False):
        array = values.to_numpy(dtype=float, na_value=np.nan)
    else:
        array = to_numpy(values, f"covariate {name!r}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"covariate {name!r} must have one value a sample; got shape {array.shape}")
    entries = array.tolist()
    first = next((value for value in entries if not is_missing(value)), None)
    if array.dtype.kind in "mM" or hasattr(first, "isoformat") or hasattr(first, "total_seconds"):
        raise TypeError(
            f"covariate {name!r} must hold categories or numbers; got datetimes: give what matters of them, such as "
            "the hour or the days since a date"
        )
    if isinstance(first, (tuple, list, dict, set, np.void)):
        raise TypeError(
            f"covariate {name!r} must hold categories or numbers, one a sample; got a {type(first).__name__}. Give "
            "several as columns of a table, or as entries of a dict"
        )
    if str(dtype).lower().startswith(("category", "categorical", "enum")):
        return array.astype(object)
    # Of objects that are all numbers, but for bools.
    return array if any(isinstance(value, (bool, np.bool_)) for value in entries) else as_numbers(array)


def _categories(values):
    """Return a hashable name for each entry: that of equal ones is the same whatever the column's type."""
    return [_category(value) for value in values.tolist()]


def _category(value):
    if is_missing(value):
        return None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (str, bytes, Real)) else str(value)


def _kinds(levels):
    """Types of categories, as a user knows them, and one of each."""
    found: dict = {}
    for level in levels:
        is_number = isinstance(level, Real) and not isinstance(level, bool)
        if level is not None:
            found.setdefault("number" if is_number else type(level).__name__, level)
    return found


def _shown(kinds):
    return " or ".join(f"{kind}, such as {level!r}" for kind, level in kinds.items())


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
