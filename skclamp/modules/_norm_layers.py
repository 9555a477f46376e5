"""A network's normalisation layers, found and verified, and a gain and an offset after each of them.

While they are learned, hooks on a private copy apply them, which tell each sample's own gradient in one backward pass.
Afterwards the weights and biases of a copy of the network take them on; all else it shares with the network.
"""

import copy
import re
import warnings
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from functools import partial
from itertools import product

import torch
from torch import nn

from .._utils.arrays import at_least_single
from ..perturbations._norm import NormLayer, NormPerturbation
from ._logits import LogitsModule, first_input
from ._unwrap import unwrapped

_WEIGHTS = ("weight", "gamma", "scale", "g", "a_2")
_BIASES = ("bias", "beta", "shift", "b", "b_2")
# Torch's transformers go past their norms' hooks while these say that they may.
_SHORTCUTS = ("use_nested_tensor", "activation_relu_or_gelu")
# How far apart, of the largest entry, two ways to the same numbers may be, in single precision and in half.
_SAME = 1e-3
_SAME_IN_HALF = 0.05
# How far gains and offsets go to tell hooks from weights anew, and how far apart the logits may be, of their way: so
# far that half precision, which a network may have within, counts little.
_MOVE = 0.3
_LIKE_WEIGHTS = 0.1


class OtherLayersError(ValueError):
    """A network lacks the layers whose features are clamped."""


def shared_copy(network, *, private=False):
    """A copy of a network that shares every tensor with it, and what TorchScript made.

    A private one has buffers of its own, which a layer may change as it runs, and its weights take no gradient.
    """
    shared: dict[int, object] = {}
    for part in nn.Module.modules(network):
        if isinstance(part, torch.jit.ScriptModule):
            shared[id(part)] = part
            continue
        tensors = [*vars(part).values(), *part._parameters.values(), *([] if private else part._buffers.values())]
        shared |= {id(tensor): tensor for tensor in tensors if isinstance(tensor, torch.Tensor)}
        if private:
            fixed = [weight for weight in part._parameters.values() if weight is not None and weight.requires_grad]
            shared |= {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in fixed}
    return copy.deepcopy(network, shared)


def private_copy(head):
    """A head of the same kind around a private copy of its network, whose hooks nothing goes past."""
    network = shared_copy(unwrapped(head.module), private=True)
    for part in list(nn.Module.modules(network)):
        for name, child in nn.Module.named_children(part):
            if hasattr(child, "_orig_mod"):
                setattr(part, name, child._orig_mod)
        for name in _SHORTCUTS:
            if hasattr(part, name):
                setattr(part, name, False)
    copied = copy.copy(head)
    copied._modules = {"module": network}
    return copied


def with_features_clamped(head, perturbation):
    """A head around a copy of its network whose normalisation layers have taken on a NormPerturbation.

    Parameters
    ----------
    head : LogitsModule
        Around the user's network, which stays as it is.
    perturbation : NormPerturbation
        Names of layers that the network must have.

    Returns
    -------
    LogitsModule
        Its network shares every tensor with the user's but the weights and biases of these layers.

    Raises
    ------
    OtherLayersError
        If the network lacks one of them.
    """
    network = copy_to_change(head)
    parts = parts_of(network)
    for layer, gain, offset in perturbation.by_layer():
        part = parts.get(layer.name)
        weight, bias = _own(part)
        shape = tuple(getattr(part, weight).shape) if weight else None
        if shape != layer.shape or (layer.has_offset and bias is None):
            raise OtherLayersError(
                f"estimator must have a layer {layer.name!r} with a weight of shape {layer.shape}, whose features "
                f"are clamped; got {'none' if part is None else type(part).__name__}"
            )
        _take_on(part, layer, gain, offset)
    return LogitsModule(network, **head.reading)


def copy_to_change(head):
    """A copy of a head's network that shares every tensor with it, and has gradients of its own."""
    network = head.module
    return shared_copy(unwrapped(network) if isinstance(network, nn.parallel.DistributedDataParallel) else network)


def parts_of(network):
    """Parts of a network by name, whatever compiles or spreads it."""
    return {name.replace("._orig_mod", ""): part for name, part in nn.Module.named_modules(unwrapped(network))}


def _own(part):
    """Names of the tensors that a layer multiplies by and adds, or None."""
    tensors = {} if part is None or isinstance(part, torch.jit.ScriptModule) else {**part._parameters, **part._buffers}
    own = [name for name, tensor in tensors.items() if tensor is not None and tensor.is_floating_point()]
    return [next((name for name in names if name in own), None) for names in (_WEIGHTS, _BIASES)]


@torch.no_grad()
def _take_on(part, layer, gain, offset):
    """Have a layer give ``gain * h + offset`` by a weight and a bias of its own."""
    weight, bias = _own(part)
    gain = gain.cpu().double().reshape(layer.shape)
    values = {weight: (getattr(part, weight).cpu().double() + layer.unit) * gain - layer.unit}
    if layer.has_offset:
        values[bias] = getattr(part, bias).cpu().double() * gain + offset.cpu().double().reshape(layer.shape)
    for name, value in values.items():
        # A parameter or a buffer, as the one in its place.
        old = getattr(part, name)
        value = value.to(old)
        setattr(part, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value)


