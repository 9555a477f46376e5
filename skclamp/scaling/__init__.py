"""Parametric maps of logits: temperature scaling and the richer families that contain it."""

from ._structured_scaling import StructuredMatrixScaling, StructuredVectorScaling
from ._temperature_scaling import TemperatureScaling
from ._vector_scaling import VectorScaling

__all__ = ["StructuredMatrixScaling", "StructuredVectorScaling", "TemperatureScaling", "VectorScaling"]
