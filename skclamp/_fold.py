"""A perturbation and a temperature folded into the first and last layers of a copy of the network.

Imports `perturbations` alone of the package.
"""

import copy
import math

import torch
from torch import fx, nn

from .perturbations import AffinePerturbation, ChannelPerturbation, ColorPerturbation

# These do the same at every place, and so commute with looking at a window.
_POINTWISE = (nn.Identity, ChannelPerturbation, AffinePerturbation, ColorPerturbation)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def with_perturbation(network, perturbation):
    """A copy of a network that perturbs its inputs by itself.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    perturbation : torch.nn.Module
        Affine in the inputs.

    Returns
    -------
    torch.nn.Module
        In eval mode.

    Raises
    ------
    ValueError
        If the first layer can't take the perturbation exactly; the message says why.
    """
    network = copy.deepcopy(network).eval()
    if any(True for _ in perturbation.parameters()):
        layer = _first_layer(network)
        fold = _fold_linear if isinstance(layer, nn.Linear) else _fold_convolution
        with torch.no_grad():
            fold(layer, copy.deepcopy(perturbation).eval().double().cpu())
    return network


def divide_outputs(network, temperature):
    """Have the last layer yield its outputs divided by T; False where a network's last layer isn't a linear one."""
    whole, graph = _traced(network)
    (output,) = next(node for node in graph.nodes if node.op == "output").args
    layer = _layer_at(whole, output) if isinstance(output, fx.Node) else None
    if type(layer) is not nn.Linear or len(output.users) != 1 or _n_uses(graph, output) > 1:
        return False
    layer.weight = nn.Parameter(layer.weight.detach() / temperature)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach() / temperature)
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
    """The layer that takes the inputs, as they are or flattened."""
    whole, graph = _traced(network)
    node = next(node for node in graph.nodes if node.op == "placeholder")
    while True:
        if len(node.users) != 1:
            raise ValueError(f"fold needs a network with one first layer; {len(node.users)} operations take its inputs")
        (node,) = node.users
        layer = _layer_at(whole, node)
        if type(layer) in (nn.Linear, *_CONVOLUTIONS):
            break
        if not isinstance(layer, (nn.Identity, nn.Flatten, nn.Dropout)) and not _flattens(node):
            found = node.target if layer is None else type(layer).__name__
            raise ValueError(f"fold needs a linear layer or a convolution to come first; got {found}")
    if _n_uses(graph, node) > 1:
        raise ValueError(f"fold needs a first layer that is used once; a {type(layer).__name__} is used again")
    return layer


def _layer_at(whole, node):
    return whole.get_submodule(node.target) if node.op == "call_module" else None


def _n_uses(graph, node):
    return sum(other.op == node.op and other.target == node.target for other in graph.nodes)


def _flattens(node):
    return node.target in (torch.flatten, "flatten") and node.args[1:] == (1,)


def _fold_linear(layer, perturbation):
    """Of any perturbation that is affine: the weights times its Jacobian, and the weights times what it makes of 0."""
    weight = layer.weight.double().cpu()
    shape = _input_shape(perturbation, layer.in_features)
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    with torch.enable_grad():
        at_zero, pull_back = torch.func.vjp(perturbation, zero)  # type: ignore[misc]
        rows = weight.reshape(-1, 1, *shape)
        slopes = torch.func.vmap(lambda row: pull_back(row)[0])(rows).detach()
    _check_affine(perturbation, rows, slopes, at_zero.detach(), shape)
    _replace(layer, slopes.reshape(weight.shape), weight @ at_zero.detach().reshape(-1))


def _input_shape(perturbation, n_features):
    shapes = {part.shape for part in perturbation.modules() if hasattr(part, "shape")}
    shape = shapes.pop() if len(shapes) == 1 else (n_features,)
    if math.prod(shape) != n_features:
        raise ValueError(
            f"fold needs a first layer that takes the inputs whole, {shape}; it takes {n_features} numbers"
        )
    return shape


def _check_affine(perturbation, rows, slopes, at_zero, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
    found = (rows * (perturbation(x) - at_zero)).flatten(1).sum(1)
    if not torch.allclose(found, (slopes * x).flatten(1).sum(1), rtol=1e-9, atol=1e-9 * rows.abs().sum().item()):
        raise ValueError("fold needs a perturbation that is affine in the inputs; this one is bent")


def _fold_convolution(layer, perturbation):
    parts = [part for part in perturbation.modules() if not isinstance(part, nn.Sequential)]
    if not all(isinstance(part, _POINTWISE) for part in parts):
        names = ", ".join(sorted({type(part).__name__ for part in parts if not isinstance(part, _POINTWISE)}))
        raise ValueError(f"fold needs a perturbation that is the same everywhere before a convolution; got {names}")
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
    layer.bias = nn.Parameter((shift + bias).to(layer.weight))
    layer.weight = nn.Parameter(weight.to(layer.weight))
