"""Neural clamping: calibration by a learned perturbation of the input and a temperature."""

from ._calibrator import REFERENCE_SETTINGS, NeuralClampingCalibrator
from ._calibrator_cv import NeuralClampingCalibratorCV

__all__ = ["NeuralClampingCalibrator", "NeuralClampingCalibratorCV", "REFERENCE_SETTINGS"]
