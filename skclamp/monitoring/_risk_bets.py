"""Bets on a risk above the target against a stream of losses."""

from dataclasses import dataclass

import numpy as np
from scipy.special import xlog1py, xlogy

from .._utils.encoding import register
from ._starts import StartsMixture, means

# How many times the odds of a loss are those at the target. The last bet has half of the stake.
ODDS = np.array([1.25, 1.5, 3.0, 5.0, 2.0])


@register
@dataclass(eq=False, kw_only=True)
class RiskBets(StartsMixture):
    """Bets that the expected loss is above the target.

    Attributes
    ----------
    target : float
        What the expected loss of a sample is at most by the null; here losses are from 0 to 1.
    low, span : float
        The user's are from `low` to `low + span`.
    totals : ndarray of shape (1,)
        Sum of the losses.
    """

    # Of rare errors some hundred labels tell nothing: little is lost where a bet starts earlier or later.
    patience = 100.0

    target: float
    low: float
    span: float

    def risk(self, mean_loss):
        """The user's word for a mean of losses."""
        return float(self.low + self.span * mean_loss)

    def tells(self, log_odds, best, n_true, true, since):
        n_since = self.n_samples - int(self.start[best])
        rate = true[0] / max(1, n_true)
        # Two risks, the first one within the target, against a single one.
        two = _log_likelihood(true[0], n_true, min(rate, self.target)) + _log_likelihood(since[0], n_since)
        # The bet's best start is known in hindsight, the mean over starts isn't.
        hindsight = self.excess[best] - (self.log_sums[1, best] - np.log(max(1, self.n_samples)))
        return two - _log_likelihood(true[0] + since[0], n_true + n_since) >= log_odds + hindsight

    def update(self, losses, sizes):
        """Take on losses; returns the paths of both sums.

        `sizes` are those of groups, whose losses stand one after another.
        """
        if not len(sizes):
            return np.empty((2, 0))
        # An e-value is linear in the loss: the mean of those of a group is that of the mean.
        losses = means(losses[:, None], np.cumsum(sizes) - sizes, sizes)
        path = np.cumsum(np.vstack([self.totals, losses]), axis=0)
        return self._bet(np.log1p((ODDS - 1) * losses) - np.log1p((ODDS - 1) * self.target), path)


def _log_likelihood(total, number, rate=None):
    """Of so many losses, as if each were 0 or 1, at a rate or the likeliest one."""
    # Differences of sums are off by their last bits.
    total = min(max(total, 0.0), number)
    rate = total / max(1, number) if rate is None else rate
    return xlogy(total, rate) + xlog1py(number - total, -rate)
