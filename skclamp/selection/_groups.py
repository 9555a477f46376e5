"""Calibrators in groups of a kind, as a page shows them."""

from .. import nonparametric, scaling
from ..clamping._base import BaseClamping
from ._selector import CalibratorSelector

UNCALIBRATED_GROUP = "as it is"
_GROUPS = {
    "neural clamping": (BaseClamping,),
    "temperatures": (
        scaling.TemperatureScaling,
        scaling.EnsembleTemperatureScaling,
        scaling.ParameterizedTemperatureScaling,
    ),
    "scales and shifts per class": (
        scaling.VectorScaling,
        scaling.StructuredVectorScaling,
        scaling.PlattScaling,
        scaling.BetaCalibration,
    ),
    "matrices": (scaling.MatrixScaling, scaling.StructuredMatrixScaling, scaling.DirichletCalibration),
    "order-preserving": (scaling.IntraOrderPreservingCalibration, nonparametric.AccuracyPreservingIsotonic),
    "bins, isotonic and splines": (
        nonparametric.HistogramBinning,
        nonparametric.BayesianBinningIntoQuantiles,
        nonparametric.IsotonicCalibration,
        nonparametric.VennAbersCalibration,
        nonparametric.SplineCalibration,
    ),
    "selected": (CalibratorSelector,),
}


def group_of(calibrator):
    """The group of a calibrator; None stands for the uncalibrated network."""
    if calibrator is None:
        return UNCALIBRATED_GROUP
    return next((group for group, kinds in _GROUPS.items() if isinstance(calibrator, kinds)), "others")
