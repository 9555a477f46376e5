"""Post-hoc calibration of torch classifiers, the scikit-learn way."""

from ._version import __version__
from .clamping import REFERENCE_SETTINGS, NeuralClampingCalibrator, NeuralClampingCalibratorCV
from .deployment import PriorShiftCorrection
from .monitoring import CalibrationMonitor
from .nonparametric import (
    AccuracyPreservingIsotonic,
    BayesianBinningIntoQuantiles,
    HistogramBinning,
    IsotonicCalibration,
    SplineCalibration,
    VennAbersCalibration,
)
from .persistence import load
from .scaling import (
    BetaCalibration,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    IntraOrderPreservingCalibration,
    MatrixScaling,
    ParameterizedTemperatureScaling,
    PlattScaling,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from .selection import CalibratorComparison, CalibratorSelector, compare_calibrators, default_candidates

__all__ = [
    "AccuracyPreservingIsotonic",
    "BayesianBinningIntoQuantiles",
    "BetaCalibration",
    "CalibrationMonitor",
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
    "PriorShiftCorrection",
    "REFERENCE_SETTINGS",
    "SplineCalibration",
    "StructuredMatrixScaling",
    "StructuredVectorScaling",
    "TemperatureScaling",
    "VectorScaling",
    "VennAbersCalibration",
    "__version__",
    "compare_calibrators",
    "default_candidates",
    "load",
]
