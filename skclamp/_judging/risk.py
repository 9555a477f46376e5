"""Answers from the surest sample down, as many as are proven to have a risk within a target."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from .paired import numbered

# Tests start at so many places at most, where ever more errors are allowed, and share the level.
_STARTS = 5
# How the numbers of errors of all but the last spread: from 0 to nearly all that could be allowed.
_SPREAD = 0.8
# One more start of exact tests is where they would pass with this probability by the predicted risk, and its share of
# the level.
_POWER = 0.9
_PREDICTED = 0.35
# Bets against the null hypothesis, as shares of the largest that can't lose all.
_BETS = np.array([0.99, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1])
# By how many more samples bets need than exact tails do, to start with.
_BETS_NEED = 1.5
# Samples from which the risk of some is told, and the most that is asked for.
_FEW = 20
_MOST = 10**7
# Scores tie that differ by this part of the largest one or less, as those of one step of a map may.
_TIE = 1e-13
# Equal rows have scores that differ by no more, as batches round.
_SAME = 1e-6
# A threshold is so far above the highest score that isn't answered, of the way to the next one: no rounding takes a
# sample to its other side, and what lies between is too rare to be of weight in the risk.
_ABOVE = 0.01


class Answered(NamedTuple):
    """The largest part of the samples whose risk is proven."""

    # How many, from the highest score down, and what these have scores above; 0 and infinite where nothing is proven.
    n_samples: int
    threshold: float
    # Of the test that the risk is above the target, and what it had to be below; else of the start that came nearest.
    p_value: float
    level: float
    # The tail: "exact binomial" of losses that are 0 or 1, "betting" of any within [0, 1], and of weights or groups.
    test: str
    # About how many samples of this kind prove something; None where none do.
    n_needed: int | None
    # How many have scores above the floor.
    n_eligible: int = 0


def prove(scores, losses, target, level, *, expected=None, weight=None, groups=None, floor=-math.inf, zero_one=True):
    """Answer as many as can be proven, by fixed sequences of tests from the few surest samples to ever more of them.

    Given one of the scores, samples above it are independent draws of what will be answered. The level is shared by the
    starts, and a sequence that comes to the next start takes that one's share on: by Wiens' fallback procedure the
    probability of any wrong proof is at most the level.

    A group counts as the mean of its answered samples, so that what is proven is the mean over groups with an answer.
    Where the samples of each group share one score, such as duplicates do, only the one of the largest loss counts: so
    losses of 0 and 1 keep the exact test.

    Of each sample, in float64, `scores` tell how sure its answer is, `losses` are in [0, 1], `expected` ones are
    predicted without labels and choose one more start of exact tests, and `weight` is positive; `groups` are numbers
    that samples which depend on each other share. `target`, a mean loss, is in (0, 1), and `level` is the probability
    of a wrong proof. Scores up to `floor` aren't answered. `zero_one` tells that all losses could only be 0 or 1.
    """
    n_samples = len(scores)
    # Where nothing is predicted, no number of answers is likely to pass.
    expected = np.ones(n_samples) if expected is None else expected
    groups = numbered(groups, n_samples)
    worst, spread = _worst_of_each(scores, losses, groups)
    if weight is None and spread <= _SAME * abs(scores).max():
        scores = scores[worst]
        losses = losses[worst]
        expected = expected[worst]
        groups = np.arange(len(worst))
    order, ordered, ends = _from_the_surest(scores, floor)
    groups = groups[order]
    firsts = np.sort(np.unique(groups, return_index=True)[1])
    n = len(order)
    is_exact = zero_one and weight is None and len(firsts) == n
    test = "exact binomial" if is_exact else "betting"
    if not n:
        return Answered(0, math.inf, 1.0, level / _STARTS, test, None)
    losses = losses[order]
    weight = np.ones(n) if weight is None else weight[order]
    last = ends - 1
    # How many groups the first samples are of, up to each end.
    units = firsts.searchsorted(last, side="right")
    levels = np.zeros(len(ends))
    if is_exact:
        per_unit = 1.0
        p_values = stats.binom.cdf(losses.cumsum()[last], ends, target)
        predicted = _PREDICTED * level
        levels[_predicted_start(expected[order].cumsum()[last] / ends, ends, target, predicted)] = predicted
    else:
        # In units: samples or groups, or as much weight as the heaviest sample has.
        per_unit = _BETS_NEED * weight.max() / weight.mean()
        stakes = weight * (losses - target) / weight.max()
        p_values = np.exp(-_log_e_values(stakes, groups, target)[last]).clip(max=1.0)
    shared = level - levels.sum()
    starts = np.ceil(_starts(units[-1], target, shared) * per_unit).clip(max=units[-1])
    starts = np.unique(units.searchsorted(starts))
    levels[starts] += shared / len(starts)
    needed = _n_needed(_risks(losses, weight, groups)[last], units, n_samples, target, shared, per_unit)
    had = _with_carried(p_values, levels)
    proven = np.flatnonzero((p_values <= had) & (had > 0))
    if not len(proven):
        starts = np.flatnonzero(levels)
        nearest = starts[(p_values[starts] / levels[starts]).argmin()]
        return Answered(0, math.inf, float(p_values[nearest]), float(levels[nearest]), test, needed, n)
    place = proven[-1]
    n_answered = int(ends[place])
    threshold = _threshold(ordered, n_answered, floor)
    return Answered(n_answered, threshold, float(p_values[place]), float(had[place]), test, needed, n)


def _worst_of_each(scores, losses, groups):
    """Places of each group's sample of the largest loss, and by how much scores of one group differ at most."""
    order = np.lexsort([-losses, groups])
    firsts = np.unique(groups[order], return_index=True)[1]
    highest, lowest = (bound.reduceat(scores[order], firsts) for bound in (np.maximum, np.minimum))
    return order[firsts], (highest - lowest).max()


