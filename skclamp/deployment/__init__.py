"""What a calibrator needs once it is deployed: class frequencies that change."""

from ._prior_shift_correction import PriorShiftCorrection

__all__ = ["PriorShiftCorrection"]
