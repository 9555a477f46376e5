"""ReliabilityDisplay: accuracy against confidence, bin by bin.

Imports `_binning`, the metrics and `_axes`.
"""

from functools import partial

import numpy as np

from .._binning import Probabilities
from .._validation import to_numpy
from ..metrics import adaptive_expected_calibration_error, calibration_noise_floor, expected_calibration_error
from ._axes import new_axes, split_off_lower, without_frame

# The kind of bins: the metric that averages their gaps, and its short name.
_METRICS = {
    "uniform": (expected_calibration_error, "ECE"),
    "quantile": (adaptive_expected_calibration_error, "AECE"),
}
# Dark bars under a light hatched gap differ in print without colours, too.
ACCURACY_STYLE = {"color": "#3a6ea5", "edgecolor": "white", "linewidth": 0.8}
GAP_STYLE = {"facecolor": (0.96, 0.70, 0.56, 0.75), "edgecolor": "#9c2f10", "hatch": "////", "linewidth": 0.8}
HISTOGRAM_STYLE = {"color": "#b4bcc6", "edgecolor": "white", "linewidth": 0.8}


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

    def __init__(self, bins, *, histogram=None, metric_name="ECE", noise_floor=None, estimator_name=None):
        self.bins = bins
        self.histogram = histogram
        self.metric_name = metric_name
        self.noise_floor = noise_floor
        self.estimator_name = estimator_name

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
        random_state : int, RandomState instance or None, default=0
            Seed of these draws.
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
        display = cls(bins, histogram=histogram, metric_name=metric_name, noise_floor=floor, estimator_name=name)
        return display.plot(ax=ax, ref_line=ref_line)

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
        self._draw_histogram()
        without_frame(self.ax_, self.histogram_ax_)
        self.ax_.set(xlim=(0, 1), ylim=(0, 1.01), ylabel="accuracy")
        self.ax_.tick_params(labelbottom=False)
        self.ax_.legend(
            title=self._summary(self.estimator_name if name is None else name), loc="upper left", alignment="left"
        )
        return self

    def _draw_bins(self):
        bins, held = self.bins, self.bins.count > 0
        left, width = _places(bins)
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

    def _draw_histogram(self):
        bins, ax = self.bins if self.histogram is None else self.histogram, self.histogram_ax_
        left, width = _places(bins)
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

    def _summary(self, name):
        """Title of the legend: the name, the metric and its noise floor."""
        lines = [] if name is None else [name]
        lines.append(f"{self.metric_name} {100 * self.bins.expected_gap():.2f} %")
        if self.noise_floor is not None:
            mean, quantile = (100 * value for value in self.noise_floor)
            lines.append(f"noise floor {mean:.2f} % (95 %: {quantile:.2f} %)")
        return "\n".join(lines)


def _places(bins, narrowest=0.004):
    """Left end and width of each bar; bins of equal mass may be too narrow to be seen."""
    width = np.maximum(bins.upper - bins.lower, narrowest)
    return bins.upper - width, width
