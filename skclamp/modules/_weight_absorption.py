"""A perturbation absorbed by the first layer of a copy of the network."""

import copy
import math
from contextlib import ExitStack

import torch
from torch import nn

from ..perturbations._families import is_ours
from ..perturbations._norm import NormPerturbation

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NO_PADDING = ("valid", (0,), (0, 0), (0, 0, 0))


def take_on(head, perturbation):
    """Have the first layer of a network perturb the inputs, by other weights; ValueError says why it can't exactly.

    The head is a LogitsModule, in eval mode like the perturbation, which is of this package's families, or several in a
    row.
    """
    # What clamps features is in the layers' own weights already.
    parts = [
        part for part in perturbation.modules() if type(part) not in (nn.Sequential, nn.Identity, NormPerturbation)
    ]
    if not parts:
        return
    bent = [part for part in parts if not (is_ours(part) and part.affine)]
    _check_none(bent, "a perturbation of this package that is affine in the inputs")
    shape = input_shape(perturbation)
    if shape is None:
        raise ValueError("fold needs perturbations of inputs of one shape; got several")
    with torch.no_grad():
        layer, whole = _first_layer(head, shape)
        perturbation = copy.deepcopy(perturbation).eval().double().cpu()
        if type(layer) is not nn.Linear:
            if not whole:
                raise ValueError("fold needs a linear layer after the inputs are reshaped; got a convolution")
            unlike = [part for part in parts if not part.pointwise]
            _check_none(unlike, "a perturbation that is the same everywhere before a convolution")
            if layer.groups > 1:
                raise ValueError("fold needs a first convolution without groups")
            # The same everywhere: what a window becomes says all.
            shape = layer.weight.shape[1:]
        elif math.prod(shape) != layer.in_features:
            raise ValueError(
                f"fold needs a first layer that takes the inputs whole, {shape}; got one of {layer.in_features} numbers"
            )
        _absorb(layer, perturbation, shape)


def _check_none(misfits, rule):
    if misfits:
        raise ValueError(f"fold needs {rule}; got {', '.join(sorted({type(part).__name__ for part in misfits}))}")


def example_of(head, shape):
    """Inputs of the network's precision."""
    weight = next(head.parameters(), torch.zeros(()))
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).to(weight)


def _first_layer(head, shape):
    """The linear layer or convolution that takes the inputs, and whether it does so in their own shape."""
    x = example_of(head, shape)
    calls = []

    def note(layer, inputs):
        if len(inputs) == 1:
            calls.append((layer, inputs[0]))

    with ExitStack() as handles:
        for part in nn.Module.modules(head.module):
            if type(part) in (nn.Linear, *_CONVOLUTIONS):
                handles.enter_context(part.register_forward_pre_hook(note))
        head.module(x)
    layer, taken = calls[0] if calls else (None, torch.empty(0))
    # The same memory, which nothing has changed: a view may reshape each input.
    if taken.data_ptr() != x.data_ptr() or taken._version:
        raise ValueError(
            "fold needs a linear layer or a convolution to come first; got none that takes the inputs as they are"
        )
    return layer, taken.shape == x.shape


def _absorb(layer, perturbation, shape):
    """Give a layer other weights, such that it makes of inputs of a shape what it made of perturbed ones."""
    weight = layer.weight.double().cpu()

    def of_perturbed(x):
        return weight.flatten(1) @ perturbation(x[None]).flatten()

    zero = torch.zeros(shape, dtype=torch.float64)
    pads = type(layer) is not nn.Linear and layer.padding_mode == "zeros" and layer.padding not in _NO_PADDING
    if pads and perturbation(zero[None]).any():
        raise ValueError(
            "fold needs a first convolution without zero padding: it pads what is perturbed already, with zeros that "
            "the offset would no longer leave as they are"
        )
    with torch.enable_grad():
        slopes = torch.func.jacrev(of_perturbed)(zero)
    bias = 0 if layer.bias is None else layer.bias.double().cpu()
    layer.bias = _like(of_perturbed(zero) + bias, layer.weight)
    layer.weight = _like(slopes.detach().reshape(weight.shape), layer.weight)


def input_shape(perturbation):
    """Shape of one input, as the parts of a perturbation know it; None if they don't."""
    shapes = {part.shape for part in perturbation.modules() if hasattr(part, "shape")}
    return shapes.pop() if len(shapes) == 1 else None


@torch.no_grad()
def check_the_same(module, absorbed, x):
    """Raise unless a module that absorbed its perturbation gives the logits of the original."""
    expected = module(x)
    dtype = next((weight.dtype for weight in module.logits.parameters()), expected.dtype)
    precision = 1e-4 if dtype in (torch.float32, torch.float64) else 0.1
    tolerance = precision * max(1.0, expected.abs().max().item())
    if not torch.allclose(absorbed(x), expected, rtol=0, atol=tolerance):
        raise ValueError(
            "fold needs a network that gives the same logits from the same inputs, which its first layer alone takes, "
            "and whose layers' weights do nothing else; the folded one gives other logits"
        )


def _like(value, parameter):
    return nn.Parameter(value.to(parameter), requires_grad=parameter.requires_grad)
