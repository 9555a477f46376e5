"""The mixture of bets over starting times, of a stream of labelled samples: all that is kept, in bounded memory.

Of a stake of 1, ``w_t = W(t) - W(t + 1)`` with ``W(t) = 1 / (1 + ln t)`` is put on a bet before sample t, whose e-value
e_t has an expectation of at most 1 given the past, whatever temperature within the tolerance that sample has: after
``S <- e_t (S + w_t)``, S and the rest W(t + 1) together are a nonnegative supermartingale that starts at 1. By Ville's
inequality it ever reaches 1 / alpha with a probability of at most alpha.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from .._utils.encoding import register, register_former
from .._utils.least_probability import are_zeros
from ._bets import BETAS, Likelihoods, before_each, bound_of_tilt, class_weights, likelihoods, null_betas

# Exponentials at a time: 4 MB.
_TERMS_AT_ONCE = 1 << 19
# And rows, since what is forgotten is divided by what is kept.
_MAX_ROWS = 500
# Samples a class that bets on class frequencies remember.
_MEMORY = 100
_MAX_POINTS = 1024
_N = len(BETAS)


@register
@dataclass(eq=False)
class StartsMixture:
    """Sums over the samples so far. An update sets new arrays, so that a shallow copy keeps what was.

    Attributes
    ----------
    tolerance : float
        Of the null.
    n_samples : int
        How many so far, a group counting as one, as everywhere here.
    n_impossible : int
        How many labels had a probability of 0.
    frequencies : ndarray of shape (2, n_classes)
        Counts of labels and predicted ones, of a memory with an end.
    totals : ndarray of shape (n_sums,)
        Sums of log-likelihoods relative to those as calibrated; see `_sums`.
    log_sums : ndarray of shape (2, n_bets)
        Of each bet, the logarithm of the sum over starts of its products of e-values: with the mixture's weights, and
        with weights of 1.
    excess, start, totals_at_start : ndarray of shape (n_bets,), the last (n_bets, n_sums)
        Of each, what its best start has won, the number of samples before that, and `totals` then.
    max_log_e, max_log_r : float
        The largest so far of the mixture, and of the sum with weights of 1.
    trail, stride : ndarray of shape (n_points, 3), int
        Number of samples, log e-value and the logarithm of the other sum, at multiples of `stride`.
    last : ndarray of shape (3,)
        The same of the last sample.
    n_before, totals_before : int, ndarray of shape (n_sums,) or float
        Of held-out samples that were true: number and `totals`.
    groups : ndarray of shape (n_groups,)
        Keys of those that have been seen.
    """

    tolerance: float
    n_samples: int
    n_impossible: int
    frequencies: np.ndarray
    totals: np.ndarray
    log_sums: np.ndarray
    excess: np.ndarray
    start: np.ndarray
    totals_at_start: np.ndarray
    max_log_e: float
    max_log_r: float
    trail: np.ndarray
    stride: int
    last: np.ndarray
    n_before: int
    totals_before: np.ndarray | float
    groups: np.ndarray

    @classmethod
    def of_none(cls, tolerance, n_classes):
        """Before the first sample."""
        null = null_betas(tolerance)
        n_sums = 3 * _N + len(null)
        n_bets = len(_outside(null)) + 1
        first = np.array([0.0, 0.0, -np.inf])
        return cls(
            tolerance=tolerance,
            n_samples=0,
            n_impossible=0,
            frequencies=np.zeros((2, n_classes)),
            totals=np.zeros(n_sums),
            log_sums=np.full((2, n_bets), -np.inf),
            excess=np.zeros(n_bets),
            start=np.zeros(n_bets, dtype=np.int64),
            totals_at_start=np.zeros((n_bets, n_sums)),
            max_log_e=0.0,
            max_log_r=-math.inf,
            trail=first[None],
            stride=1,
            last=first,
            n_before=0,
            totals_before=0.0,
            groups=np.empty(0, dtype=np.int64),
        )

    def watch_after(self, true):
        """Before the first sample of a watch that these samples came before; `true` says whether they seemed so."""
        watch = StartsMixture.of_none(self.tolerance, self.frequencies.shape[1])
        watch.groups = self.groups
        if true:
            watch.n_before, watch.totals_before = self.n_samples, self.totals
        return watch

    @property
    def trajectory(self):
        """The trail, and the last sample."""
        ends = self.trail[-1, 0] == self.n_samples
        return self.trail.copy() if ends else np.vstack([self.trail, self.last])

    def change(self, log_odds):
        """Number of samples before the likeliest start of a change, the totals then, and whether the null held before.

        It is 0 unless these samples, or held-out ones, tell with such log odds that the null held: what is seen may
        always have been so.
        """
        best = int(self.excess.argmax())
        start, at_start = int(self.start[best]), self.totals_at_start[best]
        n_true, true = self.n_before + start, self.totals_before + at_start
        since = self.totals - at_start
        null = true[_N : _N + len(null_betas(self.tolerance))]
        # Two temperatures, the first one of the null, against a single one.
        tells = null.max() + since[:_N].max() - (true + since)[:_N].max() >= log_odds
        if best == len(self.excess) - 1:
            # Bets on class frequencies follow whatever comes, and win steadily. At the rate of now they would have won
            # so much before; log e-values of mean m vary by 2 m, so that winning nothing is unlikely.
            tells |= self.excess[best] * n_true / max(1, self.n_samples - start) >= 2 * log_odds
        return (start, at_start, True) if tells else (0, np.zeros_like(at_start), False)

    def update(self, log_p, y, sizes=None):
        """Take on samples: log-probabilities (n, K) and column indices; returns the paths of both sums.

        `sizes` are those of groups, whose samples stand one after another; None has each sample by itself.
        """
        sizes = np.ones(len(y), dtype=np.int64) if sizes is None else sizes
        n_terms = log_p.shape[1] * (_N + len(null_betas(self.tolerance)))
        n_rows = min(_MAX_ROWS, max(1, _TERMS_AT_ONCE // n_terms))
        ends, paths = np.append(0, np.cumsum(sizes)), [np.empty((2, 0))]
        for first in range(0, len(sizes), n_rows):
            those = sizes[first : first + n_rows]
            rows = slice(ends[first], ends[first + len(those)])
            paths.append(self._update(log_p[rows], y[rows], those, n_rows))
        return np.concatenate(paths, axis=1)

    def _update(self, log_p, y, sizes, n_rows):
        null, of_label = null_betas(self.tolerance), (np.arange(len(y)), y)
        firsts = np.cumsum(sizes) - sizes
        weights = np.repeat(self._weights(log_p, y, firsts, sizes), sizes, axis=0)
        betas, parts = np.concatenate([BETAS, null]), [slice(i, i + n_rows) for i in range(0, len(y), n_rows)]
        of_parts = [likelihoods(log_p[rows], y[rows], betas, weights[rows]) for rows in parts]
        on_grid, log_weight = Likelihoods(*map(np.concatenate, zip(*of_parts, strict=True))), np.log(weights[of_label])
        path = np.cumsum(np.vstack([self.totals, _means(_sums(on_grid, log_weight), firsts, sizes)]), axis=0)
        increments = _increments(on_grid, log_weight, null)
        if len(sizes) < len(y):
            # However dependent samples are, the mean of e-values is one.
            increments = np.logaddexp.reduceat(increments, firsts, axis=0) - np.log(sizes)[:, None]
        log_e, log_r = self._bet(increments, path)
        self.totals = path[-1].copy()
        self.n_samples += len(sizes)
        self.n_impossible += int(are_zeros(log_p[of_label]).sum())
        self.max_log_e = max(self.max_log_e, float(log_e.max()))
        self.max_log_r = max(self.max_log_r, float(log_r.max()))
        self._note(log_e, log_r)
        return np.stack([log_e, log_r])

    def _weights(self, log_p, y, firsts, sizes):
        """Weights of the classes before each group, (n_groups, K); takes on the samples."""
        labels = np.zeros_like(log_p)
        labels[np.arange(len(y)), y] = 1
        rows = _means(np.stack([labels, np.exp(log_p)], axis=1), firsts, sizes)
        path = before_each(rows, self.frequencies, 1 - 1 / (_MEMORY * log_p.shape[1]))
        self.frequencies = path[-1]
        return class_weights(path[:-1, 0], path[:-1, 1])

    def _bet(self, increments, path):
        """Logarithms of the mixture and of the sum with weights of 1 after each sample; takes on the best starts."""
        won = np.cumsum(increments, axis=0)
        before = np.vstack([np.zeros_like(won[:1]), won[:-1]])
        number = self.n_samples + np.arange(1, len(won) + 1)
        stakes = np.stack([_log_stake(number), np.zeros(len(won))], axis=1)[..., None] - before[:, None]
        log_sums = won[:, None] + np.logaddexp.accumulate(np.concatenate([self.log_sums[None], stakes]), axis=0)[1:]
        self.log_sums = log_sums[-1]
        lowest, bets = won.argmin(0), np.arange(won.shape[1])
        floor = won[lowest, bets]
        anew = floor < -self.excess
        self.excess = won[-1] + np.maximum(self.excess, -floor)
        self.start = np.where(anew, self.n_samples + lowest + 1, self.start)
        self.totals_at_start = np.where(anew[:, None], path[lowest + 1], self.totals_at_start)
        # Half of the stake is on class frequencies.
        shares = np.full(won.shape[1], 0.5 / max(1, won.shape[1] - 1))
        shares[-1] = 1 - shares[:-1].sum()
        peak = log_sums.max(2)
        of_both = peak + np.log(np.exp(log_sums - peak[..., None]) @ shares)
        return np.logaddexp(of_both[:, 0], _log_rest(number)), of_both[:, 1]

    def _note(self, log_e, log_r):
        """Keep the trail, every second point once it is full."""
        number = np.arange(self.n_samples - len(log_e) + 1, self.n_samples + 1)
        points = np.stack([number, log_e, log_r], axis=1)
        self.last = points[-1].copy()
        self.trail = np.vstack([self.trail, points[number % self.stride == 0]])
        while len(self.trail) > _MAX_POINTS:
            self.stride *= 2
            self.trail = self.trail[self.trail[:, 0] % self.stride == 0]


def _log_rest(number):
    """Logarithm of W after so many samples."""
    return -np.log1p(np.log(number + 1))


def _log_stake(number):
    """Logarithm of w of each sample."""
    return np.log(np.log1p(1 / number)) + _log_rest(number - 1) + _log_rest(number)


def _means(rows, firsts, sizes):
    """Of each group, whose rows stand one after another."""
    if len(sizes) == len(rows):
        return rows
    return np.add.reduceat(rows, firsts, axis=0) / sizes.reshape(-1, *(1,) * (rows.ndim - 1))


def _outside(null):
    """Bets on a T that the null lacks."""
    return np.flatnonzero(np.clip(BETAS, null[0], null[-1]) != BETAS)


def _sums(on_grid, log_weight):
    """What is summed: gain at each beta, slope at those of bets, and the gain of class weights at these."""
    weighted = on_grid.gain[:, :_N] + log_weight[:, None] - on_grid.tilt[:, :_N]
    return np.concatenate([on_grid.gain, on_grid.slope[:, :_N], weighted], axis=1)


def _increments(on_grid, log_weight, null):
    """Log e-values of single samples, whatever T of the null there is: temperatures outside of it, class weights."""
    bets = _outside(null)
    nearest = np.where(BETAS[bets] < null[0], _N, _N + len(null) - 1)
    temperatures = on_grid.gain[:, bets] - on_grid.gain[:, nearest]
    expected = bound_of_tilt(on_grid.tilt[:, _N:], on_grid.log_total[:, _N:], on_grid.mean[:, _N:], null)
    return np.column_stack([temperatures, log_weight - expected])


def best_temperature(totals):
    """T of the largest likelihood, within the grid, and what it wins on T = 1."""
    ascending = slice(_N - 1, None, -1)
    values, slopes = totals[:_N][ascending], totals[-2 * _N : -_N][ascending]
    # Values and slopes on the grid leave no doubt of what is between.
    likelihood = CubicHermiteSpline(BETAS[ascending], values, slopes)
    flat = likelihood.derivative().roots(extrapolate=False)
    betas = np.concatenate([[1.0], BETAS, flat[np.isfinite(flat)]])
    gains = likelihood(betas)
    best = gains.argmax()
    return float(1 / betas[best]), max(0.0, float(gains[best]))


def gain_of_frequencies(totals):
    """What the best bet on class frequencies has won, at whatever T."""
    return float(totals[-_N:].max())


def of_former(totals, tolerance):
    """Totals as they are now, of such or of an older file's, which have slopes at the null and two memories."""
    n_betas = _N + len(null_betas(tolerance))
    if np.shape(totals)[-1:] != (2 * n_betas + 2 * _N,):
        return totals
    return np.concatenate([totals[..., : n_betas + _N], totals[..., -_N:]], axis=-1)


def _from_former(*, frequencies, log_restarted, **fields):
    """What an older file holds; its e-value, of another mixture, is what the bets go on with."""
    watch = StartsMixture.of_none(fields["tolerance"], frequencies.shape[-1])
    for name, value in fields.items():
        setattr(watch, name, of_former(value, watch.tolerance))
    watch.frequencies = frequencies[1]
    staked = max(0.0, math.exp(min(watch.last[1], 700)) - math.exp(_log_rest(watch.n_samples)))
    watch.log_sums = np.stack([np.full_like(log_restarted, math.log(staked) if staked else -math.inf), log_restarted])
    return watch


register_former("EProcess", _from_former)
register_former("Evidence", _from_former)
