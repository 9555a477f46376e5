"""A network's normalisation layers, found and verified, and a gain and an offset after each of them.

While they are learned, hooks on a private copy apply them, which tell each sample's own gradient in one backward pass.
Afterwards the weights and biases of a copy of the network take them on; all else it shares with the network.
"""

import copy
from contextlib import contextmanager
from enum import Enum
from functools import partial
from itertools import chain

import torch
from torch import nn

from ..exceptions import ForwardError
from ..perturbations._norm import NormLayer, NormPerturbation
from ._logits import LogitsModule
from ._unwrap import unwrapped


# How far apart, of the largest entry, two ways to the same numbers may be: by the network's precision.
_SAME = {torch.float64: 1e-8, torch.float32: 1e-3}
_SAME_IN_HALF = 0.05


def shared_copy(network):
    """A copy of a network that shares every tensor with it."""
    tensors = chain(network.parameters(), network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def private_copy(head):
    """A head of the same kind around a copy of its network that shares every tensor with it."""
    copied = copy.copy(head)
    copied._modules = {"module": shared_copy(unwrapped(head.module))}
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
    """
    network = shared_copy(unwrapped(head.module))
    modules = dict(network.named_modules())
    with torch.no_grad():
        for layer, gain, offset in perturbation.by_layer():
            part = modules.get(layer.name)
            weight = getattr(part, "weight", None)
            if weight is None or tuple(weight.shape) != layer.shape:
                raise ValueError(
                    f"estimator must have a layer {layer.name!r} with a weight of shape {layer.shape}, whose features "
                    f"are clamped; got {'none' if part is None else type(part).__name__}"
                )
            _take_on(part, layer, gain, offset)
    return LogitsModule(network, **head.reading)


def _take_on(part, layer, gain, offset):
    """Have a layer give ``gain * h + offset`` by a weight and a bias of its own."""
    gain = gain.reshape(layer.shape).double()
    _put(part, "weight", (part.weight.double() + layer.unit) * gain - layer.unit)
    if layer.has_offset:
        _put(part, "bias", part.bias.double() * gain + offset.reshape(layer.shape).double())


def _put(part, name, value):
    """Give a layer a tensor of its own: a parameter or a buffer, as the one in its place."""
    old = getattr(part, name)
    value = value.to(old)
    setattr(part, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value)


class _Clamped(torch.autograd.Function):
    """``gain * h + offset``, which adds each sample's gradients by both to some rows on the way back.

    `tap` is a scalar that takes a gradient, which it never gets: it has the way back reach the first layer.
    """

    @staticmethod
    def forward(ctx, h, gain, offset, tap, rows, layer, places):
        ctx.save_for_backward(h, gain)
        ctx.rows, ctx.layer, ctx.places = rows, layer, places
        return _clamped(h, gain, offset)

    @staticmethod
    def backward(ctx, gradient):
        h, gain = ctx.saved_tensors
        if gradient.ndim == 4 and h.is_contiguous(memory_format=torch.channels_last):
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        gains, offsets = ctx.places
        first = h.ndim - ctx.layer.n_trailing - len(ctx.layer.shape)
        positions = [*range(1, first), *range(h.ndim - ctx.layer.n_trailing, h.ndim)]

        def summed(values):
            values = values.sum(positions, dtype=ctx.rows.dtype) if positions else values.to(ctx.rows.dtype)
            return values.reshape(len(values), -1)

        ctx.rows[:, gains] += summed(gradient * h)
        if offsets is not None:
            ctx.rows[:, offsets] += summed(gradient)
        back = gradient * gain if ctx.needs_input_grad[0] else None
        return back, None, None, None, None, None, None


def _clamped(h, gain, offset):
    return h * gain if offset is None else torch.addcmul(offset, h, gain)


@contextmanager
def features_clamped(head, perturbation, rows=None, tap=None):
    """Hold hooks on a private copy of a network that apply a NormPerturbation.

    Parameters
    ----------
    head : LogitsModule
        Around a network that nobody else runs meanwhile.
    perturbation : NormPerturbation or None
        None leaves the network as it is.
    rows : torch.Tensor of shape (n_samples, n_parameters), default=None
        Zeros, to which a backward pass adds each sample's gradients, by gain and by offset.
    tap : torch.Tensor, default=None
        A scalar that takes a gradient: what the backward pass is asked for.
    """
    handles = []
    moved = perturbation is not None and ((perturbation.gain != 1).any() or perturbation.offset.any())
    if moved or rows is not None:
        modules = dict(unwrapped(head.module).named_modules())
        everything = zip(perturbation.by_layer(), perturbation.places(), strict=True)
        for (layer, gain, offset), places in everything:
            gain, offset = gain.detach(), None if offset is None else offset.detach()

            def clamp(_part, _inputs, h, layer=layer, gain=gain, offset=offset, places=places):
                gain, offset = gain.to(h), None if offset is None else offset.to(h)
                if rows is None:
                    return _clamped(h, gain, offset)
                return _Clamped.apply(h, gain, offset, tap, rows, layer, places)

            handles.append(modules[layer.name].register_forward_hook(clamp))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class LayerReason(Enum):
    """Why a normalisation layer isn't clamped, in words."""

    NO_WEIGHT = "has no weight of its own"
    UNREACHED = "isn't run"
    OTHER_ROWS = "doesn't give a row for each sample, samples first"
    NOT_AFFINE = "does more than multiply by its weight and add its bias"
    COUPLED = "mixes samples, or stands before what does"
    NO_GRADIENT = "has no gradient"


def find_norm_layers(head, x, others):
    """The layers of a network that can be clamped, and why others can't: verified on a batch, not trusted by name.

    Parameters
    ----------
    head : LogitsModule
        Around a frozen network in eval mode, which stays as it is.
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
    try:
        network = shared_copy(unwrapped(head.module))
        candidates = {name: part for name, part in network.named_modules() if _looks_like_norm(part)}
    except Exception:  # noqa: BLE001 - a network may refuse to be copied in as many ways as there are networks
        return [], {}
    copied = LogitsModule(network, **head.reading).eval()
    n_samples = len(next(iter([x, *others.values()][x is None :])))
    left_out = dict.fromkeys(candidates, LayerReason.UNREACHED)
    layers: dict[str, NormLayer] = {}

    def verify(part, args, kwargs, h, name, size):
        layer = _verified(part, args, kwargs, h, name, size)
        if isinstance(layer, NormLayer) and layers.setdefault(name, layer) == layer:
            left_out.pop(name, None)
        else:
            left_out[name] = layer if isinstance(layer, LayerReason) else LayerReason.NOT_AFFINE

    def run(rows):
        part = None if x is None else x[rows]
        return part, {name: value[rows] for name, value in others.items()}

    with torch.no_grad():
        for rows in (slice(None), slice(1)):
            size = len(range(n_samples)[rows])
            handles = [
                part.register_forward_hook(partial(verify, name=name, size=size), with_kwargs=True)
                for name, part in candidates.items()
            ]
            try:
                part, named = run(rows)
                copied(part, **named)
            except ForwardError:
                return [], left_out
            finally:
                for handle in handles:
                    handle.remove()
    layers = {name: layer for name, layer in layers.items() if name not in left_out}
    if layers:
        left_out |= _coupled(copied, list(layers.values()), run, n_samples)
    return [layer for name, layer in layers.items() if name not in left_out], left_out


def _looks_like_norm(part):
    """Whether a layer may be one that normalises."""
    if "norm" not in type(part).__name__.lower():
        return False
    # A block such as PreNorm has a layer of its own that does.
    return hasattr(part, "weight") or not any(part.children())


def _verified(part, args, kwargs, h, name, n_samples):
    """The layer as it is to be clamped, or why it can't be, from one call of it."""
    weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
    if not isinstance(weight, torch.Tensor) or not weight.is_floating_point():
        return LayerReason.NO_WEIGHT
    if not isinstance(h, torch.Tensor) or h.ndim < 2 or len(h) != n_samples:
        return LayerReason.OTHER_ROWS
    shape = tuple(weight.shape)
    generator = torch.Generator().manual_seed(0)
    gain, offset = (torch.randn(shape, generator=generator).to(weight) for _ in range(2))
    offset = offset if isinstance(bias, torch.Tensor) else None
    try:
        for n_trailing in sorted({0, h.ndim - 1 - len(shape)}, reverse=True):
            end = h.ndim - n_trailing
            if n_trailing < 0 or tuple(h.shape[end - len(shape) : end]) != shape:
                continue
            for unit in (0.0, 1.0):
                layer = NormLayer(name, shape, n_trailing, offset is not None, unit)
                expected = _clamped(h, layer.spread(gain), None if offset is None else layer.spread(offset))
                _take_on(part, layer, gain, offset)
                given = part.forward(*args, **kwargs)
                _restore(part, weight, bias)
                if _close(given, expected) and _close(part.forward(*args, **kwargs), h):
                    return layer
    except Exception:  # noqa: BLE001 - a layer may refuse other weights in its own way
        pass
    finally:
        _restore(part, weight, bias)
    return LayerReason.NOT_AFFINE


def _restore(part, weight, bias):
    part.weight = weight
    if bias is not None:
        part.bias = bias


def _close(given, expected):
    if given.shape != expected.shape:
        return False
    tolerance = _SAME.get(expected.dtype, _SAME_IN_HALF) * max(1e-30, expected.abs().max().item())
    return bool((given - expected).abs().max() <= tolerance)


def _coupled(head, layers, run, n_samples):
    """Layers whose gradients of a sample aren't those that it has alone, by name."""
    perturbation = NormPerturbation(layers)

    def gradients(part, named, size):
        rows = torch.zeros(size, sum(p.numel() for p in perturbation.parameters()), dtype=torch.float64)
        rows = rows.to(next(value for value in (part, *named.values()) if value is not None).device)
        tap = torch.zeros((), device=rows.device, requires_grad=True)
        with torch.enable_grad(), features_clamped(head, perturbation, rows, tap):
            logits = head(part, **named)
            if logits.requires_grad:
                weights = torch.linspace(1.0, 2.0, logits.shape[1]).to(logits)
                torch.autograd.grad((logits @ weights).sum(), tap, allow_unused=True)
        return rows

    try:
        together = gradients(*run(slice(None)), n_samples)
        alone = torch.cat([gradients(*run(slice(k, k + 1)), 1) for k in range(n_samples)])
    except Exception:  # noqa: BLE001 - what can't be run backward, or on one sample
        return dict.fromkeys([layer.name for layer in layers], LayerReason.NO_GRADIENT)
    reasons = {}
    dtype = next((p.dtype for p in head.parameters() if p.is_floating_point()), torch.float32)
    for layer, places in zip(layers, perturbation.places(), strict=True):
        columns = torch.cat([torch.arange(p.start, p.stop) for p in places if p is not None])
        first, second = together[:, columns], alone[:, columns]
        size = first.abs().max().item()
        if not size > 0:
            reasons[layer.name] = LayerReason.NO_GRADIENT
        elif not (first - second).abs().max() <= _SAME.get(dtype, _SAME_IN_HALF) * size:
            reasons[layer.name] = LayerReason.COUPLED
    return reasons
