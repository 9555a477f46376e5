"""Nonparametric maps of probabilities: bins, and functions that are monotone and nothing else."""

from ._accuracy_preserving import AccuracyPreservingIsotonic
from ._bayesian_binning import BayesianBinningIntoQuantiles
from ._histogram_binning import HistogramBinning
from ._isotonic import IsotonicCalibration
from ._spline_calibration import SplineCalibration
from ._venn_abers import VennAbersCalibration

# As those of `scaling`.
__all__ = [
    "AccuracyPreservingIsotonic",
    "BayesianBinningIntoQuantiles",
    "HistogramBinning",
    "IsotonicCalibration",
    "SplineCalibration",
    "VennAbersCalibration",
]
