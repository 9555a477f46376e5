"""What decisions go by: slope and intercept, the calibration curve's distance, net benefit and expected cost."""

from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from .._utils.arrays import to_numpy
from .._utils.least_probability import MIN_PROBABILITY
from .._utils.parameters import check_number
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning
from ._metric import FACTS, Facts, of_outputs
from ._resampling import ErrorOfPairs, MeanScore, QuickMetric, neighbours

# R's `lowess`: the share of the samples that a fit is made to, and how far apart, in parts of the range, fits are.
_SPAN, _STEP = 2 / 3, 0.01
# Newton steps of two numbers, far more than a problem that has a solution takes.
_MAX_STEPS = 100
# Groups of neighbouring probabilities in replicates.
_MAX_GROUPS = 256
_TOLERANCE = 1e-10
_ROUNDING = 1e-12
# Of the mean curvature, far below what any data have, and above the rounding of a singular one.
_RIDGE = 1e-10


@of_outputs
def calibration_slope(y_true, y_proba):
    """Calibration slope: by what factor the log-odds of an event would have to be stretched.

    The coefficient of a logistic regression of the event on the log-odds of its probability. Below 1 probabilities are
    too extreme, as of an overfitted model; above 1 they aren't extreme enough. A probability within 2.2e-16 of 0 or 1
    counts as that far from it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others; None is the second of two classes, and is refused of more.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, which count as repetitions.
    average : {"macro", "micro"} or None, default="macro"
        How the values of several labels a sample are put together; see :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    slope : float
        1 is best. NaN, with a warning, where no event came true, all did, or log-odds tell them apart without mistake.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`; if there are more than two classes and no `pos_label`.

    Warns
    -----
    CalibrationSetWarning
        If no slope is the most likely one.

    References
    ----------
    D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45, 1958; B. Van Calster et al.,
    "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import calibration_slope
    >>> rng = np.random.default_rng(0)
    >>> log_odds = rng.normal(size=10_000)
    >>> y = rng.random(10_000) < 1 / (1 + np.exp(-log_odds))
    >>> round(calibration_slope(y, 1 / (1 + np.exp(-2 * log_odds))), 1)  # twice as extreme as they should be
    0.5
    """
    came_true, log_odds, weight = _events(y_true, y_proba)
    (slope,) = _slopes(came_true, log_odds, weight[None])
    return _undefined("slope") if np.isnan(slope) else float(slope)


@of_outputs
def calibration_intercept(y_true, y_proba):
    """Calibration intercept, or calibration in the large: how far the log-odds of an event are off on the whole.

    The offset that a logistic regression adds to the log-odds of the probabilities, at a slope of 1. Above 0 events are
    more frequent than the probabilities say; below 0 less. R's ``val.prob`` calls another number its intercept: that
    beside the slope. A probability within 2.2e-16 of 0 or 1 counts as that far from it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others; None is the second of two classes, and is refused of more.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, which count as repetitions.
    average : {"macro", "micro"} or None, default="macro"
        How the values of several labels a sample are put together; see :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    intercept : float
        In log-odds; 0 is best. NaN, with a warning, where no event came true, or all did.

    Raises
    ------
    ValueError, TypeError
        As :func:`calibration_slope`.

    Warns
    -----
    CalibrationSetWarning
        If no offset is the most likely one.

    References
    ----------
    D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45, 1958; B. Van Calster et al.,
    "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019.

    Examples
    --------
    Of equal probabilities it is the log-odds of the frequency less those that were told:

    >>> from skclamp.metrics import calibration_intercept
    >>> round(calibration_intercept([1, 1, 1, 0], [0.5, 0.5, 0.5, 0.5]), 4)  # log(3)
    1.0986
    """
    came_true, log_odds, weight = _events(y_true, y_proba)
    hits = weight @ came_true
    if not 0 < hits < weight.sum():
        return _undefined("intercept")

    def too_many(offset):
        return weight @ expit(log_odds + offset) - hits

    # All as probable as the least, or as the most, would be too few, or too many, at these.
    share = logit(hits / weight.sum())
    return float(brentq(too_many, share - log_odds.max() - 1, share - log_odds.min() + 1, xtol=_TOLERANCE))


