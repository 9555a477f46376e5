"""A network's inputs as batches: numpy arrays, tensors and torch Datasets behind one interface.

Imports only `_validation`. What a batch becomes on the network's device is `_backbone`'s affair.
"""

import torch
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

from ._validation import check_finite, tensor_of


def open_inputs(X, *, num_workers=0, pin_memory=False):
    """Wrap what the user gave.

    Parameters
    ----------
    X : array-like, torch.Tensor, torch.utils.data.Dataset or torch.utils.data.DataLoader
        Inputs of any rank from two on, first axis the samples; or a map-style Dataset of inputs or of (input, label)
        pairs, or a DataLoader that goes through one in order.
    num_workers : int, default=0
        Processes that load a Dataset, as in torch's DataLoader.
    pin_memory : bool, default=False
        As in torch's DataLoader.

    Returns
    -------
    ArrayInputs or DatasetInputs

    Raises
    ------
    TypeError
        If X isn't numeric, holds integer images, or is an iterable-style Dataset.
    ValueError
        If X is empty or one-dimensional, or a DataLoader that shuffles.
    """
    X = dataset_behind(X)
    if isinstance(X, Dataset):
        return DatasetInputs(X, num_workers=num_workers, pin_memory=pin_memory)
    return ArrayInputs(X)


def dataset_behind(X, *, any_order=False):
    """What a DataLoader loads; anything else as it is.

    Parameters
    ----------
    X : object
        Perhaps a DataLoader.
    any_order : bool, default=False
        Whether nothing beside X goes by the order of its samples, so that it may shuffle them.

    Returns
    -------
    object
        The Dataset, which is read in its own order, in batches and by workers as the calibrator's parameters say.

    Raises
    ------
    ValueError
        If the DataLoader leaves out samples, repeats some, or shuffles where it mustn't.
    TypeError
        If it does something of its own, which a Dataset alone knows nothing of.
    """
    if not isinstance(X, DataLoader):
        return X
    if isinstance(X.dataset, IterableDataset) or not hasattr(X.dataset, "__len__"):
        return X.dataset
    plain = type(X) is DataLoader and X.collate_fn is default_collate and X.worker_init_fn is None
    batches = X.batch_sampler
    if not plain or type(batches) is not BatchSampler:
        raise TypeError(
            "X must be torch's own DataLoader, with its own collate_fn, batch_sampler and worker_init_fn; got another. "
            "Give its Dataset, with items as the network takes them"
        )
    n_left_out = len(X.dataset) % batches.batch_size if batches.drop_last else 0
    if n_left_out:
        raise ValueError(f"X must be a DataLoader that leaves out no sample; its drop_last leaves out {n_left_out}")
    if not (_is_whole(batches.sampler, X.dataset) and (any_order or type(batches.sampler) is SequentialSampler)):
        rule = "loads each sample once" if any_order else "loads each sample once, in order: what goes with them does"
        raise ValueError(f"X must be a DataLoader that {rule}; got one with a {type(batches.sampler).__name__}")
    return X.dataset


def _is_whole(sampler, dataset):
    """Whether a sampler draws each sample of a data set once."""
    if type(sampler) is RandomSampler and (sampler.replacement or sampler.num_samples != len(dataset)):
        return False
    return type(sampler) in (SequentialSampler, RandomSampler) and len(sampler.data_source) == len(dataset)


def check_input_dtype(x):
    """Raise for integers that stand for measurements rather than tokens."""
    if not x.is_floating_point() and x.ndim > 2:
        raise TypeError(
            f"X must hold floating-point inputs on the scale the network was trained with; got {x.dtype} of shape "
            f"{tuple(x.shape)}. Convert integer images first, for instance with X / 255"
        )


class ArrayInputs:
    """Samples along the first axis of an array or tensor, which stays where it is and as it is."""

    def __init__(self, values):
        self.values = tensor_of(values, "X")
        if self.values.ndim < 2:
            raise ValueError(
                "X must have samples along its first axis and at least one axis more: Reshape your data; got a "
                f"{self.values.ndim}-dimensional array for a network"
            )
        if self.values.numel() == 0:
            raise ValueError(f"X must not be empty: Found array with 0 sample(s); got shape {tuple(self.values.shape)}")
        check_input_dtype(self.values)

    def __len__(self):
        return len(self.values)

    def take(self, indices):
        """The samples at these positions, copied."""
        return ArrayInputs(self.values[torch.as_tensor(indices)])

    def batches(self, batch_size):
        """Yield (inputs, None) in order, each batch checked to be finite."""
        for batch in self.values.split(batch_size):
            yield _finite(batch), None

    def training_set(self, *targets):
        """A Dataset of (input, targets) that torch's DataLoader reads a batch at a time (with `collate`)."""
        return _BatchedDataset(self.values, *targets)

    @staticmethod
    def collate(batch):
        """What `training_set` fetched: a batch already."""
        return batch


class DatasetInputs:
    """Samples of a torch Dataset, read again whenever they are asked for."""

    def __init__(self, dataset, *, num_workers=0, pin_memory=False):
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"X must be a map-style Dataset with a length and __getitem__; got {type(dataset).__name__}, which "
                "can't be read in a known order twice"
            )
        if len(dataset) == 0:
            raise ValueError("X must not be empty; got a Dataset of length 0")
        self.dataset = dataset
        self.loading = {"num_workers": num_workers, "pin_memory": pin_memory}

    def __len__(self):
        return len(self.dataset)

    def take(self, indices):
        """The samples at these positions, as a view of the Dataset."""
        return DatasetInputs(Subset(self.dataset, [int(i) for i in indices]), **self.loading)

    def batches(self, batch_size):
        """Yield (inputs, labels or None) in order, each batch checked to be finite and floating-point."""
        # A generator of its own keeps the loader from drawing from torch's global state.
        loader = DataLoader(self.dataset, batch_size=batch_size, generator=torch.Generator(), **self.loading)
        for item in loader:
            inputs, labels = _split(item)
            check_input_dtype(inputs)
            yield _finite(inputs), labels

    def training_set(self, *targets):
        """A Dataset of (input, targets)."""
        return _PairedDataset(self.dataset, *targets)

    collate = staticmethod(torch.utils.data.default_collate)


def _split(item):
    """Inputs and labels, or None, of a sample or a batch of a Dataset."""
    inputs, labels = (*item, None)[:2] if isinstance(item, (tuple, list)) else (item, None)
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(
            "X must be a Dataset whose items are one input, or a tuple of an input and a label; got inputs of type "
            f"{type(inputs).__name__}"
        )
    return inputs, labels


def _finite(batch):
    if batch.is_floating_point():
        check_finite(batch, "X")
    return batch


class _BatchedDataset(Dataset):
    """Rows of tensors, fetched a batch at a time: a Python loop over samples would cost more than a small network."""

    def __init__(self, inputs, *targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitems__(self, indices):
        rows = torch.as_tensor(indices)
        return self.inputs[rows], tuple(target[rows] for target in self.targets)


class _PairedDataset(Dataset):
    """Inputs of a Dataset with targets of our own in place of its labels."""

    def __init__(self, dataset, *targets):
        self.dataset, self.targets = dataset, targets

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        item = self.dataset[index]
        inputs = item[0] if isinstance(item, (tuple, list)) else item
        return inputs, tuple(target[index] for target in self.targets)