def _clamped(layer, gain, offset, h):
    """A layer's output times a gain and plus an offset, those of all samples or a row for each."""
    # Of half precision a gain would be rounded by more than it moves.
    precise = h.to(at_least_single(h))
    gain = _spread(layer, gain.to(precise), h)
    if offset is None:
        return (precise * gain).to(h.dtype)
    return torch.addcmul(_spread(layer, offset.to(precise), h), precise, gain).to(h.dtype)


def _spread(layer, values, h):
    """Numbers of a layer such that they broadcast against what it gives."""
    if values.ndim == 1:
        return layer.spread(values)
    # Windows of an image, frames of a video: several rows for each sample.
    each = values.repeat_interleave(h.shape[layer.axis] // len(values), 0)
    shape = [1] * (h.ndim - len(layer.shape) - layer.n_trailing) + list(layer.shape) + [1] * layer.n_trailing
    shape[layer.axis] = len(each)
    return each.reshape(shape)


@contextmanager
def features_clamped(head, perturbation, rows=None):
    """Hold hooks on a private copy of a network that apply a NormPerturbation.

    Parameters
    ----------
    head : LogitsModule
        Around a network that nobody else runs meanwhile.
    perturbation : NormPerturbation or None
        None leaves the network as it is.
    rows : torch.Tensor of shape (n_samples, n_parameters), default=None
        Zeros that take a gradient: what each sample's gain and offset are beyond those of all. ``backward`` of a loss
        gives them each sample's gradients; ``torch.autograd.grad`` doesn't go back through reentrant checkpoints.
    """
    if rows is None and (perturbation is None or not ((perturbation.gain != 1).any() | perturbation.offset.any())):
        yield
        return
    parts = parts_of(head.module)
    values = torch.cat([perturbation.gain, perturbation.offset]).detach()
    values = values if rows is None else values.to(rows.device) + rows
    with ExitStack() as handles:
        for layer, places in zip(perturbation.layers, perturbation.places(), strict=True):
            own = [None if place is None else values[..., place] for place in places]
            handles.enter_context(attached(parts[layer.name], layer.before, partial(_clamped, layer, *own)))
        yield


def attached(part, before, change):
    """Have ``change(h)`` for what a layer gives, or for what a child of it takes; the handle that ends it."""
    if before:
        child = nn.Module.get_submodule(part, before)
        return child.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]), *inputs[1:]))
    return part.register_forward_hook(lambda _part, _inputs, h: change(h))


class LayerReason(Enum):
    """Why a normalisation layer isn't clamped, in words."""

    NO_WEIGHT = "has no weight of its own that could be another"
    FAILS = "is in a network that can't be copied, or doesn't run on a few samples, or not backward"
    UNREACHED = "isn't run"
    NOT_AFFINE = "does more to each sample than multiply by its weight and add its bias"
    NO_GRADIENT = "has no gradient"
    COUPLED = "mixes samples or draws at random, or stands beside what does"
    SHARED = "lends its weight to another operation"


def find_norm_layers(head, x, others):
    """The layers of a network that can be clamped, and why others can't: verified on a batch, not trusted by name.

    Parameters
    ----------
    head : LogitsModule
        Around a network in eval mode, which stays as it is.
    x : torch.Tensor or None
        A few inputs, 2 or more; None where all have names.
    others : dict of str to torch.Tensor
        Those that the network takes by name.

    Returns
    -------
    layers : list of NormLayer
        In the order in which the network runs them.
    left_out : dict of str to LayerReason
        The others, by name.
    """
    norms = {name: part for name, part in parts_of(head.module).items() if _looks_like_norm(part)}
    sought = [name for name, part in norms.items() if _own(part)[0] is not None]
    found: dict = {name: LayerReason.NO_WEIGHT for name in norms if name not in sought}
    if sought:
        device = first_input(x, others).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), warnings.catch_warnings():
            # Torch warns of gradients that end on the way; they are found out.
            warnings.simplefilter("ignore")
            try:
                private = private_copy(head)
                found |= _affine(private, sought, x, others)
                found |= _misfits(private, _layers_in(found), x, others)
            except Exception:  # noqa: BLE001 - networks refuse to be copied or run in as many ways as there are networks
                found |= dict.fromkeys(sought, LayerReason.FAILS)
    return _layers_in(found), {name: each for name, each in found.items() if isinstance(each, LayerReason)}


def _layers_in(found):
    return [each for each in found.values() if isinstance(each, NormLayer)]


def _looks_like_norm(part):
    """Return whether a layer may be one that normalises."""
    kind = getattr(part, "original_name", type(part).__name__)
    if not re.search("(?i:norm)|BN|Bn", kind) or "parametri" in type(part).__module__:
        return False
    # A block such as PreNorm has a layer of its own that does; what normalises inputs has none.
    return _own(part)[0] is not None or hasattr(part, "weight")


