"""Batches of a network's inputs, of arrays, dicts of arrays, Datasets and streams alike."""

import copy
import math
import warnings
from collections.abc import Mapping
from functools import partial
from numbers import Number
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import gen_batches
from skorch.helper import SliceDataset
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from .._utils.arrays import check_finite, shown_shapes, tensor_of, to_numpy
from .._utils.labels import LABELS
from .rows import record

# Where inputs of several sizes are made alike, batch by batch.
_BY_COLLATING = "or have a DataLoader pad each batch: DataLoader(dataset, collate_fn=...)"
# How a loader's workers read. Persistent ones would change the order of an epoch.
_OF_LOADING = ("num_workers", "pin_memory", "multiprocessing_context", "prefetch_factor", "timeout", "worker_init_fn")
BATCH_SIZE = 64
# Numbers of a batch of "auto" on a CPU, 16 images of 224 x 224 in colour: what one layer makes of more neither stays in
# the caches nor on the heap, whose pages are then mapped anew for each layer.
_MOST_ON_CPU = 2**22
# What messages call one of several inputs.
_ENTRY = "entry {!r} of X"
UNFITTED = "where the classifier isn't fitted"


def dataset_behind(X, *, any_order=False):
    """Return the Dataset that holds samples: a DataLoader's, `Arrays` of a dict, a view of what is none by class.

    A DataLoader's Dataset is read in its own order, as a `LoadedDataset`; an array stays as it is. ``any_order=True``
    says that nothing beside X goes by the order of its samples, so that a DataLoader may shuffle them. One that samples
    a part of its Dataset, or does something of its own, is refused.
    """
    if isinstance(X, DataLoader):
        return LoadedDataset(X, any_order)
    if isinstance(X, torch.Tensor) and X.is_nested:
        raise TypeError("X must hold inputs of one size; got a nested tensor: pass X.to_padded_tensor(0.0)")
    # A sparse matrix of scipy's may be a mapping of places.
    if isinstance(X, Mapping) and not issparse(X):
        return _named_arrays(X)
    if hasattr(X, "with_format") and hasattr(X, "column_names"):
        # Hugging Face's: without a format its items are lists, which take long to convert.
        if not hasattr(X, "format") or X.format["type"] is None:
            X = X.with_format("torch")
    elif not isinstance(X, SliceDataset):
        return X
    return _as_dataset(X)


def _as_dataset(items):
    """A torch Dataset of what has a length and items."""
    return items if isinstance(items, Dataset) else Subset(items, range(len(items)))


def check_items(X, y=None):
    """Raise for a list of a Dataset's items, and for several inputs side by side."""
    if y is None and len(X) == 2 and getattr(X[0], "ndim", 0) > getattr(X[1], "ndim", 0) > 0:
        raise TypeError("X must be samples, and y their labels; got a tuple of 2 as X: give X[0], X[1]")
    first = X[0] if len(X) else None
    pairs = isinstance(first, tuple) and getattr(next(iter(first), None), "ndim", 0) > 0
    if isinstance(X, list) and (pairs or isinstance(first, Mapping)):
        raise TypeError(
            "X must be an array or a Dataset; got a list of items of a Dataset, as scikit-learn's splitters make: pass "
            "skorch's SliceDataset(dataset), and the labels as y"
        )
    if y is not None and len(X) != len(y) and all(getattr(part, "shape", ())[:1] == (len(y),) for part in X):
        raise TypeError(f"X must be one array, or a dict of several by name; got a {type(X).__name__} of {len(X)}")


def check_no_dataset(X, where, name="X"):
    """Raise for a Dataset where only an array will do."""
    if isinstance(X, Dataset):
        if isinstance(X, LoadedDataset):
            X = X.dataset
        kind = "a dict" if isinstance(X, Arrays) else f"the Dataset {type(X).__name__}"
        raise TypeError(f"{name} must be an array {where}; got {kind}")


class LoadedDataset(Dataset):
    """The Dataset of a DataLoader, in its own order, and how the DataLoader reads it.

    `loading` are arguments of torch's DataLoader: its batch size, how it puts batches together unless that is torch's
    own way, and its workers.
    """

    def __init__(self, loader, any_order):
        _check_loader(loader, any_order)
        self.loading = {name: getattr(loader, name) for name in _OF_LOADING}
        self.loading["batch_size"] = loader.batch_sampler.batch_size
        if loader.collate_fn is not default_collate:
            self.loading["collate_fn"] = loader.collate_fn
        # What puts batches together by itself has items as they are, and so has a list.
        as_it_is = "collate_fn" in self.loading or isinstance(loader.dataset, list)
        self.dataset = _as_dataset(loader.dataset if as_it_is else dataset_behind(loader.dataset))


