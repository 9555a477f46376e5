"""Solves for one temperature on logits, exactly: a safeguarded Halley iteration on log(1/T), over chunks of rows.

The mean negative log-likelihood (NLL) of ``softmax(beta * z)`` is convex in ``beta = 1 / T``. Its derivative,

    mean_i ( sum_k p_ik z_ik - z_i[y_i] ),

has the mean variance and the mean third cumulant of z_i under p_i for derivatives of its own. One pass over the logits
sums p, p z, p z^2 and p z^3 while a chunk is in the cache, and so buys a step of third order. Focal losses (gamma > 0)
aren't convex: a grid on log T finds the lowest of their valleys, a bracketing root finder its bottom.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq

from .._utils.warnings import CAUSES_OF_FLAWLESSNESS, CAUSES_OF_LARGE_T, CAUSES_OF_SMALL_T, note, note_unconverged
from ..exceptions import NotConvergedWarning
from .temperature_sums import LogitRows, rows_a_chunk

# What scikit-learn's own temperature scaling allows, rounded: exp(-10) to exp(10).
DEFAULT_BOUNDS = (1e-4, 1e4)

# Of the first guess, which comes from some of the rows.
_SAMPLE_TOLERANCE = 3e-3
# The estimated error of log T that ends the search, for float64 logits and for others, where rounding leaves no less.
_TOLERANCE = 1e-11
_NARROW_TOLERANCE = 1e-9
_MAX_PASSES = 100
# Steps on log T where the slope is too flat for its derivatives to lead anywhere: the first, doubled each time up to
# the second, a factor of 12.
_FIRST_REACH = 0.5
_MAX_STEP = 2.5
# Focal losses: grid points a factor of 10 of T, and at least so many.
_GRID_DENSITY, _MIN_GRID_SIZE = 4, 3
_ROOT_TOLERANCE = 1e-10
# Where errors are few: the scale of a logistic prior on log T, whose slope is at most 1 / 0.2 nats, and the share of
# Platt's smoothing that joins it. Where labels lead by much the prior keeps T near 1, where smoothing alone keeps it
# too high; where they lead by little many samples overrule the prior, and smoothing bounds T.
_PRIOR_SCALE, _PRIOR_SMOOTHING = 0.2, 0.125
# Errors, and the standard error of log T, with which samples need no prior.
ENOUGH_ERRORS, _SMALL_ERROR = 10, 0.1
# Rounding of a sum of that many.
_ROUNDED = 1e-9
# What no network needs that is merely right on few samples.
_FAR_TOO_FLAT = 0.1
# Steps on log T between which its optimum with a prior is bracketed.
_PRIOR_STEP = 1.0


class TemperatureSolution(NamedTuple):
    """Where the loss is least.

    Attributes
    ----------
    temperature : float
        The optimal T.
    loss : float
        Mean loss there.
    n_passes : int
        How often all the rows were read.
    converged : bool
        Whether the error of log T, as estimated from the last step, is below 1e-11 (1e-9 where logits aren't float64).
    at_bound : bool
        Whether the loss still falls beyond the bound that `temperature` is, or would be without a prior.
    prior_strength : float, default=0.0
        Of the prior that has a part in `temperature` where errors are few, up to 1; 0 where it has none.
    """

    temperature: float
    loss: float
    n_passes: int
    converged: bool
    at_bound: bool
    prior_strength: float = 0.0


def solve_temperature(
    logits, y, *, sample_weight=None, gamma=0.0, bounds=DEFAULT_BOUNDS, smooth=False, prior=False, unit=None
):
    """Temperature at which ``softmax(logits / T)`` has the least mean focal loss.

    Memory beyond the logits stays below 64 MB whatever their number. float64 logits are treated in float64; all others
    are centred and exponentiated in float32, with sums over rows in float64.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_samples, n_classes)
        Finite, of any float dtype, on any device.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    sample_weight : torch.Tensor of shape (n_samples,), default=None
        Non-negative weights with a positive sum.
    gamma : float, default=0.0
        Focusing parameter; at 0 the loss is the NLL.
    bounds : tuple of two floats, default=(1e-4, 1e4)
        Least and largest T.
    smooth : bool, default=False
        Whether a label has the probability 1 - 1 / (n_samples + 2) and the other classes share the rest, as Platt's
        targets do: n flawless samples then lead to no T at the bound. Uneven weights count as the number of equal ones
        that tell as much.
    prior : bool, default=False
        Whether a weak prior of T around 1, and an eighth of what `smooth` adds, join where errors are few. n flawless
        samples say that T is small, not how small: at the bound a single mistake of new ones would cost ten thousands
        of nats. The prior's strength is 1 there; beyond one error it falls to 0 at ten, and with the information on log
        T to 0 where that has a standard error of 0.1. The upper bound needs none: the probabilities there are uniform.
        Nor does what `smooth` bounds.
    unit : ndarray of shape (n_samples,), default=None
        Of several labels, numbers that those of one sample share, which depend on each other. For the prior they count
        as fewer, by the design effect of their scores, and errors are no reason for it to be weaker.

    Returns
    -------
    TemperatureSolution
        The global optimum for the NLL; for ``gamma > 0`` the lowest of the valleys that a grid on log T shows.
    """
    weight = torch.ones(len(y), dtype=torch.float64) if sample_weight is None else sample_weight
    rows = LogitRows(logits, y, weight)
    if smooth:
        # As many equally weighted rows would tell as much.
        rows.linear_term = rows.smoothing(rows.total_weight**2 / rows.weight.square().sum().item())
    if prior and unit is not None:
        rows.design_effect = rows.inflation(unit)
    low, high = bounds
    limits = math.log(rows.representable(1 / high)), math.log(rows.representable(1 / low))
    if low == high:
        return TemperatureSolution(low, rows.focal(math.exp(limits[0]), gamma).loss, rows.n_passes, True, False)
    if gamma > 0:
        found = _search_focal(rows, limits, gamma)
    else:
        start = _clip(0.0, *limits)
        sample = rows.sample()
        if sample is not None:
            guess = _descend(sample, start, limits, _SAMPLE_TOLERANCE)
            start = start if guess.at_bound else guess.place
        found = _descend(rows, start, limits, _TOLERANCE if logits.dtype == torch.float64 else _NARROW_TOLERANCE)
    strength = _prior_strength(rows, found, limits) if prior else 0.0
    if strength:
        place, loss = _search_with_prior(rows, limits, gamma, strength, found.place)
        found = found._replace(place=place, loss=loss, converged=True)
        strength = strength if place < limits[1] else 0.0
    note_unconverged(found.converged, "the temperature may be far from its optimum: pass logits as float64")
    temperature = _clip(math.exp(-found.place), *bounds)
    if found.at_bound and not strength:
        temperature = min(bounds, key=lambda bound: abs(math.log(bound) + found.place))
    return TemperatureSolution(temperature, found.loss, rows.n_passes, found.converged, found.at_bound, strength)


def warn_of_bound(solution, bounds=DEFAULT_BOUNDS):
    """Warn where the loss still falls beyond the temperature that was found; on behalf of a calibrator's ``fit``."""
    if not solution.at_bound:
        return
    temperature = solution.temperature
    separable = "the data may be separable: nearly every label has the highest logit"
    if solution.prior_strength:
        causes = CAUSES_OF_SMALL_T if temperature < _FAR_TOO_FLAT else CAUSES_OF_FLAWLESSNESS
        message = f"temperature_ can't be learned from flawless samples ({separable}); "
        message += f"{temperature:.3g} is what a prior makes of them"
    else:
        flawless = temperature == bounds[0]
        causes = CAUSES_OF_SMALL_T if flawless else CAUSES_OF_LARGE_T
        message = f"temperature_ is at the bound {temperature:g}, beyond which the loss still falls; "
        message += separable if flawless else "the logits may say nothing of the labels"
    note(message, NotConvergedWarning, puzzles=causes)


