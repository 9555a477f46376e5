"""Whatever holds samples and isn't an array becomes a torch Dataset."""

from collections.abc import Mapping

import torch
from scipy.sparse import issparse
from skorch.helper import SliceDataset
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from .._utils.arrays import tensor_of, to_numpy

# What Hugging Face's models call their labels, and their data sets mostly do.
LABELS = ("labels", "label")
# Where inputs of several sizes are made alike, batch by batch.
BY_COLLATING = "or have a DataLoader pad each batch: DataLoader(dataset, collate_fn=...)"


def dataset_behind(X, *, any_order=False):
    """What holds samples as a torch Dataset: a DataLoader's, `NamedArrays` of a dict, a view of what is none by class.

    A DataLoader's Dataset is read in its own order, as a `LoadedDataset`; an array stays as it is. ``any_order=True``
    says that nothing beside X goes by the order of its samples, so that a DataLoader may shuffle them. One that leaves
    out or repeats samples, or does something of its own, is refused.
    """
    if isinstance(X, DataLoader):
        return LoadedDataset(X, any_order)
    if isinstance(X, torch.Tensor) and X.is_nested:
        raise TypeError("X must hold inputs of one size; got a nested tensor: pass X.to_padded_tensor(0.0)")
    # A sparse matrix of scipy's may be a mapping of places.
    if isinstance(X, Mapping) and not issparse(X):
        return NamedArrays(X)
    if _is_hugging_face(X):
        # Without a format its items are lists, which take long to convert.
        X = X.with_format("torch") if _has_no_format(X) else X
    elif not isinstance(X, SliceDataset):
        return X
    return X if isinstance(X, Dataset) else _ItemsOf(X)


def check_one_input(X, y, names):
    """Raise for several inputs side by side, each with a row per label; a network takes its own by `names`, if any."""
    if not isinstance(X, (tuple, list)) or len(X) == len(y):
        return
    if all(hasattr(part, "shape") and part.shape[:1] == (len(y),) for part in X):
        entries = ", ".join(f"{name!r}: ..." for name in (names or [])[: len(X)])
        rule = f"a dict of the inputs that the network takes by name, {{{entries}}}" if entries else "one array"
        raise TypeError(f"X must be {rule}; got a {type(X).__name__} of {len(X)} arrays with {len(y)} rows each")


def check_no_items(X):
    """Raise for a list of a Dataset's items, which are pairs or have names."""
    if not isinstance(X, list) or not X:
        return
    pairs = isinstance(X[0], tuple) and getattr(next(iter(X[0]), None), "ndim", 0) > 0
    if pairs or isinstance(X[0], Mapping):
        raise TypeError(
            "X must be an array or a Dataset; got a list of items of a Dataset, as scikit-learn's splitters make: pass "
            "skorch's SliceDataset(dataset), and the labels as y"
        )


UNFITTED = "where the classifier isn't fitted"


def check_no_dataset(X, where, name="X"):
    """Raise for a Dataset where only an array will do."""
    if isinstance(X, Dataset):
        X = X.dataset if isinstance(X, LoadedDataset) else X
        raise TypeError(f"{name} must be an array {where}; got the Dataset {type(X).__name__}")


def fetch(dataset, indices):
    """Items of a map-style Dataset, at once where it can."""
    if callable(getattr(dataset, "__getitems__", None)):
        return dataset.__getitems__(indices)
    return [dataset[i] for i in indices]


def is_stream(dataset):
    """Whether a Dataset can only be gone through, and not be asked for the sample at some place."""
    return isinstance(dataset, IterableDataset)


def _is_hugging_face(X):
    return hasattr(X, "with_format") and hasattr(X, "column_names")


def _has_no_format(X):
    if hasattr(X, "format"):
        return X.format["type"] is None
    return getattr(getattr(X, "_formatting", None), "format_type", None) is None


