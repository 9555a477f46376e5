"""A perturbation and a temperature folded into the first and last layers of a copy of the network.

Of the package it imports `perturbations` and `_wrappers`.
"""

import copy
import math

import torch
from torch import fx, nn

from ._wrappers import unwrapped
from .perturbations import (
    AffinePerturbation,
    ChannelPerturbation,
    ColorPerturbation,
    FilterPerturbation,
    FullPerturbation,
    GridPerturbation,
)

# These do the same at every place, and so commute with looking at a window.
_POINTWISE = (nn.Identity, ChannelPerturbation, AffinePerturbation, ColorPerturbation)
_AFFINE = (*_POINTWISE, FullPerturbation, FilterPerturbation, GridPerturbation)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def with_perturbation(network, perturbation):
    """A copy of a network that perturbs its inputs by itself.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    perturbation : torch.nn.Module
        Of this package's families, or several in a row.

    Returns
    -------
    torch.nn.Module
        In eval mode.

    Raises
    ------
    ValueError
        If the first layer can't take the perturbation exactly; the message says why.
    """
    network = copy.deepcopy(unwrapped(network)).eval()
    parts = [part for part in perturbation.modules() if type(part) is not nn.Sequential]
    if all(type(part) is nn.Identity for part in parts):
        return network
    layer, flattened = _first_layer(network)
    with torch.no_grad():
        perturbation = copy.deepcopy(perturbation).eval().double().cpu()
        if type(layer) is nn.Linear:
            _check_kinds(parts, _AFFINE, "a perturbation of this package that is affine in the inputs")
            _fold_linear(layer, perturbation)
        elif flattened:
            raise ValueError("fold needs a linear layer after the inputs are flattened; got a convolution")
        else:
            _check_kinds(parts, _POINTWISE, "a perturbation that is the same everywhere before a convolution")
            _fold_convolution(layer, perturbation)
    return network


def _check_kinds(parts, allowed, rule):
    others = sorted({type(part).__name__ for part in parts if type(part) not in allowed})
    if others:
        raise ValueError(f"fold needs {rule}; got {', '.join(others)}")


def divide_outputs(network, temperature):
    """Have the last layer yield its outputs divided by T; False where it can't: it isn't linear, or not used by itself.

    In half precision T would be rounded, and the outputs with it.
    """
    whole, graph = _traced(network)
    (output,) = next(node for node in graph.nodes if node.op == "output").args
    layer = _layer_at(whole, output) if isinstance(output, fx.Node) else None
    if type(layer) is not nn.Linear or len(output.users) != 1 or _other_use(whole, graph, output, layer):
        return False
    if layer.weight.dtype not in (torch.float32, torch.float64):
        return False
    layer.weight = _like(layer.weight.detach() / temperature, layer.weight)
    if layer.bias is not None:
        layer.bias = _like(layer.bias.detach() / temperature, layer.bias)
    return True


def _traced(network):
    """A module around the network, whose parts may be a single layer, and its graph."""
    whole = nn.Sequential(network)
    try:
        return whole, fx.Tracer().trace(whole)
    except Exception as error:  # noqa: BLE001 - fx fails in as many ways as there are networks
        raise ValueError(
            f"fold needs a network whose operations torch.fx can trace; {type(network).__name__} has others: {error}"
        ) from error


def _first_layer(network):
    """The layer that takes the inputs, and whether they are flattened before."""
    whole, graph = _traced(network)
    node = next(node for node in graph.nodes if node.op == "placeholder")
    flattened = False
    while True:
        if len(node.users) != 1:
            raise ValueError(f"fold needs a network with one first layer; {len(node.users)} operations take its inputs")
        (node,) = node.users
        layer = _layer_at(whole, node)
        if type(layer) in (nn.Linear, *_CONVOLUTIONS):
            break
        flattened |= _flattens(node, layer)
        if not (_flattens(node, layer) or type(layer) in (nn.Identity, nn.Dropout)):
            found = getattr(node.target, "__name__", node.target) if layer is None else type(layer).__name__
            raise ValueError(f"fold needs a linear layer or a convolution to come first; got {found}")
    reason = _other_use(whole, graph, node, layer)
    if reason:
        raise ValueError(f"fold needs a first layer that does nothing else; this {type(layer).__name__} {reason}")
    return layer, flattened


def _layer_at(whole, node):
    return whole.get_submodule(node.target) if node.op == "call_module" else None