@of_outputs
def integrated_calibration_index(y_true, y_proba, *, quantile=None):
    """Integrated calibration index (ICI): mean distance of the probabilities from a smooth calibration curve.

    The curve is the event's frequency by its probability, smoothed by R's ``lowess`` without robust steps, as
    ``rms::val.prob`` draws it. No bins; E50 and E90 are quantiles of the same distances.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.
    quantile : float, default=None
        0.5 gives E50, the median distance, and 0.9 E90; 1 gives the largest, Emax. None gives the mean.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others; None is the second of two classes, and is refused of more.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, which count as repetitions; of a sum below the number of samples their ratios count.
    average : {"macro", "micro"} or None, default="macro"
        How the values of several labels a sample are put together; see :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    error : float
        Between 0 (best) and 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`calibration_slope`; if `quantile` is outside [0, 1].

    References
    ----------
    P. C. Austin and E. W. Steyerberg, "The Integrated Calibration Index (ICI) and related metrics for quantifying the
    calibration of logistic regression models", Statistics in Medicine 38, 2019; W. S. Cleveland, "Robust Locally
    Weighted Regression and Smoothing Scatterplots", Journal of the American Statistical Association 74, 1979.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import integrated_calibration_index
    >>> rng = np.random.default_rng(0)
    >>> proba = rng.random(10_000)
    >>> y = rng.random(10_000) < 0.8 * proba
    >>> round(integrated_calibration_index(y, proba), 1)  # the mean of 0.2 p
    0.1
    """
    if quantile is not None:
        check_number(quantile, "quantile")
    came_true, proba, weight = _events(y_true, y_proba, as_log_odds=False)
    # Weights that sum to less than there are samples, such as to 1, are no repetitions.
    weight = weight * max(1.0, np.count_nonzero(weight) / weight.sum())
    distance = abs(proba - np.interp(proba, *_curve(proba, came_true, weight)))
    if quantile is None:
        return float(weight @ distance / weight.sum())
    order = distance.argsort()
    upto = weight[order].cumsum()
    # As of `numpy.quantile`, of so many repetitions.
    place = max(quantile * (upto[-1] - 1), 0.0)
    around = np.searchsorted(upto, [np.floor(place) + _TOLERANCE, np.floor(place) + 1 + _TOLERANCE])
    nearest, next_one = distance[order][around.clip(max=len(order) - 1)]
    return float(nearest + place % 1 * (next_one - nearest))


@of_outputs
def net_benefit(y_true, y_proba, *, threshold):
    """Net benefit of acting where an event is at least as probable as a threshold.

    True positives a sample, less false positives a sample times the odds of the threshold: who acts from a probability
    of 0.1 on holds a missed event for nine times as bad as a needless act. Acting nowhere has 0;
    `NetBenefitDisplay <skclamp.display.NetBenefitDisplay>` draws all thresholds.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.
    threshold : float
        The least probability at which one acts; it lies in [0, 1). At 0 one acts always.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others; None is the second of two classes, and is refused of more.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, which count as repetitions.
    average : {"macro", "micro"} or None, default="macro"
        How the values of several labels a sample are put together; see :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    benefit : float
        At most the share of events; below 0 where acting nowhere is better.

    Raises
    ------
    ValueError, TypeError
        As :func:`calibration_slope`; if `threshold` is outside [0, 1).

    References
    ----------
    A. J. Vickers and E. B. Elkin, "Decision Curve Analysis: A Novel Method for Evaluating Prediction Models", Medical
    Decision Making 26, 2006.

    Examples
    --------
    Two of four act, one of them rightly, at odds of 1 to 3:

    >>> from skclamp.metrics import net_benefit
    >>> round(net_benefit([1, 0, 0, 1], [0.6, 0.3, 0.1, 0.2], threshold=0.25), 4)  # 1/4 - 1/4 * 1/3
    0.1667
    """
    check_number(threshold, "threshold", closed="left")
    came_true, proba, weight = _events(y_true, y_proba, as_log_odds=False)
    return float(np.average(_benefits(came_true, proba, threshold), weights=weight))


