"""ReliabilityDisplay: accuracy against confidence, bin by bin.

Imports `_binning`, the metrics and `_axes`.
"""

from functools import partial

import numpy as np

from .._binning import Probabilities
from .._validation import check_number, to_numpy
from ..metrics import adaptive_expected_calibration_error, calibration_noise_floor, expected_calibration_error
from ._axes import new_axes, split_off_lower, without_frame
from ._bars import ACCURACY_STYLE, CURVE_STYLE, GAP_STYLE, HISTOGRAM_STYLE, INTERVAL_STYLE, places
from ._curves import accuracy_intervals, resampler, smooth_curve

# The kind of bins: the metric that averages their gaps, and its short name.
_METRICS = {
    "uniform": (expected_calibration_error, "ECE"),
    "quantile": (adaptive_expected_calibration_error, "AECE"),
}


class ReliabilityDisplay:
    """Reliability diagram: accuracy against confidence, bin by bin, over a histogram of the confidences.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one. The confidence is the probability of the most
    probable class, whatever the number of classes. A gap above an accuracy bar means over-confidence, a gap within the
    bar the contrary; bins with few samples, which the histogram shows, may gape by chance.

    Parameters
    ----------
    bins : BinTable
        Bins of the diagram, as ``expected_calibration_error(..., return_bins=True)`` returns them.
    histogram : BinTable, default=None
        Bins of the histogram; None takes those of the diagram.
    metric_name : str, default="ECE"
        What the mean absolute gap of `bins` is called.
    noise_floor : NoiseFloor, default=None
        Mean and quantile of this metric for perfectly calibrated probabilities; None shows none.
    estimator_name : str, default=None
        Name shown in the legend.
    intervals : ndarray of shape (2, n_bins), default=None
        Lower and upper ends of the bins' accuracies; None shows none.
    curve : SmoothCurve, default=None
        Smoothed accuracy, with its band; None shows none.
    confidence_level : float, default=0.95
        Of the intervals and the band.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The diagram.
    histogram_ax_ : matplotlib Axes
        The histogram beneath.
    figure_ : matplotlib Figure
        Figure that holds both.
    bars_, gaps_ : matplotlib BarContainer
        Accuracies of the bins that hold samples, and what lies between them and the mean confidences.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : A curve for the positive class of two.

    References
    ----------
    A. Niculescu-Mizil and R. Caruana, "Predicting Good Probabilities with Supervised Learning", ICML 2005; C. Guo et
    al., "On Calibration of Modern Neural Networks", ICML 2017, figure 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skclamp.display import ReliabilityDisplay
    >>> from skclamp.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> _, bins = expected_calibration_error([0, 0, 0, 1], y_proba, n_bins=5, return_bins=True)
    >>> display = ReliabilityDisplay(bins).plot()
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        bins,
        *,
        histogram=None,
        metric_name="ECE",
        noise_floor=None,
        estimator_name=None,
        intervals=None,
        curve=None,
        confidence_level=0.95,
    ):
        self.bins = bins
        self.histogram = histogram
        self.metric_name = metric_name
        self.noise_floor = noise_floor
        self.estimator_name = estimator_name
        self.intervals = intervals
        self.curve = curve
        self.confidence_level = confidence_level

    @classmethod
    def from_estimator(cls, estimator, X, y, *, name=None, sample_weight=None, **kwargs):
        """Reliability diagram of a fitted classifier on data.

        Parameters
        ----------
        estimator : fitted classifier
            Anything with `predict_proba`: a calibrator, a scikit-learn classifier or pipeline, a skorch net. Its
            `classes_` name the columns.
        X : array-like, tensor or Dataset
            Inputs, as the estimator takes them.
        y : array-like of shape (n_samples,)
            Class labels.
        name : str, default=None
            Name shown in the legend; None takes that of the estimator's class.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        **kwargs
            Other parameters of :meth:`from_predictions`.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no `predict_proba`.
        ValueError
            As :meth:`from_predictions`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skclamp.display import ReliabilityDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> display = ReliabilityDisplay.from_estimator(GaussianNB().fit(X, y), X, y)
        >>> plt.close(display.figure_)
        """
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(f"estimator must have predict_proba; got {type(estimator).__name__}, which has none")
        classes = getattr(estimator, "classes_", None)
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            labels=None if classes is None else to_numpy(classes),
            name=type(estimator).__name__ if name is None else name,
            sample_weight=sample_weight,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        n_bins=15,
        strategy="uniform",
        labels=None,
        sample_weight=None,
        n_draws=200,
        n_resamples=0,
        confidence_level=0.95,
        smooth=False,
        random_state=0,
        name=None,
        ax=None,
        ref_line=True,
    ):
        """Reliability diagram of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
            Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
        n_bins : int, default=15
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, as in the ECE, or of equal numbers of samples, as in the adaptive ECE.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; see :func:`skclamp.metrics.expected_calibration_error`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        n_draws : int, default=200
            Draws of labels for the noise floor; 0 shows none.
        n_resamples : int, default=0
            Bootstrap replicates for intervals of the bins' accuracies and a band around the smooth curve; 0 shows none.
        confidence_level : float, default=0.95
            Of these, bin by bin and point by point.
        smooth : bool, default=False
            Whether to draw the smoothed accuracy as well. Its mean gap to the diagonal is the smooth calibration error,
            which the legend then tells.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws and replicates.
        name : str, default=None
            Name shown in the legend.
        ax : matplotlib Axes, default=None
            Axes that the diagram and its histogram share; None makes a figure.
        ref_line : bool, default=True
            Whether to draw the diagonal of perfect calibration.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :func:`skclamp.metrics.expected_calibration_error`, and if `strategy` is unknown.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skclamp.display import ReliabilityDisplay
        >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
        >>> display = ReliabilityDisplay.from_predictions([0, 0, 0, 1], y_proba, n_bins=5)
        >>> plt.close(display.figure_)
        """
        display = cls.compute(
            y_true,
            y_proba,
            n_bins=n_bins,
            strategy=strategy,
            labels=labels,
            sample_weight=sample_weight,
            n_draws=n_draws,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            smooth=smooth,
            random_state=random_state,
            name=name,
        )
        return display.plot(ax=ax, ref_line=ref_line)

    @classmethod
    def compute(
        cls,
        y_true,
        y_proba,
        *,
        n_bins=15,
        strategy="uniform",
        labels=None,
        sample_weight=None,
        n_draws=200,
        n_resamples=0,
        confidence_level=0.95,
        smooth=False,
        random_state=0,
        name=None,
    ):
        """The display of :meth:`from_predictions`, whose parameters these are, not drawn yet."""
        if strategy not in _METRICS:
            raise ValueError(f"strategy must be one of {tuple(_METRICS)}; got {strategy!r}")
        metric, metric_name = _METRICS[strategy]
        proba = Probabilities(y_proba, sample_weight)
        _, bins = metric(y_true, proba, n_bins=n_bins, labels=labels, return_bins=True)
        _, histogram = expected_calibration_error(y_true, proba, n_bins=n_bins, labels=labels, return_bins=True)
        floor = None
        if n_draws:
            error = partial(metric, n_bins=n_bins)
            floor = calibration_noise_floor(error, proba, n_draws=n_draws, random_state=random_state)
        check_number(confidence_level, "confidence_level", 0, 1, closed="neither")
        resamples = resampler(proba, n_resamples, random_state)
        pairs = proba.pairs(proba.encode(y_true, labels))
        intervals = accuracy_intervals(pairs, bins.edges, resamples(), confidence_level) if n_resamples else None
        curve = smooth_curve(pairs, resamples(), confidence_level) if smooth else None
        return cls(
            bins,
            histogram=histogram,
            metric_name=metric_name,
            noise_floor=floor,
            estimator_name=name,
            intervals=intervals,
            curve=curve,
            confidence_level=confidence_level,
        )

    def plot(self, *, ax=None, name=None, ref_line=True):
        """Draw the diagram and the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes that both share: the diagram takes the upper part, and the histogram joins it beneath. None makes a
            figure.
        name : str, default=None
            Name shown in the legend; None takes `estimator_name`.
        ref_line : bool, default=True
            Whether to draw the diagonal of perfect calibration.

        Returns
        -------
        ReliabilityDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        """
        self.ax_ = new_axes() if ax is None else ax
        self.figure_ = self.ax_.figure
        self.histogram_ax_ = split_off_lower(self.ax_)
        self._draw_bins()
        if ref_line:
            self.ax_.plot([0, 1], [0, 1], "k:", linewidth=1.5, label="perfect calibration")
        self._draw_intervals()
        self._draw_curve()
        self._draw_histogram()
        without_frame(self.ax_, self.histogram_ax_)
        self.ax_.set(xlim=(0, 1), ylim=(0, 1.01), ylabel="accuracy")
        self.ax_.tick_params(labelbottom=False)
        self.ax_.legend(
            title=self._summary(self.estimator_name if name is None else name), loc="upper left", alignment="left"
        )
        return self

    def draw_panel(self, ax):
        """Draw the diagram alone, without histogram and legend, on axes of a figure of many."""
        self.ax_, self.figure_ = ax, ax.figure
        self._draw_bins()
        ax.plot([0, 1], [0, 1], "k:", linewidth=1.5, label="perfect calibration")
        self._draw_intervals()
        self._draw_curve()
        without_frame(ax)
        ax.set(xlim=(0, 1), ylim=(0, 1.01))
        ax.set_title(self._panel_title(), fontsize="small", loc="left")

    def _draw_bins(self):
        bins, held = self.bins, self.bins.count > 0
        left, width = places(bins)
        self.bars_ = self.ax_.bar(
            left[held], bins.accuracy[held], width[held], align="edge", label="accuracy", **ACCURACY_STYLE
        )
        self.gaps_ = self.ax_.bar(
            left[held],
            -bins.gap[held],
            width[held],
            bins.accuracy[held],
            align="edge",
            label="gap to mean confidence",
            **GAP_STYLE,
        )

    def _draw_intervals(self):
        if self.intervals is None:
            return
        held = self.bins.count > 0
        left, width = places(self.bins)
        accuracy, (low, high) = self.bins.accuracy[held], self.intervals[:, held]
        # A skewed interval of replicates needn't hold the value itself.
        ends = np.maximum([accuracy - low, high - accuracy], 0)
        label = f"{100 * self.confidence_level:g} % interval"
        self.ax_.errorbar((left + width / 2)[held], accuracy, ends, label=label, **INTERVAL_STYLE)

    def _draw_curve(self):
        if self.curve is None:
            return
        curve = self.curve
        if curve.low is not None:
            label = f"{100 * self.confidence_level:g} % band"
            self.ax_.fill_between(curve.confidence, curve.low, curve.high, color="black", alpha=0.2, lw=0, label=label)
        self.ax_.plot(curve.confidence, curve.accuracy, label="smoothed accuracy", **CURVE_STYLE)

    def _draw_histogram(self):
        bins, ax = self.bins if self.histogram is None else self.histogram, self.histogram_ax_
        left, width = places(bins)
        ax.bar(left, 100 * bins.share, width, align="edge", **HISTOGRAM_STYLE)
        accuracy, confidence = ((bins.share * mean).sum() for mean in (bins.accuracy, bins.confidence))
        ax.axvline(accuracy, color="#1d3f66", linewidth=1.8, label=f"accuracy {100 * accuracy:.1f} %")
        ax.axvline(
            confidence,
            color="#9c2f10",
            linewidth=1.8,
            linestyle="--",
            label=f"mean confidence {100 * confidence:.1f} %",
        )
        ax.set(xlabel="confidence", ylabel="samples (%)")
        ax.legend(loc="best")

    def _panel_title(self):
        floor = "" if self.noise_floor is None else f" (floor {100 * self.noise_floor.quantile:.2f} %)"
        return f"{self.estimator_name}\n{self.metric_name} {100 * self.bins.expected_gap():.2f} %{floor}"

    def _summary(self, name):
        """Title of the legend: the name, the metric and its noise floor."""
        lines = [] if name is None else [name]
        lines.append(f"{self.metric_name} {100 * self.bins.expected_gap():.2f} %")
        if self.noise_floor is not None:
            mean, quantile = (100 * value for value in self.noise_floor)
            lines.append(f"noise floor {mean:.2f} % (95 %: {quantile:.2f} %)")
        if self.curve is not None:
            lines.append(f"smooth ECE {100 * self.curve.error:.2f} %")
        return "\n".join(lines)
