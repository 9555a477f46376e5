"""Neural clamping: calibration by a learned perturbation of the input and a temperature."""

from ._calibrator import REFERENCE_SETTINGS, NeuralClampingCalibrator
from ._calibrator_cv import NeuralClampingCalibratorCV
from ._unlabelled import ReferenceSummary, reference_summary

__all__ = [
    "NeuralClampingCalibrator",
    "NeuralClampingCalibratorCV",
    "REFERENCE_SETTINGS",
    "ReferenceSummary",
    "reference_summary",
]
