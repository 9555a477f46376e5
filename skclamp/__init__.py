"""Post-hoc calibration of torch classifiers, the scikit-learn way."""

from .clamping import REFERENCE_SETTINGS, NeuralClampingCalibrator
from .clamping_cv import NeuralClampingCalibratorCV
from .nonparametric import (
    AccuracyPreservingIsotonic,
    BayesianBinningIntoQuantiles,
    HistogramBinning,
    IsotonicCalibration,
    VennAbersCalibration,
)
from .report import CalibratorComparison, compare_calibrators
from .scaling import (
    BetaCalibration,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    IntraOrderPreservingCalibration,
    MatrixScaling,
    ParameterizedTemperatureScaling,
    PlattScaling,
    SplineCalibration,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from .selection import CalibratorSelector, default_candidates

__version__ = "0.1.0"

__all__ = [
    "AccuracyPreservingIsotonic",
    "BayesianBinningIntoQuantiles",
    "BetaCalibration",
    "CalibratorComparison",
    "CalibratorSelector",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "HistogramBinning",
    "IntraOrderPreservingCalibration",
    "IsotonicCalibration",
    "MatrixScaling",
    "NeuralClampingCalibrator",
    "NeuralClampingCalibratorCV",
    "ParameterizedTemperatureScaling",
    "PlattScaling",
    "REFERENCE_SETTINGS",
    "SplineCalibration",
    "StructuredMatrixScaling",
    "StructuredVectorScaling",
    "TemperatureScaling",
    "VectorScaling",
    "VennAbersCalibration",
    "__version__",
    "default_candidates",
    "compare_calibrators",
]
