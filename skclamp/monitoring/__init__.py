"""The watch after deployment."""

from ._monitor import CalibrationMonitor
from ._risk_monitor import RiskMonitor

__all__ = ["CalibrationMonitor", "RiskMonitor"]
