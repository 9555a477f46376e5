"""A perturbation and a temperature absorbed by the first and last layers of a copy of the network."""

import copy
import math
from contextlib import ExitStack

import torch
from torch import nn

from ..perturbations._families import is_ours
from ..perturbations._norm import NormPerturbation

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Powers of two, with which inputs and weights change exactly.
_SCALES = (-2.0, 1024.0)


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
    calls, output = _calls(network, lambda: network(x.clone()))
    last = next((layer for layer, _, given in calls if given is output), None)
    if type(last) is not nn.Linear or last.weight.dtype not in (torch.float32, torch.float64):
        return False
    weights = dict(last.named_parameters(recurse=False))

    def put(change):
        for name, parameter in weights.items():
            setattr(last, name, change(parameter))

    # Doubling is exact: whatever else is done with the weights, or behind the layer, shows.
    put(lambda parameter: _like(2.0 * parameter.detach(), parameter))
    if not _close(network(x.clone()), 2 * output, output.dtype):
        put(lambda parameter: parameter)
        return False
    put(lambda parameter: _like(parameter.detach() * (1 / temperature), parameter))
    return True


def _calls(network, run):
    """Layers without parts, each with its first input and its output, in the order of a run, and what `run` returns.

    While the list lives no two of its tensors are taken for one.
    """
    calls = []

    def note(layer, inputs, output):
        calls.append((layer, next(iter(inputs), None), output))

    with ExitStack() as hooks:
        for part in network.modules():
            if not any(part.children()):
                hooks.enter_context(part.register_forward_hook(note))
        return calls, run()


def example_of(head, shape):
    """Inputs of the network's precision."""
    weight = next(head.parameters(), torch.zeros(()))
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).to(weight)


@torch.no_grad()
def _first_layer(head, shape):
    """The layer that takes the inputs, and whether it does so in their own shape."""
    x = example_of(head, shape)
    # The network is handed a copy, which it may overwrite.
    handed = []
    with head.module.register_forward_pre_hook(lambda _, arguments: handed.extend(arguments)):
        calls, logits = _calls(head.module, lambda: head(x))
    (inputs,) = handed
    takers = (call[:2] for call in calls if _holds(call[1], inputs) and not _holds(call[2], inputs))
    layer, taken = next(takers, (None, inputs))
    if type(layer) not in (nn.Linear, *_CONVOLUTIONS):
        got = "none that takes the inputs as they are" if layer is None else type(layer).__name__
        raise ValueError(f"fold needs a linear layer or a convolution to come first; got {got}")
    # Whatever else is done with the inputs, or with the weights, shows.
    if not all(_is_same_when_scaled(head, layer, x, logits, scale) for scale in _SCALES):
        raise ValueError(
            "fold needs a first layer that alone takes the inputs, and does nothing else; inputs times a number and "
            f"weights over it give other logits with this {type(layer).__name__}"
        )
    return layer, taken.shape == x.shape


def _is_same_when_scaled(head, layer, x, logits, scale):
    """Return whether scaled inputs, and weights divided by the scale, give the same logits."""
    weight = layer.weight
    layer.weight = _like(weight / scale, weight)
    try:
        return _close(head(x * scale), logits, x.dtype)
    except Exception:  # noqa: BLE001 - of such inputs a network may complain in its own way
        return False
    finally:
        layer.weight = weight


def _holds(tensor, x):
    """Return whether a tensor is the inputs, unchanged, or a view that reshapes each of them."""
    if not isinstance(tensor, torch.Tensor) or tensor.data_ptr() != x.data_ptr() or tensor._version:
        return False
    return tensor.shape[:1] == x.shape[:1] and tensor.numel() == x.numel() and tensor.is_contiguous()


def _close(logits, expected, dtype):
    """Return whether a network of this precision may have given both."""
    precision = 1e-4 if dtype in (torch.float32, torch.float64) else 0.1
    return torch.allclose(logits, expected, rtol=0, atol=precision * max(1.0, expected.abs().max().item()))


def _absorb_into_linear(layer, perturbation):
    """The weights times the perturbation's Jacobian, and the weights times what it makes of 0."""
    weight, shape = layer.weight.double().cpu(), input_shape(perturbation)
    if math.prod(shape) != layer.in_features:
        raise ValueError(
            f"fold needs a first layer that takes the inputs whole, {shape}; got one of {layer.in_features} numbers"
        )

    def scores(x):
        return weight @ perturbation(x[None]).reshape(-1)

    zero = torch.zeros(shape, dtype=torch.float64)
    _replace(layer, torch.func.jacrev(scores)(zero).reshape(weight.shape), scores(zero))


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
    offset, matrix = out[0], (out[1:] - out[0]).T
    pads = layer.padding == "same" if isinstance(layer.padding, str) else any(layer.padding)
    if offset.any() and layer.padding_mode == "zeros" and pads:
        raise ValueError(
            "fold needs a first convolution without zero padding: it pads what is perturbed already, with zeros that "
            "the offset would no longer leave as they are"
        )
    # (group, output, input, ...)
    weight = layer.weight.double().cpu().unflatten(0, (layer.groups, -1))
    per_group = weight.shape[2]
    blocks = [matrix[k : k + per_group, k : k + per_group] for k in range(0, channels, per_group)]
    if not torch.equal(torch.block_diag(*blocks), matrix):
        raise ValueError("fold needs a first convolution without groups where the perturbation mixes channels")
    moved = torch.einsum("goc...,gcd->god...", weight, torch.stack(blocks))
    shift = torch.einsum("goc...,gc->go...", weight, offset.view(layer.groups, -1)).flatten(2).sum(2)
    _replace(layer, moved.flatten(0, 1), shift.flatten())


def _replace(layer, weight, shift):
    """Give a layer weights of its own, and a shift on top of its bias."""
    bias = 0 if layer.bias is None else layer.bias.double().cpu()
    layer.bias = _like(shift + bias, layer.weight)
    layer.weight = _like(weight, layer.weight)


def _like(value, parameter):
    return nn.Parameter(value.to(parameter), requires_grad=parameter.requires_grad)
