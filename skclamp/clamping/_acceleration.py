"""A faster, transient copy of a network for the duration of a fit: fused batch norms, channels last, bfloat16.

Every step is checked on a batch and left out where it fails or changes the logits; the user's network isn't touched.
"""

import copy
from dataclasses import replace
from functools import partial
from operator import methodcaller

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..exceptions import ForwardError
from ..modules import LogitsModule
from ..modules._layer_calls import convolutions_before_norms
from ..modules._unwrap import is_spread, unwrapped

# A fused network may round differently, no more.
_FUSED_TOLERANCE = 1e-4
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# What torch raises of a tensor's layout, dtype or gradient, and Python of a layer that is gone: what differs in a copy.
_OF_A_COPY = (RuntimeError, TypeError, AttributeError)


class _FastLogits(LogitsModule):
    """Logits in float32 of a network that runs in the memory format and precision that suit it."""

    def __init__(self, module, *, memory_format=torch.contiguous_format, autocast=None, **reading):
        super().__init__(module, **reading)
        self.memory_format = memory_format
        self.autocast = autocast

    def _yielded(self, x=None, /, **others):
        x = x if x is None else x.contiguous(memory_format=self.memory_format)
        if self.autocast is None:
            return super()._yielded(x, **others)
        device = next(iter([x, *others.values()][x is None :])).device
        with torch.autocast(device.type, self.autocast):
            output, n_samples = super()._yielded(x, **others)
        return output.float(), n_samples


def accelerate(problem, precision="auto"):
    """Return a problem on the quickest equivalents of its network that this machine and this network allow.

    The network is in eval mode and has no gradients to its weights. The result has copies of it: `backbone`, the
    quickest, and `exact`, in the network's own precision; where nothing quicker works they share its layers. A
    precision of "auto" is bfloat16 autocast where the processor has instructions for it.
    """
    backbone, batch = problem.backbone, problem.example_batch()
    with torch.no_grad():
        expected = _run(backbone.module, batch)

        def is_same(candidate):
            scale = max(1.0, expected.abs().max().item())
            return (_run(candidate, batch) - expected).abs().max().item() <= _FUSED_TOLERANCE * scale

        exact = backbone.module
        if not is_spread(exact.module):
            # What compiled the network, or would spread it over several devices that aren't there, is left out.
            bare = _variant(exact, unwrapped(exact.module))
            exact = bare if is_same(bare) else exact
        exact = _channels_last(_fused(exact, batch, is_same), batch, is_same)
        quick, automatic = exact, precision == "auto" and backbone.dtype == torch.float32
        if precision == "bfloat16" or (automatic and has_bfloat16(backbone.device)):
            autocast = _variant(exact, autocast=torch.bfloat16)
            quick = autocast if _of_a_copy(lambda: torch.isfinite(_run(autocast, batch)).all()) else exact
    twins = [copy.copy(backbone), copy.copy(backbone)]
    for twin, module in zip(twins, (quick, exact), strict=True):
        twin.module = module
    return replace(problem, backbone=twins[0], exact=twins[1])


def _run(module, batch):
    x, others = batch
    return module(x, **others)


def _variant(logits, module=None, **changes):
    own = {name: getattr(logits, name) for name in ("memory_format", "autocast") if hasattr(logits, name)}
    return _FastLogits(logits.module if module is None else module, **logits.reading, **(own | changes))


def _fused(logits, batch, is_same):
    """With each convolution and its batch norm in one."""
    parts = list(logits.modules())
    # Hooks would have a compiler make its layers again.
    may = any(isinstance(part, _BatchNorm) for part in parts) and not any(hasattr(part, "_orig_mod") for part in parts)
    copied = _copied(logits.module) if may else None
    if copied is None:
        return _variant(logits)
    candidate = _variant(logits, copied)
    pairs = _of_a_copy(lambda: convolutions_before_norms(copied, lambda: _run(candidate, batch)))
    if not pairs:
        return _variant(logits)
    try:
        for convolution, norm in pairs:
            own, statistics = (convolution.weight, convolution.bias), (norm.running_mean, norm.running_var, norm.eps)
            convolution.weight, convolution.bias = fuse_conv_bn_weights(*own, *statistics, norm.weight, norm.bias)
        norms = {norm for _, norm in pairs}
        for part in candidate.modules():
            for name in [name for name, child in part.named_children() if child in norms]:
                setattr(part, name, nn.Identity())
    except Exception:  # noqa: BLE001 - weights that something parametrises can't be set, in many ways
        return _variant(logits)
    candidate.requires_grad_(False)
    return candidate if _of_a_copy(lambda: is_same(candidate)) else _variant(logits)


def _copied(module, **layout):
    """A deep copy of a network, in a layout; None where it holds what can't be copied, such as a lock or a file."""
    try:
        copied = copy.deepcopy(module)
        return copied.to(**layout) if layout else copied
    except Exception:  # noqa: BLE001 - copying runs what the network's parts say of it, and nothing of its forward
        return None


def _of_a_copy(run):
    """Return what running a copy of a network gives; None where it fails as only a copy can; other errors pass."""
    try:
        return run()
    except _OF_A_COPY as error:
        # What the network itself raised.
        if isinstance(error, ForwardError) and not isinstance(error.__cause__, _OF_A_COPY):
            raise
        return None


def _channels_last(logits, batch, is_same):
    """With images stored pixel by pixel, which convolutions on a processor and on tensor cores prefer."""
    n_axes = 0 if batch[0] is None else batch[0].ndim
    memory_format = _CHANNELS_LAST.get(n_axes)
    if memory_format is None or not any(p.ndim == n_axes for p in logits.parameters()):
        return logits
    copied = _copied(logits.module, memory_format=memory_format)
    if copied is None or any(isinstance(part, torch.jit.ScriptModule) for part in copied.modules()):
        return logits
    for part in copied.modules():
        part.register_forward_hook(partial(_keep_layout, memory_format=memory_format))
    candidate = _variant(logits, copied, memory_format=memory_format)
    # `view`, for one, asks for rows in order.
    return candidate if _of_a_copy(lambda: is_same(candidate)) else logits


def _keep_layout(_module, _inputs, output, *, memory_format: torch.memory_format):
    """Have the gradient of a layer's output in the layout of the output: backward through both at once is slow."""
    if not isinstance(output, torch.Tensor) or not output.requires_grad:
        return
    if _CHANNELS_LAST.get(output.ndim) == memory_format and output.is_contiguous(memory_format=memory_format):
        output.register_hook(methodcaller("contiguous", memory_format=memory_format))


def has_bfloat16(device):
    """Return whether a device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))
    return False
