"""Bets on other temperatures and class frequencies against a stream of labelled samples, in bounded memory."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.signal import lfilter

from .._utils.encoding import register
from .._utils.least_probability import are_zeros
from ._bets import BETAS, PRIOR_COUNT, bound_of_tilt, likelihoods, null_betas
from ._starts import StartsMixture, means

# Rows at a time, 7 MB of sums; and entries of an array of rows and classes, of 2 MB each.
_MAX_ROWS, _MAX_ENTRIES = 10_000, 1 << 18
# Samples a class that bets on class frequencies remember.
_MEMORY = 100
_N = len(BETAS)


@register
@dataclass(eq=False, kw_only=True)
class CalibrationBets(StartsMixture):
    """Bets that a temperature is outside of the tolerance, and that classes have other frequencies.

    Attributes
    ----------
    tolerance : float
        Of the null.
    n_impossible : int
        How many labels had at most the least probability.
    frequencies : ndarray of shape (n_labels, 2, n_classes)
        Counts of labels and predicted ones, of a memory with an end; of each of several labels a sample, else of one.
    totals : ndarray of shape (n_sums,)
        Sums of gains at each beta, of slopes at those of bets, and of the gains of class weights at these.
    """

    tolerance: float
    n_impossible: int
    frequencies: np.ndarray

    @classmethod
    def of_none(cls, tolerance, n_classes, n_labels=1):
        """Before the first sample."""
        null = null_betas(tolerance)
        return cls.before_any(
            n_bets=len(_outside(null)) + 1,
            n_sums=3 * _N + len(null),
            tolerance=tolerance,
            n_impossible=0,
            frequencies=np.zeros((n_labels, 2, n_classes)),
        )

    def tells(self, log_odds, best, n_true, true, since):
        null = true[_N : _N + len(null_betas(self.tolerance))]
        # Two temperatures, the first one of the null, against a single one.
        tells = null.max() + since[:_N].max() - (true + since)[:_N].max() >= log_odds
        if best == len(self.excess) - 1:
            # Bets on class frequencies follow whatever comes, and win steadily. At the rate of now they would have won
            # so much before; log e-values of mean m vary by 2 m, so that winning nothing is unlikely.
            n_since = max(1, self.n_samples - int(self.start[best]))
            tells |= self.excess[best] * n_true / n_since >= 2 * log_odds
        return tells

    def update(self, log_p, y, label, sizes):
        """Take on samples: log-probabilities (n, K) and column indices; returns the paths of both sums.

        `label` says which of several labels a sample a row is about, 0 of a single one. `sizes` are those of groups,
        whose rows stand one after another: a sample with its labels is one.
        """
        n_rows = min(_MAX_ROWS, _MAX_ENTRIES // log_p.shape[1])
        n_groups = max(1, n_rows // max(len(self.frequencies), sizes.max(initial=1)))
        ends = np.append(0, np.cumsum(sizes))
        paths = [np.empty((2, 0))]
        for first in range(0, len(sizes), n_groups):
            those = sizes[first : first + n_groups]
            rows = slice(ends[first], ends[first + len(those)])
            paths.append(self._update(log_p[rows], y[rows], label[rows], those))
        return np.concatenate(paths, axis=1)

    def _update(self, log_p, y, label, sizes):
        null = null_betas(self.tolerance)
        firsts = np.cumsum(sizes) - sizes
        self.n_impossible += int(are_zeros(log_p[np.arange(len(y)), y]).sum())
        weights = self._weights(log_p, y, label, sizes)
        betas = np.concatenate([BETAS, null])
        gain, slope, log_total, mean, tilt = likelihoods(log_p, y, betas, weights)
        log_weight = np.log(weights[np.arange(len(y)), y])
        sums = np.concatenate([gain, slope[:, :_N], gain[:, :_N] + log_weight[:, None] - tilt[:, :_N]], axis=1)
        path = np.cumsum(np.vstack([self.totals, means(sums, firsts, sizes)]), axis=0)
        # Log e-values of temperatures outside of the null, whatever T of it there is, and of class weights.
        bets = _outside(null)
        nearest = np.where(BETAS[bets] < null[0], _N, _N + len(null) - 1)
        expected = bound_of_tilt(tilt[:, _N:], log_total[:, _N:], mean[:, _N:], null)
        increments = np.column_stack([gain[:, bets] - gain[:, nearest], log_weight - expected])
        # However dependent samples of a group, or labels of a sample, are: the mean of e-values is one.
        increments = np.logaddexp.reduceat(increments, firsts, axis=0) - np.log(sizes)[:, None]
        return self._bet(increments, path)

    def _weights(self, log_p, y, label, sizes):
        """Class frequencies of a row's label over those predicted, before its group, (n, K); takes on the samples."""
        n_classes, n_labels, n_groups = log_p.shape[1], len(self.frequencies), len(sizes)
        group = np.repeat(np.arange(n_groups), sizes)
        # Of each group and label the mean.
        cell = group * n_labels + label
        share = 1 / np.bincount(cell)[cell]
        counts = np.zeros((n_groups, n_labels, 2, n_classes))
        np.add.at(counts[:, :, 0], (group, label, y), share)
        np.add.at(counts[:, :, 1], (group, label), share[:, None] * np.exp(log_p))
        # Each group leaves a share of the sums before it.
        kept = 1 - 1 / (_MEMORY * n_classes)
        path, _ = lfilter([1], [1, -kept], counts, axis=0, zi=kept * self.frequencies[None])
        before = np.concatenate([self.frequencies[None], path[:-1]])
        self.frequencies = path[-1]
        found, predicted = before[group, label].swapaxes(0, 1) + PRIOR_COUNT
        return found / predicted


def _outside(null):
    """Bets on a T that the null lacks."""
    return np.flatnonzero(np.clip(BETAS, null[0], null[-1]) != BETAS)


def best_temperature(totals):
    """T of the largest likelihood, within the grid, and what it wins on T = 1."""
    ascending = slice(_N - 1, None, -1)
    # Values and slopes on the grid leave no doubt of what is between.
    likelihood = CubicHermiteSpline(BETAS[ascending], totals[:_N][ascending], totals[-2 * _N : -_N][ascending])
    flat = likelihood.derivative().roots(extrapolate=False)
    betas = np.concatenate([[1.0], BETAS, flat[np.isfinite(flat)]])
    gains = likelihood(betas)
    best = gains.argmax()
    return float(1 / betas[best]), max(0.0, float(gains[best]))


def gain_of_frequencies(totals):
    """Return the gain of the best bet on class frequencies, at whatever T."""
    return float(totals[-_N:].max())
