"""Neural clamping: calibration by a learned perturbation of the input and a temperature."""

from ._calibrator import REFERENCE_SETTINGS, NeuralClampingCalibrator
from ._torch_training import TorchTraining
from ._unlabelled import ReferenceSummary, reference_summary

__all__ = [
    "NeuralClampingCalibrator",
    "REFERENCE_SETTINGS",
    "ReferenceSummary",
    "TorchTraining",
    "reference_summary",
]
