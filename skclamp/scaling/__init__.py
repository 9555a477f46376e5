"""Parametric maps of logits: temperature scaling and the richer families that contain it."""

from ._ensemble_temperature_scaling import EnsembleTemperatureScaling
from ._intra_order_preserving import IntraOrderPreservingCalibration
from ._matrix_scaling import DirichletCalibration, MatrixScaling
from ._one_vs_rest_scaling import BetaCalibration, PlattScaling
from ._parameterized_temperature_scaling import ParameterizedTemperatureScaling
from ._structured_scaling import StructuredMatrixScaling, StructuredVectorScaling
from ._temperature_scaling import TemperatureScaling
from ._vector_scaling import VectorScaling

__all__ = [
    "BetaCalibration",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "IntraOrderPreservingCalibration",
    "MatrixScaling",
    "ParameterizedTemperatureScaling",
    "PlattScaling",
    "StructuredMatrixScaling",
    "StructuredVectorScaling",
    "TemperatureScaling",
    "VectorScaling",
]