def first_temperature(logits, y, weight):
    """The solution from which a calibrator's ``fit`` goes on, with a prior; a bound is warned of."""
    solution = solve_temperature(logits, y, sample_weight=weight, prior=True)
    warn_of_bound(solution)
    return solution


def log_likelihoods(logits, y, temperature):
    """Log-probability of each sample's class under ``softmax(logits / temperature)``, in float64."""
    out = torch.empty(len(logits), dtype=torch.float64, device=logits.device)
    size = rows_a_chunk(logits)
    for part, y_encoded, values in zip(logits.split(size), y.split(size), out.split(size), strict=True):
        scaled = part.double() / temperature
        torch.sub(scaled.gather(1, y_encoded[:, None]).squeeze(1), scaled.logsumexp(1), out=values)
    return out.clamp_(max=0.0)


def beside_wrong_labels(proba, rate, n_others):
    """Probabilities of labels that are wrong at a rate, each any of so many other classes, by those of right ones."""
    return (1 - rate) * proba + rate * (1 - proba) / n_others


class _Found(NamedTuple):
    """Outcome of a search; `place` is log(beta), `information` what a sample tells of it where that is known."""

    place: float
    loss: float
    converged: bool = True
    at_bound: bool = False
    information: float | None = None


def _descend(rows, place, limits, tolerance):
    """Halley steps on log(beta) inside a bracket that each pass narrows; where two don't halve it, it is bisected."""
    low, high, reach, widths = -math.inf, math.inf, _FIRST_REACH, [math.inf, math.inf]
    for _ in range(_MAX_PASSES):
        point = rows.nll(math.exp(place))
        if point.lag == 0:
            return _where_labels_lead(rows, 0.0, point, limits)
        place = math.log(point.beta)
        low, high = (place, high) if point.slope < 0 else (low, place)
        if low >= limits[1] or high <= limits[0]:
            return _Found(place, point.loss, at_bound=True)
        step, error = _halley_step(point)
        if error <= tolerance:
            # The last step needs no pass of its own: Taylor's formula gives the loss behind it.
            place = _clip(place + step, *limits)
            move = math.exp(place) - point.beta
            loss = point.loss + move * (point.slope + move * (point.curvature / 2 + move * point.third / 6))
            information = math.exp(2 * place) * (point.curvature + move * point.third)
            return _Found(place, loss, information=information)
        if error > abs(step):
            step = math.copysign(max(abs(step), reach), step)
            reach = min(2 * reach, _MAX_STEP)
        # Compared with the ends as they were: unrounded, a place that has been tried may lie between them.
        place = math.log(rows.representable(math.exp(_clip(place + step, *limits))))
        if not low < place < high or high - low > widths[-2] / 2:
            place = (max(low, limits[0]) + min(high, limits[1])) / 2
        widths.append(high - low)
    return _Found(place, point.loss, converged=False)


