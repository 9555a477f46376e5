"""A network's inputs as batches: arrays, dicts of arrays, Datasets and streams alike."""

from collections.abc import Mapping
from numbers import Number

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from .._utils.arrays import check_finite, tensor_of, to_numpy
from .datasets import NamedArrays, fetch, is_stream, without_labels


def open_inputs(X, *, num_workers=0, pin_memory=False):
    """Wrap what `dataset_behind` returns as ArrayInputs, DatasetInputs or StreamInputs.

    Arrays have any rank from two on, first axis the samples. A Dataset holds inputs or (input, label) pairs, inputs
    being arrays or dicts of arrays.
    """
    loading = {"num_workers": num_workers, "pin_memory": pin_memory}
    if isinstance(X, NamedArrays):
        return ArrayInputs(X.tensors, X.labels)
    if not isinstance(X, Dataset):
        return ArrayInputs(_array(X))
    return StreamInputs(X, **loading) if is_stream(X) else DatasetInputs(X, **loading)


def _array(X):
    values = tensor_of(X, "X")
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

    `rows` are the samples that count, in this order; None is all of them.
    """

    def __init__(self, values, labels=None, rows=None):
        self.values, self.labels, self.rows = values, labels, rows

    def __len__(self):
        return len(next(_entries(self.values)) if self.rows is None else self.rows)

    def take(self, indices):
        """The samples at these positions, as a view: folds of a memory map mustn't fill the memory."""
        return ArrayInputs(self.values, self.labels, self._rows(torch.as_tensor(indices)))

    def at(self, positions):
        """Inputs and labels or None at some positions, a tensor or a slice; copied where they aren't neighbours."""
        rows = self._rows(positions)
        labels = None if self.labels is None else self.labels[rows]
        return _apply(lambda tensor: tensor[rows], self.values), labels

    def _rows(self, positions):
        return positions if self.rows is None else self.rows[positions]

    def batches(self, batch_size):
        """Yield (inputs, labels or None) in order, each batch checked to be finite."""
        for start in range(0, len(self), batch_size):
            inputs, labels = self.at(slice(start, start + batch_size))
            yield _finite(inputs), labels

    def training_set(self, *targets):
        """A Dataset of (input, targets) that torch's DataLoader reads a batch at a time (with `collate`)."""
        return _BatchedDataset(self, *targets)

    @staticmethod
    def collate(batch):
        """What `training_set` fetched: a batch already."""
        return batch


class _LoadedInputs:
    """Samples of a Dataset, read again each time by a DataLoader, which takes the options `loading`."""

    def __init__(self, dataset, **loading):
        self.dataset = dataset
        self.loading = loading

    def batches(self, batch_size):
        """Yield (inputs, labels or None) in order, each batch checked to be finite, all of inputs of one size."""
        # A generator of its own keeps the loader from drawing from torch's global state.
        options = {"batch_size": batch_size, "generator": torch.Generator(), "collate_fn": _collate, **self.loading}
        sizes = None
        for inputs, labels in DataLoader(self.dataset, **options):
            sizes = _sizes(inputs) if sizes is None else sizes
            _check_sizes([sizes, _sizes(inputs)])
            yield _finite(inputs), labels


class StreamInputs(_LoadedInputs):
    """Samples of a Dataset that can only be gone through, of unknown number."""

    def __init__(self, dataset, *, num_workers=0, pin_memory=False):
        # Several workers would each go through the stream, or change the order of one that they share.
        super().__init__(dataset, num_workers=min(1, num_workers), pin_memory=pin_memory)


class DatasetInputs(_LoadedInputs):
    """Samples of a map-style Dataset."""

    def __init__(self, dataset, *, num_workers=0, pin_memory=False):
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                f"X must be a Dataset with a length, or an IterableDataset; got {type(dataset).__name__}, which has "
                "neither length nor order"
            )
        if len(dataset) == 0:
            raise ValueError("X must not be empty; got a Dataset of length 0")
        super().__init__(dataset, num_workers=num_workers, pin_memory=pin_memory)

    def __len__(self):
        return len(self.dataset)

    def take(self, indices):
        """The samples at these positions, as a view of the Dataset."""
        return DatasetInputs(Subset(self.dataset, [int(i) for i in indices]), **self.loading)

    def training_set(self, *targets):
        """A Dataset of (input, targets)."""
        return _PairedDataset(self.dataset, *targets)

    @staticmethod
    def collate(items):
        """A batch of (inputs, targets) from what `training_set` fetched."""
        inputs, targets = zip(*items, strict=True)
        return _stacked(inputs), default_collate(list(targets))


def _collate(items):
    """A batch of (inputs, labels or None) from items of a Dataset; runs in the workers."""
    inputs, labels = zip(*map(_split, items), strict=True)
    return _stacked(inputs), None if labels[0] is None else default_collate(list(labels))


def _split(item):
    """Inputs, as a tensor or a dict of tensors, and the label or None, of an item of a Dataset."""
    inputs, label = (*item, None)[:2] if isinstance(item, (tuple, list)) else (item, None)
    if not isinstance(inputs, Mapping):
        return _tensor(inputs, "X"), _native(label)
    entries, own_label = without_labels(inputs)
    tensors = {name: _tensor(value, _called(name), lists=True) for name, value in entries.items()}
    return tensors, _native(own_label if label is None else label)


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
    """The transform that a Dataset of pictures lacks."""
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
        _check_sizes([_sizes(item, axis=0) for item in inputs])
        raise


def _sizes(inputs, axis=1):
    """Shape of an input, of each entry; `axis` is its first one."""
    named = inputs if isinstance(inputs, dict) else {None: inputs}
    return {name: tuple(tensor.shape[axis:]) for name, tensor in named.items()}


def _check_sizes(sizes):
    for name in sizes[0]:
        found = sorted({size[name] for size in sizes})
        if len(found) > 1:
            raise ValueError(
                f"{_called(name)} must hold inputs of one size; got inputs of shapes {', '.join(map(str, found[:5]))}"
                f"{', ...' if len(found) > 5 else ''}. Resize, crop or pad them"
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


def _finite(batch):
    for tensor in _entries(batch):
        # Nearly always the sum tells; where it overflows or meets NaN, what looks closer says which.
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()):
            check_finite(tensor, "X")
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
    """Inputs of a Dataset with targets of our own in place of its labels."""

    def __init__(self, dataset, *targets):
        self.dataset, self.targets = dataset, targets

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, indices):
        # A number of no sample's stands for none, whose targets weigh nothing.
        inputs = [_split(item)[0] for item in fetch(self.dataset, [max(i, 0) for i in indices])]
        targets = [tuple(target[i] for target in self.targets) for i in indices]
        return list(zip(inputs, targets, strict=True))
