"""The base of all calibrators and of those of one's own: the workflow, and maps of logits."""

from ._calibrator import BaseCalibrator
from ._map import Map

__all__ = ["BaseCalibrator", "Map"]
