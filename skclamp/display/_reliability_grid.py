"""ReliabilityGridDisplay: several calibrators, or every class, in one figure."""

from dataclasses import replace

import numpy as np

from .._utils.arrays import to_numpy
from .._utils.parameters import by_name, check_whole_number
from ..metrics import classwise_calibration_error
from ..metrics._metric import split_rows
from ._axes import COLORS, new_axes
from ._diagram import draw_diagram, words_of
from ._predictions import predictions_of
from ._reliability import UNDRAWN, ReliabilityDisplay


class ReliabilityGridDisplay:
    """Several reliability diagrams in one figure: small multiples, or lines on the same axes.

    Use :meth:`from_estimators` or :meth:`from_predictions` for several calibrators on the same data, and
    :meth:`from_classes` for the classes of one, each against the rest.

    Parameters
    ----------
    displays : list of ReliabilityDisplay
        The diagrams; their names become titles.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One a diagram; of lines those that they share, and those of the confidences beneath.
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
    def from_estimators(cls, estimators, X, y=None, *, sample_weight=None, groups=None, **kwargs):
        """Diagrams of several fitted classifiers on the same data.

        Parameters
        ----------
        estimators : dict of fitted classifiers by name, list of (str, classifier), or list of them
            Each with `predict_proba`, such as the `calibrators` of a `CalibratorComparison`. Those of a list, all of
            different classes, go by their classes' names.
        X : array-like, tensor, dict, Dataset or DataLoader
            Inputs, as the estimators take them.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        groups : array-like of shape (n_samples,), default=None
            What each sample belongs to, such as a patient; see :meth:`ReliabilityDisplay.from_predictions`.
        **kwargs
            Other parameters of :meth:`from_predictions`.

        Returns
        -------
        ReliabilityGridDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If `estimators` is neither a dict nor a list, or one of them has no `predict_proba`.
        ValueError
            If there are none or two of a list are of one class; and as :meth:`from_predictions`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skclamp.display import ReliabilityGridDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> fitted = [GaussianNB().fit(X, y), LogisticRegression(max_iter=500).fit(X, y)]
        >>> display = ReliabilityGridDisplay.from_estimators(fitted, X, y, n_bins=5)
        >>> [diagram.estimator_name for diagram in display.displays]
        ['GaussianNB', 'LogisticRegression']
        >>> plt.close(display.figure_)
        """
        named = by_name(estimators, "estimators")
        beside = {"sample_weight": sample_weight, "groups": groups}
        return cls._of([predictions_of(model, X, y, name, **beside) for name, model in named.items()], **kwargs)

    @classmethod
    def from_predictions(cls, y_true, y_proba, *, overlay=False, n_columns=3, ax=None, **kwargs):
        """Diagrams of several calibrators' probabilities of the same samples.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : dict of array-likes or tensors of shape (n_samples, n_classes) or (n_samples,)
            Probabilities by the calibrators' names.
        overlay : bool, default=False
            Draw a line for each on one pair of axes instead of a panel. Up to six can be told apart.
        n_columns : int, default=3
            Panels side by side.
        ax : matplotlib Axes, default=None
            Axes for ``overlay=True``; None makes a figure.
        **kwargs
            `n_bins`, `strategy`, `labels`, `pos_label`, `sample_weight`, `groups`, `ignore_index`, `n_draws`,
            `n_resamples`, `confidence_level`, `smooth` and `random_state` as in
            :meth:`ReliabilityDisplay.from_predictions`; with ``overlay=True`` `smooth` is True unless it is given.

        Returns
        -------
        ReliabilityGridDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :meth:`ReliabilityDisplay.from_predictions` and :meth:`plot`; if `y_proba` isn't a dict or is empty.
        ImportError
            If matplotlib isn't installed.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skclamp.display import ReliabilityGridDisplay
        >>> proba = {"sure": [[0.9, 0.1], [0.2, 0.8]] * 9, "less so": [[0.6, 0.4], [0.4, 0.6]] * 9}
        >>> display = ReliabilityGridDisplay.from_predictions([0, 1, 1] * 6, proba, overlay=True)
        >>> plt.close(display.figure_)
        """
        if not isinstance(y_proba, dict):
            raise TypeError(f"y_proba must be a dict of probabilities by name; got {type(y_proba).__name__}")
        given = [{"y_true": y_true, "y_proba": proba, "name": name} for name, proba in y_proba.items()]
        return cls._of(given, overlay=overlay, n_columns=n_columns, ax=ax, **kwargs)

    @classmethod
    def _of(cls, given, *, overlay=False, n_columns=3, ax=None, **kwargs):
        """The diagrams of some predictions, drawn."""
        if kwargs.get("by") is not None:
            raise ValueError(
                "by must be None for several calibrators; draw ReliabilityDisplay.from_predictions(..., by=by) of each"
            )
        kwargs = {"smooth": overlay, **kwargs, "ax": UNDRAWN}
        displays = [ReliabilityDisplay.from_predictions(**own, **kwargs) for own in given]
        return cls(displays).plot(overlay=overlay, n_columns=n_columns, ax=ax)

    @classmethod
    def from_classes(
        cls,
        y_true,
        y_proba,
        *,
        columns=None,
        n_bins=10,
        labels=None,
        sample_weight=None,
        groups=None,
        ignore_index=-100,
        n_columns=4,
        **kwargs,
    ):
        """Diagrams of the probabilities of each class, against the rest.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Class labels, or column indices.
        y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
            Probabilities.
        columns : list of int, default=None
            Which columns of `y_proba` to show, in this order. None shows the twelve of the largest classwise error, the
            largest first.
        n_bins : int, default=10
            Bins of equal width.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns, which are the titles.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        groups : array-like of shape (n_samples,), default=None
            What each sample belongs to, such as a patient; see :meth:`ReliabilityDisplay.from_predictions`.
        ignore_index : int, default=-100
            Of a class at each place of a sample, what stands for one that isn't known.
        n_columns : int, default=4
            Panels side by side.
        **kwargs
            `n_resamples`, `confidence_level`, `smooth` and `random_state` as in
            :meth:`ReliabilityDisplay.from_predictions`.

        Returns
        -------
        ReliabilityGridDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError
            As :meth:`ReliabilityDisplay.from_predictions` and :meth:`plot`; if `columns` names none.
        IndexError
            If `columns` names one that isn't there.
        ImportError
            If matplotlib isn't installed.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skclamp.display import ReliabilityGridDisplay
        >>> iris = load_iris()
        >>> proba = GaussianNB().fit(iris.data, iris.target).predict_proba(iris.data)
        >>> names = iris.target_names
        >>> display = ReliabilityGridDisplay.from_classes(names[iris.target], proba, labels=names, n_bins=5)
        >>> [diagram.estimator_name for diagram in display.displays]
        ['virginica', 'versicolor', 'setosa']
        >>> plt.close(display.figure_)
        """
        rows = split_rows(y_true, y_proba, labels, sample_weight, ignore_index, takes_labels=False)
        proba = rows.proba.in_units(groups)
        depend = rows.kind == "places" or groups is not None
        names = np.arange(proba.n_classes) if labels is None else to_numpy(labels)
        errors = classwise_calibration_error(rows.y_encoded, proba, n_bins=n_bins, average=None)
        if columns is None:
            columns = (-errors).argsort(kind="stable")[:12]
        displays = [
            ReliabilityDisplay.from_predictions(
                (rows.y_encoded == k).astype(int),
                proba.values[:, k],
                n_bins=n_bins,
                labels=[0, 1],
                sample_weight=proba.weight,
                groups=proba.unit if depend else None,
                n_draws=0,
                name=str(names[k]),
                ax=UNDRAWN,
                **kwargs,
            )
            for k in columns
        ]
        # Titles tell the classes.
        counted = "places" if rows.kind == "places" else "samples"
        displays = [replace(display, event=None, counted=counted) for display in displays]
        return cls(displays).plot(n_columns=n_columns, xlabel="probability", ylabel="share of the class")

    def plot(self, *, overlay=False, n_columns=3, ax=None, xlabel=None, ylabel=None):
        """Draw the diagrams.

        Parameters
        ----------
        overlay : bool, default=False
            Draw a line for each diagram on one pair of axes, or its smoothed curve if it has one, instead of a panel.
        n_columns : int, default=3
            Panels side by side.
        ax : matplotlib Axes, default=None
            Axes for ``overlay=True``, shared by the lines and the confidences beneath; None makes a figure.
        xlabel : str, default=None
            What the horizontal axis is called; None takes what the diagrams show.
        ylabel : str, default=None
            The same of the vertical axis.

        Returns
        -------
        ReliabilityGridDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        ValueError
            If there is nothing to draw, or `n_columns` is less than 1; with ``overlay=True``, if there are more than
            six.
        """
        if not self.displays:
            raise ValueError("displays must hold at least one; got none")
        accuracy, confidence = words_of(self.displays[0].event)
        xlabel = confidence if xlabel is None else xlabel
        ylabel = accuracy if ylabel is None else ylabel
        if overlay:
            if len(self.displays) > len(COLORS):
                raise ValueError(f"overlay must be False for more than {len(COLORS)} lines; got {len(self.displays)}")
            for display in self.displays:
                ax = display.plot(ax=ax, line=True).ax_
            self.axes_ = np.array([ax, display.histogram_ax_])
            ax.set_ylabel(ylabel)
            display.histogram_ax_.set_xlabel(xlabel)
        else:
            self._plot_panels(check_whole_number(n_columns, "n_columns"), xlabel, ylabel)
        self.figure_ = self.axes_[0].figure
        return self

    def _plot_panels(self, n_columns, xlabel, ylabel):
        self.axes_ = new_axes(len(self.displays), n_columns, size=(2.0, 2.3))
        for display, ax in zip(self.displays, self.axes_, strict=True):
            draw_diagram(ax, display)
            floor = "" if display.noise_floor is None else f" (floor {100 * display.noise_floor.quantile:.2f} %)"
            error = f"{display.metric_name} {100 * display.bins.expected_gap():.2f} %{floor}"
            ax.set_title(f"{display.estimator_name}\n{error}", fontsize="small", loc="left")
        figure = ax.figure
        figure.supxlabel(xlabel, fontsize="medium")
        figure.supylabel(ylabel, fontsize="medium")
        figure.legend(
            *self.axes_[0].get_legend_handles_labels(),
            loc="outside upper left",
            ncols=min(n_columns, len(self.displays)),
            frameon=False,
            fontsize="small",
        )
