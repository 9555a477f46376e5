"""Intervals of calibration errors on few samples: a test is inverted whose labels are drawn, instead of resampled.

In bins of few samples residuals that are resampled vary too little, and where hardly an event came true they don't vary
at all. Here hits are drawn from probabilities that may be the true ones. The interval holds the true errors of those
under which the value found is neither too large nor too small.
"""

import math
from itertools import accumulate

import numpy as np
from scipy.special import expit, logit

from ._binning import ROUNDING, ratios

# As large an error in so many draws may be noise, fewer where the most draws are too few for a tail. Hits of a block.
_N_LARGER, _MAX_DRAWS, _BLOCK = 5, 3999, 2**16
# Units and groups of pairs. Of more, replicates take less time and groups hold enough for them.
_MAX_SIZE = 1000
# What the true probabilities may differ by from those told: the gaps of bins, or what of them noise doesn't explain,
# times a factor, slopes and offsets of the log-odds. Steps along each are sums of `_STEPS`.
_DIRECTIONS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0], [0, 0, 0, 1], [0, 0, 0, -1]])
_STEPS = 4 / 2 ** np.arange(10)
# Probabilities that log-odds are taken of.
_LEAST = 1e-6


def draws_for(tail, most=_N_LARGER):
    """Number of draws, and how many as large an error may be noise: fewer lie beyond the quantile of a tail.

    Draws of a larger tail are the first of a smaller one's, so that ends are no nearer at a higher level.
    """
    n_larger = math.floor(tail * (_MAX_DRAWS + 1))
    return min(math.ceil(most / tail) - 1, _MAX_DRAWS), min(max(n_larger, 1), most)


def can_draw(form):
    """Return whether hits can be drawn: of few units whose rows came true together; nothing tells how others agree."""
    pairs = form.pairs
    _, first, place = np.unique(pairs.cluster, return_index=True, return_inverse=True)
    size = (len(first) + form.groups.shape[1]) / pairs.n_classes
    return size <= _MAX_SIZE and (pairs.hits == pairs.hits[first[place]]).all()


class DrawnErrors:
    """Errors of hits that are drawn from several probabilities by the same random numbers.

    Parameters
    ----------
    form : ErrorOfPairs
        The error.
    tail : float
        Probability with which each end of the interval may miss the true error.
    random_state : RandomState
        Of the draws.
    """

    def __init__(self, form, tail, random_state):
        pairs = form.pairs
        self._by_class = pairs.n_classes, len(pairs.unit) // pairs.n_classes
        units, self._place = np.unique(pairs.unit[: self._by_class[1]], return_inverse=True)
        self._form, self._tail = form, tail
        # Of fewer units more draws take no longer, and ends vary less by the seed.
        n_draws, self._n_larger = draws_for(tail, max(_N_LARGER, 2000 // len(units)))
        uniform = random_state.random_sample((n_draws, len(units)))
        # Blocks take less time and memory; a column of each for every draw.
        self._blocks = [block.T.copy() for block in np.array_split(uniform, 1 + n_draws * len(pairs.unit) // _BLOCK)]
        # A hit that is replaced by its confidence is none.
        masses = pairs.masses * np.isin(pairs.hits, (0, 1))
        self._groups = form.groups.multiply(masses[:, None]).T.tocsr()
        self._told = self._groups @ pairs.confidence
        self._logit = logit(pairs.confidence.clip(_LEAST, 1 - _LEAST))
        self._residual = self._groups @ pairs.residual
        self._gaps = form.groups @ ratios(np.stack([self._residual, form.local]), masses @ form.groups).T

    def interval(self):
        """Lower and upper end.

        The upper one bounds the chance of as small a value relative to that of calibrated probabilities (CLs). It isn't
        below the value: hardly any of these may show as small a one. Where the value is no noise, its residuals tell
        which directions lead away from the truth: an error says nothing of their sign.
        """
        n_smaller, n_larger = sum(self._counts(np.zeros(4)))
        moved = np.array([self._groups @ self._probabilities(each) for each in _DIRECTIONS]) - self._told
        directions = _DIRECTIONS[(moved @ self._residual > 0) | ((n_larger >= self._n_larger) & moved.any(1))]
        least = max(1.0, self._tail * n_smaller)
        highs = [self._true_error(self._last(direction, 0, least)) for direction in directions]
        high = max(self._form.estimate, *highs)
        if n_larger >= self._n_larger:
            return 0.0, high
        last = [self._last(direction, 1, self._n_larger - 1) for direction in directions]
        lows = [self._true_error(step) for step in last if np.abs(step).max() < _STEPS[0]]
        return min(lows, default=self._form.estimate), high

    def _last(self, direction, end, level):
        """Return the last step whose count of smaller errors (0) exceeds a level, or of larger ones (1) doesn't."""
        last = 0.0
        for step in _STEPS:
            # Most that exceed the level do so in the first blocks.
            counts = accumulate(self._counts((last + step) * direction))
            if any(count[end] > level for count in counts) != end:
                last += step
        return last * direction

    def _counts(self, step):
        """Yield numbers of each block's draws whose error is no larger, and no smaller, than the one found."""
        upto = self._probabilities(step).reshape(self._by_class).cumsum(0)[..., None]
        found = self._form.estimate
        for block in self._blocks:
            # Rows of a unit come true together, one class of those that exclude each other.
            hits = block[self._place] < upto
            hits[1:] ^= hits[:-1].copy()
            error = self._errors(hits.reshape(-1, block.shape[1]))
            yield np.array([np.sum(error <= found * (1 + ROUNDING)), np.sum(error >= found * (1 - ROUNDING))])

    def _true_error(self, step):
        """Error of these probabilities in the place of hits."""
        return self._errors(self._probabilities(step)[:, None]).item()

    def _errors(self, hits):
        return self._form.errors((self._groups @ hits).T - self._told)

    def _probabilities(self, step):
        *factors, slope, offset = step
        moved = np.clip(expit(np.exp(slope) * self._logit + offset) + self._gaps @ factors, 0, 1)
        if self._by_class[0] == 1:
            return moved
        moved = moved.reshape(self._by_class)
        return ratios(moved, moved.sum(0)).ravel()
