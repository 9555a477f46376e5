"""Plots of calibration in the manner of scikit-learn's displays."""

from ._monitor import MonitorDisplay
from ._net_benefit import NetBenefitDisplay
from ._perturbation import PerturbationDisplay
from ._reliability import ReliabilityDisplay
from ._reliability_grid import ReliabilityGridDisplay
from ._risk_coverage import RiskCoverageDisplay

__all__ = [
    "MonitorDisplay",
    "NetBenefitDisplay",
    "PerturbationDisplay",
    "ReliabilityDisplay",
    "ReliabilityGridDisplay",
    "RiskCoverageDisplay",
]
