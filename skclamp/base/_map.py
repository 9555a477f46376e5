"""Map: a calibration of logits as a torch module, and the attributes of a calibrator that its map holds."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .._utils.arrays import absent_again, absent_among, is_exporting
from .._utils.encoding import register_whole
from .._utils.least_probability import raised

# What `fit` has every map learn.
_OWN = "seen", "least_probability", "refused_by"


_OF_MODULES = frozenset(vars(nn.Module()))


class Map(nn.Module):
    """From rows of float64 logits to calibrated logits; subclasses implement ``transform``.

    It holds what a fit has learned by name: arrays and tensors are buffers, modules parts, and all else attributes.

    Parameters
    ----------
    **learned : dict
        As `learn` takes it.

    Attributes
    ----------
    seen : SeenClasses or None
        The classes that ``transform`` knows, where samples of others are missing.
    least_probability : float
        What less counts as.
    refused_by : str
        Name of the calibrator whose map takes no logits of -inf; empty where it takes them.

    Examples
    --------
    >>> import torch
    >>> from skclamp.base import Map
    >>> class Shift(Map):
    ...     def transform(self, logits):
    ...         return logits + self.shift.to(logits)
    >>> Shift(shift=torch.tensor([0.0, 1.0]))(torch.zeros(1, 2))
    tensor([[0., 1.]])
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, **learned):
        super().__init__()
        self.seen = None
        self.least_probability = 0.0
        self.refused_by = ""
        self.learn(**learned)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        register_whole(cls, cls.learned, cls._loaded)

    def learn(self, **learned):
        """Take on arrays, modules and other values by name.

        Parameters
        ----------
        **learned : dict
            The values. Arrays and tensors are copied.

        Returns
        -------
        self : Map
            The map itself.

        Raises
        ------
        TypeError
            If a name is one that the map has for something else.
        """
        for name, value in learned.items():
            value = _taken_on(value)
            default = getattr(type(self), name, None)
            # What the class has by this name would hide a buffer or a part.
            hidden = default is not None and isinstance(value, (torch.Tensor, nn.Module))
            taken = name in _OF_MAPS or callable(default) or isinstance(default, property)
            if name not in _OWN and (hidden or taken):
                raise TypeError(
                    f"{name!r} is no name for what {type(self).__name__} learns: it has it for something else"
                )
            # What is of another kind would be in the way; of buffers the order stays.
            if name in self.learned() and not (name in self._buffers and isinstance(value, torch.Tensor)):
                delattr(self, name)
            if isinstance(value, torch.Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        return self

    def learned(self):
        """Return what the map holds, by name.

        Returns
        -------
        dict
            Of values as ``Map(**learned)`` takes them.
        """
        held = {**vars(self), **self._buffers, **self._parameters, **self._modules}
        return {name: value for name, value in held.items() if name not in _OF_MODULES}

    @classmethod
    def _loaded(cls, **learned):
        # Not by the constructor, which subclasses may have another of.
        loaded = cls.__new__(cls)
        Map.__init__(loaded, **learned)
        return loaded

    def forward(self, logits):
        """Calibrated logits of the same shape."""
        absent = self.absent_of(logits)
        logits = raised(logits, self.least_probability)
        mapped = self.transform(logits) if self.seen is None else self.seen.mapped(self.transform, logits)
        return absent_again(mapped, absent)

    def absent_of(self, logits):
        """Return which logits are -inf, None where all are finite.

        Parameters
        ----------
        logits : torch.Tensor
            In float64, on any device.

        Returns
        -------
        torch.Tensor of bools or None
            In the shape of the logits.

        Raises
        ------
        ValueError
            If some are, and the map takes none.
        """
        absent = absent_among(logits)
        if self.refused_by and not is_exporting() and absent is not None and absent.any():
            refuse_absent(self.refused_by)
        return absent

    def transform(self, logits):
        """Return calibrated log-probabilities, up to a constant per row.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
            In float64, on any device; -inf where ``refused_by`` is empty.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_classes)
            Those of -inf are put back later.
        """
        raise TypeError(f"{type(self).__name__} must implement transform")

    @property
    def n_parameters(self):
        """Number of floats that the fit has set; indices, counts and flags are none."""
        return sum(_n_floats(value) for name, value in self.learned().items() if name != "least_probability")


_OF_MAPS = frozenset(dir(Map()))


class Temperature(Map):
    """Divides logits by ``temperature_``."""

    def transform(self, logits):
        return logits / self.temperature_


class MapsByLabel(Map):
    """One map of two classes, 0 and 1, for each label: `maps`, in turn for the rows of a sample."""

    def transform(self, logits):
        of_samples = logits.view(-1, len(self.maps), 2)
        mapped = [map_(of_samples[:, label]) for label, map_ in enumerate(self.maps)]
        return torch.stack(mapped, 1).view(-1, 2)


class OnOutputs(nn.Module):
    """A map of rows, applied to a network's logits of labels (n, L) or places; it yields logits of their shape."""

    def __init__(self, of_rows, outputs):
        super().__init__()
        self.of_rows = of_rows
        self.outputs = outputs

    @classmethod
    def around(cls, of_rows, outputs):
        """Return a copy of a map that takes what a network yields, as an output layer says."""
        copied = copy.deepcopy(of_rows)
        return cls(copied, outputs) if outputs.n_labels or outputs.is_dense else copied

    def forward(self, logits):
        """Calibrated logits; their sigmoid are the probabilities."""
        return self.outputs.logits_of_rows(self.of_rows(self.outputs.rows(logits)), logits)


class Learned:
    """An attribute of a calibrator that its map holds under the same name; tensors are shown as arrays."""

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, calibrator, owner=None):
        if calibrator is None:
            return self
        value = getattr(self._map_of(calibrator), self._name)
        return value.cpu().numpy() if isinstance(value, torch.Tensor) else value

    def __set__(self, calibrator, value):
        held = getattr(self._map_of(calibrator), self._name, None)
        if isinstance(held, torch.Tensor):
            value = torch.as_tensor(value).to(held)
        elif isinstance(held, float):
            value = float(value)
        # A copy: what else shares the map, such as a shallow copy of the calibrator, keeps what it has.
        calibrator.map_ = copy.deepcopy(calibrator.map_).learn(**{self._name: value})
        vars(calibrator).pop("module_", None)

    def _map_of(self, calibrator):
        if "map_" not in vars(calibrator):
            raise AttributeError(f"{type(calibrator).__name__!r} object has no attribute {self._name!r}")
        return calibrator.map_


def refuse_absent(name):
    """Raise for logits of -inf, in the name of a calibrator whose map takes none."""
    raise ValueError(
        f"{name} takes no logits of -inf, as those of classes that a sample doesn't have: what it learns of a class "
        "would mix samples with and without it. TemperatureScaling, EnsembleTemperatureScaling and "
        "StructuredVectorScaling take them, among others"
    )


def _taken_on(value):
    """A value as a map holds it: of arrays of numbers and tensors a copy, a tensor."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        value = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(value) if value.dtype.kind in "biuf" and value.dtype.itemsize <= 8 else value
    return value.item() if isinstance(value, np.generic) else value


def _n_floats(value):
    if isinstance(value, Map):
        return value.n_parameters
    if isinstance(value, nn.Module):
        return sum(parameter.numel() for parameter in value.parameters(recurse=False)) + _n_floats([*value.children()])
    if isinstance(value, (list, tuple, dict)):
        return sum(map(_n_floats, value.values() if isinstance(value, dict) else value))
    if isinstance(value, torch.Tensor):
        return value.numel() if value.is_floating_point() else 0
    return int(isinstance(value, float))