def mean_risk(losses, weight, groups):
    """Mean loss by weight; of groups, a group counting as the mean of its samples."""
    groups = numbered(groups, len(losses))
    return float(_risks(losses, weight, groups)[-1])


def best_unproven(scores, losses, target, weight, groups=None, floor=-math.inf):
    """The lowest threshold above which the samples' own risk is within the target; infinite where there is none."""
    order, ordered, ends = _from_the_surest(scores, floor)
    groups = numbered(groups, len(scores))[order]
    within = _risks(losses[order], weight[order], groups)[ends - 1] <= target
    if not within.any():
        return math.inf
    return _threshold(ordered, ends[np.flatnonzero(within)[-1]], floor)


def _from_the_surest(scores, floor):
    """Places of the scores above the floor from the highest down, these scores, and how many may be answered.

    Of ties all are, or none.
    """
    order = (-scores).argsort(kind="stable")
    order = order[scores[order] > floor]
    ordered = scores[order]
    tie = _TIE * abs(ordered).max(initial=0.0)
    return order, ordered, np.flatnonzero(np.diff(ordered, append=-np.inf) < -tie) + 1


def _threshold(ordered, n_answered, floor):
    """Return the threshold that lets so many of the scores through."""
    if n_answered == len(ordered):
        return floor
    lowest = float(ordered[n_answered - 1])
    below = float(ordered[n_answered])
    return below + _ABOVE * (lowest - below)


def _means_of_groups(values, groups):
    """Mean of the values of each sample's group, up to it and before it; 0 where there are none before."""
    order = groups.argsort(kind="stable")
    _, firsts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    first = firsts.repeat(sizes)
    values = values[order]
    sums = values.cumsum()
    number = np.arange(1, len(order) + 1) - first
    means = np.empty((2, len(order)))
    means[0, order] = (sums - (sums - values)[first]) / number
    means[1, order] = np.where(number > 1, np.roll(means[0, order], 1), 0.0)
    return means


def _risks(losses, weight, groups):
    """Mean loss by weight of the first samples, up to each, a group counting as the mean of its own."""
    (lost, lost_before), (total, total_before) = (_means_of_groups(each, groups) for each in (losses * weight, weight))
    return (lost - lost_before).cumsum() / (total - total_before).cumsum()


def _log_e_values(stakes, groups, target):
    """Logarithm of what bets that the risk is below the target have won on the first samples, one after another.

    A bet b wins 1 - b v on a group whose stakes, losses less the target, have a mean v in [-target, 1 - target]; where
    the risk is the target or above, that is at most 1 on average, whichever b >= 0. The bets' mean doesn't go by the
    order.
    """
    after, before = _means_of_groups(stakes, groups)
    won = np.empty((len(_BETS), len(stakes)))
    for row, bet in zip(won, _BETS / (1 - target), strict=True):
        row[:] = np.log1p(-bet * after) - np.log1p(-bet * before)
    return np.logaddexp.reduce(won.cumsum(1)) - math.log(len(_BETS))


def _predicted_start(risks, ends, target, level):
    """Place of the last end at which the exact test would likely pass if risks were as predicted, or no place.

    Sequences that start among the surest samples stop at the first confident mistake, often a wrong label.
    """
    most = stats.binom.ppf(level, ends, target)
    most -= stats.binom.cdf(most, ends, target) > level
    likely = stats.binom.cdf(most, ends, risks.clip(0, 1)) >= _POWER
    return np.flatnonzero(likely)[-1:]


def _starts(n, target, level):
    """From how many samples on each start's number of errors passes its share of the level; and half of the samples.

    Where the surest answers are no surer than others, as where the inputs have drifted, only many prove something.
    """
    sizes = np.arange(1, n + 1)
    for n_starts in range(_STARTS, 0, -1):
        share = level / n_starts
        most = max(0.0, stats.binom.ppf(share, n, target))
        allowed = np.floor((most + 1) ** (_SPREAD * np.arange(_STARTS - 1) / _STARTS) - 1 + 1e-9)
        passes = stats.binom.cdf(np.unique(allowed)[:, None], sizes, target) <= share
        first = np.where(passes.any(1), passes.argmax(1) + 1, n)
        starts = np.unique(np.append(first, math.ceil(n / 2)))
        # Of few samples some starts are the same, so that fewer share the level.
        if len(starts) >= n_starts:
            break
    return starts


def _with_carried(p_values, levels):
    """Levels of ordered hypotheses by the fallback procedure: that of a rejected one goes to the next."""
    carried = 0.0
    found = []
    for p_value, level in zip(p_values.tolist(), levels.tolist(), strict=True):
        found.append(carried + level)
        carried = found[-1] if p_value <= found[-1] else 0.0
    return np.array(found)


def _n_needed(risks, units, n_samples, target, level, per_unit):
    """About how many samples prove something, if the risks of each part of them stay what they are."""
    # Of few units without a loss it isn't known how small the risk is.
    risks = np.maximum(risks, np.minimum(0.5 / (units + 1), target / 2))
    useful = (units >= min(_FEW, units[-1] / 4)) & (risks < target)
    # By Chernoff's bound of the tail.
    evidence = units * (special.rel_entr(risks, target) + special.rel_entr(1 - risks, 1 - target))
    most = evidence.max(where=useful, initial=0.0)
    factor = per_unit * math.log(_STARTS / level) / most if most else math.inf
    return math.ceil(n_samples * max(1.0, factor)) if n_samples * factor < _MOST else None
