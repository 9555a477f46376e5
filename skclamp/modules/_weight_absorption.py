"""A perturbation and a temperature absorbed by the first and last layers of a copy of the network."""

import copy
import math
from typing import NamedTuple

import torch
from torch import nn

from ..perturbations._families import is_ours
from ..perturbations._norm import NormPerturbation

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
    layer, whole = _first_layer(head, shape)
    with torch.no_grad():
        perturbation = copy.deepcopy(perturbation).eval().double().cpu()
        if type(layer) is nn.Linear:
            _absorb_into_linear(layer, perturbation)
        elif not whole:
            raise ValueError("fold needs a linear layer after the inputs are reshaped; got a convolution")
        else:
            unlike = [part for part in parts if not part.pointwise]
            _check_none(unlike, "a perturbation that is the same everywhere before a convolution")
            _absorb_into_convolution(layer, perturbation)


def _check_none(misfits, rule):
    if misfits:
        raise ValueError(f"fold needs {rule}; got {', '.join(sorted({type(part).__name__ for part in misfits}))}")


@torch.no_grad()
def divide_outputs(head, temperature, x):
    """Have the last layer yield its outputs divided by T; False where it can't: it isn't linear, or not used by itself.

    In half precision T would be rounded, and the outputs with it.
    """
    network = head.module
    calls, output = _run(network, x.clone())
    layers = [call.layer for call in calls]
    last = next((call.layer for call in calls if call.given is output), None)
    if type(last) is not nn.Linear or layers.count(last) > 1 or last.weight.dtype not in (torch.float32, torch.float64):
        return False
    weights = dict(last.named_parameters(recurse=False))

    # Doubling is exact: whatever else is done with the weights, or behind the layer, shows.
    for name, parameter in weights.items():
        setattr(last, name, _like(2.0 * parameter.detach(), parameter))
    doubles = _close(network(x.clone()), 2 * output, output.dtype)
    for name, parameter in weights.items():
        setattr(last, name, _like(parameter.detach() * (1 / temperature), parameter) if doubles else parameter)
    return doubles


class _Call(NamedTuple):
    """A layer's input and output."""

    layer: nn.Module
    taken: torch.Tensor
    given: torch.Tensor


def _run(network, x):
    """Run a network; return the calls of its innermost layers that turn one tensor into another, and its output.

    Nobody else may run it meanwhile. While the list lives no two of its tensors are taken for one.
    """
    calls = []

    def note(layer, inputs, output):
        if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor):
            calls.append(_Call(layer, inputs[0], output))

    handles = [
        part.register_forward_hook(note) for part in nn.Module.modules(network) if not any(nn.Module.children(part))
    ]
    try:
        return calls, network(x)
    finally:
        for handle in handles:
            handle.remove()


def example_of(head, shape):
    """Inputs of the network's precision."""
    weight = next(head.parameters(), torch.zeros(()))
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).to(weight)


@torch.no_grad()
def _first_layer(head, shape):
    """The layer that takes the inputs, and whether it does so in their own shape."""
    x = example_of(head, shape)
    hooked = {part for part in head.modules() if part._forward_hooks or part._forward_pre_hooks}
    # The network is handed a copy, which it may overwrite.
    handed = []
    with head.module.register_forward_pre_hook(lambda _, arguments: handed.extend(arguments)):
        calls, logits = _run(head, x)
    inputs = handed[0]
    first = next((call for call in calls if _holds(call.taken, inputs) and not _holds(call.given, inputs)), None)
    if first is None or type(first.layer) not in (nn.Linear, *_CONVOLUTIONS):
        got = "none that takes the inputs as they are" if first is None else type(first.layer).__name__
        raise ValueError(f"fold needs a linear layer or a convolution to come first; got {got}")
    layer = first.layer
    reason = ""
    if [call.layer for call in calls].count(layer) > 1:
        reason = "is used again"
    elif layer in hooked:
        reason = "has hooks"
    elif _uses_weights_elsewhere(head, first, x, logits):
        reason = "lends its weights to another operation"
    if reason:
        raise ValueError(f"fold needs a first layer that does nothing else; this {type(layer).__name__} {reason}")
    # What others than their layer make of other inputs shows.
    if not all(_gives(head, first, torch.full_like(x, other), logits) for other in (math.nan, 0.0, 1e4, -1e4)):
        raise ValueError("fold needs a network with one first layer; other operations take its inputs too")
    return layer, first.taken.shape == x.shape


