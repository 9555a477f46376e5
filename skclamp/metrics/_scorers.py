"""Scorers for model selection that know the classes of the columns."""

from functools import partial
from inspect import signature, unwrap

import numpy as np

from .._utils.arrays import to_numpy
from .._utils.labels import calibrator_in, predict_labelled
from .._utils.outputs import are_known, matrix_of
from .._utils.sklearn_private import BaseScorer
from ._calibration import expected_calibration_error
from ._metric import facts_of, options_of
from ._proper_scores import brier_score, negative_log_likelihood


class CalibrationScorer(BaseScorer):
    """Scorer ``(estimator, X, y, sample_weight=None) -> float`` that names the columns by ``estimator.classes_``.

    Made by :func:`make_calibration_scorer`. Of an estimator of two classes, calibration errors of this package get the
    probability of the second, as by scikit-learn's scorers, whatever labels `y` holds: another is not the second. With
    other metrics and estimators a class that only `y` holds, because a training fold missed it, has probability 0. An
    estimator of a single class is one of two, even where `y` doesn't tell the other. Of an estimator of a class at each
    place of a sample its `ignore_index` says which aren't known. `y` may be left out where the
    estimator is a calibrator and X a data set that brings its labels.
    """

    def __call__(self, estimator, X, y_true=None, sample_weight=None, **kwargs):
        return super().__call__(estimator, X, y_true, sample_weight=sample_weight, **kwargs)

    def _score(self, method_caller, estimator, X, y_true=None, **kwargs):
        """Score of an estimator; `method_caller` would hand on one column where there are two classes."""
        self._warn_overlap("The scorer's own parameters are given again as metadata.", kwargs)
        in_order = any(kwargs.get(name) is not None for name in ("sample_weight", "groups"))
        y_proba, y_true = predict_labelled(estimator, X, y_true, in_order=in_order, name="y_true")
        metric = self._score_func
        labels = getattr(estimator, "classes_", None)
        options = {**self._kwargs, **kwargs}
        ignored = getattr(calibrator_in(estimator), "ignore_index", None)
        if y_proba.ndim == np.ndim(y_true) > 2:
            # Of several labels at each place all are events.
            return self._sign * metric(np.where(are_known(y_true, ignored), y_true, -100), y_proba, **options)
        if y_proba.ndim > 2:
            if ignored is not None and "ignore_index" in signature(metric).parameters:
                options = {"ignore_index": ignored, **options}
        elif matrix_of(y_true) is not None:
            return self._sign * metric(matrix_of(y_true), y_proba, **options)
        # One that is told its event finds it among all columns.
        facts = facts_of(_innermost(metric))
        is_told = {**options_of(metric), **options}.get("pos_label") is not None
        of_event = facts is not None and facts.of_event and not is_told
        if y_proba.ndim == 2 and labels is not None:
            y_true, y_proba, labels = _with_unseen(y_true, y_proba, labels, of_event)
        if of_event and y_proba.shape[1:2] == (2,):
            y_proba = y_proba[:, 1] if y_proba.ndim == 2 else y_proba[:, 1:]
        return self._sign * metric(y_true, y_proba, labels=labels, **options)

    def __repr__(self):
        better = "" if self._sign < 0 else ", greater_is_better=True"
        options = "".join(f", {name}={value!r}" for name, value in self._kwargs.items())
        metric = getattr(self._score_func, "__name__", self._score_func)
        return f"make_calibration_scorer({metric}{better}{options})"


def _with_unseen(y_true, y_proba, labels, of_event):
    """Labels, probabilities and names of the columns, with one of 0 for each class that only the labels hold.

    Of two classes, where `of_event` asks for the second, such labels count as the first.
    """
    labels, y_true = (np.array(to_numpy(each).tolist()) for each in (labels, y_true))
    is_seen = np.isin(y_true, labels)
    is_number = labels.dtype.kind in "biuf"
    # A test fold may hold only the class that a single one lacks.
    is_kin = len(labels) == 1 and is_number == (y_true.dtype.kind in "biuf")
    if not is_seen.any() and not is_kin:
        # A mistake, which the metric tells.
        return y_true, y_proba, labels
    if of_event and len(labels) == 2:
        return np.where(is_seen, y_true, labels[0]), y_proba, labels
    unseen = np.unique(y_true[~is_seen])
    if len(labels) == 1 and not len(unseen):
        # One column would be taken for the second of two classes.
        unseen = labels + 1 if is_number else np.array([f"not {labels[0]}"])
    return y_true, np.pad(y_proba, ((0, 0), (0, len(unseen)))), np.concatenate([labels, unseen])


def make_calibration_scorer(metric, *, greater_is_better=False, **kwargs):
    """Make a scorer of a calibration metric, for ``scoring=`` in GridSearchCV, cross_val_score and the like.

    Unlike ``sklearn.metrics.make_scorer`` it tells the metric the labels of the columns (``estimator.classes_``), so
    that folds which miss a class can be scored. Of an estimator of two classes, whichever a fold holds, a calibration
    error of this package is given the probability of the second, as scikit-learn's scorers do: its calibration is that
    of this event. Options may be fixed by ``functools.partial``, too, and the error wrapped by ``functools.wraps``.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba, *, labels, **kwargs) -> float``.
    greater_is_better : bool, default=False
        If False, the scorer returns the metric negated.
    **kwargs
        Options of the metric, such as `n_bins`.

    Returns
    -------
    CalibrationScorer
        It pickles, and takes `sample_weight` if the metric does.

    Raises
    ------
    TypeError
        If `metric` isn't callable.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from skclamp.metrics import classwise_calibration_error, make_calibration_scorer
    >>> scorer = make_calibration_scorer(classwise_calibration_error, n_bins=10)
    >>> X, y = load_iris(return_X_y=True)
    >>> bool((cross_val_score(LogisticRegression(max_iter=1000), X, y, scoring=scorer) < 0).all())
    True
    """
    if not callable(metric):
        raise TypeError(f"metric must be a callable metric(y_true, y_proba, *, labels); got {metric!r}")
    return CalibrationScorer(metric, 1 if greater_is_better else -1, kwargs, "predict_proba")


def _innermost(metric):
    """The function within partials and wrappers."""
    inner = unwrap(metric)
    return _innermost(inner.func) if isinstance(inner, partial) else inner


neg_log_likelihood_scorer = make_calibration_scorer(negative_log_likelihood)
neg_expected_calibration_error_scorer = make_calibration_scorer(expected_calibration_error)
neg_brier_score_scorer = make_calibration_scorer(brier_score)
