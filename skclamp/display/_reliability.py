"""ReliabilityDisplay: accuracy against confidence, bin by bin."""

from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from operator import itemgetter

import numpy as np

from .._utils.labels import check_groups, names_in_order
from .._utils.parameters import check_choice, check_number, check_whole_number
from ..metrics import (
    NoiseFloor,
    adaptive_expected_calibration_error,
    calibration_noise_floor,
    expected_calibration_error,
)
from ..metrics._binning import BinTable, Probabilities
from ..metrics._metric import split_rows
from ._axes import COLORS, is_drawn_on, legend_above, new_axes, split_off_lower
from ._curves import SmoothCurve, accuracy_intervals, resampler, smooth_curve
from ._diagram import FEW, draw_diagram, draw_histogram, draw_line, words_of
from ._predictions import held_out_predictions, predictions_of

# The kind of bins: the metric that averages their gaps, and its short name.
_METRICS = {
    "uniform": (expected_calibration_error, "ECE"),
    "quantile": (adaptive_expected_calibration_error, "AECE"),
}
# As many lines as differ, that of all samples among them.
_MOST_PARTS = len(COLORS) - 1
# In the place of axes: compute alone, for a figure of several diagrams.
UNDRAWN = object()


@dataclass(repr=False, eq=False)
class ReliabilityDisplay:
    """Reliability diagram: accuracy against confidence, bin by bin, over a histogram of the confidences.

    Use :meth:`from_estimator`, :meth:`from_predictions` or :meth:`from_cv_results` to make one. The confidence is the
    probability of the most probable class. Of two classes it is that of the second one, and a bar is how often that
    comes true: the most probable class would hide much. A gap above a bar means that the probability is too high, a gap
    within the bar the contrary. What the interval reaches across may be chance, and bins of fewer than ten samples are
    grey. A second display on the same axes joins the first as a line.

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
    event : str, default=None
        Name of the class whose probability is shown; None for the most probable class, empty for several labels a
        sample, whose events are shown together.
    few : ndarray of shape (n_bins,), dtype bool, default=None
        Bins to draw grey; None takes those of fewer than ten samples.
    counted : str, default="samples"
        What the histogram is of: "samples", or their "places".
    parts : dict of ReliabilityDisplay, default=None
        Displays of parts of the samples by their names, the worst first: those whose error is farthest above the noise
        floor's quantile or, without a floor, the largest. None has none. All of them side by side are
        ``ReliabilityGridDisplay(list(display.parts.values())).plot()``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The diagram.
    histogram_ax_ : matplotlib Axes
        The histogram beneath.
    figure_ : matplotlib Figure
        Figure that holds both.
    bars_, gaps_ : matplotlib BarContainer or None
        Accuracies of the bins that hold samples, and what lies between them and the mean confidences; None of a line.
    line_ : matplotlib Line2D or None
        Accuracies of these bins over their mean confidences, where the diagram is drawn as a line.

    See Also
    --------
    ReliabilityGridDisplay : Several calibrators, or every class, in one figure.
    sklearn.calibration.CalibrationDisplay : A curve for the positive class of two.

    References
    ----------
    A. Niculescu-Mizil and R. Caruana, "Predicting Good Probabilities with Supervised Learning", ICML 2005; C. Guo et
    al., "On Calibration of Modern Neural Networks", ICML 2017, figure 1; of the curve, J. Błasiok and P. Nakkiran,
    "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024.

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

    bins: BinTable
    _: KW_ONLY
    histogram: BinTable | None = None
    metric_name: str = "ECE"
    noise_floor: NoiseFloor | None = None
    estimator_name: str | None = None
    intervals: np.ndarray | None = None
    curve: SmoothCurve | None = None
    confidence_level: float = 0.95
    event: str | None = None
    few: np.ndarray | None = None
    counted: str = "samples"
    parts: dict | None = None

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, name=None, sample_weight=None, groups=None, by=None, **kwargs):
        """Reliability diagram of a fitted classifier on data.

        Parameters
        ----------
        estimator : fitted classifier
            Anything with `predict_proba`: a calibrator, a scikit-learn classifier or pipeline, a skorch net. Its
            `classes_` name the columns.
        X : array-like, tensor, dict, Dataset or DataLoader
            Inputs, as the estimator takes them.
        y : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...), default=None
            Class labels. At places of a sample a calibrator's ``ignore_index`` are left out. May be left out where X
            brings them.
        name : str, default=None
            Name shown in the legend; None takes that of the estimator's class.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        groups : array-like of shape (n_samples,), default=None
            What each sample belongs to, such as a patient; see :meth:`from_predictions`.
        by : array-like of shape (n_samples,), default=None
            Which part each sample comes from, such as a site; see :meth:`from_predictions`.
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
        return cls.from_predictions(
            **predictions_of(estimator, X, y, name, sample_weight=sample_weight, groups=groups, by=by) | kwargs
        )

    @classmethod
    def from_cv_results(cls, cv_results, X, y, *, name=None, sample_weight=None, groups=None, by=None, **kwargs):
        """Reliability diagram of cross-validated classifiers, each on the samples that its fold held out.

        Parameters
        ----------
        cv_results : dict
            What `sklearn.model_selection.cross_validate` returns with ``return_estimator=True`` and
            ``return_indices=True``.
        X : array-like or tensor
            Inputs that were cross-validated.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Their labels.
        name : str, default=None
            Name shown in the legend; None takes that of the estimators' class.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        groups : array-like of shape (n_samples,), default=None
            What each sample belongs to, such as a patient; see :meth:`from_predictions`.
        by : array-like of shape (n_samples,), default=None
            Which part each sample comes from, such as a site; see :meth:`from_predictions`.
        **kwargs
            Other parameters of :meth:`from_predictions`.

        Returns
        -------
        ReliabilityDisplay
            The display of all folds together, drawn.

        Raises
        ------
        ValueError
            If `cv_results` lacks the estimators or indices, a sample was held out twice, or folds have other classes;
            and as :meth:`from_predictions`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import cross_validate
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skclamp.display import ReliabilityDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> cv_results = cross_validate(GaussianNB(), X, y, return_estimator=True, return_indices=True)
        >>> display = ReliabilityDisplay.from_cv_results(cv_results, X, y)
        >>> plt.close(display.figure_)
        """
        return cls.from_predictions(
            **held_out_predictions(cv_results, X, y, name, sample_weight=sample_weight, groups=groups, by=by) | kwargs
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
        pos_label=None,
        sample_weight=None,
        groups=None,
        by=None,
        ignore_index=-100,
        n_draws=200,
        n_resamples=0,
        confidence_level=0.95,
        smooth=False,
        random_state=0,
        name=None,
        ax=None,
        ref_line=True,
        line=None,
    ):
        """Reliability diagram of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...)
            Class labels, or column indices. Or 0, 1 or NaN for each of several labels that don't exclude each other,
            whose events are shown together. Or a class at each place of a sample, such as the pixels of an image. As
            labels and places of a sample depend on each other, intervals are then those of 1,000 resamples of whole
            samples where `n_resamples` is 0, and there is no noise floor.
        y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples, n_labels) or (n_samples,)
            Probabilities whose rows sum to 1, but for labels; of one dimension, those of the second of two classes. At
            each place of a sample, ``(n_samples, n_classes, *places)``.
        n_bins : int, default=15
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, as in the ECE, or of equal numbers of samples, as in the adaptive ECE.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; see :func:`skclamp.metrics.expected_calibration_error`.
        pos_label : int, float, bool or str, default=None
            Class whose probability is shown, against all others; probabilities of one dimension are then of this class.
            None shows the second of two classes, and of more the most probable one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, or of their places.
        groups : array-like of shape (n_samples,), default=None
            What each sample belongs to, such as a patient: names or numbers, two at least. Samples of a group, which
            may depend on each other, are resampled together, 1,000 times where `n_resamples` is 0. A bin's count is
            that of as many groups. The noise floor is as :func:`~skclamp.metrics.calibration_noise_floor` has it.
        by : array-like of shape (n_samples,), default=None
            Names or numbers of the parts that samples come from, such as sites: `parts` are their displays, the worst
            first. A line for each of the five worst is drawn beside that of all samples, on the same axes.
        ignore_index : int, default=-100
            What stands for a class that isn't known at a place of a sample.
        n_draws : int, default=200
            Draws of labels for the noise floor; 0 shows none.
        n_resamples : int, default=0
            Bootstrap replicates for intervals of the bins' accuracies and a band around the smooth curve; 0 takes
            Wilson's intervals, and no band.
        confidence_level : float, default=0.95
            Of these, bin by bin and point by point.
        smooth : bool, default=False
            Whether to draw the smoothed accuracy as well, and tell the smooth calibration error. The kernel is the
            error's own, of standard deviation 0.03 at least.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws and replicates.
        name : str, default=None
            Name shown in the legend.
        ax : matplotlib Axes, default=None
            Axes that the diagram and its histogram share, as ``ax_`` of another display for both; None makes a figure.
        ref_line : bool, default=True
            Whether to draw the diagonal of perfect calibration.
        line : bool, default=None
            Whether to draw one line through the bins instead of bars. None draws one where `ax` has a diagram already,
            or there are parts.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :func:`skclamp.metrics.expected_calibration_error`. If `strategy` is unknown, `n_draws` or `n_resamples`
            no whole number, or `confidence_level` outside (0, 1). If `by` doesn't name the part of each sample, or
            leaves a part a single one of the `groups`.
        ImportError
            If matplotlib isn't installed.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skclamp.display import ReliabilityDisplay
        >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
        >>> display = ReliabilityDisplay.from_predictions([0, 0, 0, 1], y_proba, n_bins=5)
        >>> plt.close(display.figure_)
        """
        check_choice(strategy, "strategy", _METRICS)
        check_whole_number(n_draws, "n_draws", low=0)
        check_number(confidence_level, "confidence_level", closed="neither")
        rows = split_rows(y_true, y_proba, labels, sample_weight, ignore_index, pos_label=pos_label)
        of_rows = partial(
            cls._of_rows,
            n_bins=n_bins,
            strategy=strategy,
            pos_label=pos_label,
            n_draws=n_draws,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            smooth=smooth,
            random_state=random_state,
        )
        display = of_rows(rows, groups, name)
        if by is not None:
            found = []
            for part, part_rows, part_groups in _parts_of(rows, groups, by):
                shown = of_rows(part_rows, part_groups, str(part))
                # Few samples lead no list by what chance makes of them.
                floor = 0.0 if shown.noise_floor is None else shown.noise_floor.quantile
                found.append((shown.bins.expected_gap() - floor, part, shown))
            found.sort(key=itemgetter(0), reverse=True)
            display.parts = {part: shown for _, part, shown in found}
        return display if ax is UNDRAWN else display.plot(ax=ax, ref_line=ref_line, line=line)

    @classmethod
    def _of_rows(
        cls,
        rows,
        groups,
        name,
        *,
        n_bins,
        strategy,
        pos_label,
        n_draws,
        n_resamples,
        confidence_level,
        smooth,
        random_state,
    ):
        """The display of some rows, not drawn; other parameters are those of `from_predictions`."""
        if rows.kind != "classes" or groups is not None:
            # Labels or places of a sample depend on each other, which only resamples of whole samples know.
            n_draws = n_draws * (rows.kind == "classes")
            n_resamples = n_resamples or 1000
        y_encoded = rows.y_encoded
        proba = rows.proba.in_units(groups).of_event()
        event = str(rows.names[1] if pos_label is None else pos_label) if proba.is_event else None
        metric, metric_name = _METRICS[strategy]
        _, bins = metric(y_encoded, proba, n_bins=n_bins, return_bins=True)
        _, histogram = expected_calibration_error(y_encoded, proba, n_bins=n_bins, return_bins=True)
        floor = None
        if n_draws:
            floor = calibration_noise_floor(
                partial(metric, n_bins=n_bins), proba, n_draws=n_draws, groups=groups, random_state=random_state
            )
        pairs = proba.pairs(y_encoded)
        resamples = resampler(proba, n_resamples, random_state)
        intervals, counts = accuracy_intervals(pairs, bins.edges, resamples(), confidence_level)
        return cls(
            bins,
            histogram=histogram,
            metric_name=metric_name,
            noise_floor=floor,
            estimator_name=name,
            intervals=intervals,
            curve=smooth_curve(pairs, resamples(), confidence_level) if smooth else None,
            confidence_level=confidence_level,
            event="" if rows.kind == "labels" else event,
            few=counts < FEW,
            counted="places" if rows.kind == "places" else "samples",
        )

    def plot(self, *, ax=None, name=None, ref_line=True, line=None):
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
        line : bool, default=None
            Whether to draw one line through the bins instead of bars. None draws one where `ax` has a diagram already,
            or there are parts.

        Returns
        -------
        ReliabilityDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        """
        self.ax_ = ax = new_axes(size=(6, 7))[0] if ax is None else ax
        self.figure_ = ax.figure
        line = is_drawn_on(ax) or bool(self.parts) if line is None else line
        self.histogram_ax_ = split_off_lower(ax)
        name = self.estimator_name if name is None else name
        if self.parts:
            name = "all samples" if name is None else f"{name}, all samples"
        summary = self._summary(name)
        histogram = self.bins if self.histogram is None else self.histogram
        self.bars_ = self.gaps_ = self.line_ = None
        if line:
            self.line_ = draw_line(ax, self.histogram_ax_, self, histogram, summary.replace("\n", ", "), ref_line)
        else:
            self.bars_, self.gaps_ = draw_diagram(ax, self, ref_line)
            draw_histogram(self.histogram_ax_, histogram, self.event, self.counted)
        ax.set_ylabel(words_of(self.event)[0])
        ax.tick_params(labelbottom=False)
        parts = list((self.parts or {}).values())
        for part in parts[:_MOST_PARTS]:
            part.plot(ax=ax, line=True)
        title = None if line else summary
        if parts:
            title = "parts, the worst first"
            if len(parts) > _MOST_PARTS:
                title = f"the {_MOST_PARTS} worst of {len(parts):,} parts"
        legend_above(ax, title, ncols=2 if ax.patches else 1)
        return self

    def _summary(self, name):
        """Title of the legend: the name, the metric and its noise floor."""
        lines = [] if name is None else [name]
        event = f" of P({self.event})" if self.event else " of labels" * (self.event == "")
        lines.append(f"{self.metric_name}{event} {100 * self.bins.expected_gap():.2f} %")
        if self.noise_floor is not None:
            floor = self.noise_floor
            lines.append(f"noise floor {100 * floor.mean:.2f} % (95 %: {100 * floor.quantile:.2f} %)")
        if self.curve is not None:
            lines.append(f"smooth ECE {100 * self.curve.error:.2f} %")
        return "\n".join(lines)


def _parts_of(rows, groups, by):
    """Yield name, rows and groups of each part of the samples of which something is known."""
    n_each = rows.proba.rows_a_sample
    n_samples = rows.proba.n_samples // n_each
    by = check_groups(by, n_samples, "by")
    groups = None if groups is None else check_groups(groups, n_samples)
    for name in names_in_order(by):
        own = by == name
        taken = own.repeat(n_each)
        if not rows.proba.masses[taken].any():
            continue
        if groups is not None and len(set(groups[own].tolist())) < 2:
            raise ValueError(f"by must leave each part two groups at least, to tell how they vary; got one in {name!r}")
        weight = None if rows.proba.weight is None else rows.proba.weight[taken]
        proba = Probabilities(rows.proba.values[taken], weight, n_each)
        proba.dtype, proba.is_event = rows.proba.dtype, rows.proba.is_event
        part = replace(rows, y_encoded=rows.y_encoded[taken], proba=proba, of_samples=None)
        yield name, part, None if groups is None else groups[own]
