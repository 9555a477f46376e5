"""Calibration metrics, the noise floor under them, and scorers for model selection."""

from ._calibration import (
    adaptive_expected_calibration_error,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    predictive_entropy,
)
from ._noise_floor import NoiseFloor, calibration_noise_floor
from ._scorers import (
    make_calibration_scorer,
    neg_brier_score_scorer,
    neg_expected_calibration_error_scorer,
    neg_log_likelihood_scorer,
)

__all__ = [
    "NoiseFloor",
    "adaptive_expected_calibration_error",
    "brier_score",
    "calibration_noise_floor",
    "classwise_calibration_error",
    "expected_calibration_error",
    "make_calibration_scorer",
    "maximum_calibration_error",
    "neg_brier_score_scorer",
    "neg_expected_calibration_error_scorer",
    "neg_log_likelihood_scorer",
    "predictive_entropy",
]