def _check_loader(loader, any_order):
    """Raise unless a DataLoader goes through its Dataset as it is."""
    batches = loader.batch_sampler
    dataset = loader.dataset
    if type(loader) is not DataLoader or type(batches) is not BatchSampler:
        raise TypeError(
            "X must be torch's own DataLoader, with its own batch_sampler; got another. Give its Dataset, with items "
            "as the network takes them"
        )
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return
    sampler: Any = batches.sampler
    in_order = type(sampler) is SequentialSampler
    once = in_order or (any_order and type(sampler) is RandomSampler and not sampler.replacement)
    if not (once and len(sampler) == len(sampler.data_source) == len(dataset)):
        rule = ", in order: pass shuffle=False: y, sample_weight and predictions are in the Dataset's order"
        raise ValueError(
            f"X must be a DataLoader that loads each sample once{'' if any_order else rule}; got one with a "
            f"{type(sampler).__name__}"
        )


class Arrays(Dataset):
    """Samples along the first axis of one tensor, or of several by name, which stay where they are and as they are."""

    def __init__(self, tensors, labels=None):
        self.tensors = tensors
        self.labels = labels

    def __len__(self):
        return len(next(iter(_by_name(self.tensors).values())))

    def __getitems__(self, indices):
        return _rows_of(self.tensors, indices), _rows_of(self.labels, indices)


def _named_arrays(entries):
    """Arrays by the names under which a network takes them, as a tokenizer returns them; "labels" or "label" are such.

    ValueError unless all have one entry per sample.
    """
    entries, labels = _without_labels(entries)
    tensors = {}
    for name, values in entries.items():
        tensor = _numbers_or_text(values, _ENTRY.format(name))
        if tensor.ndim == 0:
            raise ValueError(
                f"entry {name!r} of X must have samples along its first axis; got the single number {tensor}"
            )
        tensors[name] = tensor
    labels = None if labels is None else to_numpy(labels)
    lengths = {name: len(values) for name, values in tensors.items()}
    if labels is not None:
        lengths["labels"] = len(labels)
    if not tensors or len(set(lengths.values())) > 1:
        raise ValueError(f"X must be a dict of arrays with one entry per sample each; got lengths {lengths}")
    return Arrays(tensors, labels)


def _numbers_or_text(values, name):
    """Real numbers as a tensor, and text as an array, which a calibrator may take, but no network."""
    try:
        return _array(values, name, "Pad them, as tokenizers do with padding=True")
    except TypeError:
        text = None if isinstance(values, torch.Tensor) or issparse(values) else to_numpy(values, name)
        if text is None or text.dtype.kind not in "OUT":
            raise
        return text


def _without_labels(entries):
    """The inputs of a mapping, as a dict, and its labels or None."""
    labels = [name for name in LABELS if name in entries]
    return {name: entries[name] for name in entries if name not in labels}, entries[labels[0]] if labels else None


def _array(values, name, mend):
    """Real numbers as a tensor; `mend` says what makes inputs of several sizes alike."""
    try:
        return tensor_of(values, name)
    except ValueError as error:
        raise ValueError(f"{error}. {mend}, {_BY_COLLATING}") from error


def open_inputs(X, *, batch_size, on_cpu):
    """Wrap what `dataset_behind` returns as `Inputs`.

    Arrays have any rank from two on, first axis the samples. A Dataset holds inputs or (input, label) pairs, inputs
    being arrays or dicts of arrays. A DataLoader's settings win over `batch_size`; its memory isn't pinned where it
    stays, `on_cpu`. Batches that its own collate_fn makes may differ in size.
    """
    loading = {"batch_size": batch_size}
    if batch_size == "auto":
        loading = {"batch_size": BATCH_SIZE, "most": _MOST_ON_CPU if on_cpu else None}
    if isinstance(X, LoadedDataset):
        loading = {**X.loading, "pin_memory": X.loading["pin_memory"] and not on_cpu}
        X = X.dataset
    if not isinstance(X, Dataset):
        if isinstance(X, (list, tuple)):
            check_items(X)
        values = _array(X, "X", "Resize, crop or pad them")
        if values.ndim < 2:
            raise ValueError(
                "X must have samples along its first axis and at least one axis more: Reshape your data; got a "
                f"{values.ndim}-dimensional array for a network. A single sample is X[None]"
            )
        X = Arrays(values)
    if isinstance(X, Arrays):
        for name, values in _by_name(X.tensors).items():
            tensor_of(values, name)
    if isinstance(X, IterableDataset):
        # Several workers would each go through the stream, or change the order of one that they share.
        loading["num_workers"] = min(1, loading.get("num_workers", 0))
    elif not hasattr(X, "__len__"):
        raise TypeError(
            f"X must be a Dataset with a length, or an IterableDataset; got {type(X).__name__}, which has neither "
            "length nor order"
        )
    return Inputs(X, **loading)


