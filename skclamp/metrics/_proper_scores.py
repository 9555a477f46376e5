"""Proper scores, what recalibration could save of them, and Shannon's entropy."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import entr
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from .._judging.paired import n_effective
from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.arrays import tensor_over
from .._utils.least_probability import LOG_MIN_PROBABILITY, MIN_PROBABILITY, log_of
from .._utils.parameters import check_choice
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning
from ._binning import Probabilities
from ._metric import FACTS, Facts, of_outputs, split_rows
from ._resampling import MeanScore

# From here on resamples tell the tail of a mean loss.
_ENOUGH_EVENTS = 5


@of_outputs
def negative_log_likelihood(y_true, y_proba):
    """Negative log-likelihood (NLL, log loss): mean of ``-log p`` of each sample's class, in nats.

    A proper score: the true probabilities minimise it in expectation. A probability below 2.2e-16, float64's epsilon,
    counts as that (-log p = 36.04), whatever the dtype; the calibrators take such probabilities for as much.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, or of their places or labels.
    average : {"macro", "micro", "samples"} or None, default="macro"
        How the values of several labels, or of the places, of a sample are put together; see
        :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    nll : float
        At least 0 (best).

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`.

    References
    ----------
    I. J. Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.

    Examples
    --------
    >>> from skclamp.metrics import negative_log_likelihood
    >>> round(negative_log_likelihood([0, 2], [[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]]), 4)
    0.4581
    """
    return y_proba.average(log_losses(y_proba, y_true))


@of_outputs
def brier_score(y_true, y_proba, *, scale_by_half="auto"):
    """Multiclass Brier score: mean squared distance between the probabilities and the label's unit vector.

    A proper score: the true probabilities minimise it in expectation.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    scale_by_half : bool or "auto", default="auto"
        Whether to halve the sum over classes, so that the worst score is 1 instead of 2. "auto" halves it for two
        classes, as ``sklearn.metrics.brier_score_loss`` does.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, or of their places or labels.
    average : {"macro", "micro", "samples"} or None, default="macro"
        How the values of several labels, or of the places, of a sample are put together; see
        :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    score : float
        Between 0 (best) and 2, or 1 where halved.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`, and if `scale_by_half` is unknown.

    References
    ----------
    G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> from skclamp.metrics import brier_score
    >>> round(brier_score([0, 2], [[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]]), 4)
    0.22
    """
    if scale_by_half not in (True, False, "auto"):
        raise ValueError(f"scale_by_half must be True, False or 'auto'; got {scale_by_half!r}")
    return y_proba.average(brier_losses(y_proba, y_true, scale_by_half))


def predictive_entropy(y_proba, *, sample_weight=None):
    """Mean Shannon entropy of the predicted probabilities, in nats.

    Parameters
    ----------
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes. Or
        ``(n_samples, n_classes, *places)``, of classes at each place of a sample, which count alike.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, or of their places.

    Returns
    -------
    entropy : float
        Between 0 (certain) and log(n_classes).

    Raises
    ------
    ValueError, TypeError
        If `y_proba` or `sample_weight` are bad, as for :func:`expected_calibration_error`.

    References
    ----------
    C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 1948.

    Examples
    --------
    >>> from skclamp.metrics import predictive_entropy
    >>> round(predictive_entropy([[0.5, 0.5], [1.0, 0.0]]), 4)
    0.3466
    """
    proba = Probabilities(y_proba, sample_weight)
    return proba.average(entr(proba.values).sum(1, dtype=float))


class CalibrationRefinement(NamedTuple):
    """A proper score and its parts.

    Attributes
    ----------
    score : float
        Mean score of the probabilities: `calibration` plus `refinement`.
    calibration : float
        What the recalibration saves, at least 0.
    refinement : float
        The score after recalibration.

    Examples
    --------
    >>> from skclamp.metrics import calibration_refinement
    >>> parts = calibration_refinement([0, 1, 1, 0], [0.2, 0.9, 0.6, 0.4])
    >>> abs(parts.calibration + parts.refinement - parts.score) < 1e-9
    True
    """

    score: float
    calibration: float
    refinement: float


def calibration_refinement(
    y_true,
    y_proba,
    *,
    score="log_loss",
    recalibration="auto",
    labels=None,
    pos_label=None,
    sample_weight=None,
    ignore_index=-100,
):
    """Decompose the negative log-likelihood or the Brier score into calibration and refinement.

    The score's expectation is the divergence of the probabilities from the true ones given the prediction, which is
    its calibration error, plus the score of those: its refinement. What the best of a family of recalibrations leaves
    on the same samples stands for the latter. A narrow family sees only some of the miscalibration, and a wide one
    takes some of the noise for it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    score : {"log_loss", "brier"}, default="log_loss"
        The negative log-likelihood in nats, or the Brier score, halved for two classes.
    recalibration : {"auto", "temperature", "isotonic"}, default="auto"
        The family: one temperature, for the log loss, or an increasing function for every class's probability. The
        latter decomposes the Brier score class by class, and the log loss only of two classes. "auto" is "isotonic"
        where that is possible.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that probabilities of one dimension are of; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`. All places count alike.

    Returns
    -------
    CalibrationRefinement
        Named tuple of `score`, `calibration` and `refinement`.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`. If `score` or `recalibration` is unknown, "temperature" is asked for with
        the Brier score, or "isotonic" with the log loss of more than two classes.

    Notes
    -----
    Of a calibrated classifier `calibration` falls as 1 / n_samples by "temperature", and as n_samples ** (-2/3) by
    "isotonic".

    References
    ----------
    J. Bröcker, "Reliability, sufficiency, and the decomposition of proper scores", Quarterly Journal of the Royal
    Meteorological Society 135, 2009. T. Dimitriadis, T. Gneiting and A. I. Jordan, "Stable reliability diagrams for
    probabilistic classifiers", PNAS 118, 2021 ("isotonic"). E. Berta et al., "Rethinking Early Stopping: Refine, Then
    Calibrate", 2025 ("temperature").

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import calibration_refinement
    >>> random = np.random.default_rng(0)
    >>> logits = 2 * random.normal(size=(5000, 3))
    >>> true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    >>> y_true = (random.uniform(size=(5000, 1)) > true.cumsum(1)).sum(1)
    >>> overconfident = true**2 / (true**2).sum(1, keepdims=True)
    >>> print("{:.2f} = {:.2f} + {:.2f}".format(*calibration_refinement(y_true, overconfident)))
    0.68 = 0.10 + 0.58
    """
    check_choice(score, "score", ("log_loss", "brier"))
    check_choice(recalibration, "recalibration", ("auto", "temperature", "isotonic"))
    rows = split_rows(y_true, y_proba, labels, sample_weight, ignore_index, takes_labels=False, pos_label=pos_label)
    y_encoded = rows.y_encoded
    proba = rows.proba
    possible = ["isotonic"] * (score == "brier" or proba.n_classes == 2) + ["temperature"] * (score == "log_loss")
    if recalibration == "auto":
        recalibration = possible[0]
    if recalibration not in possible:
        raise ValueError(
            f"recalibration must not be {recalibration!r} with score={score!r}"
            + " and more than two classes" * (score == "log_loss")
        )
    total = proba.average((log_losses if score == "log_loss" else brier_losses)(proba, y_encoded))
    if recalibration == "temperature":
        left = _loss_after_temperature(proba, y_encoded)
    else:
        # Of two classes the second's pairs tell all, and their halved Brier score is the binary one.
        classes = list(proba.class_pairs(y_encoded))[1:] if proba.n_classes == 2 else proba.class_pairs(y_encoded)
        left = sum(_loss_after_isotonic(pairs, score) for pairs in classes)
    # The identity is in either family: only a solver's tolerance could lie above it.
    left = min(float(left), total)
    return CalibrationRefinement(total, total - left, left)


def _loss_after_isotonic(pairs, score):
    """Mean loss of the increasing function of the confidence that fits the hits best; one value for each confidence."""
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(pairs.confidence, pairs.hits, pairs.weight)
    missed = abs(pairs.hits - isotonic.predict(pairs.confidence))
    losses = missed**2 if score == "brier" else -np.log((1 - missed).clip(MIN_PROBABILITY, 1.0))
    return np.average(losses, weights=pairs.weight)


def _loss_after_temperature(proba, y_encoded):
    # Finite ones, by the logarithm's floor.
    logits = log_of(tensor_over(proba.values))
    y = tensor_over(y_encoded)
    weight = None if proba.weight is None else torch.from_numpy(proba.weight)
    temperature = solve_temperature(logits, y, sample_weight=weight).temperature
    return proba.average(-log_likelihoods(logits, y, temperature).numpy())


def brier_losses(proba, y_encoded, scale_by_half="auto"):
    """Squared distance of each row to its label's unit vector, in float64: never negative by rounding."""
    distance = np.empty(proba.n_samples)
    for rows, chunk in proba.chunks():
        error = chunk.astype(float)
        error[np.arange(len(error)), y_encoded[rows]] -= 1
        distance[rows] = np.einsum("ij,ij->i", error, error)
    # Rows whose sums round beyond 1 are no farther than others.
    return np.minimum(distance, 2) * (_largest_brier(proba, scale_by_half) / 2)


