"""A network's inputs as batches: arrays, dicts of arrays, Datasets and streams alike."""

import copy
import warnings
from collections.abc import Mapping
from functools import partial
from numbers import Number
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from .._utils.arrays import check_finite, shown_shapes, tensor_of, to_numpy
from .datasets import BY_COLLATING, LoadedDataset, NamedArrays, check_no_items, fetch, is_stream, without_labels


def open_inputs(X, *, batch_size=64, may_pin=False, of_one_size=False):
    """Wrap what `dataset_behind` returns as ArrayInputs, DatasetInputs or StreamInputs.

    Arrays have any rank from two on, first axis the samples. A Dataset holds inputs or (input, label) pairs, inputs
    being arrays or dicts of arrays. A DataLoader's settings win over `batch_size`; its memory is pinned only where it
    `may_pin`. Batches that its own collate_fn makes may differ in size, unless all must be `of_one_size`.
    """
    loading = {"batch_size": batch_size}
    if isinstance(X, LoadedDataset):
        loading, X = X.loading, X.dataset
        loading = {**loading, "pin_memory": loading["pin_memory"] and may_pin}
    if isinstance(X, NamedArrays):
        return ArrayInputs(X.tensors, X.labels, batch_size=loading["batch_size"])
    if not isinstance(X, Dataset):
        check_no_items(X)
        return ArrayInputs(_array(X), batch_size=batch_size)
    return (StreamInputs if is_stream(X) else DatasetInputs)(X, of_one_size=of_one_size, **loading)


def _array(X):
    try:
        values = tensor_of(X, "X")
    except ValueError as error:
        raise ValueError(f"{error}. Resize, crop or pad them, {BY_COLLATING}") from error
    if values.ndim < 2:
        raise ValueError(
            "X must have samples along its first axis and at least one axis more: Reshape your data; got a "
            f"{values.ndim}-dimensional array for a network. A single sample is X[None]"
        )
    if values.numel() == 0:
        raise ValueError(f"X must not be empty: Found array with 0 sample(s); got shape {tuple(values.shape)}")
    return values


class ArrayInputs:
    """Samples along the first axis of one tensor, or of several by name, which stay where they are and as they are.

    `rows` are the samples that count, in this order; None is all of them. `loading` is what torch's DataLoader is told
    beside the batch size.
    """

    loading: ClassVar[dict] = {}

    def __init__(self, values, labels=None, rows=None, batch_size=64):
        self.values, self.labels, self.rows, self.batch_size = values, labels, rows, batch_size

    def __len__(self):
        return len(next(_entries(self.values)) if self.rows is None else self.rows)

    def take(self, indices):
        """The samples at these positions, as a view: folds of a memory map mustn't fill the memory."""
        return ArrayInputs(self.values, self.labels, self._rows(torch.as_tensor(indices)), self.batch_size)

    def at(self, positions):
        """Inputs and labels or None at some positions, a tensor or a slice; copied where they aren't neighbours."""
        rows = self._rows(positions)
        labels = None if self.labels is None else self.labels[rows]
        return _apply(lambda tensor: tensor[rows], self.values), labels

    def _rows(self, positions):
        return positions if self.rows is None else self.rows[positions]

    def batches(self, batch_size=None):
        """Yield (inputs, labels or None) in order, each batch checked to be finite; None is the inputs' own size."""
        batch_size = batch_size or self.batch_size
        for start in range(0, len(self), batch_size):
            inputs, labels = self.at(slice(start, start + batch_size))
            yield _finite(inputs, start), labels

    def training_set(self, *targets):
        """A Dataset of (input, targets) that torch's DataLoader reads a batch at a time (with `collate`)."""
        return _BatchedDataset(self, *targets)

    @staticmethod
    def collate(batch):
        """What `training_set` fetched: a batch already."""
        return batch