class Inputs:
    """Samples of a Dataset, read again each time by a DataLoader of ours, which takes the options `loading` beside.

    Those of an IterableDataset are a stream of unknown length, which can only be gone through. `collate_fn` is a
    loader's own; None is ours, whose batches must be of one size. `most` is how many numbers a batch may hold, None
    any.
    """

    def __init__(self, dataset, *, batch_size=BATCH_SIZE, most=None, collate_fn=None, **loading):
        self.dataset = dataset
        self.batch_size = batch_size
        self.most = most
        self.loading = loading
        self.is_stream = isinstance(dataset, IterableDataset)
        # Of the batches that were read, each once; those that are taken share them.
        self._sizes: list[dict] = []
        self._collate: Any = _collate if collate_fn is None else partial(_own_batch, collate_fn)
        if isinstance(dataset, Arrays):
            # They come a batch at a time.
            self._collate = tuple

    def batches(self, batch_size=None):
        """Yield (inputs, labels or None) in order, each batch checked to be finite; None is the inputs' own size."""
        with warnings.catch_warnings():
            # That cores are fewer than workers torch has said of the loader of which this is a copy.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            # A generator of its own keeps the loader from drawing from torch's global state.
            loader = DataLoader(
                self.dataset,
                batch_size=batch_size or self.batch_size,
                collate_fn=self._collate,
                generator=torch.Generator(),
                **self.loading,
            )
            loaded = iter(loader)
        n_before = 0
        for inputs, labels in loaded:
            if (sizes := _sizes(inputs)) not in self._sizes:
                self._sizes.append(sizes)
                if self._collate is _collate:
                    _check_sizes(self._sizes, _BY_COLLATING)
            tensors = _by_name(inputs)
            for name, tensor in tensors.items():
                if tensor.is_floating_point():
                    check_finite(tensor, name, n_before)
            if self._collate is not tuple:
                record(inputs)
            n_loaded = len(next(iter(tensors.values())))
            n_before += n_loaded
            if batch_size is not None or self.most is None:
                yield inputs, labels
                continue
            n_each = sum(tensor[:1].numel() for tensor in tensors.values())
            # Of at most so many numbers, a power of two.
            size = min(n_loaded, 2 ** int(math.log2(max(1, self.most // max(1, n_each)))))
            for rows in gen_batches(n_loaded, size):
                yield _rows_of(inputs, rows), _rows_of(labels, rows)

    def __len__(self):
        return len(self.dataset)

    @property
    def is_ragged(self):
        """Return whether batches that were read differ in size."""
        return len(self._sizes) > 1

    def check_one_size(self):
        """Raise where batches that were read differ in size."""
        _check_sizes(self._sizes, "in the collate_fn to one size; or clamp the features, perturbation='norm'")

    def take(self, indices):
        """The samples at these positions, as a view: folds of a memory map mustn't fill the memory."""
        taken = copy.copy(self)
        taken.dataset = Subset(self.dataset, np.asarray(indices).tolist())
        return taken

    def fetch(self, indices):
        """Inputs at some positions, as a batch; in a worker's hands."""
        return self._collate(Subset(self.dataset, indices).__getitems__(list(range(len(indices)))))[0]


def _collate(items):
    """A batch of (inputs, labels or None) from items of a Dataset; runs in the workers."""
    inputs, labels = zip(*map(_split, items), strict=True)
    kinds = {tuple(sorted(item)) if isinstance(item, dict) else "no names" for item in inputs}
    if len(kinds) > 1:
        raise TypeError(f"X must be a Dataset whose items have the same entries; got {' and '.join(map(str, kinds))}")
    try:
        batch = default_collate(list(inputs))
    except RuntimeError:
        # Looked at only where they don't fit: a batch of small inputs is quickly made.
        _check_sizes([_sizes(item, axis=0) for item in inputs], _BY_COLLATING)
        raise
    return batch, None if any(label is None for label in labels) else default_collate(list(labels))


def joined_labels(parts):
    """Labels of batches as one array; None where there are none, or what is in their place can't be any."""
    if any(part is None or isinstance(part, Mapping) for part in parts):
        return None
    try:
        return np.concatenate([to_numpy(part) for part in parts])
    except ValueError:
        # Several for each sample.
        return None


def _own_batch(collate_fn, items):
    """Inputs and labels that a loader's own collate_fn makes of items; runs in the workers."""
    inputs, labels = _split(collate_fn(list(items)))
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in _by_name(inputs).values()}
    if lengths != {len(items)}:
        raise ValueError(
            f"X must be a DataLoader whose collate_fn keeps each sample, along the first axis; of {len(items)} it "
            f"made {' and '.join(map(str, sorted(lengths)))}"
        )
    return inputs, labels


def _is_sequence(value):
    return isinstance(value, (list, tuple))


def _split(item):
    """Inputs, as a tensor or a dict of tensors, and the label or None, of an item of a Dataset."""
    inputs, label = (*item, None)[:2] if _is_sequence(item) else (item, None)
    if isinstance(inputs, Mapping):
        entries, own_label = _without_labels(inputs)
        if label is None:
            label = own_label
        tensors = {name: _tensor(value, _ENTRY.format(name), lists=True) for name, value in entries.items()}
    else:
        tensors = _tensor(inputs, "X")
    return tensors, to_numpy(label) if isinstance(label, np.ndarray) else label


def _tensor(value, name, lists=False):
    if type(value) is torch.Tensor and not value.is_complex():
        return value
    numeric = isinstance(value, (torch.Tensor, np.ndarray, np.generic, Number))
    if not numeric and not (lists and _is_sequence(value)):
        raise TypeError(
            f"{name} must be a tensor or an array in each item of a Dataset, or of what a collate_fn returns; got "
            f"inputs of type {type(value).__name__}{_remedy(value)}"
        )
    # Without what a class of its own, such as MONAI's, holds beside.
    return tensor_of(value, name).as_subclass(torch.Tensor)


def _remedy(value):
    """The names that several inputs lack, or the transform that a Dataset of pictures lacks."""
    if _is_sequence(value):
        return (
            ". An item is an input, or a tuple of an input and a label. Several inputs go into a dict, by the names "
            "under which the network takes them"
        )
    if isinstance(value, str):
        return f", {value[:20]!r}. Give numbers, such as tokens, in its place or, of a column beside them, leave it out"
    if isinstance(value, Mapping):
        return ". Leave it out, as MONAI's SelectItemsd(['image', 'label']) does"
    if not type(value).__module__.startswith("PIL."):
        return ""
    return (
        " of PIL. Have the Dataset apply a transform that makes tensors, such as torchvision.transforms.ToTensor(): "
        "its `transform`, or `with_transform` of a Hugging Face data set"
    )


def _by_name(inputs):
    """Tensors by what messages call them."""
    return {_ENTRY.format(name): inputs[name] for name in inputs} if isinstance(inputs, dict) else {"X": inputs}


def _rows_of(part, rows):
    """Some rows of a tensor, or of each entry of a dict; None stays None."""
    if isinstance(part, Mapping):
        return {name: _rows_of(entry, rows) for name, entry in part.items()}
    return None if part is None else part[rows]


def _sizes(inputs, axis=1):
    """Shape of an input, of each entry; `axis` is its first one."""
    return {name: tuple(tensor.shape[axis:]) for name, tensor in _by_name(inputs).items()}


def _check_sizes(sizes, where):
    """Raise unless inputs are of one size; `where` says how they can be made so."""
    for name in sizes[0]:
        shapes = {size[name] for size in sizes}
        if len(shapes) > 1:
            raise ValueError(
                f"{name} must hold inputs of one size; got inputs of shapes {shown_shapes(shapes)}. Resize, "
                f"crop or pad them, {where}"
            )


class TrainingSet(Dataset):
    """Batches of (inputs, targets): inputs at some positions, with targets of our own in place of their labels.

    Torch's DataLoader reads it a batch at a time, with the `collate_fn` tuple, which leaves them as they are: a Python
    loop over samples would cost more than a small network.
    """

    def __init__(self, inputs, *targets):
        self.inputs = inputs
        self.targets = targets

    def __len__(self):
        return len(self.inputs)

    def __getitems__(self, indices):
        # A number of no sample's stands for none, whose targets weigh nothing.
        return self.inputs.fetch([max(i, 0) for i in indices]), tuple(target[indices] for target in self.targets)