def _largest_brier(proba, scale_by_half):
    halve = proba.n_classes == 2 if scale_by_half == "auto" else scale_by_half
    return 1 if halve else 2


def log_losses(proba, y_encoded):
    """Negative log-probability of each sample's class, float64."""
    with np.errstate(divide="ignore"):
        logs = np.log(proba.of_label(y_encoded))
    # A probability that rounds beyond 1 has no gain.
    return -logs.clip(LOG_MIN_PROBABILITY, 0.0)


def _mean_of(losses, value, y_encoded, proba, *, scale_by_half=None, **_):
    """Form of a mean of `losses`; of two classes it knows what few events hide."""
    largest = -LOG_MIN_PROBABILITY
    if scale_by_half is not None:
        losses = partial(losses, scale_by_half=scale_by_half)
        largest = _largest_brier(proba, scale_by_half)
    score = MeanScore(value, losses(proba, y_encoded) - value, proba.masses, proba.unit)
    score.largest = largest
    if proba.n_classes == 2:
        sums = [np.bincount(proba.unit, proba.masses * (y_encoded == column)) for column in range(2)]
        n_events, rare = min((np.count_nonzero(own), column) for column, own in enumerate(sums))
        if n_events < _ENOUGH_EVENTS:
            note(
                f"y_true has {n_events} samples, or groups with some, of one of two classes, fewer than "
                f"{_ENOUGH_EVENTS}: what these add to a mean loss is hardly known. The upper end of its interval "
                "allows for as many more as chance may hide; a test of a difference doesn't",
                CalibrationSetWarning,
            )
            score.few = _few_events(losses, y_encoded == rare, rare, proba, n_effective(score.weight))
    return score


def _few_events(losses, is_event, rare, proba, n_units):
    """Return a function of a tail's probability: the mean loss at as many events of a class as it leaves possible.

    That is the upper end of C. J. Clopper and E. S. Pearson (Biometrika 26, 1934), of units that are all events or
    none. An event costs what those that came do and those that the probabilities expect.
    """
    rest, of_event = (losses(proba, np.full(len(is_event), column)) for column in (1 - rare, rare))
    (expected,) = proba.columns([rare])
    # Where nothing is expected, and nothing came, any sample may be the event.
    cost = np.average(of_event - rest, weights=proba.masses * (is_event + expected + MIN_PROBABILITY))
    n_events = n_units * proba.average(is_event)
    return lambda tail: proba.average(rest) + cost * beta.isf(tail, n_events + 1, n_units - n_events)


FACTS[negative_log_likelihood] = Facts(of_event=False, resampled=partial(_mean_of, log_losses), is_error=False)
FACTS[brier_score] = Facts(of_event=False, resampled=partial(_mean_of, brier_losses), is_error=False)
