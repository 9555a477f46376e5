"""The base of output maps that start at temperature scaling: the exact temperature, then the rest of the map."""

from .._temperature import solve_temperature, warn_of_bound
from ..base import BaseCalibrator
from ._softmax_regression import warn_of_weak_fit


class TemperatureFirst(BaseCalibrator):
    """Learns ``temperature_``, and hands on to ``_fit_map(logits, y, sample_weight)``, which returns a `Solution`."""

    def _fit_logits(self, logits, y, sample_weight):
        solution = solve_temperature(logits, y, sample_weight=sample_weight)
        warn_of_bound(solution)
        self.temperature_ = solution.temperature
        fit = self._fit_map(logits.double(), y, sample_weight)
        warn_of_weak_fit(fit)
        self.n_iter_ = fit.n_evaluations

    @property
    def _n_free(self):
        return 1

    def _fit_map(self, logits, y, sample_weight):
        """Hook."""
        raise TypeError(f"{type(self).__name__} must implement _fit_map")
