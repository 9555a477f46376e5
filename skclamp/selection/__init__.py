"""Which calibrator to take: out of fold, or side by side on a test set."""

from .._pooling.candidates import default_candidates
from ._compare import CalibratorComparison, compare_calibrators
from ._selector import CalibratorSelector

__all__ = ["CalibratorComparison", "CalibratorSelector", "compare_calibrators", "default_candidates"]
