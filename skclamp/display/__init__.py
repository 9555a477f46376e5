"""Pictures of calibration in the manner of scikit-learn's displays.

Imports the metrics and the perturbations; matplotlib (the extra ``plot``) only where it draws.
"""

from ._perturbation import PerturbationDisplay
from ._reliability import ReliabilityDisplay
from ._reliability_grid import ReliabilityGridDisplay

__all__ = ["PerturbationDisplay", "ReliabilityDisplay", "ReliabilityGridDisplay"]
