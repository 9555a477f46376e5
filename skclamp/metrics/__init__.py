"""Calibration metrics, their noise floors and bootstrap intervals, and scorers for model selection."""

from ._bootstrap import BootstrapInterval, PairedTest, bootstrap_interval, paired_bootstrap_test
from ._calibration import (
    adaptive_expected_calibration_error,
    classwise_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from ._decisions import (
    calibration_intercept,
    calibration_slope,
    expected_cost,
    integrated_calibration_index,
    net_benefit,
)
from ._groups import group_calibration_error, multicalibration_error
from ._kolmogorov_smirnov import ks_calibration_error
from ._less_biased import debiased_calibration_error
from ._noise_floor import NoiseFloor, calibration_noise_floor
from ._proper_scores import (
    CalibrationRefinement,
    brier_score,
    calibration_refinement,
    negative_log_likelihood,
    predictive_entropy,
)
from ._risk_coverage import RiskCoverageCurve, area_under_risk_coverage, risk_coverage_curve
from ._scorers import (
    make_calibration_scorer,
    neg_brier_score_scorer,
    neg_expected_calibration_error_scorer,
    neg_log_likelihood_scorer,
)
from ._smooth import smooth_calibration_error

__all__ = [
    "BootstrapInterval",
    "CalibrationRefinement",
    "NoiseFloor",
    "PairedTest",
    "RiskCoverageCurve",
    "adaptive_expected_calibration_error",
    "area_under_risk_coverage",
    "bootstrap_interval",
    "brier_score",
    "calibration_intercept",
    "calibration_noise_floor",
    "calibration_refinement",
    "calibration_slope",
    "classwise_calibration_error",
    "debiased_calibration_error",
    "expected_calibration_error",
    "expected_cost",
    "group_calibration_error",
    "integrated_calibration_index",
    "ks_calibration_error",
    "make_calibration_scorer",
    "maximum_calibration_error",
    "multicalibration_error",
    "neg_brier_score_scorer",
    "neg_expected_calibration_error_scorer",
    "neg_log_likelihood_scorer",
    "negative_log_likelihood",
    "net_benefit",
    "paired_bootstrap_test",
    "predictive_entropy",
    "risk_coverage_curve",
    "smooth_calibration_error",
]
