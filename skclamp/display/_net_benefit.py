"""NetBenefitDisplay: a decision curve, what acting on probabilities is worth at each threshold."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from .._utils.arrays import to_numpy
from ..metrics import net_benefit
from ..metrics._binning import Probabilities
from ..metrics._metric import split_rows
from ._axes import line_after, new_axes, without_frame
from ._predictions import predictions_of

# What tells the line of acting everywhere.
_RIVAL = "act everywhere"
# One in each percent.
_THRESHOLDS = np.arange(1, 100) / 100


@dataclass(repr=False, eq=False)
class NetBenefitDisplay:
    """Decision curve: net benefit of acting on an event's probability, over the threshold at which one acts.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one. Probabilities are of use at a threshold where
    their curve lies above those of acting everywhere and of acting nowhere, which is 0.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Least probabilities at which one acts.
    net_benefits : ndarray of shape (n_thresholds,)
        Net benefit at each, see :func:`skclamp.metrics.net_benefit`.
    event_rate : float
        Share of samples whose event came true, by which acting everywhere is judged.
    estimator_name : str, default=None
        Name shown in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The plot.
    figure_ : matplotlib Figure
        Figure that holds it.
    line_ : matplotlib Line2D
        The curve.

    References
    ----------
    A. J. Vickers and E. B. Elkin, "Decision Curve Analysis: A Novel Method for Evaluating Prediction Models", Medical
    Decision Making 26, 2006.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skclamp.display import NetBenefitDisplay
    >>> display = NetBenefitDisplay.from_predictions([1, 0, 0, 1], [0.6, 0.3, 0.1, 0.2])
    >>> plt.close(display.figure_)
    """

    thresholds: np.ndarray
    net_benefits: np.ndarray
    event_rate: float
    _: KW_ONLY
    estimator_name: str | None = None

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, name=None, sample_weight=None, **kwargs):
        """Decision curve of a fitted classifier on data.

        Parameters
        ----------
        estimator : fitted classifier
            Anything with `predict_proba`. Its `classes_` name the columns.
        X : array-like, tensor, dict, Dataset or DataLoader
            Inputs, as the estimator takes them.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        name : str, default=None
            Name shown in the legend; None takes that of the estimator's class.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        **kwargs
            Other parameters of :meth:`from_predictions`, and of the line.

        Returns
        -------
        NetBenefitDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator isn't fitted.
        TypeError
            If it has no `predict_proba`.
        ValueError
            As :meth:`from_predictions`.
        """
        return cls.from_predictions(**predictions_of(estimator, X, y, name, sample_weight=sample_weight) | kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        thresholds=None,
        labels=None,
        pos_label=None,
        sample_weight=None,
        name=None,
        ax=None,
        ref_line=True,
        **kwargs,
    ):
        """Decision curve of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
            Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
        thresholds : array-like of shape (n_thresholds,), default=None
            Where to look, each in [0, 1); None takes 0.01, 0.02, ... 0.99.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; see :func:`skclamp.metrics.expected_calibration_error`.
        pos_label : int, float, bool or str, default=None
            Class that is the event, against all others; None is the second of two.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        name : str, default=None
            Name shown in the legend.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        ref_line : bool, default=True
            Whether to draw what acting everywhere, and nowhere, would give.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        NetBenefitDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :func:`skclamp.metrics.net_benefit`; if there are no thresholds.
        ImportError
            If matplotlib isn't installed.
        """
        thresholds = _THRESHOLDS if thresholds is None else to_numpy(thresholds, "thresholds")
        if thresholds.ndim != 1 or not len(thresholds):
            raise ValueError(f"thresholds must be one or more numbers in [0, 1); got shape {thresholds.shape}")
        rows = split_rows(y_true, y_proba, labels, sample_weight, -100, takes_labels=False, pos_label=pos_label)
        benefits = np.array([net_benefit(rows.y_encoded, rows.proba, threshold=float(each)) for each in thresholds])
        everywhere = Probabilities(np.ones(len(rows.y_encoded)), rows.proba.weight)
        event_rate = net_benefit(rows.y_encoded, everywhere, threshold=0.0)
        display = cls(thresholds, benefits, event_rate, estimator_name=name)
        return display.plot(ax=ax, ref_line=ref_line, **kwargs)

    def plot(self, *, ax=None, name=None, ref_line=True, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name shown in the legend; None takes `estimator_name`.
        ref_line : bool, default=True
            Whether to draw what acting everywhere, and nowhere, would give.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        NetBenefitDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        """
        ax = new_axes(size=(6, 4.5))[0] if ax is None else ax
        # A second curve on these axes has the same rivals.
        drawn = any(line.get_gid() == _RIVAL for line in ax.lines)
        if ref_line and not drawn:
            everywhere = self.event_rate - (1 - self.event_rate) * self.thresholds / (1 - self.thresholds)
            ax.plot(self.thresholds, everywhere, label="act everywhere", color="#7a8594", linestyle="--", gid=_RIVAL)
            ax.axhline(0, label="act nowhere", color="black", linestyle=":")
        name = self.estimator_name if name is None else name
        (self.line_,) = ax.plot(self.thresholds, self.net_benefits, label=name, **line_after(ax, "net benefit"))
        self.line_.set(**kwargs)
        top = max(self.event_rate, self.net_benefits.max(), ax.get_ylim()[1] / 1.05 if drawn else 0.0)
        # Acting everywhere falls without end; and there may be no event.
        ax.set(xlabel="threshold", ylabel="net benefit", xlim=(0, 1), ylim=(-0.3 * top, 1.05 * top) if top else None)
        if name is not None or ref_line:
            ax.legend(loc="upper right", edgecolor="none", framealpha=0.9, fontsize="small")
        without_frame(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
