"""Parametric maps of logits: temperature scaling and the richer families that contain it."""

from ._affine import StructuredMatrixScaling, StructuredVectorScaling, VectorScaling
from ._covariate_scaling import CovariateScaling
from ._ensemble_temperature_scaling import EnsembleTemperatureScaling
from ._local_temperature_scaling import LocalTemperatureScaling
from ._matrix_scaling import DirichletCalibration, MatrixScaling
from ._one_vs_rest_scaling import BetaCalibration, PlattScaling, QuadraticScaling
from ._order_preserving import IntraOrderPreservingCalibration, ParameterizedTemperatureScaling
from ._temperature_scaling import TemperatureScaling

# From few parameters to many: the package's public maps, and those that selectors and comparisons know, in this order.
__all__ = [
    "TemperatureScaling",
    "EnsembleTemperatureScaling",
    "LocalTemperatureScaling",
    "ParameterizedTemperatureScaling",
    "IntraOrderPreservingCalibration",
    "StructuredVectorScaling",
    "VectorScaling",
    "PlattScaling",
    "QuadraticScaling",
    "BetaCalibration",
    "StructuredMatrixScaling",
    "MatrixScaling",
    "DirichletCalibration",
    "CovariateScaling",
]
