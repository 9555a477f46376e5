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
from itertools import chain, product

import torch
from torch import nn

from ..perturbations._norm import NormLayer, NormPerturbation
from ._frozen import takes_gradient
from ._logits import LogitsModule, first_input
from ._unwrap import unwrapped

_WEIGHTS = ("weight", "gamma", "scale", "g", "a_2")
_BIASES = ("bias", "beta", "shift", "b", "b_2")
# Torch's transformers go past their norms' hooks while these say that they may.
_SHORTCUTS = ((nn.TransformerEncoder, "use_nested_tensor"), (nn.TransformerEncoderLayer, "activation_relu_or_gelu"))
# How far apart, of the largest entry, two ways to the same numbers may be: by the coarsest precision on the way.
_SAME, _SAME_IN_HALF = 1e-3, 0.05
# How far the logits go, of the largest, to tell their slope; how far of that the gradient may be from the slope, and
# hooks from weights anew.
_MOVE = 0.05
_LIKE_SLOPE = 0.3
_LIKE_WEIGHTS = 0.02


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
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                held = private and isinstance(tensor, nn.Parameter) and tensor.requires_grad
                shared[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=False) if held else tensor
    return copy.deepcopy(network, shared)


def private_copy(head):
    """A head of the same kind around a private copy of its network, whose hooks nothing goes past."""
    network = shared_copy(unwrapped(head.module), private=True)
    for part in [*nn.Module.modules(network)]:
        for name, child in nn.Module.named_children(part):
            if hasattr(child, "_orig_mod"):
                setattr(part, name, child._orig_mod)
        for kind, name in _SHORTCUTS:
            if isinstance(part, kind):
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
    network = head.module
    if isinstance(network, nn.parallel.DistributedDataParallel):
        network = unwrapped(network)
    network = shared_copy(network)
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
        setattr(part, name, nn.Parameter(value, takes_gradient(old)) if isinstance(old, nn.Parameter) else value)


def _clamped(h, gain, offset):
    return h * gain if offset is None else torch.addcmul(offset, h, gain)


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
        Zeros, to which ``backward`` of a loss, while they are held, adds each sample's gradients, by gain and by
        offset. ``torch.autograd.grad`` doesn't go back through reentrant checkpoints.
    """
    if rows is None and (perturbation is None or not ((perturbation.gain != 1).any() | perturbation.offset.any())):
        yield
        return
    parts = parts_of(head.module)
    with ExitStack() as handles:
        for (layer, gain, offset), places in zip(perturbation.by_layer(), perturbation.places(), strict=True):
            clamp = _clamp(layer, gain.detach(), None if offset is None else offset.detach(), rows, places)
            handles.enter_context(attached(parts[layer.name], layer.before, clamp))
        yield


def _clamp(layer, gain, offset, rows, places):
    """A function of what a layer gives; on the way back it adds each sample's gradients to `rows`, if there are any."""

    def clamp(h):
        # Of half precision a gain would be rounded by more than it moves.
        precise = h.to(torch.promote_types(h.dtype, torch.float32))
        clamped = _clamped(precise, gain.to(precise), None if offset is None else offset.to(precise)).to(h.dtype)
        if rows is None or not torch.is_grad_enabled():
            return clamped
        if not clamped.requires_grad:
            # The way back reaches the first layer; a leaf couldn't be overwritten.
            clamped = clamped.requires_grad_().clone()
        clamped.register_hook(partial(_add_gradients, h.detach(), layer, rows, places))
        return clamped

    return clamp


def _add_gradients(h, layer, rows, places, gradient):
    """Add each sample's gradients by the gain and the offset of a layer to some rows."""
    if gradient is None:
        # An operation on the way back has none.
        return
    (gains, offsets), axis = places, layer.axis
    shape = (1,) * (h.ndim - layer.n_trailing - len(layer.shape)) + layer.shape + (1,) * layer.n_trailing
    positions = [k for k in range(h.ndim) if k != axis and shape[k] == 1 < h.shape[k]]

    def summed(values):
        if positions:
            values = values.sum(positions, keepdim=True, dtype=rows.dtype)
        # Windows of an image, frames of a video: several rows for each sample.
        return values.movedim(axis, 0).unflatten(0, (len(rows), -1)).flatten(2).sum(1, dtype=rows.dtype)

    rows[:, gains] += summed(gradient * h)
    if offsets is not None:
        rows[:, offsets] += summed(gradient)


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
    OTHER_ROWS = "doesn't give a tensor with rows for each sample"
    NOT_AFFINE = "does more than multiply by its weight and add its bias"
    COUPLED = "mixes samples or draws at random, or stands beside what does"
    NO_GRADIENT = "has no gradient, or another than the logits' slope"
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
    left_out = {name: LayerReason.NO_WEIGHT for name, part in norms.items() if _own(part)[0] is None}
    sought = [name for name in norms if name not in left_out]
    if not sought:
        return [], left_out
    device = first_input(x, others).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), warnings.catch_warnings():
        # Torch warns of gradients that end on the way; they are found out.
        warnings.simplefilter("ignore")
        try:
            probe = _Probe(private_copy(head), x, others)
            layers, reasons = _affine(probe, sought)
            layers, unlike = _with_right_gradients(probe, layers)
        except Exception:  # noqa: BLE001 - networks refuse to be copied or run in as many ways as there are networks
            return [], left_out | dict.fromkeys(sought, LayerReason.FAILS)
    return layers, left_out | reasons | unlike


