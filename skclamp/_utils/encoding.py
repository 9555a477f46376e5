"""Values as JSON beside named arrays, and back: how `persistence` writes what was learned.

JSON's own values stand for themselves; anything else is ``{kind: content}``. An object is the arguments of its
constructor, found under their names as scikit-learn finds parameters, and its state. Only classes that are registered
come back, so that a file can't choose what code runs.
"""

import inspect
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from .arrays import to_numpy


class Kind(NamedTuple):
    """Functions that make objects of a class from arguments, and that take one to such, a dict.

    The arguments of a module that is `whole` bring its tensors.
    """

    make: Callable[..., Any]
    arguments: Callable[[Any], dict]
    whole: bool = False


_KINDS: dict[str, Kind] = {}
# Parameter of which a Series is read by its names; others are arrays.
_READ_BY_NAME = "priors"


def register(cls, arguments=None):  # numpydoc ignore=PR02
    """Let objects of a class be saved and loaded; serves as a decorator.

    Parameters
    ----------
    cls : type
        Of a torch.nn.Module the state dict is saved as well. A file refers to the class by its module and name: one
        that is defined in a script or a notebook is known there alone.
    arguments : callable, default=None
        Takes an object to the constructor's arguments, a dict; by default attributes of the same names hold them.

    Returns
    -------
    type
        The class itself.

    Examples
    --------
    >>> import torch
    >>> from skclamp.persistence import register
    >>> @register
    ... class Brightness(torch.nn.Module):
    ...     def __init__(self, start=1.0):
    ...         super().__init__()
    ...         self.start = start
    ...         self.gain = torch.nn.Parameter(torch.tensor(start))
    ...
    ...     def forward(self, x):
    ...         return self.gain * x
    """
    _KINDS[_key(cls)] = Kind(cls, arguments or _attributes)
    return cls


def register_whole(cls, arguments, make=None):
    """As `register`, for modules whose arguments bring their tensors; `make` takes these in the constructor's place."""
    _KINDS[_key(cls)] = Kind(make or cls, arguments, whole=True)


def _key(cls):
    # Ours may move from file to file.
    ours = cls.__module__.partition(".")[0] == "skclamp"
    return cls.__qualname__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def _attributes(value):
    return {name: getattr(value, name) for name in inspect.signature(type(value)).parameters}


register(nn.Identity, lambda _: {})
register_whole(
    nn.Sequential,
    lambda value: {"modules": dict(value._modules)},
    lambda modules: nn.Sequential(OrderedDict(modules)),
)
register_whole(nn.ModuleList, lambda value: {"modules": list(value)})
register_whole(nn.ModuleDict, lambda value: {"modules": dict(value.items())})
register(FrozenEstimator)


class UnknownClassError(ValueError):
    """A file holds an object of a class that isn't registered."""


def _name_of_optimizer(value):
    name = value.__name__
    if vars(torch.optim).get(name) is not value:
        raise TypeError(f"optimizers must be torch.optim's to be saved; got the class {name}")
    return name


def _optimizer(name):
    optimizer = vars(torch.optim)[name]
    if not (inspect.isclass(optimizer) and issubclass(optimizer, torch.optim.Optimizer)):
        raise ValueError(f"it names {name!r} as an optimiser of torch")
    return optimizer


def _array_of_names(content):
    dtype, names = content
    if np.dtype(dtype).kind not in "OU":
        raise ValueError(f"it holds an array of strings of dtype {dtype}")
    return np.array(names, dtype=dtype)


# Classes of values that JSON lacks, by the key that stands for each, and what takes a value to others that can be
# written, and back. Of two classes that fit a value the first counts.
_FORMS: dict[str, tuple[Any, Callable, Callable]] = {
    "float": (Real, lambda value: repr(float(value)), float),
    "tuple": (tuple, list, tuple),
    "dict": (dict, lambda value: [list(pair) for pair in value.items()], dict),
    "names": (np.ndarray, lambda value: [value.dtype.str, value.tolist()], _array_of_names),
    "tensor": (torch.Tensor, lambda value: value.detach().cpu().numpy(), torch.from_numpy),
    "device": (torch.device, str, torch.device),
    "optimizer": (type, _name_of_optimizer, _optimizer),
    "partial": (partial, lambda value: [value.func, value.keywords], lambda parts: partial(parts[0], **parts[1])),
}


