"""The e-processes of a stream of labelled samples: all that is kept of it, in bounded memory."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.special import logsumexp

from .._utils.encoding import register, register_former
from .._utils.least_probability import are_zeros
from ._bets import BETAS, before_each, bound_of_concave, bound_of_tilt, class_weights, likelihoods, null_betas

# Exponentials at a time: 4 MB.
_TERMS_AT_ONCE = 1 << 19
# And rows, since what is forgotten is divided by what is kept.
_MAX_ROWS = 500
# Samples a class that the restarting bets on class frequencies remember; the others remember all.
_MEMORY = 100
_MAX_POINTS = 1024
_N = len(BETAS)


@register
@dataclass(eq=False)
class EProcess:
    """Sums over the samples so far. An update sets new arrays, so that a shallow copy keeps what was.

    Attributes
    ----------
    tolerance : float
        Of the null.
    n_samples : int
        How many so far.
    n_impossible : int
        How many of their labels had a probability of 0.
    frequencies : ndarray of shape (2, 2, n_classes)
        Of memories without and with an end, counts of labels and predicted ones.
    totals : ndarray of shape (n_sums,)
        Sums of log-likelihoods relative to those as calibrated; see `_sums`.
    log_restarted : ndarray of shape (n_restarting,)
        Of each restarting bet, the logarithm of the sum over starts of its e-processes.
    excess, start, totals_at_start : ndarray of shape (n_restarting,), the last (n_restarting, n_sums)
        Of each, what its best start has won, the number of samples before that, and `totals` then.
    max_log_e, max_log_r : float
        The largest so far of the mixture, and of the restarting one.
    trail, stride : ndarray of shape (n_points, 3), int
        Number of samples, log e-value and its restarting kin, at multiples of `stride`.
    last : ndarray of shape (3,)
        The same of the last sample.
    """

    tolerance: float
    n_samples: int
    n_impossible: int
    frequencies: np.ndarray
    totals: np.ndarray
    log_restarted: np.ndarray
    excess: np.ndarray
    start: np.ndarray
    totals_at_start: np.ndarray
    max_log_e: float
    max_log_r: float
    trail: np.ndarray
    stride: int
    last: np.ndarray

    @classmethod
    def of_none(cls, tolerance, n_classes):
        """Before the first sample."""
        null = null_betas(tolerance)
        n_sums = 2 * (_N + len(null)) + 2 * _N
        n_restarting = len(_outside(null)) + 1
        first = np.array([0.0, 0.0, -np.inf])
        return cls(
            tolerance=tolerance,
            n_samples=0,
            n_impossible=0,
            frequencies=np.zeros((2, 2, n_classes)),
            totals=np.zeros(n_sums),
            log_restarted=np.full(n_restarting, -np.inf),
            excess=np.zeros(n_restarting),
            start=np.zeros(n_restarting, dtype=np.int64),
            totals_at_start=np.zeros((n_restarting, n_sums)),
            max_log_e=0.0,
            max_log_r=-math.inf,
            trail=first[None],
            stride=1,
            last=first,
        )

    @property
    def trajectory(self):
        """The trail, and the last sample."""
        ends = self.trail[-1, 0] == self.n_samples
        return self.trail.copy() if ends else np.vstack([self.trail, self.last])

    def change(self, log_odds):
        """Number of samples before the likeliest start of a change, and the totals then.

        It is 0 unless these samples tell, with such log odds, that the null held before: what is seen may always have
        been so.
        """
        best = int(self.excess.argmax())
        start, before = int(self.start[best]), self.totals_at_start[best]
        null = before[_N : _N + len(null_betas(self.tolerance))]
        # Two temperatures, the first one of the null, against a single one.
        tells = null.max() + (self.totals - before)[:_N].max() - self.totals[:_N].max() >= log_odds
        if best == len(self.excess) - 1:
            # Bets on class frequencies follow whatever comes, and win steadily. At the rate of now they would have won
            # so much before; log e-values of mean m vary by 2 m, so that winning nothing is unlikely.
            tells |= self.excess[best] * start / max(1, self.n_samples - start) >= 2 * log_odds
        return (start, before) if tells else (0, np.zeros_like(before))

    def update(self, log_p, y):
        """Take on samples: log-probabilities (n, K) and column indices; returns the paths of both e-processes."""
        n_terms = log_p.shape[1] * (_N + len(null_betas(self.tolerance)))
        n_rows = min(_MAX_ROWS, max(1, _TERMS_AT_ONCE // n_terms))
        starts = range(0, len(y), n_rows)
        paths = [self._update(log_p[i : i + n_rows], y[i : i + n_rows]) for i in starts]
        return np.concatenate(paths, axis=1) if paths else np.empty((2, 0))

    def _update(self, log_p, y):
        null = null_betas(self.tolerance)
        weights = self._weights(log_p, y)
        on_grid = likelihoods(log_p, y, np.concatenate([BETAS, null]), weights)
        log_weight = np.log(weights[np.arange(len(y)), :, y])
        path = np.cumsum(np.vstack([self.totals, _sums(on_grid, log_weight)]), axis=0)
        log_e = _mixture(path[1:], null)
        log_r = self._restart(_increments(on_grid, log_weight[:, 1], null), path)
        self.totals = path[-1].copy()
        self.n_samples += len(y)
        self.n_impossible += int(are_zeros(log_p[np.arange(len(y)), y]).sum())
        self.max_log_e = max(self.max_log_e, float(log_e.max()))
        self.max_log_r = max(self.max_log_r, float(log_r.max()))
        self._note(log_e, log_r)
        return np.stack([log_e, log_r])

    def _weights(self, log_p, y):
        """Weights of the classes before each sample, (n, 2, K); takes on the samples."""
        labels = np.zeros_like(log_p)
        labels[np.arange(len(y)), y] = 1
        rows = np.stack([labels, np.exp(log_p)], axis=1)
        memories = 1.0, 1 - 1 / (_MEMORY * log_p.shape[1])
        paths = [before_each(rows, state, memory) for state, memory in zip(self.frequencies, memories, strict=True)]
        self.frequencies = np.stack([path[-1] for path in paths])
        return np.stack([class_weights(path[:-1, 0], path[:-1, 1]) for path in paths], axis=1)

    def _restart(self, increments, path):
        """Logarithm of the Shiryaev-Roberts sum after each sample, and the best starts."""
        won = np.cumsum(increments, axis=0)
        before = np.vstack([np.zeros_like(won[:1]), won[:-1]])
        log_sums = won + np.logaddexp.accumulate(np.vstack([self.log_restarted, -before]), axis=0)[1:]
        self.log_restarted = log_sums[-1]
        lowest, bets = won.argmin(0), np.arange(won.shape[1])
        floor = won[lowest, bets]
        anew = floor < -self.excess
        self.excess = won[-1] + np.maximum(self.excess, -floor)
        self.start = np.where(anew, self.n_samples + lowest + 1, self.start)
        self.totals_at_start = np.where(anew[:, None], path[lowest + 1], self.totals_at_start)
        # Half of the stake is on class frequencies.
        shares = np.full(won.shape[1], 0.5 / max(1, won.shape[1] - 1))
        shares[-1] = 1 - shares[:-1].sum()
        return logsumexp(log_sums + np.log(shares), axis=1)

    def _note(self, log_e, log_r):
        """Keep the trail, every second point once it is full."""
        number = np.arange(self.n_samples - len(log_e) + 1, self.n_samples + 1)
        points = np.stack([number, log_e, log_r], axis=1)
        self.last = points[-1].copy()
        self.trail = np.vstack([self.trail, points[number % self.stride == 0]])
        while len(self.trail) > _MAX_POINTS:
            self.stride *= 2
            self.trail = self.trail[self.trail[:, 0] % self.stride == 0]


# What older files call it.
register_former("Evidence", EProcess)


def best_temperature(totals):
    """T of the largest likelihood, within the grid, and what it wins on T = 1."""
    n_betas = (len(totals) - 2 * _N) // 2
    ascending = slice(_N - 1, None, -1)
    values, slopes = totals[:_N][ascending], totals[n_betas : n_betas + _N][ascending]
    # Values and slopes on the grid leave no doubt of what is between.
    likelihood = CubicHermiteSpline(BETAS[ascending], values, slopes)
    flat = likelihood.derivative().roots(extrapolate=False)
    betas = np.concatenate([[1.0], BETAS, flat[np.isfinite(flat)]])
    gains = likelihood(betas)
    best = gains.argmax()
    return float(1 / betas[best]), max(0.0, float(gains[best]))


def gain_of_frequencies(totals):
    """What the best bet on class frequencies has won, at whatever T."""
    return float(totals[-2 * _N :].max())


def _sums(on_grid, log_weight):
    """What is summed: gain and slope at each beta, and the gain of class weights of either memory at each bet's."""
    weighted = on_grid.gain[:, :_N, None] + log_weight[:, None] - on_grid.tilt[:, :_N]
    return np.concatenate([on_grid.gain, on_grid.slope, weighted[..., 0], weighted[..., 1]], axis=1)


def _mixture(totals, null):
    """Log e-value: the mean over bets of their likelihoods, over the largest one of the null."""
    n_betas = _N + len(null)
    slopes, weighted = totals[:, n_betas : 2 * n_betas], totals[:, 2 * n_betas : 2 * n_betas + _N]
    mixture = logsumexp(np.concatenate([totals[:, :_N], weighted], axis=1), axis=1) - math.log(2 * _N)
    return mixture - bound_of_concave(totals[:, _N:n_betas], slopes[:, _N:], null)


def _outside(null):
    """Bets on a T that the null lacks."""
    return np.flatnonzero(np.clip(BETAS, null[0], null[-1]) != BETAS)


def _increments(on_grid, log_weight, null):
    """Log e-values of single samples, whatever T of the null there is: temperatures outside of it, class weights."""
    bets = _outside(null)
    nearest = np.where(BETAS[bets] < null[0], _N, _N + len(null) - 1)
    temperatures = on_grid.gain[:, bets] - on_grid.gain[:, nearest]
    expected = bound_of_tilt(on_grid.tilt[:, _N:, 1], on_grid.log_total[:, _N:], on_grid.mean[:, _N:], null)
    return np.column_stack([temperatures, log_weight - expected])
