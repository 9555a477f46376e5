"""The evidence in a stream of samples: a mixture of bets over starting times, in bounded memory.

Of a stake of 1, ``w_t = W(t) - W(t + 1)`` with ``W(t) = 1 / (1 + ln(1 + (t - 1) / patience))`` is put on a bet before
sample t, whose e-value e_t has an expectation of at most 1 given the past while the null hypothesis holds: after
``S <- e_t (S + w_t)``, S and the rest W(t + 1) together are a nonnegative supermartingale that starts at 1. By Ville's
inequality it ever reaches 1 / alpha with a probability of at most alpha.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from .._utils.encoding import register

_MAX_POINTS = 1024
# A start after so many samples or more is doubted unless its log odds, against a start at the first one, are lower.
_FEW_BEFORE = 20
_DOUBTFUL_ODDS = -1.0


@register
@dataclass(eq=False, kw_only=True)
class Evidence:
    """Sums over the samples so far, and the first alarms, which stay whatever comes later.

    Single numbers stand for arrays before the first sample.

    Attributes
    ----------
    totals : ndarray of shape (n_sums,)
        Sums over samples of what is told of them.
    patience : float
        The larger, the less of the stake goes on the first samples.
    learns : bool
        Whether the last bet follows what it sees.
    won, lowest, start : ndarray of shape (n_bets,)
        Of each bet, the logarithm of the product of its e-values, the lowest it ever was, and after how many samples:
        the bet's best start.
    invested : ndarray of shape (2, 1, n_bets)
        Of each bet, the logarithm of the sum over starts of the stake over the product of e-values before: with the
        mixture's stakes, and with stakes of 1.
    totals_at_start : ndarray of shape (n_bets, n_sums)
        `totals` at each bet's best start.
    n_before, won_before : int, ndarray of shape (n_bets,) or float
        Of held-out samples before the watch that raised no alarm: their number, and `won`.
    n_samples : int
        How many so far, a group counting as one, as everywhere here.
    peak : float
        The largest logarithm of the mixture so far.
    trail, stride : ndarray of shape (n_points, 3), int
        Number of samples, log e-value and the logarithm of the other sum, at multiples of `stride` and at the last.
    alarms : tuple of two ints or None
        Of the mixture and of the restarting test, number of labels at the first alarm; None without one.
    since : int or None
        Number of labels before the start, as estimated at the earlier of these; 0 where none tell of a better time.
    newest : int
        `since`, or the number of samples before the likeliest start where these can't tell whether they began with the
        null.
    before : ndarray of shape (n_sums,) or float
        `totals` there.
    changed : bool
        Whether the samples tell that the null held before.
    memory : ndarray or None
        What bets on the next samples go by beside, such as counts of classes.
    """

    totals: np.ndarray
    patience: float
    learns: bool
    won: Any = 0.0
    lowest: Any = 0.0
    start: Any = 0
    invested: Any = -np.inf
    totals_at_start: Any = 0.0
    n_before: int = 0
    won_before: Any = 0.0
    n_samples: int = 0
    peak: float = 0.0
    trail: np.ndarray | tuple = ((0.0, 0.0, -np.inf),)
    stride: int = 1
    alarms: tuple = (None, None)
    since: int | None = None
    newest: int = 0
    before: Any = 0.0
    changed: bool = False
    memory: np.ndarray | None = None

    @property
    def log_e_value(self):
        """Logarithm of the mixture now."""
        return float(self.trail[-1][1])

    def after(self, log_e_values, sums, limits, memory=None):
        """The evidence once more samples are in; this one stays as it is.

        Parameters
        ----------
        log_e_values : ndarray of shape (n, n_bets)
            Of each sample, or group of samples.
        sums : ndarray of shape (n, n_sums)
            What is told of each beside.
        limits : tuple of two floats
            Logarithms of the mixture and of the restarting test's sum at which there are alarms.
        memory : ndarray, default=None
            The memory once these are in.
        """
        if not len(sums):
            return self
        later = copy.copy(self)
        later.memory = memory
        above = later._add(log_e_values, sums) >= limits
        firsts = [self.n_samples + 1 + int(test.argmax()) if test.any() else None for test in above.T]
        later.alarms = tuple(known or first for known, first in zip(self.alarms, firsts, strict=True))
        if self.since is None and any(later.alarms):
            # However the samples are cut, the start is the likeliest one at the alarm.
            n = min(filter(None, later.alarms)) - self.n_samples
            at_alarm = copy.copy(self)
            at_alarm._add(log_e_values[:n], sums[:n])
            later.since, later.newest, later.before, later.changed = at_alarm._change(limits[0])
        return later

    def _add(self, log_e_values, sums):
        """Take on samples; returns the paths of both sums' logarithms, shape (n, 2)."""
        won = self.won + log_e_values.cumsum(axis=0)
        number = self.n_samples + np.arange(len(won) + 1)
        rest = 1 / (1 + np.log1p(number / self.patience))
        # In units of the product of e-values so far stakes add up.
        stakes = np.log([-np.diff(rest), np.ones(len(won))])[..., None] - (won - log_e_values)
        invested = np.logaddexp(self.invested, np.logaddexp.accumulate(stakes, axis=1))
        # Half of the stake is on the last bet.
        n_others = won.shape[1] - 1
        shares = np.append(np.full(n_others, 0.5 / n_others), 0.5)
        path = logsumexp(invested + won, axis=2, b=shares).T
        path[:, 0] = np.logaddexp(path[:, 0], np.log(rest[1:]))
        totals = self.totals + sums.cumsum(axis=0)
        anew = won.min(0) < self.lowest
        at = won.argmin(0)
        self.lowest = np.minimum(won.min(0), self.lowest)
        self.start = np.where(anew, number[at + 1], self.start)
        self.totals_at_start = np.where(anew[:, None], totals[at], self.totals_at_start)
        self.won = won[-1]
        self.invested = invested[:, -1:]
        self.totals = totals[-1]
        self.n_samples += len(won)
        self.peak = max(self.peak, float(path[:, 0].max()))
        # Every second point of the trail is kept once it is full, and the last one.
        trail = np.vstack([self.trail, np.column_stack([number[1:], path])])
        while (even := trail[:, 0] % self.stride == 0).sum() > _MAX_POINTS:
            self.stride *= 2
        even[-1] = True
        self.trail = trail[even]
        return path

    def _change(self, log_odds):
        """`since`, `newest`, `before` and `changed` by the samples so far.

        `since` is 0 unless these samples, or held-out ones, tell that the null held before; `log_odds` say how surely.
        """
        won = self.won - self.lowest
        best = int(won.argmax())
        start = int(self.start[best])
        # The null first, against a bet all along. The best start is known in hindsight, the mean over starts is not.
        # Beside a bet that follows what it sees, half of the log odds errs as rarely: in 1 of 60 streams.
        hindsight = won[best] - (self.invested[1, 0] + self.won)[best] + np.log(self.n_samples)
        asked = log_odds / 2 if self.learns else log_odds
        odds = won[best] - hindsight - (self.won_before + self.won).max()
        tells = odds >= asked
        if self.learns and won[-1] > 1:
            # The last bet wins steadily, whatever comes. At its rate of now, known from a nat on, it would have won so
            # much before; log e-values of mean m vary by 2 m, so that winning nothing is unlikely.
            last = int(self.start[-1])
            n_true = self.n_before + last
            tells |= won[-1] * n_true / max(1, self.n_samples - last) >= 2 * log_odds
        if tells and self.n_before + start > 0:
            return start, start, self.totals_at_start[best], True
        if odds >= _DOUBTFUL_ODDS and start >= _FEW_BEFORE:
            return 0, start, self.totals_at_start[best], False
        return 0, 0, np.zeros_like(self.totals), False