class _ItemsOf(Dataset):
    """A torch Dataset of what has a length and items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[int(index)]

    def __getitems__(self, indices):
        return fetch(self.items, indices)


class LoadedDataset(Dataset):
    """The Dataset of a DataLoader, in its own order, and how the DataLoader reads it.

    `loading` are arguments of torch's DataLoader: its batch size, how it puts batches together unless that is torch's
    own way, and its workers.
    """

    def __init__(self, loader, any_order):
        self.loading = _check_loader(loader, any_order)
        # What puts batches together by itself has items as they are, and so has a list.
        as_it_is = "collate_fn" in self.loading or isinstance(loader.dataset, list)
        found = loader.dataset if as_it_is else dataset_behind(loader.dataset)
        self.dataset = found if isinstance(found, Dataset) else _ItemsOf(found)


class LabelledSamples(Dataset):
    """What `dataset_behind` returned, for a prediction that leaves the labels it meets here, as `labels`."""

    def __init__(self, X):
        self.X = X
        self.labels = None


class NamedArrays(Dataset):
    """Arrays by the names under which a network takes them, as a tokenizer returns them, first axes the samples.

    An entry "labels" or "label" holds labels. `tensors`, the inputs by name, stay where they are and as they are.
    """

    def __init__(self, arrays):
        arrays, labels = without_labels(arrays)
        self.tensors = {name: _entry(values, name) for name, values in arrays.items()}
        self.labels = None if labels is None else to_numpy(labels)
        lengths = {name: len(values) for name, values in self.tensors.items()}
        if self.labels is not None:
            lengths["labels"] = len(self.labels)
        if not self.tensors or not all(lengths.values()):
            raise ValueError(f"X must not be empty; got a dict with entries of {lengths} samples")
        if len(set(lengths.values())) > 1:
            raise ValueError(f"X must be a dict of arrays with one entry per sample each; got lengths {lengths}")

    def __len__(self):
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index):
        inputs = {name: values[index] for name, values in self.tensors.items()}
        return inputs if self.labels is None else (inputs, self.labels[index])


def without_labels(entries):
    """The inputs of a mapping, as a dict, and its labels or None."""
    found = [name for name in LABELS if name in entries]
    return {name: entries[name] for name in entries if name not in found}, entries[found[0]] if found else None


def _entry(values, name):
    try:
        tensor = tensor_of(values, f"entry {name!r} of X")
    except ValueError as error:
        raise ValueError(f"{error}. Pad them, as tokenizers do with padding=True, {BY_COLLATING}") from error
    if tensor.ndim == 0:
        raise ValueError(f"entry {name!r} of X must have samples along its first axis; got the single number {tensor}")
    return tensor


def _check_loader(loader, any_order):
    """How a DataLoader reads its Dataset; raises unless it goes through it as it is."""
    batches = loader.batch_sampler
    if type(loader) is not DataLoader or type(batches) is not BatchSampler:
        raise TypeError(
            "X must be torch's own DataLoader, with its own batch_sampler; got another. Give its Dataset, with items "
            "as the network takes them"
        )
    if is_stream(loader.dataset) or not hasattr(loader.dataset, "__len__"):
        if batches.drop_last:
            raise ValueError("X must be a DataLoader that leaves out no sample; got one of a stream with drop_last")
        return _loading_of(loader)
    n_left_out = len(loader.dataset) % batches.batch_size if batches.drop_last else 0
    if n_left_out:
        raise ValueError(f"X must be a DataLoader that leaves out no sample; its drop_last leaves out {n_left_out}")
    if not (_is_whole(batches.sampler, loader.dataset) and (any_order or type(batches.sampler) is SequentialSampler)):
        rule = ", in order: pass shuffle=False: y, sample_weight and predictions are in the Dataset's order"
        raise ValueError(
            f"X must be a DataLoader that loads each sample once{'' if any_order else rule}; got one with a "
            f"{type(batches.sampler).__name__}"
        )
    return _loading_of(loader)


# What torch's DataLoader takes only where there are workers. Persistent ones would change the order of an epoch.
_OF_WORKERS = ("multiprocessing_context", "prefetch_factor", "timeout", "worker_init_fn")


def _loading_of(loader):
    loading = {
        "batch_size": loader.batch_sampler.batch_size,
        "num_workers": loader.num_workers,
        "pin_memory": loader.pin_memory,
    }
    if loader.collate_fn is not default_collate:
        loading["collate_fn"] = loader.collate_fn
    if loader.num_workers:
        loading |= {name: getattr(loader, name) for name in _OF_WORKERS}
    return loading


def _is_whole(sampler, dataset):
    """Whether a sampler draws each sample of a data set once."""
    if type(sampler) is RandomSampler and (sampler.replacement or sampler.num_samples != len(dataset)):
        return False
    return type(sampler) in (SequentialSampler, RandomSampler) and len(sampler.data_source) == len(dataset)
