"""Pictures of calibration in the manner of scikit-learn's displays.

Imports the metrics; matplotlib (the extra ``plot``) only where it draws.
"""

from ._reliability import ReliabilityDisplay

__all__ = ["ReliabilityDisplay"]