class Writer:
    """Takes values to JSON; the arrays among them are kept aside, and names of parameters that can't be written."""

    def __init__(self):
        self.arrays = {}
        self.left_out = []

    def encode(self, value, name):
        """JSON of a value; `name` is where it stands. TypeError if it can't be written."""
        match value:
            case None | bool() | str():
                return value
            case _ if _key(type(value)) in _KINDS:
                return {"object": self.encode_object(value, name)}
            case np.bool_():
                return bool(value)
            case Integral():
                return int(value)
            case Real() if math.isfinite(value):
                return float(value)
            case list():
                return [self.encode(each, f"{name}.{k}") for k, each in enumerate(value)]
            case np.ndarray() if value.dtype.kind not in "OU":
                if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
                    rule = f"{name} must be an array of numbers or strings to be saved"
                    raise TypeError(f"{rule}; got dtype {value.dtype}")
                self.arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
                return {"array": name}
        # Such as a Series, and arrays of other libraries; but no estimator or splitter that has an array, too.
        known = isinstance(value, (np.ndarray, torch.Tensor)) or hasattr(value, "fit") or hasattr(value, "split")
        if hasattr(value, "__array__") and not known:
            return self.encode(to_numpy(value), name)
        for tag, (kind, to_json, _) in _FORMS.items():
            if isinstance(value, kind):
                return {tag: self.encode(to_json(value), name)}
        raise TypeError(
            f"{name} must be of a class that can be saved; got {type(value).__name__}: see skclamp.persistence.register"
        )

    def encode_object(self, value, name):
        """JSON of an object of a registered class."""
        key = _key(type(value))
        arguments = {}
        for parameter, argument in _KINDS[key].arguments(value).items():
            if parameter == _READ_BY_NAME and hasattr(argument, "items"):
                argument = dict(argument.items())
            try:
                arguments[parameter] = self.encode(argument, f"{name}({parameter})")
            except TypeError:
                # An estimator has its default to fall back on. What can't be written, such as callbacks, random states
                # and scorers, is for fitting.
                if not hasattr(value, "set_params") or parameter == "estimator":
                    raise
                self.left_out.append(parameter)
        state = {part: self.encode(each, f"{name}.{part}") for part, each in _state(value).items()}
        return {"class": key, "arguments": arguments, "state": state}


class Reader:
    """Takes JSON back to values, with the arrays that it refers to."""

    def __init__(self, arrays):
        self.arrays = arrays

    def decode(self, content):
        """The value; ValueError, TypeError, KeyError or RuntimeError if there is no such."""
        if isinstance(content, list):
            return [self.decode(each) for each in content]
        if not isinstance(content, dict):
            return content
        ((tag, inner),) = content.items()
        if tag == "object":
            value = self.decode_arguments(inner)
            state = self.decode_state(inner)
            if isinstance(value, nn.Module) and state:
                value.load_state_dict(state["tensors"], assign=True)
                for name in state["fixed"]:
                    value.get_parameter(name).requires_grad_(False)
            elif state:
                value._restore(state)
            return value
        if tag == "array":
            return self.arrays[inner]
        _, _, from_json = _FORMS[tag]
        return from_json(self.decode(inner))

    def decode_arguments(self, content):
        """The object as its constructor makes it."""
        key = content["class"]
        if key not in _KINDS:
            raise UnknownClassError(
                f"holds an object of the class {key!r}, which isn't known here: import what registers it"
            )
        return _KINDS[key].make(**{name: self.decode(value) for name, value in content["arguments"].items()})

    def decode_state(self, content):
        """The state of the object beside its arguments, a dict."""
        return {name: self.decode(value) for name, value in content["state"].items()}


def _state(value):
    """The state of an object beside its arguments."""
    if isinstance(value, nn.Module):
        if _KINDS[_key(type(value))].whole:
            return {}
        fixed = [name for name, parameter in value.named_parameters() if not parameter.requires_grad]
        return {"tensors": dict(value.state_dict()), "fixed": fixed}
    return value._learned() if hasattr(value, "_learned") else {}
