"""Parametric maps of logits: temperature scaling and the richer families that contain it."""

from ._temperature_scaling import TemperatureScaling

__all__ = ["TemperatureScaling"]