def _looks_like_norm(part):
    """Return whether a layer may be one that normalises."""
    kind = getattr(part, "original_name", type(part).__name__)
    if not re.search("(?i:norm)|BN|Bn", kind) or "parametri" in type(part).__module__:
        return False
    # A block such as PreNorm has a layer of its own that does; what normalises inputs has none.
    return _own(part)[0] is not None or hasattr(part, "weight")


class _Probe:
    """A private copy of a network, and a few samples to run it on: all of them, all but the last, or the first again.

    A single one wouldn't do: some networks take none, and kernels round otherwise for batches of another size, which
    shows wherever an activation has a kink.
    """

    def __init__(self, head, x, others):
        self.head = head
        self.x = x
        self.others = others
        first = first_input(x, others)
        self.n_samples = len(first)
        self.device = first.device
        self.parts = parts_of(head.module)

    def logits(self, rows=slice(None), head=None):
        x = self.x
        others = {name: value[rows] for name, value in self.others.items()}
        return (head or self.head)(None if x is None else x[rows], **others)

    def calls(self, names, note, rows=slice(None)):
        """Return ``note(...)`` of each call of some layers, by name, in the order of first calls."""
        notes: dict[str, list] = {}

        def hook(part, args, kwargs, output, name):
            before = notes.setdefault(name, [])
            before.append(note(name, part, args, kwargs, output, len(before)))

        with torch.no_grad(), ExitStack() as handles:
            for name in names:
                noting = partial(hook, name=name)
                handles.enter_context(self.parts[name].register_forward_hook(noting, with_kwargs=True))
            self.logits(rows)
        return notes

    def gradients(self, perturbation, rows=slice(None)):
        """Gradients by gains and offsets of a sum of the logits, a row for each sample, and the logits."""
        n_parameters = sum(parameter.numel() for parameter in perturbation.parameters())
        gradients = torch.zeros(self.n_samples, n_parameters, dtype=torch.float64, device=self.device)
        with torch.enable_grad(), features_clamped(self.head, perturbation, gradients):
            logits = self.logits(rows)
            if logits.requires_grad:
                _summed(logits).backward()
        return gradients, logits.detach()


def _summed(logits):
    """Distinct weights: the plain sum of logits may be constant by design."""
    return (logits.movedim(1, -1) @ torch.linspace(1.0, 2.0, logits.shape[1]).to(logits)).sum()


def _affine(probe, names):
    """Layers that are affine in their weights in every call, in the order in which they run, and why others aren't."""
    fewer = slice(probe.n_samples - 1)
    shapes = probe.calls(names, lambda name, part, args, kwargs, h, k: getattr(h, "shape", ()), fewer)

    def verified(name, part, args, kwargs, h, k):
        fewer = shapes.get(name, [])
        axis = _axis_of_samples(fewer[k] if k < len(fewer) else (), getattr(h, "shape", ()), probe.n_samples)
        return LayerReason.OTHER_ROWS if axis is None else _verified(name, part, args, kwargs, h, axis)

    layers = []
    left_out = dict.fromkeys(names, LayerReason.UNREACHED)
    for name, calls in probe.calls(names, verified).items():
        bad = [call for call in calls if isinstance(call, LayerReason)]
        if bad or len(set(calls)) > 1:
            left_out[name] = bad[0] if bad else LayerReason.NOT_AFFINE
        else:
            layers.append(calls[0])
            del left_out[name]
    return layers, left_out


def _axis_of_samples(fewer, shape, n_samples):
    """The axis of a layer's output along which the samples are, from its shapes for one less and all; None if none."""
    unlike = [k for k, (one, other) in enumerate(zip(fewer, shape, strict=False)) if one != other]
    if len(fewer) != len(shape) or len(unlike) != 1:
        return None
    (axis,) = unlike
    return axis if fewer[axis] * n_samples == shape[axis] * (n_samples - 1) else None


