"""The network as a fit runs it: bare of what compiles or spreads it, in bfloat16 where that is quicker."""

import copy
from dataclasses import replace

import torch

from ..modules import LogitsModule
from ..modules._logits import first_input
from ..modules._unwrap import is_spread, unwrapped


class _Bfloat16Logits(LogitsModule):
    """Logits in float32 of a network under autocast to bfloat16."""

    def _yielded(self, x, /, **others):
        device = first_input(x, others).device
        with torch.autocast(device.type, torch.bfloat16):
            output, n_samples = super()._yielded(x, **others)
        return output.float(), n_samples


def accelerate(problem, precision):
    """Return a problem whose network runs in the precision that suits this machine.

    The network is in eval mode and has no gradients to its weights. The result has it twice, with the same layers:
    `exact`, in its own precision, and `backbone`, in bfloat16 where the precision says so and the network can. A
    precision of "auto" is bfloat16 where the processor has instructions for it.
    """
    exact, head = copy.copy(problem.backbone), problem.backbone.module
    if not is_spread(head.module):
        # What compiles the network would do so once more for its way back.
        exact.module = LogitsModule(unwrapped(head.module), **head.reading)
    automatic = precision == "auto" and exact.dtype == torch.float32 and has_bfloat16(exact.device)
    if precision == "bfloat16" or automatic:
        quick = copy.copy(exact)
        quick.module = _Bfloat16Logits(exact.module.module, **head.reading)
        if _runs(quick.module, problem.example_batch()):
            return replace(problem, backbone=quick, exact=exact)
    return replace(problem, backbone=exact, exact=exact)


@torch.no_grad()
def _runs(module, batch):
    """Return whether a network gives finite logits."""
    x, others = batch
    try:
        return bool(torch.isfinite(module(x, **others)).all())
    except Exception:  # noqa: BLE001 - layers without kernels for a precision say so in their own way
        return False


def has_bfloat16(device):
    """Return whether a device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    known = device.type == "cpu" and hasattr(torch.cpu, "get_capabilities")
    found = torch.cpu.get_capabilities() if known else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))
