"""A map of logits in twenty lines: copy it, and change what it learns and what it does.

It multiplies all logits by one number, the inverse of a temperature.
"""

import numpy as np
from scipy.optimize import brentq

from skclamp.base import BaseCalibrator, Map
from skclamp.base._tags import MapTags


class Scaled(Map):
    """What is deployed: a torch module that takes logits to calibrated logits."""

    def transform(self, logits):
        """Calibrated logits, of float64 as they come."""
        return logits * self.scale


class LogitScaling(BaseCalibrator):
    """Calibration by one factor of all logits, the one of least NLL."""

    # Logits of -inf, of classes that a sample doesn't have, are refused with a clear error.
    _tags = MapTags(takes_absent=False)

    def _fit_logits(self, logits, y, sample_weight):
        # Logits may be of any size, and a number added to all of a row says nothing.
        unit = logits.double() - logits.double().mean(1, keepdim=True)
        size = max(unit.square().mean().sqrt().item(), 1e-30)
        unit = unit / size
        of_label = unit.gather(1, y[:, None])[:, 0]

        def slope(log_scale):
            """Of the NLL, which is convex in the factor."""
            expected = ((unit * np.exp(log_scale)).softmax(1) * unit).sum(1)
            return ((expected - of_label) @ sample_weight.to(unit)).item()

        low, high = -9.0, 9.0
        found = brentq(slope, low, high) if slope(low) < 0 < slope(high) else (low if slope(low) >= 0 else high)
        return Scaled(scale=float(np.exp(found)) / size)