class _LoadedInputs:
    """Samples of a Dataset, read again each time by a DataLoader of ours, which takes the options `loading` beside.

    `collate_fn` is a loader's own; None is ours, whose batches are `of_one_size` always.
    """

    def __init__(self, dataset, *, batch_size=64, collate_fn=None, of_one_size=True, **loading):
        self.dataset, self.batch_size, self.loading = dataset, batch_size, loading
        self._of_one_size, self._sizes = of_one_size or collate_fn is None, None
        self._collate = _collate if collate_fn is None else _OwnCollate(collate_fn)

    def batches(self, batch_size=None):
        """Yield (inputs, labels or None) in order, each batch checked to be finite; None is the inputs' own size."""
        options = {"batch_size": batch_size or self.batch_size, "collate_fn": self._collate, **self.loading}
        with warnings.catch_warnings():
            # That cores are fewer than workers torch has said of the loader of which this is a copy.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            # A generator of its own keeps the loader from drawing from torch's global state.
            loaded = iter(DataLoader(self.dataset, generator=torch.Generator(), **options))
        n_before = 0
        for inputs, labels in loaded:
            if self._of_one_size:
                self._sizes = self._sizes or _sizes(inputs)
                own = isinstance(self._collate, _OwnCollate)
                _check_sizes([self._sizes, _sizes(inputs)], "in the collate_fn to one size" if own else BY_COLLATING)
            yield _finite(inputs, n_before), labels
            n_before += len(next(_entries(inputs)))


class StreamInputs(_LoadedInputs):
    """Samples of a Dataset that can only be gone through, of unknown number."""

    def __init__(self, dataset, *, num_workers=0, **loading):
        # Several workers would each go through the stream, or change the order of one that they share.
        super().__init__(dataset, num_workers=min(1, num_workers), **loading)


class DatasetInputs(_LoadedInputs):
    """Samples of a map-style Dataset."""

    def __init__(self, dataset, **loading):
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                f"X must be a Dataset with a length, or an IterableDataset; got {type(dataset).__name__}, which has "
                "neither length nor order"
            )
        if len(dataset) == 0:
            raise ValueError("X must not be empty; got a Dataset of length 0")
        super().__init__(dataset, **loading)

    def __len__(self):
        return len(self.dataset)

    def take(self, indices):
        """The samples at these positions, as a view of the Dataset."""
        taken = copy.copy(self)
        taken.dataset = Subset(self.dataset, [int(i) for i in indices])
        return taken

    def training_set(self, *targets):
        """A Dataset of (item, targets)."""
        return _PairedDataset(self.dataset, *targets)

    @property
    def collate(self):
        """A function that makes a batch of (inputs, targets) of what `training_set` fetched."""
        return partial(_collate_paired, self._collate)


def _collate(items):
    """A batch of (inputs, labels or None) from items of a Dataset; runs in the workers."""
    inputs, labels = zip(*map(_split, items), strict=True)
    return _stacked(inputs), default_collate(list(labels)) if _are_there(labels) else None


def joined_labels(parts):
    """Labels of batches as one array; None where there are none, or what is in their place can't be any."""
    if not _are_there(parts) or isinstance(parts[0], Mapping):
        return None
    return np.concatenate([to_numpy(part) for part in parts])


def _are_there(labels):
    """Whether there are labels; ValueError if some samples have one and others None."""
    n_missing = sum(label is None for label in labels)
    if 0 < n_missing < len(labels):
        raise ValueError(
            "X must be a Dataset that brings a label for each sample, or none at all; got None beside labels. None "
            "stands for a missing label in y alone, of CalibrationMonitor: give the inputs as X, and the labels as y"
        )
    return n_missing < len(labels)


def _collate_paired(collate, pairs):
    """A batch of (inputs, targets) from pairs of an item and targets of our own in place of its label."""
    items, targets = zip(*pairs, strict=True)
    return collate(items)[0], default_collate(list(targets))


class _OwnCollate:
    """A loader's own collate_fn, and a look at the batch that it makes; runs in the workers."""

    def __init__(self, collate_fn):
        self.collate_fn = collate_fn

    def __call__(self, items):
        batch = self.collate_fn(list(items))
        try:
            inputs, labels = _split(batch)
        except TypeError as error:
            raise TypeError(
                "X must be a DataLoader whose collate_fn returns what the network takes, a tensor or a dict of "
                f"tensors, alone or first in a tuple with the labels; got {_kinds(batch)}"
            ) from error
        lengths = {_n_rows(part) for part in (*_entries(inputs), labels)} - {None}
        if lengths != {len(items)}:
            raise ValueError(
                f"X must be a DataLoader whose collate_fn keeps each sample, along the first axis; of {len(items)} it "
                f"made {' and '.join(map(str, sorted(lengths)))}"
            )
        return inputs, labels


def _split(item):
    """Inputs, as a tensor or a dict of tensors, and the label or None, of an item of a Dataset."""
    inputs, label = (*item, None)[:2] if isinstance(item, (tuple, list)) else (item, None)
    if not isinstance(inputs, Mapping):
        return _tensor(inputs, "X"), _native(label)
    entries, own_label = without_labels(inputs)
    tensors = {name: _tensor(value, _called(name), lists=True) for name, value in entries.items()}
    return tensors, _native(own_label if label is None else label)


