"""Corrections of a deployed calibrator: for class frequencies that change."""

from ._prior_shift_correction import PriorShiftCorrection

__all__ = ["PriorShiftCorrection"]