@torch.no_grad()
def _affine(head, names, x, others):
    """Layers by name, in the order in which the network runs them, or why they can't be clamped."""
    parts = parts_of(head.module)
    n_samples = len(first_input(x, others))
    found: dict = {}

    def look(part, args, kwargs, output, name):
        form = _form(name, part, args, kwargs, output, n_samples)
        found[name] = form if found.get(name, form) == form else LayerReason.NOT_AFFINE

    with ExitStack() as handles:
        for name in names:
            handles.enter_context(parts[name].register_forward_hook(partial(look, name=name), with_kwargs=True))
        head(x, **others)
    return found | {name: LayerReason.UNREACHED for name in names if name not in found}


def _form(name, part, args, kwargs, output, n_samples):
    """A layer as it is to be clamped: other weights do to what it gives in one call just this; or that it can't be."""
    weight, bias = _own(part)
    shape = tuple(getattr(part, weight).shape)
    sizes = getattr(output, "shape", ())
    # Windows of an image, frames of a video: several rows for each sample, along the first axis.
    axis = next((k for k, size in enumerate(sizes) if size == n_samples), 0)
    if not sizes or sizes[axis] % n_samples:
        return LayerReason.NOT_AFFINE
    generator = torch.Generator().manual_seed(0)
    gain, offset = (torch.randn(shape, generator=generator).to(output) for _ in range(2))
    children = [child for child, _ in nn.Module.named_children(part)]
    n_behind = range(len(sizes) - len(shape), -1, -1)
    for before, n_trailing, unit in product(("", *children), n_behind, (0.0, 1.0)):
        layer = NormLayer(name, shape, n_trailing, bias is not None, unit, axis, before)
        # Shapes may not fit, and a layer may refuse other weights in its own way.
        with suppress(Exception):
            h = _given(part, args, kwargs, before)
            other = copy.copy(part)
            other._parameters = dict(part._parameters)
            other._buffers = dict(part._buffers)
            _take_on(other, layer, gain, offset)
            clamped = _given(other, args, kwargs, before)
            # What it doesn't give twice, or what a hook of the user's changed, no other weights give.
            expected = _clamped(layer, gain.flatten(), offset.flatten() if bias else None, h)
            if (before or is_close(h, output)) and is_close(clamped, expected):
                return layer
    return LayerReason.NOT_AFFINE


def _given(part, args, kwargs, before):
    """Return a layer's output, or the first input of a child of it."""
    if not before:
        return part.forward(*args, **kwargs)
    taken = []

    def take(h):
        taken.append(h.clone())
        return h

    with attached(part, before, take):
        part.forward(*args, **kwargs)
    return taken[0]


def is_close(given, expected):
    """Return whether two ways to the same numbers agree, as far as their precision has them do."""
    tolerance = (_SAME_IN_HALF if expected.dtype.itemsize == 2 else _SAME) * expected.abs().max().clamp_min(1e-30)
    return given.shape == expected.shape and bool((given - expected).abs().max() <= tolerance)


def _misfits(head, layers, x, others):
    """Why layers that are affine can't be clamped all the same, by name."""
    together, folds = _probed(head, layers, x, others)
    # A single sample wouldn't do: some networks take none, and kernels round otherwise for batches of another size.
    copies = [0] * len(together)
    copied = None if x is None else x[copies], {name: entry[copies] for name, entry in others.items()}
    alone, _ = _probed(head, layers, *copied)
    lending = [] if folds else [layer for layer in layers if not _probed(head, [layer], x, others)[1]]
    reasons = {layer.name: LayerReason.SHARED for layer in lending}
    for layer, places in zip(layers, NormPerturbation(layers).places(), strict=True):
        among, by_itself = (torch.cat([rows[:, k] for k in places if k is not None], 1) for rows in (together, alone))
        if not among.any():
            reasons[layer.name] = LayerReason.NO_GRADIENT
        elif (among - by_itself)[0].abs().max() > _SAME_IN_HALF * among[0].abs().max():
            reasons[layer.name] = LayerReason.COUPLED
    return reasons


def _probed(head, layers, x, others):
    """Each sample's gradients by moved gains and offsets, and whether other weights do to its logits what these do."""
    first = first_input(x, others)
    perturbation = NormPerturbation(layers).to(first.device, torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in perturbation.parameters():
            parameter.add_(_MOVE * torch.randn(parameter.shape, generator=generator).to(parameter))
        logits = head(x, **others)
        folded = with_features_clamped(head, perturbation)(x, **others)
    n_parameters = sum(parameter.numel() for parameter in perturbation.parameters())
    rows = torch.zeros(len(first), n_parameters, dtype=torch.float64, device=first.device, requires_grad=True)
    with torch.enable_grad(), features_clamped(head, perturbation, rows):
        clamped = head(x, **others)
        if clamped.requires_grad:
            # Distinct weights: the plain sum of logits may be constant by design.
            (clamped.movedim(1, -1) @ torch.linspace(1.0, 2.0, clamped.shape[1]).to(clamped)).sum().backward()
    gradients = torch.zeros_like(rows) if rows.grad is None else rows.grad
    return gradients, (folded - clamped).abs().max() <= _LIKE_WEIGHTS * (clamped - logits).abs().max()
