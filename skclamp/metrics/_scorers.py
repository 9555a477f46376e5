"""Scorers for model selection that know the classes of the columns."""

from functools import partial
from inspect import signature, unwrap

import numpy as np

from .._utils.arrays import as_probability_matrix, to_numpy
from .._utils.labels import calibrator_in, predict_labelled
from .._utils.least_probability import LOG_MIN_PROBABILITY
from .._utils.outputs import are_known, matrix_of
from .._utils.sklearn_private import BaseScorer
from ._calibration import expected_calibration_error
from ._metric import facts_of, options_of, split_rows
from ._proper_scores import brier_score
from ._proper_scores import negative_log_likelihood as of_probabilities


class CalibrationScorer(BaseScorer):
    """Scorer ``(estimator, X, y, sample_weight=None) -> float`` that names the columns by ``estimator.classes_``.

    Made by :func:`make_calibration_scorer`. Of an estimator of two classes, calibration errors of this package get the
    probability of the second, as by scikit-learn's scorers, whatever labels `y` holds: another is not the second. With
    other metrics and estimators a class that only `y` holds, because a training fold missed it, has probability 0. An
    estimator of a single class is one of two, even where `y` doesn't tell the other. Of an estimator of a class at each
    place of a sample its `ignore_index` says which aren't known. `y` may be left out where the
    estimator is a calibrator and X a data set that brings its labels.
    """

    fill = 0.0

    def __call__(self, estimator, X, y_true=None, sample_weight=None, **kwargs):
        return super().__call__(estimator, X, y_true, sample_weight=sample_weight, **kwargs)

    def _score(self, method_caller, estimator, X, y_true=None, **kwargs):
        """Score of an estimator; `method_caller` would hand on one column where there are two classes."""
        self._warn_overlap("The scorer's own parameters are given again as metadata.", kwargs)
        in_order = any(kwargs.get(name) is not None for name in ("sample_weight", "groups"))
        response, y_true = self._response(estimator, X, y_true, in_order=in_order, name="y_true")
        labels = getattr(estimator, "classes_", None)
        options = {**self._kwargs, **kwargs}
        ignored = getattr(calibrator_in(estimator), "ignore_index", None)
        facts = facts_of(_innermost(self._score_func))
        # One that is told its event finds it among all columns.
        of_event = facts is not None and facts.of_event
        of_event = of_event and {**options_of(self._score_func), **options}.get("pos_label") is None
        several = matrix_of(y_true) if response.ndim < 3 else None
        if response.ndim == np.ndim(y_true) > 2:
            # Of several labels at each place all are events.
            several = np.where(are_known(y_true, ignored), y_true, -100)
        if several is not None:
            return self._sign * self._score_func(several, response, **options)
        if response.ndim > 2:
            if ignored is not None and "ignore_index" in signature(self._score_func).parameters:
                options = {"ignore_index": ignored, **options}
        elif labels is not None:
            arrays = map(to_numpy, (labels, y_true))
            labels, y_true = (np.array(each.tolist()) if each.dtype.kind == "O" else each for each in arrays)
            is_number = labels.dtype.kind in "biuf"
            # A test fold may hold only the class that a single one lacks.
            is_kin = is_number == (y_true.dtype.kind in "biuf")
            is_seen = np.isin(y_true, labels)
            # Where none of several labels is known, that is a mistake, which the metric tells.
            if is_seen.any() and of_event and len(labels) == 2:
                y_true = np.where(is_seen, y_true, labels[0])
            elif is_seen.any() or (len(labels) == 1 and is_kin):
                unseen = np.unique(y_true[~is_seen])
                if len(labels) == 1 and not len(unseen):
                    # One column would be taken for the second of two classes.
                    unseen = (labels == 0).astype(labels.dtype) if is_number else np.array([f"not {labels[0]}"])
                response = np.pad(response, ((0, 0), (0, len(unseen))), constant_values=self.fill)
                labels = np.concatenate([labels, unseen])
        if of_event and response.shape[1:2] == (2,):
            response = response[:, 1] if response.ndim == 2 else response[:, 1:]
        return self._sign * self._score_func(y_true, response, labels=labels, **options)

    def _response(self, estimator, X, y_true, **options):
        """Return the metric's argument for the samples, and their labels."""
        return predict_labelled(estimator, "predict_proba", X, y_true, **options)

    def __repr__(self):
        better = "" if self._sign < 0 else ", greater_is_better=True"
        options = "".join(f", {name}={value!r}" for name, value in self._kwargs.items())
        metric = getattr(self._score_func, "__name__", self._score_func)
        return f"make_calibration_scorer({metric}{better}{options})"


class LogLikelihoodScorer(CalibrationScorer):
    """Mean log-likelihood, from ``predict_log_proba`` where there is one: no precision is lost."""

    fill = -np.inf

    def _response(self, estimator, X, y_true, **options):
        # Some estimators take the logarithm of 0 themselves.
        with np.errstate(divide="ignore"):
            if hasattr(estimator, "predict_log_proba"):
                return predict_labelled(estimator, "predict_log_proba", X, y_true, **options)
            proba, y_true = super()._response(estimator, X, y_true, **options)
            return np.log(proba.astype(np.float64)), y_true

    def __repr__(self):
        return "LogLikelihoodScorer()"


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


def negative_log_likelihood(y_true, log_proba, *, labels=None, sample_weight=None, ignore_index=-100):
    """Mean of ``-log p_y``, from log-probabilities (n_samples, n_classes, *places); the metric's floor is its own."""
    if np.shape(y_true) == log_proba.shape:
        # Of several labels, whose 1 - p isn't given.
        return of_probabilities(y_true, np.exp(log_proba), sample_weight=sample_weight)
    if np.isnan(log_proba).any():
        raise ValueError("predict_log_proba must not give NaN; got NaN for the class of a sample")
    rows = split_rows(y_true, np.exp(log_proba), labels, sample_weight, ignore_index, takes_labels=False)
    logs = as_probability_matrix(log_proba)[np.arange(rows.proba.n_samples), rows.y_encoded]
    return -rows.proba.average(np.maximum(logs, LOG_MIN_PROBABILITY))


def _innermost(metric):
    """The function within partials and wrappers."""
    inner = unwrap(metric)
    return _innermost(inner.func) if isinstance(inner, partial) else inner


neg_log_likelihood_scorer = LogLikelihoodScorer(negative_log_likelihood, -1, {}, "predict_proba")
neg_expected_calibration_error_scorer = make_calibration_scorer(expected_calibration_error)
neg_brier_score_scorer = make_calibration_scorer(brier_score)
