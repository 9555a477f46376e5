"""How many samples may be answered, from the surest one down, so that their risk is proven to be within a target."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special, stats

# Tests start at so many places, where ever more errors are allowed, and share the level.
_STARTS = 5
# How the numbers of errors of all but the last spread: from 0 to nearly all that could be allowed.
_SPREAD = 0.8
# Bets against the null hypothesis, as shares of the largest that can't lose all.
_BETS = np.array([0.99, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1])
# By how many more samples bets need than exact tails do, to start with.
_BETS_NEED = 1.5
# Samples from which the risk of some is told, the most that is asked for, and how many parts of them are looked at.
_FEW, _MOST, _PARTS = 20, 10**7, 200
_ROUNDING = 1e-9
# Scores tie that differ by this part of the largest one or less, as those of one step of a map may.
_TIE = 1e-13
# A threshold is so far above the highest score that isn't answered, of the way to the next one: no rounding takes a
# sample to its other side, and what lies between is too rare to be of weight in the risk.
_ABOVE = 0.01


class Answered(NamedTuple):
    """The largest part of the samples whose risk is proven.

    Attributes
    ----------
    n_samples : int
        How many, from the highest score down; 0 where nothing is proven.
    threshold : float
        Those have scores above it; infinite where nothing is proven.
    p_value, level : float
        Of the test that the risk is above the target, and what it had to be below. Where nothing is proven, of the
        part that came nearest.
    test : {"exact binomial", "Hoeffding-Bentkus", "betting"}
        By which tail: of losses that are 0 or 1, of any within [0, 1], of such with weights or groups.
    n_needed : int or None
        About how many samples of this kind prove something; None where none do.
    n_eligible : int
        How many have scores above the floor.
    """

    n_samples: int
    threshold: float
    p_value: float
    level: float
    test: str
    n_needed: int | None
    n_eligible: int = 0


def prove(scores, losses, target, level, *, weight=None, groups=None, floor=-math.inf, zero_one=True):
    """Answer as many as can be proven, by fixed sequences of tests from the few surest samples to ever more of them.

    Given one of the scores, samples above it are independent draws of what will be answered. The level is shared by
    five starts, and a sequence that comes to the next start takes that one's share on: by Wiens' fallback procedure the
    probability of any wrong proof is at most the level.

    Parameters
    ----------
    scores, losses : ndarray of shape (n_samples,), float64
        What says how sure an answer is, and its loss in [0, 1].
    target, level : float
        The risk, a mean loss, in (0, 1), and the probability of a wrong proof.
    weight : ndarray of shape (n_samples,), default=None
        Positive weights of the samples. None is equal ones.
    groups : ndarray of shape (n_samples,), default=None
        Of samples that depend on each other: a number for each of the group that it belongs to.
    floor : float, default=-inf
        Scores up to this aren't answered.
    zero_one : bool, default=True
        Whether no loss could be anything but 0 or 1.

    Returns
    -------
    Answered
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > floor]
    ordered, n = scores[order], len(order)
    test = "betting"
    if weight is None and groups is None:
        test = "exact binomial" if zero_one else "Hoeffding-Bentkus"
    if not n:
        return Answered(0, math.inf, 1.0, level / _STARTS, test, None)
    ends = _ends(ordered)
    weight = np.ones(n) if weight is None else weight[order]
    summed, n_units, per_unit = losses[order].cumsum()[ends - 1], n, 1.0
    if test == "exact binomial":
        p_values = stats.binom.cdf(summed, ends, target)
    elif test == "Hoeffding-Bentkus":
        p_values = _hoeffding_bentkus(summed, ends, target)
    else:
        groups = np.arange(n) if groups is None else np.unique(groups[order], return_inverse=True)[1]
        totals = np.bincount(groups, weight)
        stakes = weight * (losses[order] - target) / totals.max()
        p_values = np.exp(-_log_e_values(stakes, groups, target)[ends - 1]).clip(max=1.0)
        n_units, per_unit = len(totals), _BETS_NEED * totals.max() / totals.mean()
    # In samples: a unit is a group, or as much weight as the heaviest sample has.
    starts = np.ceil(_starts(n_units, target, level) * per_unit * n / n_units)
    levels = np.zeros(len(ends))
    starts = np.unique(np.searchsorted(ends, starts.clip(max=n)))
    levels[starts] = level / len(starts)
    proven, had = _walk(p_values, levels)
    risks = (losses[order] * weight).cumsum()[ends - 1] / weight.cumsum()[ends - 1]
    needed = _n_needed(risks, ends, len(scores), target, level, per_unit * n / n_units)
    if proven is None:
        nearest = int(p_values.argmin())
        return Answered(0, math.inf, float(p_values[nearest]), level / len(starts), test, needed, n)
    n_answered = int(ends[proven])
    return Answered(n_answered, _threshold(ordered, n_answered, floor), float(p_values[proven]), had, test, needed, n)