def _flattens(node, layer):
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    start = node.kwargs.get("start_dim", (*node.args[1:], None)[0])
    return node.target in (torch.flatten, "flatten") and start == 1 and len(node.args) + len(node.kwargs) == 2


def _other_use(whole, graph, node, layer):
    """What makes a layer more than one use of its own weights; "" if nothing does."""
    if sum(other.op == node.op and other.target == node.target for other in graph.nodes) > 1:
        return "is used again"
    weights = [id(parameter) for parameter in layer.parameters()]
    if any(id(_tensor_at(whole, other.target)) in weights for other in graph.nodes if other.op == "get_attr"):
        return "lends its weights to another operation"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "has hooks"
    return ""


def _tensor_at(whole, target):
    module, _, name = target.rpartition(".")
    return getattr(whole.get_submodule(module), name)


def _fold_linear(layer, perturbation):
    """The weights times the perturbation's Jacobian, and the weights times what it makes of 0."""
    weight = layer.weight.double().cpu()
    shape = input_shape(perturbation)
    if shape is None or math.prod(shape) != layer.in_features:
        raise ValueError(
            f"fold needs a first layer that takes the inputs whole, {shape}; got one of {layer.in_features} numbers"
        )
    with torch.enable_grad():
        zero = torch.zeros(1, *shape, dtype=torch.float64)
        at_zero, pull_back = torch.func.vjp(perturbation, zero)  # type: ignore[misc]
        slopes = torch.func.vmap(lambda row: pull_back(row)[0])(weight.reshape(-1, 1, *shape))
    _replace(layer, slopes.detach().reshape(weight.shape), weight @ at_zero.detach().reshape(-1))


def input_shape(perturbation):
    """Shape of one input, as the parts of a perturbation know it; None if they don't."""
    shapes = {part.shape for part in perturbation.modules() if hasattr(part, "shape")}
    return shapes.pop() if len(shapes) == 1 else None


@torch.no_grad()
def check_the_same(module, folded, shape):
    """Raise unless a folded module gives the logits of the original: not all that a network does is in its graph."""
    weight = next(module.logits.parameters())
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).to(weight)
    expected, found = module(x), folded(x)
    precision = 1e-4 if weight.dtype in (torch.float32, torch.float64) else 0.1
    if not torch.allclose(found, expected, rtol=0, atol=precision * max(1.0, expected.abs().max().item())):
        raise ValueError(
            "fold needs a network all of which torch.fx sees: hooks, or weights that are used in passing, give other "
            "logits than the folded layers"
        )


def _fold_convolution(layer, perturbation):
    channels = layer.in_channels
    units = torch.cat([torch.zeros(1, channels), torch.eye(channels)]).double()
    out = perturbation(units.reshape(channels + 1, channels, *[1] * (layer.weight.ndim - 2))).flatten(1)
    offset, matrix = out[0], (out[1:] - out[0]).T
    if offset.any() and layer.padding_mode == "zeros" and layer.padding != "valid" and any(_amounts(layer.padding)):
        raise ValueError(
            "fold needs a first convolution without zero padding: it pads what is perturbed already, with zeros that "
            "the offset would no longer leave as they are"
        )
    weight = layer.weight.double().cpu()
    per_group = weight.shape[1]
    blocks = [matrix[k : k + per_group, k : k + per_group] for k in range(0, channels, per_group)]
    if not torch.equal(torch.block_diag(*blocks), matrix):
        raise ValueError("fold needs a first convolution without groups where the perturbation mixes channels")
    by_group = weight.chunk(layer.groups)
    moved = torch.cat([torch.einsum("oc...,cd->od...", w, block) for w, block in zip(by_group, blocks, strict=True)])
    offsets = offset.split(per_group)
    shifts = [torch.einsum("oc...,c->o...", w, b).flatten(1).sum(1) for w, b in zip(by_group, offsets, strict=True)]
    _replace(layer, moved, torch.cat(shifts))


def _amounts(padding):
    return [1] if isinstance(padding, str) else padding


def _replace(layer, weight, shift):
    """Give a layer weights of its own, and a shift on top of its bias."""
    bias = 0 if layer.bias is None else layer.bias.double().cpu()
    layer.bias = _like(shift + bias, layer.weight)
    layer.weight = _like(weight, layer.weight)


def _like(value, parameter):
    return nn.Parameter(value.to(parameter), requires_grad=parameter.requires_grad)
