"""MonitorDisplay: the evidence against a calibration, over the samples seen."""

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._utils.parameters import check_number
from ._axes import LINE, new_axes, without_frame

_RESTARTING = {"color": "#9c2f10", "linewidth": 1.2}


@dataclass(repr=False, eq=False)
class MonitorDisplay:
    """Log e-value over samples, with the line at which there is an alarm.

    Use :meth:`from_estimator`, or a monitor's ``plot``, to make one. Evidence that calibration, or a promised risk,
    broke makes the line rise; while it holds the line falls, or stays below.

    Parameters
    ----------
    trajectory : ndarray of shape (n_points, 3)
        Number of labels, log e-value, and logarithm of the restarting test's sum: a monitor's ``trajectory_``.
    alpha : float, default=0.01
        The alarm's line is at ``log(1 / alpha)``.
    average_run_length : float, default=None
        The restarting test's is at its logarithm. None leaves out this test.
    since : int, default=None
        Where a change is estimated to have begun; None marks none.
    estimator_name : str, default=None
        Name shown in the legend.
    unit : str, default="labels"
        What is counted: samples, where each has several labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The plot.
    figure_ : matplotlib Figure
        Figure that holds it.
    line_ : matplotlib Line2D
        The log e-value.

    See Also
    --------
    skclamp.CalibrationMonitor : What is drawn.
    skclamp.RiskMonitor : Or this.

    References
    ----------
    A. Ramdas, P. Grünwald, V. Vovk and G. Shafer, "Game-theoretic statistics and safe anytime-valid inference",
    Statistical Science 38, 2023.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skclamp import CalibrationMonitor
    >>> from skclamp.display import MonitorDisplay
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(500, 3))
    >>> monitor = CalibrationMonitor().partial_fit(logits, rng.integers(3, size=500))
    >>> display = MonitorDisplay.from_estimator(monitor)
    >>> plt.close(display.figure_)
    """

    trajectory: np.ndarray
    _: KW_ONLY
    alpha: float = 0.01
    average_run_length: float | None = None
    since: int | None = None
    estimator_name: str | None = None
    unit: str = "labels"

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, **kwargs):
        """Draw what a monitor has seen.

        Parameters
        ----------
        estimator : CalibrationMonitor or RiskMonitor
            One that has seen samples.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name shown in the legend; None takes that of the class of the monitor's estimator.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        MonitorDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the monitor has seen nothing.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skclamp import CalibrationMonitor
        >>> from skclamp.display import MonitorDisplay
        >>> monitor = CalibrationMonitor().partial_fit([[0.0, 3.0]] * 100, [0, 1] * 50)
        >>> display = MonitorDisplay.from_estimator(monitor, name="coin")
        >>> plt.close(display.figure_)
        """
        check_is_fitted(estimator)
        if name is None and estimator.estimator is not None:
            name = type(estimator.estimator).__name__
        return cls(
            estimator.trajectory_,
            # Those that the samples were watched with, whatever the parameters are now.
            alpha=estimator._level[0],
            average_run_length=estimator._rules["average_run_length"],
            since=estimator.since_,
            estimator_name=name,
            unit=f"{estimator._unit}s",
        ).plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name shown in the legend; None takes `estimator_name`.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        MonitorDisplay
            The display itself.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from skclamp.display import MonitorDisplay
        >>> path = np.array([[0, 0.0, -np.inf], [100, 2.5, 3.0], [200, 6.0, 7.0]])
        >>> display = MonitorDisplay(path, alpha=0.05, since=50).plot()
        >>> plt.close(display.figure_)
        """
        alpha = check_number(self.alpha, "alpha", closed="neither")
        ax = new_axes(size=(7, 4))[0] if ax is None else ax
        number, log_e, log_r = np.asarray(self.trajectory, dtype=float).T
        name = self.estimator_name if name is None else name
        label = "evidence" if name is None else f"evidence against {name}"
        (self.line_,) = ax.plot(number, log_e, label=label, **LINE)
        self.line_.set(**kwargs)
        # Monitors that share axes and alpha share the line.
        label = f"alarm at alpha = {alpha:g}"
        if label not in ax.get_legend_handles_labels()[1]:
            ax.axhline(-math.log(alpha), label=label, linestyle="--", color=LINE["color"])
        if self.average_run_length is not None:
            ax.plot(number, log_r, label="restarting test", **_RESTARTING)
            label = f"its alarm, one in {self.average_run_length:,.15g} by chance"
            ax.axhline(math.log(self.average_run_length), label=label, linestyle="--", color=_RESTARTING["color"])
        if self.since is not None:
            ax.axvline(self.since, label="estimated start", linestyle=":", color="black")
        ax.set(xlabel=self.unit, ylabel="log e-value (nats)")
        ax.legend(frameon=False, fontsize="small")
        without_frame(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
