"""Where a network is, and how a batch of inputs gets there: device, dtype and the scale of integers."""

import copy
from dataclasses import dataclass, replace

import torch

from .._utils.parameters import check_number


def place_of(module):
    """Device and floating-point dtype of a network, from its first weight or buffer that has one; or None."""
    tensors = [*module.parameters(), *module.buffers()]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    device = (floating + tensors)[0].device if tensors else None
    return device, floating[0].dtype if floating else None


def on_device(module, device):
    """The network itself where `device` is None or its own; else a copy there. ValueError if it has no weights yet."""
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise ValueError(
            "estimator must have its weights in memory; got a network on the meta device, which has shapes alone: load "
            "its weights, with load_state_dict(..., assign=True) for instance"
        )
    if device is None:
        return module
    device = check_device(device)
    own, _ = place_of(module)
    if own is None or (own.type == device.type and device.index in (None, own.index)):
        return module
    return copy.deepcopy(module).to(device)


def check_device(device):
    """A torch.device that exists, or ValueError."""
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError, TypeError) as error:
        # torch may go on to list all that its operators do run on.
        cause = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"device must name a device that is there, such as 'cpu' or 'cuda:0'; got {device!r}: {cause}"
        ) from error
    return checked


@dataclass(frozen=True)
class Destination:
    """A device for inputs, and what they become there; None leaves device or dtype as it is.

    `dtype` is that of floating-point inputs. `integer_scale` multiplies integers to make floating-point numbers of
    them: those of an array, or in a dict those of the entries named.
    """

    device: torch.device | None
    dtype: torch.dtype | None
    integer_scale: float | dict | None = None

    def __post_init__(self):
        scales = self.integer_scale if isinstance(self.integer_scale, dict) else {}
        for name, scale in scales.items():
            check_number(scale, f"integer_scale[{name!r}]", 0, None, closed="neither")

    def among(self, batch, input_key):
        """The same for the entries of a batch: one scale is that of the perturbed entry, or of the only one.

        Raises
        ------
        ValueError
            If scales are of entries that aren't there, or it can't be told of which one is.
        """
        scale = self.integer_scale
        if isinstance(scale, dict):
            unknown = sorted(set(scale) - set(batch))
            if unknown:
                raise ValueError(
                    f"integer_scale must name entries of X, {', '.join(map(repr, batch))}; got {unknown[0]!r}"
                )
            return self
        if scale is None:
            return self
        if input_key is None and len(batch) > 1:
            raise ValueError(
                f"integer_scale must be a dict of scales by entry where X has several, {', '.join(map(repr, batch))}; "
                f"got {scale!r}"
            )
        return replace(self, integer_scale={next(iter(batch)) if input_key is None else input_key: scale})

    def convert(self, x, name=None):
        """A tensor as the network takes it; `name` is its entry's, None where it is all of X.

        Raises
        ------
        TypeError
            If it holds integers that stand for measurements, on a scale that isn't known.
        """
        if x.is_inference() and not torch.is_inference_mode_enabled():
            x = x.clone()
        if x.is_floating_point():
            return x.to(self.device, self.dtype or x.dtype, non_blocking=self._non_blocking)
        scale = self._scale_of(name)
        if scale is not None:
            # As bytes they travel in less time.
            return (
                x.to(self.device, non_blocking=self._non_blocking)
                .to(self.dtype or torch.get_default_dtype())
                .mul_(scale)
            )
        if name is None and x.ndim > 2:
            raise TypeError(
                f"X must hold floating-point inputs on the scale the network was trained with; got {x.dtype} of shape "
                f"{tuple(x.shape)}. State the scale of integer images, for instance integer_scale=1 / 255"
            )
        return x.to(self.device, x.dtype if x.dtype == torch.bool else torch.int64, non_blocking=self._non_blocking)

    def scales(self, batch, input_key):
        """Whether there are integers in a batch that a scale is for."""
        if self.integer_scale is None:
            return False
        if isinstance(batch, torch.Tensor):
            return not batch.is_floating_point() and self._scale_of(None) is not None
        scale_of = self.among(batch, input_key)._scale_of
        return any(not entry.is_floating_point() and scale_of(name) is not None for name, entry in batch.items())

    @property
    def _non_blocking(self):
        # What comes back from a GPU must have arrived before it is read.
        return self.device is not None and self.device.type == "cuda"

    def _scale_of(self, name):
        if isinstance(self.integer_scale, dict):
            return self.integer_scale.get(name)
        return self.integer_scale if name is None else None
