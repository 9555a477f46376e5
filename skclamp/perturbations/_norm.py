"""NormPerturbation: a gain and an offset after each normalisation layer of a network."""

import math
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import nn

from ._families import Perturbation, family_of, flattened
from ._words import layers_in_words

__all__ = ["NormLayer", "NormPerturbation"]


class NormLayer(NamedTuple):
    """A normalisation layer whose output a gain and an offset follow.

    Attributes
    ----------
    name : str
        Its name among the network's ``named_modules``.
    shape : tuple of int
        Shape of its weight, and so of its gain.
    n_trailing : int
        How many axes of its output come behind those of the weight: 2 of (n_samples, n_channels, height, width), 0 of
        (n_samples, length, n_features).
    has_offset : bool
        Whether it has a bias, and so an offset.
    unit : float
        What it adds to its weight before it multiplies: 1 in some RMS norms, else 0.
    axis : int
        Axis of its output along which the samples are, one row or several for each.
    before : str
        The child that takes its output, where the layer itself gives what its children make of it: an activation.

    Examples
    --------
    >>> from skclamp.perturbations import NormLayer
    >>> NormLayer("layer1.0.bn1", (16,), n_trailing=2).has_offset
    True
    """

    name: str
    shape: tuple[int, ...]
    n_trailing: int = 0
    has_offset: bool = True
    unit: float = 0.0
    axis: int = 0
    before: str = ""

    @property
    def size(self):
        """Number of its gains."""
        return math.prod(self.shape)

    def spread(self, values):
        """Gains or offsets such that they broadcast against the layer's output.

        Parameters
        ----------
        values : torch.Tensor of shape (size,)
            Those of this layer.

        Returns
        -------
        torch.Tensor
            In the shape of its weight, with the axes behind it.
        """
        return values.reshape(*self.shape, *[1] * self.n_trailing)


class NormPerturbation(Perturbation):
    """A gain and an offset after each normalisation layer of the network: ``gain * h + offset``, per channel.

    It leaves the inputs as they are. `ClampedModule` has the layers' own weights and biases take it on, so that a
    prediction costs nothing more: of an affine layer it makes an affine layer.

    Parameters
    ----------
    layers : list of NormLayer
        The layers, in the order in which the network has them.
    left_out : dict of str to str, default=None
        Why the network's other normalisation layers aren't among them, by their names.

    Attributes
    ----------
    gain : torch.nn.Parameter of shape (n_gains,)
        Those of all layers, one after another. Starts at one.
    offset : torch.nn.Parameter of shape (n_offsets,)
        Those of the layers that have a bias. Starts at zero.

    References
    ----------
    Y. Li et al., "Revisiting Batch Normalization for Practical Domain Adaptation", ICLR workshop 2017; E. Perez et al.,
    "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.

    Examples
    --------
    >>> from skclamp.perturbations import NormLayer, NormPerturbation
    >>> layers = [NormLayer("norm1", (16,), n_trailing=2), NormLayer("norm2", (32,), has_offset=False)]
    >>> NormPerturbation(layers)
    NormPerturbation(2 layers, 48 gains from 1 to 1, 16 offsets from 0 to 0)
    """

    name = "norm"
    of_features = True
    pictures = {"gain": ("depth", 1.0), "offset": ("depth", 0.0)}

    def __init__(self, layers, left_out=None):
        nn.Module.__init__(self)
        self.layers = [NormLayer(name, tuple(shape), *others) for name, shape, *others in layers]
        self.left_out = dict(left_out or {})
        self.gain = nn.Parameter(torch.ones(sum(layer.size for layer in self.layers)))
        self.offset = nn.Parameter(torch.zeros(sum(layer.size for layer in self.layers if layer.has_offset)))

    def forward(self, x):
        """The inputs as they are."""
        return x

    def extra_repr(self):
        return layers_in_words(self, "layer")

    def places(self):
        """Where each layer's numbers are among all the parameters.

        Returns
        -------
        list of (slice, slice or None)
            Of its gains, and of its offsets, if it has any.
        """
        starts = accumulate((layer.size for layer in self.layers), initial=0)
        behind = accumulate((layer.size * layer.has_offset for layer in self.layers), initial=len(self.gain))
        return [
            (slice(start, start + layer.size), slice(later, later + layer.size) if layer.has_offset else None)
            for layer, start, later in zip(self.layers, starts, behind, strict=False)
        ]

    def by_layer(self):
        """Each layer with its gain and its offset, which broadcast against its output.

        Yields
        ------
        tuple of (NormLayer, torch.Tensor, torch.Tensor or None)
            One per layer; without a bias it has no offset.
        """
        values = torch.cat([self.gain, self.offset])
        for layer, (gains, offsets) in zip(self.layers, self.places(), strict=True):
            offset = None if offsets is None else layer.spread(values[offsets])
            yield layer, layer.spread(values[gains]), offset


def changes_inputs(perturbation):
    """Return True where a perturbation has a part that acts on the inputs themselves."""
    return any(not family_of(part).of_features for part in flattened(perturbation))


def norm_part(perturbation):
    """The part of a perturbation that clamps features, or None."""
    parts = perturbation.modules() if isinstance(perturbation, nn.Module) else ()
    return next((part for part in parts if isinstance(part, NormPerturbation)), None)
