"""Nonparametric maps of probabilities: bins, and functions that are monotone and nothing else."""

from ._binning import BayesianBinningIntoQuantiles, HistogramBinning
from ._isotonic import AccuracyPreservingIsotonic, IsotonicCalibration
from ._spline_calibration import SplineCalibration
from ._venn_abers import VennAbersCalibration

# In this order after those of `scaling`.
__all__ = [
    "AccuracyPreservingIsotonic",
    "BayesianBinningIntoQuantiles",
    "HistogramBinning",
    "IsotonicCalibration",
    "SplineCalibration",
    "VennAbersCalibration",
]
