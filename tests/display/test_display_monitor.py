"""The display of a monitor: what it draws is the trajectory, and the alarm's line."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skclamp import CalibrationMonitor
from skclamp.display import MonitorDisplay

pytest.importorskip("matplotlib.pyplot")


def alarmed(**params):
    rng = np.random.default_rng(0)
    return CalibrationMonitor(**params).partial_fit(rng.normal(scale=3, size=(300, 3)), rng.integers(3, size=300))


def levels(display):
    """Heights of the lines across the axes."""
    return [line.get_ydata()[0] for line in display.ax_.lines if line.get_linestyle() == "--"]


def test_what_is_drawn_is_what_was_seen():
    monitor = alarmed(alpha=0.05)
    display = monitor.plot(color="green")
    np.testing.assert_array_equal(display.line_.get_xydata(), monitor.trajectory_[:, :2])
    assert display.line_.get_color() == "green"
    np.testing.assert_allclose(levels(display), [np.log(20)])
    assert display.ax_.get_xlabel() == "labels"
    assert monitor.since_ in [line.get_xdata()[0] for line in display.ax_.lines if line.get_linestyle() == ":"]


def test_the_restarting_test_has_a_line_of_its_own():
    monitor = alarmed(average_run_length=1000)
    display = MonitorDisplay.from_estimator(monitor, name="guess")
    np.testing.assert_allclose(levels(display), np.log([100, 1000]))
    labels = display.ax_.get_legend_handles_labels()[1]
    assert labels[0] == "evidence against guess"
    assert "its alarm, one in 1,000 by chance" in labels


def test_messages():
    with pytest.raises(NotFittedError):
        MonitorDisplay.from_estimator(CalibrationMonitor())
    with pytest.raises(ValueError, match="alpha must be"):
        MonitorDisplay(np.zeros((2, 3)), alpha=2).plot()