def _n_rows(values):
    """Length of a tensor or a list along the first axis, 0 without one; None for what is neither."""
    if isinstance(values, (list, tuple)):
        return len(values)
    return (values.shape[0] if values.ndim else 0) if hasattr(values, "ndim") else None


def _kinds(batch):
    """The type of a batch, and those of what a tuple holds."""
    inner = f" of {', '.join(type(part).__name__ for part in batch[:3])}" if isinstance(batch, (list, tuple)) else ""
    return type(batch).__name__ + inner


def _native(label):
    return to_numpy(label) if isinstance(label, np.ndarray) else label


def _tensor(value, name, lists=False):
    if type(value) is torch.Tensor and not value.is_complex():
        return value
    numeric = (torch.Tensor, np.ndarray, np.generic, Number)
    if not isinstance(value, (*numeric, list, tuple) if lists else numeric):
        raise TypeError(
            f"{name} must be a tensor or an array in each item of a Dataset, an item being one input, or a tuple of an "
            f"input and a label; got inputs of type {type(value).__name__}{_remedy(value)}"
        )
    try:
        return tensor_of(value, name)
    except ValueError as error:
        raise ValueError(f"{name} must hold numbers in equal rows: {error}") from error


def _remedy(value):
    """The names that several inputs lack, or the transform that a Dataset of pictures lacks."""
    if isinstance(value, (list, tuple)):
        return ". Several inputs go into a dict, by the names under which the network takes them"
    if not type(value).__module__.startswith("PIL."):
        return ""
    return (
        " of PIL. Have the Dataset apply a transform that makes tensors, such as torchvision.transforms.ToTensor(): "
        "its `transform`, or `with_transform` of a Hugging Face data set"
    )


def _stacked(inputs):
    """Inputs of several samples as one batch."""
    kinds = {tuple(sorted(item)) if isinstance(item, dict) else "no names" for item in inputs}
    if len(kinds) > 1:
        raise TypeError(f"X must be a Dataset whose items have the same entries; got {' and '.join(map(str, kinds))}")
    try:
        return default_collate(list(inputs))
    except RuntimeError:
        # Looked at only where they don't fit: a batch of small inputs is quickly made.
        _check_sizes([_sizes(item, axis=0) for item in inputs], BY_COLLATING)
        raise


def _sizes(inputs, axis=1):
    """Shape of an input, of each entry; `axis` is its first one."""
    named = inputs if isinstance(inputs, dict) else {None: inputs}
    return {name: tuple(tensor.shape[axis:]) for name, tensor in named.items()}


def _check_sizes(sizes, where):
    """Raise unless inputs are of one size; `where` says how they can be made so."""
    for name in sizes[0]:
        shapes = {size[name] for size in sizes}
        if len(shapes) > 1:
            raise ValueError(
                f"{_called(name)} must hold inputs of one size; got inputs of shapes {shown_shapes(shapes)}. Resize, "
                f"crop or pad them, {where}"
            )


def _called(name):
    return "X" if name is None else f"entry {name!r} of X"


def _entries(inputs):
    return iter(inputs.values()) if isinstance(inputs, dict) else iter([inputs])


def _apply(function, inputs):
    """The same of each entry."""
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return function(inputs)


def _finite(batch, first_row):
    """The batch itself, once each entry is seen to be finite; `first_row` is the number of its first sample."""
    for name, tensor in batch.items() if isinstance(batch, dict) else [(None, batch)]:
        if tensor.is_floating_point():
            check_finite(tensor, _called(name), first_row)
    return batch


class _BatchedDataset(Dataset):
    """Rows of tensors, fetched a batch at a time: a Python loop over samples would cost more than a small network."""

    def __init__(self, inputs, *targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitems__(self, indices):
        rows = torch.as_tensor(indices)
        inputs, _ = self.inputs.at(rows)
        return inputs, tuple(target[rows] for target in self.targets)


class _PairedDataset(Dataset):
    """Items of a Dataset with targets of our own in place of their labels."""

    def __init__(self, dataset, *targets):
        self.dataset, self.targets = dataset, targets

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, indices):
        # A number of no sample's stands for none, whose targets weigh nothing.
        items = fetch(self.dataset, [max(i, 0) for i in indices])
        targets = [tuple(target[i] for target in self.targets) for i in indices]
        return list(zip(items, targets, strict=True))
