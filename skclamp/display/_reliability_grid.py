"""ReliabilityGridDisplay: several calibrators, or every class, in one figure.

Imports `_binning`, the metrics and the files beside it.
"""

import numpy as np

from .._binning import Probabilities
from .._validation import check_number, check_whole_number, to_numpy
from ._axes import balanced, new_axes, panels, split_off_lower, without_frame
from ._curves import accuracy_intervals, resampler, smooth_curve
from ._reliability import ReliabilityDisplay

# Lines that differ without colours, too.
_LINES = [
    {"color": color, "linestyle": style, "linewidth": 2.0}
    for color, style in zip(
        ("#1d3f66", "#c4561e", "#4f9a72", "#8d6bb0", "#111111", "#b0903a"),
        ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 0.6))),
        strict=True,
    )
]
_PANEL = (2.6, 2.9)


class ReliabilityGridDisplay:
    """Several reliability diagrams in one figure: small multiples, or the smoothed curves on the same axes.

    Use :meth:`from_estimators` or :meth:`from_predictions` for several calibrators on the same data, and
    :meth:`from_classes` for the classes of one, each against the rest.

    Parameters
    ----------
    displays : list of ReliabilityDisplay
        The diagrams; their names become titles.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One a diagram, or one alone for the curves.
    figure_ : matplotlib Figure
        Figure that holds them.

    See Also
    --------
    ReliabilityDisplay : One diagram, with a histogram and more to read.

    References
    ----------
    J. Błasiok and P. Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024; M. Kull
    et al., "Beyond temperature scaling", NeurIPS 2019, figure 1 (diagrams by class).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skclamp.display import ReliabilityGridDisplay
    >>> y_proba = np.random.default_rng(0).dirichlet([1, 1, 1], 200)
    >>> y_true = [0] * 100 + [1] * 50 + [2] * 50
    >>> display = ReliabilityGridDisplay.from_classes(y_true, y_proba, n_bins=5)
    >>> len(display.axes_)
    3
    >>> plt.close(display.figure_)
    """

    def __init__(self, displays):
        self.displays = displays

    @classmethod
    def from_estimators(cls, estimators, X, y, *, sample_weight=None, **kwargs):
        """Diagrams of several fitted classifiers on the same data.

        Parameters
        ----------
        estimators : dict of fitted classifiers by name, or list of them
            Each with `predict_proba` and the same classes, such as the `calibrators` of a `CalibratorComparison`.
        X : array-like, tensor or Dataset
            Inputs, as the estimators take them.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        **kwargs
            Other parameters of :meth:`from_predictions`.

        Returns
        -------
        ReliabilityGridDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If an estimator has no `predict_proba`.
        ValueError
            As :meth:`from_predictions`.
        """
        found = estimators if isinstance(estimators, dict) else {type(each).__name__: each for each in estimators}
        if len(found) < len(estimators):
            raise ValueError("estimators must be a dict by name where several are of one class; got a list")
        for name, each in found.items():
            if not hasattr(each, "predict_proba"):
                raise TypeError(f"estimators must have predict_proba; got {type(each).__name__} for {name!r}")
        classes = [getattr(each, "classes_", None) for each in found.values()]
        labels = next((to_numpy(own) for own in classes if own is not None), None)
        proba = {name: each.predict_proba(X) for name, each in found.items()}
        return cls.from_predictions(y, proba, labels=labels, sample_weight=sample_weight, **kwargs)

    @classmethod
    def from_predictions(cls, y_true, y_proba, *, overlay=False, n_columns=3, ax=None, **kwargs):
        """Diagrams of several calibrators' probabilities of the same samples.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : dict of array-like of shape (n_samples, n_classes) or (n_samples,)
            Probabilities by the calibrators' names.
        overlay : bool, default=False
            Draw the smoothed curves on one pair of axes instead of a panel for each. Up to six can be told apart.
        n_columns : int, default=3
            Panels side by side.
        ax : matplotlib Axes, default=None
            Axes for ``overlay=True``; None makes a figure.
        **kwargs
            `n_bins`, `strategy`, `labels`, `sample_weight`, `n_draws`, `n_resamples`, `confidence_level`, `smooth` and
            `random_state` as in :meth:`ReliabilityDisplay.from_predictions`; `smooth` is True where the curves are
            what is drawn.

        Returns
        -------
        ReliabilityGridDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :meth:`ReliabilityDisplay.from_predictions`; if `y_proba` isn't a dict or has no entry.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skclamp.display import ReliabilityGridDisplay
        >>> proba = {"sure": [[0.9, 0.1], [0.2, 0.8]] * 9, "less so": [[0.6, 0.4], [0.4, 0.6]] * 9}
        >>> display = ReliabilityGridDisplay.from_predictions([0, 1, 1] * 6, proba, overlay=True)
        >>> plt.close(display.figure_)
        """
        if not isinstance(y_proba, dict) or not y_proba:
            raise TypeError(f"y_proba must be a dict of probabilities by name; got {type(y_proba).__name__}")
        if overlay:
            kwargs["smooth"] = True
        displays = [ReliabilityDisplay.compute(y_true, own, name=name, **kwargs) for name, own in y_proba.items()]
        return cls(displays).plot(overlay=overlay, n_columns=n_columns, ax=ax)

    @classmethod
    def from_classes(
        cls,
        y_true,
        y_proba,
        *,
        classes=None,
        n_bins=10,
        labels=None,
        sample_weight=None,
        n_resamples=0,
        confidence_level=0.95,
        smooth=False,
        random_state=0,
        n_columns=4,
    ):
        """Diagrams of the probabilities of each class, against the rest.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
            Probabilities.
        classes : list of int, default=None
            Which columns to show, in this order. None shows the twelve of the largest classwise error, the largest
            first.
        n_bins : int, default=10
            Bins of equal width.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns, which are the titles.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        n_resamples : int, default=0
            Bootstrap replicates for intervals of the bins and the band of the curve; 0 shows none.
        confidence_level : float, default=0.95
            Of these.
        smooth : bool, default=False
            Whether to draw the smoothed curve.
        random_state : int, RandomState instance or None, default=0
            Seed of the replicates.
        n_columns : int, default=4
            Panels side by side.

        Returns
        -------
        ReliabilityGridDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :meth:`ReliabilityDisplay.from_predictions`; if `classes` names a column that isn't there.
        """
        proba = Probabilities(y_proba, sample_weight)
        codes = proba.encode(y_true, labels)
        edges = proba.equal_width_edges(n_bins)
        check_number(confidence_level, "confidence_level", 0, 1, closed="neither")
        resamples = resampler(proba, n_resamples, random_state)
        pairs = list(proba.class_pairs(codes))
        tables = [each.table(edges) for each in pairs]
        names = np.arange(proba.n_classes) if labels is None else to_numpy(labels)
        displays = [
            ReliabilityDisplay(
                tables[k],
                metric_name="ECE",
                estimator_name=str(names[k]),
                intervals=accuracy_intervals(pairs[k], edges, resamples(), confidence_level) if n_resamples else None,
                curve=smooth_curve(pairs[k], resamples(), confidence_level) if smooth else None,
                confidence_level=confidence_level,
            )
            for k in _chosen_classes(classes, tables)
        ]
        return cls(displays).plot(n_columns=n_columns, xlabel="probability", ylabel="share of the class")

    def plot(self, *, overlay=False, n_columns=3, ax=None, xlabel="confidence", ylabel="accuracy"):
        """Draw the diagrams.

        Parameters
        ----------
        overlay : bool, default=False
            Draw the smoothed curves on one pair of axes instead of a panel for each diagram.
        n_columns : int, default=3
            Panels side by side.
        ax : matplotlib Axes, default=None
            Axes for ``overlay=True``, shared by the curves and the confidences beneath; None makes a figure.
        xlabel, ylabel : str
            What the axes are called.

        Returns
        -------
        ReliabilityGridDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        ValueError
            If there is nothing to draw, or `n_columns` is less than 1; with ``overlay=True``, if a display has no
            curve, or there are more than six.
        """
        if not self.displays:
            raise ValueError("displays must hold at least one; got none")
        if overlay:
            self._plot_curves(new_axes() if ax is None else ax, xlabel, ylabel)
        else:
            self._plot_panels(check_whole_number(n_columns, "n_columns"), xlabel, ylabel)
        self.figure_ = self.axes_[0].figure
        return self

    def _plot_panels(self, n_columns, xlabel, ylabel):
        axes = panels(len(self.displays), n_columns=n_columns, size=_PANEL, sharex=True, sharey=True)
        n_columns = balanced(len(axes), n_columns)
        for place, (display, ax) in enumerate(zip(self.displays, axes, strict=True)):
            display.draw_panel(ax)
            ax.set_ylabel(ylabel if place % n_columns == 0 else "")
            ax.set_xlabel(xlabel if place >= len(axes) - n_columns else "")
            ax.set_xticks([0.0, 0.5, 1.0])
            ax.tick_params(labelbottom=place >= len(axes) - n_columns)
        handles, labels = axes[0].get_legend_handles_labels()
        n_legend = min(len(labels), 2 * n_columns)
        axes[0].figure.legend(
            handles, labels, loc="outside upper left", ncols=n_legend, frameon=False, fontsize="small"
        )
        self.axes_ = np.array(axes)

    def _plot_curves(self, ax, xlabel, ylabel):
        if any(display.curve is None for display in self.displays):
            raise ValueError(
                "overlay must be False unless every display has a smooth curve; make them with smooth=True"
            )
        if len(self.displays) > len(_LINES):
            raise ValueError(f"overlay must be False for more than {len(_LINES)} curves; got {len(self.displays)}")
        lower = split_off_lower(ax)
        for display, line in zip(self.displays, _LINES, strict=False):
            curve = display.curve
            if curve.low is not None:
                ax.fill_between(curve.confidence, curve.low, curve.high, color=line["color"], alpha=0.15, lw=0)
            label = f"{display.estimator_name}: smooth ECE {100 * curve.error:.2f} %"
            ax.plot(curve.confidence, curve.accuracy, label=label, **line)
            lower.plot(curve.confidence, curve.density, **line)
        ax.plot([0, 1], [0, 1], color="#8a8a8a", linewidth=1)
        ax.set(xlim=(0, 1), ylim=(0, 1.01), ylabel=ylabel)
        ax.tick_params(labelbottom=False)
        ax.legend(loc="upper left", handlelength=3)
        lower.set(xlabel=xlabel, ylabel="density", ylim=(0, None))
        without_frame(ax, lower)
        self.axes_ = np.array([ax, lower])


def _chosen_classes(classes, tables, most=12):
    """The columns asked for, or those of the largest errors."""
    if classes is None:
        return np.argsort([-table.expected_gap() for table in tables], kind="stable")[:most]
    for k in classes:
        check_whole_number(k, "classes", low=0)
        if k >= len(tables):
            raise ValueError(f"classes must be columns 0 ... {len(tables) - 1}; got {k}")
    if not len(classes):
        raise ValueError("classes must name at least one column; got none")
    return classes
