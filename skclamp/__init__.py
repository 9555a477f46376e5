"""Post-hoc calibration of torch classifiers, the scikit-learn way."""

from .clamping import REFERENCE_SETTINGS, NeuralClampingCalibrator

__version__ = "0.1.0"

__all__ = ["REFERENCE_SETTINGS", "NeuralClampingCalibrator", "__version__"]
