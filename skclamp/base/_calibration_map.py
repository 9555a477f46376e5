"""CalibrationMap: what a calibrator has learned to do with logits, as a torch module."""

import copy

import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from ._seen_classes import SeenClasses

# What a fitted calibrator has beside its map: the network, the way to it, what it has seen, and what is fitted.
_BESIDE = {
    *("estimator", "estimator_", "module_", "_backbone", "_rows_seen"),
    *("calibrators", "candidates", "cv", "cv_results_"),
}


class CalibrationMap(nn.Module):
    """From logits (n, K) to calibrated logits, by the hook `_transform_logits` of a fitted calibrator.

    Learned tensors, and the arrays that the hook takes as tensors too, are copied to buffers; the calibrators of a
    stack become modules. What a map looks up in steps and knots stays on the CPU, where it is looked up.
    """

    def __init__(self, calibrator):
        super().__init__()
        self._of = type(calibrator)
        self._facts, self._tuples = {}, {}
        for name in sorted(vars(calibrator).keys() - _BESIDE):
            value = getattr(calibrator, name)
            if isinstance(value, nn.Module):
                self.add_module(name, copy.deepcopy(value))
            elif name in calibrator._arrays or isinstance(value, torch.Tensor):
                self.register_buffer(name, torch.as_tensor(value).detach().clone())
            elif isinstance(value, SeenClasses):
                self._tuples[name] = [f"{name}_{field}" for field in SeenClasses._fields]
                for buffer, part in zip(self._tuples[name], value, strict=True):
                    kept = part.clone() if isinstance(part, torch.Tensor) else torch.tensor(part, dtype=torch.float64)
                    self.register_buffer(buffer, kept)
            elif isinstance(value, FrozenEstimator):
                self.add_module(name, _FrozenMap(value.estimator))
            elif hasattr(value, "_transform_logits"):
                self.add_module(name, CalibrationMap(value))
            elif isinstance(value, list) and all(hasattr(each, "_transform_logits") for each in value):
                self.add_module(name, nn.ModuleList(map(CalibrationMap, value)))
            else:
                self._facts[name] = value

    def forward(self, logits):
        """Calibrated logits of the same shape."""
        return self.calibrator()._calibrated(logits)

    def calibrator(self):
        """What has the hook, and for what it learned the buffers and modules as they are now."""
        twin = object.__new__(self._of)
        modules = {name: _learned(module) for name, module in self._modules.items()}
        # Attribute by attribute: torch.export of torch 2.6 can't follow vars or unions.
        for name, value in {**self._facts, **self._buffers, **modules}.items():
            setattr(twin, name, value)
        for name, buffers in self._tuples.items():
            # Nor can it `_make`.
            parts: list = [self._buffers[buffer] for buffer in buffers]
            setattr(twin, name, SeenClasses(*parts))
        return twin


class _FrozenMap(CalibrationMap):
    """The same of a calibrator in scikit-learn's wrapper."""

    def calibrator(self):
        """The wrapper around what has the hook."""
        return FrozenEstimator(super().calibrator())


def _learned(module):
    if isinstance(module, nn.ModuleList):
        return [_learned(each) for each in module]
    return module.calibrator() if isinstance(module, CalibrationMap) else module