def _holds(tensor, x):
    """Return whether a tensor is the inputs, unchanged, or a view that reshapes each of them."""
    same = tensor.data_ptr() == x.data_ptr() and tensor.shape[:1] == x.shape[:1] and tensor.numel() == x.numel()
    return same and tensor._version == 0 and tensor.is_contiguous()


def _uses_weights_elsewhere(head, call, x, logits):
    """Return whether other weights of a layer change the logits while it gives the same."""
    weights = dict(call.layer.named_parameters())
    for name, parameter in weights.items():
        setattr(call.layer, name, _like(torch.full_like(parameter, math.nan), parameter))
    try:
        return not _gives(head, call, x, logits)
    finally:
        for name, parameter in weights.items():
            setattr(call.layer, name, parameter)


def _gives(head, call, x, logits):
    """Return whether a network gives these logits, with what a layer gave once."""
    # What follows may change it in place.
    handle = call.layer.register_forward_hook(lambda *_: call.given.clone())
    try:
        return _close(head(x), logits, x.dtype)
    except Exception:  # noqa: BLE001 - of inputs that are no numbers a network may complain in its own way
        return False
    finally:
        handle.remove()


def _close(logits, expected, dtype):
    """Return whether a network of this precision may have given both."""
    precision = 1e-4 if dtype in (torch.float32, torch.float64) else 0.1
    return torch.allclose(logits, expected, rtol=0, atol=precision * max(1.0, expected.abs().max().item()))


def _absorb_into_linear(layer, perturbation):
    """The weights times the perturbation's Jacobian, and the weights times what it makes of 0."""
    weight = layer.weight.double().cpu()
    shape = input_shape(perturbation)
    if math.prod(shape) != layer.in_features:
        raise ValueError(
            f"fold needs a first layer that takes the inputs whole, {shape}; got one of {layer.in_features} numbers"
        )
    with torch.enable_grad():
        at_zero, pull_back = torch.func.vjp(perturbation, torch.zeros(1, *shape, dtype=torch.float64))  # type: ignore[misc]
        slopes = torch.func.vmap(lambda row: pull_back(row)[0])(weight.reshape(-1, 1, *shape))
    _replace(layer, slopes.detach().reshape(weight.shape), weight @ at_zero.detach().reshape(-1))


def input_shape(perturbation):
    """Shape of one input, as the parts of a perturbation know it; None if they don't."""
    shapes = {part.shape for part in perturbation.modules() if hasattr(part, "shape")}
    return shapes.pop() if len(shapes) == 1 else None


@torch.no_grad()
def check_the_same(module, absorbed, x):
    """Raise unless a module that absorbed its perturbation gives the logits of the original."""
    expected = module(x)
    dtype = next((weight.dtype for weight in module.logits.parameters()), expected.dtype)
    if not _close(absorbed(x), expected, dtype):
        raise ValueError("fold needs a network that gives the same logits from the same inputs; the folded one doesn't")


def _absorb_into_convolution(layer, perturbation):
    channels = layer.in_channels
    units = torch.cat([torch.zeros(1, channels), torch.eye(channels)]).double()
    out = perturbation(units.reshape(channels + 1, channels, *[1] * (layer.weight.ndim - 2))).flatten(1)
    offset = out[0]
    matrix = (out[1:] - offset).T
    pads = layer.padding == "same" if isinstance(layer.padding, str) else any(layer.padding)
    if offset.any() and layer.padding_mode == "zeros" and pads:
        raise ValueError(
            "fold needs a first convolution without zero padding: it pads what is perturbed already, with zeros that "
            "the offset would no longer leave as they are"
        )
    weight = layer.weight.double().cpu()
    per_group = weight.shape[1]
    blocks = [matrix[k : k + per_group, k : k + per_group] for k in range(0, channels, per_group)]
    if not torch.equal(torch.block_diag(*blocks), matrix):
        raise ValueError("fold needs a first convolution without groups where the perturbation mixes channels")
    by_group = weight.unflatten(0, (layer.groups, -1))
    moved = torch.einsum("goc...,gcd->god...", by_group, torch.stack(blocks)).flatten(0, 1)
    shift = torch.einsum("goc...,gc->go...", by_group, offset.view(layer.groups, -1)).flatten(2).sum(2).flatten()
    _replace(layer, moved, shift)


def _replace(layer, weight, shift):
    """Give a layer weights of its own, and a shift on top of its bias."""
    bias = 0 if layer.bias is None else layer.bias.double().cpu()
    layer.bias = _like(shift + bias, layer.weight)
    layer.weight = _like(weight, layer.weight)


def _like(value, parameter):
    return nn.Parameter(value.to(parameter), requires_grad=parameter.requires_grad)