def best_unproven(scores, losses, target, weight, floor=-math.inf):
    """The lowest threshold above which the samples' own risk is within the target; infinite where there is none."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > floor]
    ordered = scores[order]
    ends = _ends(ordered)
    within = (losses[order] * weight[order]).cumsum()[ends - 1] <= target * weight[order].cumsum()[ends - 1]
    if not within.any():
        return math.inf
    return _threshold(ordered, ends[np.flatnonzero(within)[-1]], floor)


def _ends(ordered):
    """How many of the scores, from the highest down, a threshold can let through: those that tie all, or none."""
    tie = _TIE * np.abs(ordered).max(initial=0.0)
    return np.append(np.flatnonzero(ordered[:-1] - ordered[1:] > tie) + 1, len(ordered))[: len(ordered)]


def _threshold(ordered, n_answered, floor):
    """What lets so many of the scores through."""
    if n_answered == len(ordered):
        return floor
    lowest, below = float(ordered[n_answered - 1]), float(ordered[n_answered])
    return below + _ABOVE * (lowest - below)


def _hoeffding_bentkus(summed, n, target):
    """P values of sums of n losses within [0, 1]: the lesser of two bounds of the tail (Bates et al., JACM 2021)."""
    mean = np.minimum(summed / n, target)
    hoeffding = np.exp(-n * (special.rel_entr(mean, target) + special.rel_entr(1 - mean, 1 - target)))
    # A sum that rounds to above a whole number isn't more.
    bentkus = np.e * stats.binom.cdf(np.ceil(summed - _ROUNDING), n, target)
    return np.minimum(hoeffding, bentkus).clip(max=1.0)


def _log_e_values(stakes, groups, target):
    """Logarithm of what bets that the risk is below the target have won on the first samples, one after another.

    A bet b wins 1 - b v on a group whose stakes, losses less the target, sum to v in [-target, 1 - target]; where the
    risk is the target or above, that is at most 1 on average, whichever b >= 0. The bets' mean doesn't go by the order.
    """
    order = np.argsort(groups, kind="stable")
    sums = stakes[order].cumsum()
    first = np.append(True, np.diff(groups[order]) > 0)
    before_group = np.repeat((sums - stakes[order])[first], np.diff(np.append(np.flatnonzero(first), len(order))))
    after = np.empty(len(order))
    after[order] = sums - before_group
    won = np.empty((len(_BETS), len(order)))
    for row, bet in zip(won, _BETS / (1 - target), strict=True):
        row[:] = np.log1p(-bet * after) - np.log1p(-bet * (after - stakes))
    return np.logaddexp.reduce(won.cumsum(1)) - math.log(len(_BETS))


def _starts(n, target, level):
    """From how many samples on each start's number of errors passes its share of the level, n where none do; and half.

    Where the surest answers are no surer than others, as where the inputs have drifted, only many prove something.
    """
    most = max(0.0, stats.binom.ppf(level / _STARTS, n, target))
    allowed = np.floor((most + 1) ** (_SPREAD * np.arange(_STARTS - 1) / _STARTS) - 1 + 1e-9)
    sizes = np.arange(1, n + 1)
    passes = [stats.binom.cdf(k, sizes, target) <= level / _STARTS for k in np.unique(allowed)]
    return np.array([*(sizes[passed.argmax()] if passed.any() else n for passed in passes), math.ceil(n / 2)])


def _walk(p_values, levels):
    """The last of the ordered hypotheses that the fallback procedure rejects, or None, and the level that it had."""
    proven, had, carried = None, 0.0, 0.0
    for place, (p_value, level) in enumerate(zip(p_values.tolist(), levels.tolist(), strict=True)):
        available = carried + level
        carried = available if p_value <= available else 0.0
        if carried:
            proven, had = place, available
    return proven, had


def _n_needed(risks, ends, n_samples, target, level, per_unit):
    """About how many samples prove something, if the risks of each part of them stay what they are."""
    # Of few samples without a loss it isn't known how small the risk is.
    smoothed = np.maximum(risks, np.minimum(0.5 / (ends + 1), target / 2))
    useful = (ends >= min(_FEW, ends[-1] / 4)) & (smoothed < target)
    if not useful.any():
        return None
    some = np.unique(np.linspace(0, useful.sum() - 1, _PARTS).astype(np.int64))
    smoothed, shares, n = smoothed[useful][some], ends[useful][some] / n_samples, n_samples
    while n < _MOST:
        units = np.floor(shares * n / per_unit)
        if (stats.binom.cdf(np.ceil(smoothed * units), units, target) <= level / _STARTS).any():
            return n
        n = math.ceil(1.1 * n)
    return None
