"""RiskCoverageDisplay: how often the most confident answers are wrong, over the share of them that is given."""

from dataclasses import KW_ONLY, dataclass

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._utils.parameters import check_number
from ..metrics import RiskCoverageCurve, risk_coverage_curve
from ._axes import line_after, new_axes, without_frame
from ._predictions import predictions_of

# Points of the best order's line.
_N_STEPS = 2**9


@dataclass(repr=False, eq=False)
class RiskCoverageDisplay:
    """Selective risk over coverage: how often answers are wrong if only the most confident ones are given.

    Use :meth:`from_estimator` or :meth:`from_predictions` to make one. The lower the curve, the better confidence tells
    right answers from wrong ones, whether it is calibrated or not: a random order keeps the error rate at every
    coverage, and the best order has no errors until only wrong answers are left.

    Parameters
    ----------
    curve : RiskCoverageCurve
        What :func:`skclamp.metrics.risk_coverage_curve` returns.
    target_risk : float, default=None
        Height of a line for the risk that is aimed at; None draws none.
    threshold : float, default=None
        Confidence above which samples are answered, marked on the curve; None marks none.
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
    mark_ : matplotlib Line2D or None
        Coverage and risk at the threshold; None where there is no threshold, or nothing lies above it.

    See Also
    --------
    skclamp.metrics.area_under_risk_coverage : The area under the curve.

    References
    ----------
    R. El-Yaniv and Y. Wiener, "On the Foundations of Noise-free Selective Classification", Journal of Machine Learning
    Research 11, 2010; Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skclamp.display import RiskCoverageDisplay
    >>> from skclamp.metrics import risk_coverage_curve
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> display = RiskCoverageDisplay(risk_coverage_curve([0, 0, 0, 1], y_proba), target_risk=0.1).plot()
    >>> plt.close(display.figure_)
    """

    curve: RiskCoverageCurve
    _: KW_ONLY
    target_risk: float | None = None
    threshold: float | None = None
    estimator_name: str | None = None

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, name=None, sample_weight=None, **kwargs):
        """Risk-coverage curve of a fitted classifier on data.

        Parameters
        ----------
        estimator : fitted classifier
            Anything with `predict_proba`: a calibrator, a scikit-learn classifier or pipeline, a skorch net. Its
            `classes_` name the columns. Of a `SelectiveClassifier` the target risk is drawn and the threshold
            marked, as it was fitted with, unless others are given.
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
        RiskCoverageDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator isn't fitted.
        TypeError
            If it has no `predict_proba`.
        ValueError
            As :meth:`from_predictions`. If the estimator abstains by costs, which this curve doesn't know.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skclamp.display import RiskCoverageDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> display = RiskCoverageDisplay.from_estimator(GaussianNB().fit(X, y), X, y, target_risk=0.02)
        >>> plt.close(display.figure_)
        """
        if hasattr(estimator, "is_answered"):
            check_is_fitted(estimator)
            # What it was fitted with, whatever its parameters are by now.
            if estimator.costs_ is not None:
                raise ValueError(
                    "estimator must have costs=None, as the curve counts wrong labels alike; got "
                    f"{estimator.costs_.tolist()}"
                )
            kwargs = {"target_risk": estimator.verdict_.target_risk, "threshold": estimator.threshold_, **kwargs}
        return cls.from_predictions(**predictions_of(estimator, X, y, name, sample_weight=sample_weight) | kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        labels=None,
        pos_label=None,
        sample_weight=None,
        ignore_index=-100,
        target_risk=None,
        threshold=None,
        name=None,
        ax=None,
        ref_line=True,
        **kwargs,
    ):
        """Risk-coverage curve of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
            Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; see :func:`skclamp.metrics.expected_calibration_error`.
        pos_label : int, float, bool or str, default=None
            Class that probabilities of one dimension are of; see :func:`skclamp.metrics.risk_coverage_curve`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        ignore_index : int, default=-100
            Of a class at each place of a sample, what stands for one that isn't known; see
            :func:`skclamp.metrics.risk_coverage_curve`.
        target_risk : float, default=None
            Height of a line for the risk that is aimed at; None draws none.
        threshold : float, default=None
            Confidence above which samples are answered, marked on the curve; None marks none.
        name : str, default=None
            Name shown in the legend.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        ref_line : bool, default=True
            Whether to draw what a random and the best order would give.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        RiskCoverageDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :func:`skclamp.metrics.risk_coverage_curve`; if `target_risk` is outside [0, 1].
        ImportError
            If matplotlib isn't installed.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skclamp.display import RiskCoverageDisplay
        >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
        >>> display = RiskCoverageDisplay.from_predictions([0, 0, 0, 1], y_proba, threshold=0.75)
        >>> plt.close(display.figure_)
        """
        curve = risk_coverage_curve(
            y_true,
            y_proba,
            labels=labels,
            pos_label=pos_label,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
        )
        return cls(curve, target_risk=target_risk, threshold=threshold, estimator_name=name).plot(
            ax=ax, ref_line=ref_line, **kwargs
        )

    def plot(self, *, ax=None, name=None, ref_line=True, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name shown in the legend; None takes `estimator_name`.
        ref_line : bool, default=True
            Whether to draw what a random and the best order would give.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        RiskCoverageDisplay
            The display itself.

        Raises
        ------
        ValueError, TypeError
            If `target_risk` isn't a number in [0, 1].
        ImportError
            If matplotlib isn't installed.
        """
        if self.target_risk is not None:
            check_number(self.target_risk, "target_risk")
        curve = self.curve
        ax = new_axes(size=(6, 4.5))[0] if ax is None else ax
        error_rate = curve.area_by_chance
        if ref_line:
            ax.plot([0, 1], [error_rate] * 2, label=f"by chance {error_rate:.4f}", color="black", linestyle=":")
            coverage = np.arange(1, _N_STEPS + 1) / _N_STEPS
            best = np.maximum(1 - (1 - error_rate) / coverage, 0)
            ax.plot(coverage, best, label=f"best order {curve.area_at_best:.4f}", color="#7a8594", linestyle="--")
        name = self.estimator_name if name is None else name
        label = f"AURC {curve.area:.4f}" if name is None else f"{name}: AURC {curve.area:.4f}"
        (self.line_,) = ax.plot(curve.coverages, curve.risks, label=label, **line_after(ax, "risk and coverage"))
        self.line_.set(**kwargs)
        if self.target_risk is not None:
            ax.axhline(self.target_risk, label=f"target risk {self.target_risk:g}", color="#9c2f10", linestyle="-.")
        self.mark_ = None
        if self.threshold is not None and curve.thresholds[0] > self.threshold:
            last = np.flatnonzero(curve.thresholds > self.threshold)[-1]
            answered = curve.coverages[last]
            risk = curve.risks[last]
            label = f"above {self.threshold:.4g}: coverage {answered:.4f}, risk {risk:.4f}"
            (self.mark_,) = ax.plot(answered, risk, "D", label=label, color="#9c2f10")
        ax.set(xlabel="coverage", ylabel="selective risk", xlim=(0, 1))
        # Further curves on these axes may be higher.
        ax.set_ylim(bottom=0, auto=None)
        ax.legend(loc="upper left", edgecolor="none", framealpha=0.9, fontsize="small")
        without_frame(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
