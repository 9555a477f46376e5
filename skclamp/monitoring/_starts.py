"""The mixture of bets over starting times: what the evidence of any stream of samples keeps, in bounded memory.

Of a stake of 1, ``w_t = W(t) - W(t + 1)`` with ``W(t) = 1 / (1 + ln(1 + (t - 1) / patience))`` is put on a bet before
sample t, whose e-value e_t has an expectation of at most 1 given the past while the null hypothesis holds: after
``S <- e_t (S + w_t)``, S and the rest W(t + 1) together are a nonnegative supermartingale that starts at 1. By Ville's
inequality it ever reaches 1 / alpha with a probability of at most alpha.
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

_MAX_POINTS = 1024


@dataclass(eq=False, kw_only=True)
class StartsMixture(ABC):
    """Sums over the samples so far, and the first alarms, which stay whatever comes later.

    An update sets new arrays, so that a shallow copy keeps what was.

    Attributes
    ----------
    n_samples : int
        How many so far, a group counting as one, as everywhere here.
    totals : ndarray of shape (n_sums,)
        Sums of what tells when a change began.
    log_sums : ndarray of shape (2, n_bets)
        Of each bet, the logarithm of the sum over starts of its products of e-values: with the mixture's weights, and
        with weights of 1.
    excess, start, totals_at_start : ndarray of shape (n_bets,), the last (n_bets, n_sums)
        Of each, what its best start has won, the number of samples before that, and `totals` then.
    peak : float
        The largest logarithm of the mixture so far.
    trail, stride : ndarray of shape (n_points, 3), int
        Number of samples, log e-value and the logarithm of the other sum, at multiples of `stride` and at the last.
    n_before, totals_before : int, ndarray of shape (n_sums,) or float
        Of held-out samples that were true: number and `totals`.
    alarms : tuple of two ints or None
        Of the mixture and of the restarting test, number of labels at the first alarm; None without one.
    since : int or None
        Number of labels before the start, as estimated at the earlier of these; 0 where none tell of a better time.
    before : ndarray of shape (n_sums,) or float
        `totals` at that start.
    changed : bool
        Whether the samples tell that the null held before.
    """

    # The larger, the less of the stake goes on the first samples.
    patience: ClassVar[float] = 1.0

    totals: np.ndarray
    log_sums: np.ndarray
    excess: np.ndarray
    start: np.ndarray
    totals_at_start: np.ndarray
    n_samples: int = 0
    peak: float = 0.0
    trail: np.ndarray
    stride: int = 1
    n_before: int = 0
    totals_before: np.ndarray | float = 0.0
    alarms: tuple = (None, None)
    since: int | None = None
    before: np.ndarray | float = 0.0
    changed: bool = False

    @classmethod
    def before_any(cls, n_bets, n_sums, **own):
        """Before the first sample; `own` are the fields of a subclass."""
        return cls(
            totals=np.zeros(n_sums),
            log_sums=np.full((2, n_bets), -np.inf),
            excess=np.zeros(n_bets),
            start=np.zeros(n_bets, dtype=np.int64),
            totals_at_start=np.zeros((n_bets, n_sums)),
            trail=np.array([[0.0, 0.0, -np.inf]]),
            **own,
        )

    @abstractmethod
    def update(self, *samples):
        """Take on samples, arrays with a row each, and sizes of groups, whose rows stand one after another.

        Returns the paths of both sums, shape (2, n_groups).
        """

    @abstractmethod
    def tells(self, log_odds, best, n_true, true, since):
        """Return True where samples tell with such log odds that the null held before the best start of a bet.

        `n_true` and `true` are the number of those before, and their totals, `since` the totals of the others.
        """

    def watch_after(self, fresh):
        """Before the first sample of a watch that these samples came before, from a mixture that has seen none."""
        watch = copy.copy(fresh)
        if self.alarms[0] is None:
            watch.n_before = self.n_samples
            watch.totals_before = self.totals
        return watch

    def watched(self, limits, samples, sizes):
        """The evidence once more samples, arrays with a row each, are in; this one stays as it is.

        `limits` are those of both sums, at which there are alarms.
        """
        after = copy.copy(self)
        above = after.update(*samples, sizes) >= np.reshape(limits, (2, 1))
        numbers = [self.n_samples + int(row.argmax()) + 1 if row.any() else None for row in above]
        after.alarms = tuple(known or new for known, new in zip(self.alarms, numbers, strict=True))
        if self.since is None and any(after.alarms):
            # However the samples are cut, the start is the likeliest one at the alarm.
            until = copy.copy(self)
            sizes = sizes[: min(filter(None, after.alarms)) - self.n_samples]
            until.update(*(rows[: sizes.sum()] for rows in samples), sizes)
            after.since, after.before, after.changed = until.change(limits[0])
        return after

    def change(self, log_odds):
        """Number of samples before the likeliest start of a change, the totals then, and whether the null held before.

        It is 0 unless these samples, or held-out ones, tell with such log odds that the null held: what is seen may
        always have been so.
        """
        best = int(self.excess.argmax())
        start = int(self.start[best])
        at_start = self.totals_at_start[best]
        true = self.totals_before + at_start
        since = self.totals - at_start
        if self.tells(log_odds, best, self.n_before + start, true, since):
            return start, at_start, True
        return 0, np.zeros_like(at_start), False

    def _bet(self, increments, path):
        """Take on log e-values (n, n_bets) and totals (n + 1, n_sums); returns the paths of both sums, shape (2, n)."""
        won = np.cumsum(increments, axis=0)
        before = won - increments
        number = self.n_samples + np.arange(1, len(won) + 1)
        stakes = np.stack([_log_stake(number, self.patience), np.zeros(len(won))], axis=1)[..., None] - before[:, None]
        log_sums = won[:, None] + np.logaddexp.accumulate(np.concatenate([self.log_sums[None], stakes]), axis=0)[1:]
        self.log_sums = log_sums[-1]
        lowest = won.argmin(0)
        floor = won.min(0)
        anew = floor < -self.excess
        self.excess = won[-1] + np.maximum(self.excess, -floor)
        self.start = np.where(anew, self.n_samples + lowest + 1, self.start)
        self.totals_at_start = np.where(anew[:, None], path[lowest + 1], self.totals_at_start)
        # Half of the stake is on the last bet.
        n_others = won.shape[1] - 1
        shares = np.append(np.full(n_others, 0.5 / n_others), 0.5)
        of_both = logsumexp(log_sums, axis=2, b=shares)
        of_both[:, 0] = np.logaddexp(of_both[:, 0], log_rest(number, self.patience))
        self.totals = path[-1].copy()
        self.n_samples += len(won)
        self.peak = max(self.peak, float(of_both[:, 0].max()))
        self._note(np.column_stack([number, of_both]))
        return of_both.T

    def _note(self, points):
        """Keep the trail, every second point once it is full, and the last one."""
        trail = np.vstack([self.trail, points])
        while (even := trail[:, 0] % self.stride == 0).sum() > _MAX_POINTS:
            self.stride *= 2
        even[-1] = True
        self.trail = trail[even]


def log_rest(number, patience):
    """Logarithm of W after so many samples."""
    return -np.log1p(np.log(number / patience + 1))


def _log_stake(number, patience):
    """Logarithm of w of each sample."""
    spread = np.log(np.log1p(1 / (number + (patience - 1))))
    return spread + log_rest(number - 1, patience) + log_rest(number, patience)


def means(rows, firsts, sizes):
    """Of each group, whose rows stand one after another."""
    return np.add.reduceat(rows, firsts, axis=0) / sizes[:, None]