@of_outputs
def expected_cost(y_true, y_proba, *, costs):
    """Mean cost of the decisions that the probabilities say are cheapest.

    Each sample gets the decision of the least expected cost under its probabilities; what counts is the cost under its
    label. Of equally cheap decisions the first is taken.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    costs : array-like of shape (n_classes, n_decisions)
        Cost of each decision, a column, where a class, a row, is true. Decisions may be others than the classes, such
        as to ask a person.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns of `y_proba` and the rows of `costs`; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that is the event, against all others.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    average : {"macro", "micro", "samples"} or None, default="macro"
        How the values of several labels, or of the places, of a sample are put together; see
        :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    cost : float
        In the unit of the costs.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`; if `costs` aren't finite numbers, a row for each class.

    References
    ----------
    C. Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001.

    Examples
    --------
    A missed event costs 10, a needless act 1:

    >>> from skclamp.metrics import expected_cost
    >>> expected_cost([1, 0, 0, 1], [0.6, 0.3, 0.05, 0.2], costs=[[0, 1], [10, 0]])
    0.25
    """
    costs = to_numpy(costs, "costs")
    n_classes = y_proba.n_classes
    if costs.ndim != 2 or len(costs) != n_classes or costs.dtype.kind not in "biuf" or not np.isfinite(costs).all():
        raise ValueError(
            f"costs must be finite numbers of shape ({n_classes}, n_decisions), a row for each class; got "
            f"{costs.tolist()}"
        )
    return y_proba.average(_costs(y_true, y_proba, costs))


def _events(y_encoded, proba, as_log_odds=True):
    """Return whether each event came true, 0 or 1, the log-odds or the probability of it, and the weights."""
    if proba.n_classes != 2:
        raise ValueError(
            f"pos_label must name the class that is the event, of {proba.n_classes} classes; got None. Of events, give "
            "their probabilities in one dimension"
        )
    counts = proba.masses > 0
    values = proba.values[counts, 1].astype(np.float64)
    if as_log_odds:
        values = logit(values.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY))
    return y_encoded[counts].astype(np.float64), values, proba.masses[counts]


def _slopes(came_true, log_odds, weights):
    """Slope under each row of weights; NaN where no slope is the most likely one."""
    kinds = [weights * (came_true == kind) > 0 for kind in (0, 1)]
    least = [np.where(kind, log_odds, np.inf).min(1) for kind in kinds]
    most = [np.where(kind, log_odds, -np.inf).max(1) for kind in kinds]
    overlap = (least[1] < most[0]) & (least[0] < most[1])
    slopes = np.full(len(weights), np.nan)
    if overlap.any():
        weights = weights[overlap]
        together = weights.sum(0)
        # Probabilities that are close together may have any slope: of a unit scale the search begins near it.
        centre = np.average(log_odds, weights=together)
        scale = np.sqrt(np.average((log_odds - centre) ** 2, weights=together))
        powers = ((log_odds - centre) / scale) ** np.arange(3)[:, None]
        # Replicates' are near that of all together.
        start = _newton(came_true, powers, together[None], np.zeros((1, 2)))
        slopes[overlap] = _newton(came_true, powers, weights, start)[:, 1] / scale
    return slopes


def _newton(came_true, powers, weights, start):
    """Intercept and slope of a logistic regression under each row of weights, on the second of `powers`."""

    def judged(theta):
        score = theta @ powers[:2]
        shrunk = np.exp(-abs(score))
        loss = (weights * (np.maximum(score, 0) + np.log1p(shrunk) - came_true * score)).sum(1)
        return loss, np.where(score > 0, 1, shrunk) / (1 + shrunk)

    theta = np.tile(start, (len(weights), 1))
    loss, proba = judged(theta)
    for _ in range(_MAX_STEPS):
        curvature = (weights * proba * (1 - proba)) @ powers.T
        # Where all weight lies far from even odds nothing curves, and the step is along the gradient.
        curvature[:, [0, 2]] += _RIDGE * weights.sum(1, keepdims=True)
        gradient = (weights * (proba - came_true)) @ powers[:2].T
        step = np.linalg.solve(curvature[:, [[0, 1], [1, 2]]], gradient[..., None])[..., 0]
        if abs(step).max() <= _TOLERANCE:
            return theta - step
        before = loss
        loss, proba = judged(theta - step)
        # Far from the solution a whole step may lead away from it; near it losses differ by rounding.
        while (worse := loss > before * (1 + _ROUNDING)).any():
            step[worse] /= 2
            loss, proba = judged(theta - step)
        theta = theta - step
    return theta


def _costs(y_encoded, proba, costs):
    """Cost of the decision on each sample."""
    return costs[y_encoded, (proba.values @ costs).argmin(1)]


