"""Hashes that tell networks, classifiers and parameters apart."""

from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import nn

from ..modules import LogitsModule
from ..modules._unwrap import unwrapped


class Digest:
    """A hash of what it is fed; each method returns the digest itself."""

    def __init__(self):
        self._hash = blake2b(digest_size=16)

    def hex(self):
        """The hash of all so far."""
        return self._hash.hexdigest()

    def value(self, value, around=()):
        """Take on a value by its content, the same in any process; functions and classes are told by their names."""
        if value is None or isinstance(value, (int, float, str, np.generic, torch.dtype)):
            self._hash.update(f"{value!r} ".encode())
        elif hasattr(value, "__tensor_flatten__"):
            # Of torchao's weights the tensors within: they lack most of a tensor's methods.
            names, _ = value.__tensor_flatten__()
            self.value({name: getattr(value, name) for name in names})
        elif isinstance(value, torch.Tensor):
            self.value((str(value.dtype), tuple(value.shape)))
            dense = (value.dequantize() if value.is_quantized else value).detach().to_dense().cpu().contiguous()
            content: Any = dense.ravel().view(torch.uint8).numpy()
            self._hash.update(content)
        elif isinstance(value, np.ndarray) and value.dtype.names:
            self.value({name: value[name] for name in value.dtype.names})
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.value((value.dtype.str, value.shape, value.tobytes()))
        elif isinstance(value, bytes):
            self._hash.update(value)
        elif hasattr(value, "__qualname__") or id(value) in around:
            self.value(getattr(value, "__qualname__", type(value).__qualname__))
        else:
            for part in (parts := _parts(value)):
                self.value(part, (*around, id(value)))
            self.value(len(parts))
        return self

    def network(self, head):
        """Take on a LogitsModule: the classes of its parts, weights, buffers, and how the outputs are read."""
        network = unwrapped(head.module)
        nonlinearity = getattr(head.nonlinearity, "__qualname__", type(head.nonlinearity).__qualname__)
        self.value((head.response, nonlinearity, head.output_key))
        for name, part in nn.Module.named_modules(network):
            if isinstance(part, LogitsModule):
                self.value((part.response, part.output_key))
            if not hasattr(part, "_orig_mod"):
                self.value((_uncompiled(name), type(part).__qualname__))
        # Some buffers aren't in the state dict, and what quantised layers hold is only there.
        tensors = {**dict(nn.Module.named_buffers(network)), **network.state_dict()}
        return self.value({_uncompiled(name): value for name, value in tensors.items()})

    def arrays(self, value, seen=None):
        """Take on the arrays of numbers in an object and its parts, in the order of their names.

        What else there is in a classifier may change as it predicts.
        """
        if seen is None:
            seen = set()
        if id(value) in seen:
            return self
        seen.add(id(value))
        if isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype != object):
            return self.value(value)
        if type(value).__module__ == "sklearn.tree._tree":
            # Made anew each time, so that what was seen can't be told by its place in memory.
            state = value.__getstate__()
            return self.value({name: part for name, part in state.items() if isinstance(part, np.ndarray)})
        if hasattr(value, "_learned"):
            # Of a calibrator, what its file keeps, and the estimator.
            value = {**value._learned(), "estimator": getattr(value, "estimator_", value.estimator)}
        if not isinstance(value, (list, tuple, np.ndarray)):
            named: Mapping = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
            value = [named[name] for name in sorted(named, key=str)]
        for part in value:
            self.arrays(part, seen)
        return self


def _uncompiled(name):
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _parts(value):
    """Parts of a collection or another object, a list."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return [item for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for item in pair]
    if isinstance(value, (list, tuple)):
        return list(value)
    name = type(value).__qualname__
    if isinstance(value, partial):
        return [name, value.func, value.args, value.keywords]
    return [name, getattr(value, "__dict__", None)]
