"""Hashes that tell networks, classifiers and parameters apart."""

from collections.abc import Mapping
from functools import partial
from hashlib import blake2b

import numpy as np
import torch
from torch import nn

from ..modules import LogitsModule
from ..modules._unwrap import unwrapped
from .array import ArrayBackbone
from .network import ScoresBackbone


def fingerprint(backbone):
    """What tells one network from another; None without one.

    Of a torch network it is a hash of the classes of its parts, its weights and buffers, and of how its outputs are
    read. Of a classifier it is one of the arrays of numbers in it: what else there is may change as it predicts.
    """
    if isinstance(backbone, (ArrayBackbone, ScoresBackbone)):
        return None
    digest = blake2b(digest_size=16)
    # What stands before a net in a Pipeline.
    _feed_arrays(digest, getattr(backbone, "transformers", []), set())
    if hasattr(backbone, "module"):
        _feed_network(digest, backbone.module)
    else:
        _feed_arrays(digest, backbone.classifier, set())
    return digest.hexdigest()


def content_hash(value):
    """What tells one parameter of a calibrator from another by what is in it, in any process."""
    digest = blake2b(digest_size=16)
    _feed(digest, _contents(value))
    return digest.hexdigest()


def _contents(value, around=()):
    """Networks as their tensors, objects as their attributes, functions and classes by their names."""
    if isinstance(value, (str, bytes, torch.Tensor)):
        return value
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.dtype == object):
        value = value.tolist()
    if hasattr(value, "__qualname__"):
        return [value.__module__, value.__qualname__]
    if id(value) in around:
        return type(value).__qualname__
    around = (*around, id(value))
    if isinstance(value, partial):
        return _contents([value.func, value.args, value.keywords], around)
    if isinstance(value, nn.Module):
        return [type(value).__qualname__, dict(value.named_buffers()), dict(value.state_dict())]
    if isinstance(value, Mapping):
        return {name: _contents(part, around) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_contents(part, around) for part in value]
    if hasattr(value, "__dict__") and not isinstance(value, np.ndarray):
        return [type(value).__qualname__, _contents(vars(value), around)]
    return value


def _feed_network(digest, head):
    network = unwrapped(head.module)
    nonlinearity = getattr(head.nonlinearity, "__qualname__", type(head.nonlinearity).__qualname__)
    _feed(digest, (head.response, nonlinearity, head.output_key))
    for name, part in network.named_modules():
        if isinstance(part, LogitsModule):
            _feed(digest, (part.response, part.output_key))
        if not hasattr(part, "_orig_mod"):
            _feed(digest, (_uncompiled(name), type(part).__qualname__))
    # Some buffers aren't in the state dict, and what quantised layers hold is only there.
    tensors = {**dict(network.named_buffers()), **network.state_dict()}
    _feed(digest, {_uncompiled(name): value for name, value in tensors.items()})


def _uncompiled(name):
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _feed(digest, value):
    """Hash a value by its content; of objects that aren't known only the class."""
    if isinstance(value, torch.Tensor) and value.is_quantized:
        value = (str(value.qscheme()), value.int_repr(), value.dequantize())
    if isinstance(value, torch.Tensor):
        dense = value.detach().to_dense().cpu().contiguous()
        _feed(digest, (str(value.dtype), tuple(value.shape)))
        digest.update(dense.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray) and value.dtype.names:
        _feed(digest, {name: value[name] for name in value.dtype.names})
    elif isinstance(value, np.ndarray) and value.dtype != object:
        _feed(digest, (value.dtype.str, value.shape, value.tobytes()))
    elif isinstance(value, Mapping):
        _feed(digest, [item for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for item in pair])
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)} ".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, bytes):
        digest.update(value)
    else:
        plain = value is None or isinstance(value, (bool, int, float, str, torch.dtype))
        digest.update(f"{value if plain else type(value).__qualname__!r} ".encode())


def _parts(value):
    """Attributes of an object; of a calibrator what its file keeps, and the estimator."""
    if not hasattr(value, "_learned"):
        return getattr(value, "__dict__", {})
    return {**value._learned(), "estimator": getattr(value, "estimator_", value.estimator)}


def _feed_arrays(digest, value, seen):
    """Hash the arrays of numbers in an object and its parts, in the order of their names."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype != object):
        _feed(digest, value)
    elif isinstance(value, (list, tuple, np.ndarray)):
        for item in value:
            _feed_arrays(digest, item, seen)
    elif type(value).__module__ == "sklearn.tree._tree":
        _feed(digest, {name: part for name, part in value.__getstate__().items() if isinstance(part, np.ndarray)})
    else:
        parts = value if isinstance(value, Mapping) else _parts(value)
        for name in sorted(parts, key=str):
            _feed_arrays(digest, parts[name], seen)
