"""The base of all calibrators, and of those of one's own."""

from ._calibrator import BaseCalibrator

__all__ = ["BaseCalibrator"]