def _verified(name, part, args, kwargs, output, axis):
    """A layer as it is to be clamped, or that it can't be, from one call of it."""
    weight, bias = _own(part)
    tensors = {own: getattr(part, own) for own in (weight, bias) if own}
    shape = tuple(tensors[weight].shape)
    generator = torch.Generator().manual_seed(0)
    gain, offset = (torch.randn(shape, generator=generator).to(output) for _ in range(2))
    # A layer may refuse other weights in its own way.
    with suppress(Exception):
        for before in ("", *[child for child, _ in nn.Module.named_children(part)]):
            h = _given(part, args, kwargs, before)
            # What it doesn't give twice, or what a hook of the user's changed, no other weights give.
            if h is None or h.shape != output.shape or not (before or _close(h, output)):
                continue
            for n_trailing, unit in product(range(h.ndim - len(shape), -1, -1), (0.0, 1.0)):
                layer = NormLayer(name, shape, n_trailing, bias is not None, unit, axis, before)
                along = h.shape[h.ndim - n_trailing - len(shape) : h.ndim - n_trailing]
                if any(size not in (1, whole) for size, whole in zip(shape, along, strict=True)):
                    continue
                expected = _clamped(h, layer.spread(gain), layer.spread(offset) if bias else None)
                try:
                    _take_on(part, layer, gain, offset)
                    if _close(_given(part, args, kwargs, before), expected):
                        return layer
                finally:
                    for own, tensor in tensors.items():
                        setattr(part, own, tensor)
    return LayerReason.NOT_AFFINE


def _given(part, args, kwargs, before):
    """Return a layer's output, or the first input of a child of it; None of a child that takes nothing."""
    if not before:
        return part.forward(*args, **kwargs)
    taken = []

    def take(h):
        taken.append(h.clone())
        return h

    with attached(part, before, take):
        part.forward(*args, **kwargs)
    return taken[0] if taken else None


def _close(given, expected, dtype=None):
    precision = _SAME_IN_HALF if (dtype or expected.dtype).itemsize == 2 else _SAME
    tolerance = precision * expected.abs().max().clamp_min(1e-30)
    return given.shape == expected.shape and bool((given - expected).abs().max() <= tolerance)


def _with_right_gradients(probe, layers):
    """Layers whose gradients of a sample are those that it has alone, and its logits' slope; why others' aren't."""
    if not layers:
        return [], {}
    perturbation = NormPerturbation(layers).to(probe.device, torch.float64)
    reasons = {}
    steps = {}
    together, logits = probe.gradients(perturbation)
    alone, _ = probe.gradients(perturbation, [0] * probe.n_samples)
    gradient = together.sum(0)
    # A network may have an autocast of its own.
    given = probe.calls(probe.parts, lambda _name, _part, _args, _kwargs, h, _k: h)
    tensors = [logits, *probe.head.parameters(), *chain(*given.values())]
    dtypes = [h.dtype for h in tensors if isinstance(h, torch.Tensor) and h.is_floating_point()]
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    for layer, places in zip(layers, perturbation.places(), strict=True):
        columns = torch.cat([torch.arange(p.start, p.stop) for p in places if p is not None])
        if not together[:, columns].any():
            reasons[layer.name] = LayerReason.NO_GRADIENT
        elif not _close(alone[:1, columns], together[:1, columns], coarsest):
            reasons[layer.name] = LayerReason.COUPLED
        else:
            steps[layer.name] = torch.zeros_like(gradient)
            steps[layer.name][columns] = gradient[columns] / gradient[columns].norm()

    def unlike(step):
        return _unlike(probe, perturbation, step, (step @ gradient).item(), logits, coarsest)

    if steps and unlike(sum(steps.values())):
        reasons |= {name: reason for name, step in steps.items() if (reason := unlike(step))}
    return [layer for layer in layers if layer.name not in reasons], reasons


@torch.no_grad()
def _unlike(probe, perturbation, step, slope, logits, dtype):
    """Why the slope along a step isn't the logits', or other weights aren't what gains and offsets are."""
    scale = (logits - logits.mean()).abs().max().item()
    noise = 100 * torch.finfo(dtype).eps * scale
    length = min(_MOVE * scale / slope, _MOVE)
    identity = torch.cat([torch.ones_like(perturbation.gain), torch.zeros_like(perturbation.offset)])
    moved = []
    for sign in (-1, 1):
        nn.utils.vector_to_parameters(identity + sign * length * step, perturbation.parameters())
        with features_clamped(probe.head, perturbation):
            moved.append(probe.logits())
    behind, ahead = moved
    if not abs((_summed(ahead) - _summed(behind)).item() / 2 - length * slope) <= _LIKE_SLOPE * length * slope + noise:
        return LayerReason.NO_GRADIENT
    folded = probe.logits(head=with_features_clamped(probe.head, perturbation))
    if not (folded - ahead).abs().max() <= _LIKE_WEIGHTS * (ahead - logits).abs().max() + noise:
        return LayerReason.SHARED
    return None
