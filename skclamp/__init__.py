"""Post-hoc calibration of torch classifiers, the scikit-learn way."""

from .clamping import REFERENCE_SETTINGS, NeuralClampingCalibrator
from .clamping_cv import NeuralClampingCalibratorCV
from .scaling import TemperatureScaling

__version__ = "0.1.0"

__all__ = [
    "REFERENCE_SETTINGS",
    "NeuralClampingCalibrator",
    "NeuralClampingCalibratorCV",
    "TemperatureScaling",
    "__version__",
]
