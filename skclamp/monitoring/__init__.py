"""The watch after deployment."""

from ._monitor import CalibrationMonitor

__all__ = ["CalibrationMonitor"]
