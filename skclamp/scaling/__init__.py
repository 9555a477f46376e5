"""Parametric maps of logits: temperature scaling and the richer families that contain it."""

from ._ensemble_temperature_scaling import EnsembleTemperatureScaling
from ._intra_order_preserving import IntraOrderPreservingCalibration
from ._matrix_scaling import DirichletCalibration, MatrixScaling
from ._one_vs_rest_scaling import BetaCalibration, PlattScaling
from ._parameterized_temperature_scaling import ParameterizedTemperatureScaling
from ._structured_scaling import StructuredMatrixScaling, StructuredVectorScaling
from ._temperature_scaling import TemperatureScaling
from ._vector_scaling import VectorScaling

# From few parameters to many: the package's public maps, and those that selectors and comparisons know, in this order.
__all__ = [
    "TemperatureScaling",
    "EnsembleTemperatureScaling",
    "ParameterizedTemperatureScaling",
    "IntraOrderPreservingCalibration",
    "StructuredVectorScaling",
    "VectorScaling",
    "PlattScaling",
    "BetaCalibration",
    "StructuredMatrixScaling",
    "MatrixScaling",
    "DirichletCalibration",
]
