"""Post-hoc calibration of torch classifiers, the scikit-learn way."""

from . import nonparametric, scaling
from ._version import __version__
from .abstention import SelectiveClassifier
from .clamping import (
    REFERENCE_SETTINGS,
    NeuralClampingCalibrator,
    ReferenceSummary,
    TorchTraining,
    reference_summary,
)
from .deployment import PriorShiftCorrection
from .monitoring import CalibrationMonitor, RiskMonitor
from .nonparametric import *
from .persistence import load
from .scaling import *
from .selection import CalibratorComparison, CalibratorSelector, compare_calibrators, default_candidates

__all__ = [
    "CalibrationMonitor",
    "CalibratorComparison",
    "CalibratorSelector",
    "NeuralClampingCalibrator",
    "PriorShiftCorrection",
    "REFERENCE_SETTINGS",
    "ReferenceSummary",
    "RiskMonitor",
    "SelectiveClassifier",
    "TorchTraining",
    "__version__",
    "compare_calibrators",
    "default_candidates",
    "load",
    "reference_summary",
    *nonparametric.__all__,
    *scaling.__all__,
]

# Public names that are gone, and what serves in their place.
_REMOVED = {
    "NeuralClampingCalibratorCV": "NeuralClampingCalibrator(gamma='auto') chooses gamma, and GridSearchCV searches a "
    "grid of gamma and lr",
}


def __getattr__(name):
    if name in _REMOVED:
        raise ImportError(f"{name} was removed from skclamp: {_REMOVED[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
