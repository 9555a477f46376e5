"""Pickles of objects around large networks, whose weights joblib can map into its workers' memory instead of sending.

joblib hands a worker a large numpy array as a file that all of them map, written once a search; a torch tensor it sends
with every task. So the weights of a pickled network are numpy arrays here, which share their memory with the tensors.
"""

import inspect
import io
import itertools
import pickle
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from .arrays import tensor_over

try:
    from cloudpickle import CloudPickler
except ImportError:
    # What joblib needs it brought along until 1.6.
    from joblib.externals.cloudpickle import CloudPickler

# joblib maps arrays from this size on; a network without one of them stays as it is.
_LARGE = 2**20

# joblib knows an array that it has written by its identity. By network: how often its weights were changed in place,
# and the arrays by address and size.
_arrays: WeakKeyDictionary = WeakKeyDictionary()


def goes_to_a_worker():
    """Whether joblib's own processes are about to be sent what is pickled now."""
    frame = inspect.currentframe()
    while frame is not None:
        if ".loky." in f".{frame.f_globals.get('__name__', '')}.":
            return True
        frame = frame.f_back
    return False


def has_large_weights(network):
    """Whether something is a network of which joblib would rather map some weights."""
    if not isinstance(network, nn.Module):
        return False
    return any(tensor.device.type == "cpu" and tensor.nbytes >= _LARGE for tensor in _weights(network))


def _weights(network):
    return itertools.chain(network.parameters(), network.buffers())


def reduce_around(network, build, state):
    """What an object's ``__reduce_ex__`` may return.

    Parameters
    ----------
    network : torch.nn.Module
        Whose weights, wherever they occur in `state`, become arrays.
    build : callable
        Makes the object from its state; found by its name when the pickle is read.
    state : object
        Anything that can be pickled.

    Returns
    -------
    tuple
    """
    file, version = io.BytesIO(), sum(0 if tensor.is_inference() else tensor._version for tensor in _weights(network))
    known_version, known = _arrays.get(network, (None, {}))
    pickler = _Pickler(file, known if known_version == version else {})
    pickler.dump(state)
    # Arrays of weights that the network has no more would keep these alive.
    _arrays[network] = version, pickler.arrays
    return _rebuild, (build, file.getvalue(), list(pickler.arrays.values()))


def _rebuild(build, data, arrays):
    return build(_Unpickler(io.BytesIO(data), arrays).load())


class _Pickler(CloudPickler):
    """Leaves out large storages, of which it keeps arrays; users' own classes and functions go by value if need be."""

    def __init__(self, file, known):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.known = known
        self.arrays: dict = {}

    def persistent_id(self, obj):
        """The number of a storage's array, and its dtype; None for all else."""
        if not isinstance(obj, torch.storage.TypedStorage):
            return None
        storage = obj._untyped_storage
        if storage.device.type != "cpu" or storage.nbytes() < _LARGE:
            return None
        key = storage.data_ptr(), storage.nbytes()
        if key not in self.arrays:
            self.arrays[key] = self.known[key] if key in self.known else _bytes_of(storage)
        return list(self.arrays).index(key), obj.dtype


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote."""

    def __init__(self, file, arrays):
        super().__init__(file)
        self.storages = [_storage_of(array) for array in arrays]

    def persistent_load(self, pid):
        """The storage of a number, as one of a dtype."""
        number, dtype = pid
        return torch.storage.TypedStorage(wrap_storage=self.storages[number], dtype=dtype, _internal=True)


def _bytes_of(storage):
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy()


def _storage_of(array):
    if isinstance(array, np.memmap) and not array.flags.writeable:
        # What writes to it has pages of its own from then on, as every process had that got a copy.
        array = np.memmap(str(array.filename), array.dtype, "c", array.offset, array.shape)
    # Others that can't be written to are those of a pickle in shared memory.
    return tensor_over(array).untyped_storage()