def _halley_step(point):
    """Step on log(beta) to the root of the slope, at most `_MAX_STEP`, and an estimate of the error that it leaves."""
    first = point.beta * point.curvature
    second = first + point.beta**2 * point.third
    denominator = first**2 - point.slope * second / 2
    if first <= 0 or denominator <= 0:
        return -math.copysign(_MAX_STEP, point.slope), math.inf
    step = _clip(-point.slope * first / denominator, -_MAX_STEP, _MAX_STEP)
    # The error is of third order in the step, on the scale over which the slope's own derivative changes.
    return step, abs(step) * (2 * step * max(1.0, abs(second / first))) ** 2


def _clip(value, low, high):
    return min(max(value, low), high)


def _where_labels_lead(rows, gamma, point, limits):
    """No label's logit is below another: the loss falls all the way to T = 0, unless it is flat."""
    if point.curvature == 0 and point.slope == 0 and point.loss > 0:
        return _Found(_clip(0.0, *limits), point.loss)
    return _Found(limits[1], rows.focal(math.exp(limits[1]), gamma).loss, at_bound=True)


def _prior_strength(rows, found, limits):
    """Return the strength of the prior: from 1 for flawless samples to 0 where they determine T."""
    if found.at_bound:
        return float(found.place >= limits[1])
    if rows.linear_term or not found.converged:
        return 0.0
    n_samples = rows.n_repetitions
    beta = math.exp(found.place)
    information = found.information
    if information is None:
        information = beta**2 * rows.nll(beta).curvature
    unknown = 1 - n_samples * information * _SMALL_ERROR**2
    if unknown <= 0:
        return 0.0
    if rows.design_effect:
        return unknown
    # The likelihood of a sample that is barely right is that of an error: only beyond one does the strength fall.
    missing = ENOUGH_ERRORS - n_samples * rows.soft_errors(beta)
    return 0.0 if missing <= _ROUNDED else unknown * min(1.0, missing / (ENOUGH_ERRORS - 1))


def _search_with_prior(rows, limits, gamma, strength, optimum):
    """Place where the sum of the smoothed losses less the logarithm of the prior is least, and the mean loss there."""
    n_samples = rows.n_repetitions / strength
    # Focal losses of labels that lead hardly fall any more: what is smoothed would soon be most of them.
    lead = 0.0 if gamma > 0 else strength * _PRIOR_SMOOTHING * rows.smoothing(rows.n_repetitions)

    @cache
    def point(place):
        return rows.focal(math.exp(place), gamma)

    def penalised(place):
        half = place / (2 * _PRIOR_SCALE)
        return point(place).loss + lead * math.exp(place) + 2 * np.logaddexp(half, -half) / n_samples

    def slope(place):
        pull = math.tanh(place / (2 * _PRIOR_SCALE)) / (_PRIOR_SCALE * n_samples)
        return (point(place).slope + lead) * math.exp(place) + pull

    # At T = 1 the loss and the prior both ask for no more; what is smoothed may, but not for long.
    first = _clip(min(-3.0, optimum - _PRIOR_STEP), *limits)
    grid = sorted({*np.arange(first, limits[1], _PRIOR_STEP).tolist(), optimum, limits[1]})
    place = _bottom(grid, penalised, slope)[0]
    return place, point(place).loss


def _bottom(grid, loss, slope):
    """Return the bottom of the lowest valley that a grid shows, or its end there; and whether it is a bottom."""
    best = int(np.argmin([loss(place) for place in grid]))
    left, right = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    if slope(left) < 0 < slope(right):
        return brentq(slope, left, right, xtol=_ROOT_TOLERANCE), True
    return grid[best], False


def _search_focal(rows, limits, gamma):
    """The bottom of the lowest valley that a grid of temperatures shows, or the bound that the loss falls towards."""

    @cache
    def point(place):
        return rows.focal(math.exp(place), gamma)

    def loss(place):
        return point(place).loss

    def slope(place):
        return point(place).slope

    low, high = limits
    grid = np.linspace(low, high, max(_MIN_GRID_SIZE, round((high - low) * _GRID_DENSITY / math.log(10))))
    place, inner = _bottom(grid, loss, slope)
    bottom = point(place)
    if bottom.lag == 0:
        return _where_labels_lead(rows, gamma, bottom, limits)
    return _Found(place, bottom.loss, at_bound=not inner)