def _benefits(came_true, proba, threshold):
    """Benefit of the decision on each sample."""
    return (proba >= threshold) * (came_true - (1 - came_true) * threshold / (1 - threshold))


def _undefined(name):
    """Return NaN, and say that labels of one kind, or told apart, have no such value."""
    note(
        f"no {name} is the most likely one: y_true must have events that came true and others that didn't, not told "
        "apart without a mistake",
        CalibrationSetWarning,
    )
    return np.nan


def _curve(x, y, weight):
    """Points between which R's ``lowess(x, y, iter=0)`` is straight, and its values there; weights count neighbours.

    Of y of several columns values have a row for each point.
    """
    points = np.unique(x)
    reach = _STEP * (points[-1] - points[0])
    n_near = max(min(int(_SPAN * weight.sum() + 1e-7), weight.sum()), min(2.0, weight.sum()))
    at = [0]
    while at[-1] < len(points) - 1:
        at.append(max(at[-1] + 1, np.searchsorted(points, points[at[-1]] + reach, side="right") - 1))
    fits = [_local_fit(points[i], x, y, weight, n_near, points[-1] - points[0]) for i in at]
    return points[at], np.array(fits)


def _local_fit(point, x, y, weight, n_near, spread):
    """Value at a point of a line that is fitted to the nearest samples, the nearer the more they count."""
    distance = abs(x - point)
    order = distance.argsort(kind="stable")
    width = distance[order][np.searchsorted(weight[order].cumsum(), n_near * (1 - _TOLERANCE))]
    near = np.where(distance <= 0.001 * width, 1.0, (1 - (distance / max(width, _TOLERANCE)).clip(max=1) ** 3) ** 3)
    near = weight * np.where(distance <= 0.999 * width, near, 0.0)
    near /= near.sum()
    centre = near @ x
    variance = near @ (x - centre) ** 2
    # Where all that is near is at one place, its mean.
    slope = (near * (x - centre)) @ y / variance if variance**0.5 > 0.001 * spread else 0.0
    return near @ y + slope * (point - centre)


def _resampled(value, y_encoded, proba, *, quantile, **_):
    """Form of the index, by groups of confidences of which each moves the curve as it does in the whole sample."""
    pairs = proba.of_event().pairs(y_encoded)
    groups = neighbours(pairs.confidence, _MAX_GROUPS)
    mass = pairs.masses @ groups
    x = (pairs.masses * pairs.confidence) @ groups / mass
    points, curves = _curve(x, np.diag(1 / mass), mass)
    # Places of equal weight.
    places = np.interp(np.arange(_MAX_GROUPS) / _MAX_GROUPS, mass.cumsum() / mass.sum(), x)
    moves = np.array([np.interp(places, points, curve) for curve in curves.T])
    mean = np.mean if quantile is None else partial(np.quantile, q=quantile)
    return ErrorOfPairs(
        value, pairs, groups, lambda residual, _: residual @ moves, lambda path: mean(abs(path), axis=-1)
    )


def _resampled_slopes(value, y_encoded, proba, **_):
    """Form of the slope, of many resamples at once."""
    came_true, log_odds, _ = _events(y_encoded, proba)
    return QuickMetric(value, partial(_slopes, came_true, log_odds), proba)


def _resampled_benefits(value, y_encoded, proba, *, threshold, **_):
    """Form of the net benefit, a mean."""
    benefits = _benefits(y_encoded, proba.values[:, 1], threshold)
    return MeanScore(value, benefits - value, proba.masses, proba.unit)


def _mean_cost(value, y_encoded, proba, *, costs, **_):
    """Form of the mean cost."""
    return MeanScore(value, _costs(y_encoded, proba, to_numpy(costs)) - value, proba.masses, proba.unit)


FACTS[calibration_slope] = Facts(of_event=True, resampled=_resampled_slopes, is_error=False)
FACTS[calibration_intercept] = Facts(of_event=True, resampled=None, is_error=False)
FACTS[net_benefit] = Facts(of_event=True, resampled=_resampled_benefits, is_error=False)
FACTS[expected_cost] = Facts(of_event=False, resampled=_mean_cost, is_error=False)
FACTS[integrated_calibration_index] = Facts(of_event=True, resampled=_resampled)
