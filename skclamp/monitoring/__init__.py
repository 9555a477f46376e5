"""After deployment: does the calibration still hold?"""

from ._monitor import CalibrationMonitor

__all__ = ["CalibrationMonitor"]
