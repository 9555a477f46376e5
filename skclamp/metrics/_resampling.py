"""Forms that metrics take under many weightings of the samples: sums, linear in the weights, and a value of them.

Calibration errors are norms of residuals (hits minus confidence), so the sums also tell what the value would be if the
sample's systematic residuals were larger or smaller by some factor while the noise stays. A form has the `value` of the
sample itself; ``sums(weights)``, an array whose first axis is that of weights of shape (n_weightings, n_samples); and
``values(sums)``, the metric of each weighting.
"""

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

# Weights of a block of replicates: 32 MB.
BLOCK_SIZE = 2**22
_LEAST_RATIO = 1 / 4


class MeanScore:
    """A mean of one value per sample: no bias, nothing to scale, and a standard error in closed form.

    `residual` are the values less their mean, `weight` those of the samples (None: 1 each), and `limits` what a mean
    can be at the least and at the most.
    """

    def __init__(self, value, residual, weight, limits=(-np.inf, np.inf)):
        self.value, self.limits = value, limits
        self._residual, self._weight = residual, np.ones(len(residual)) if weight is None else weight

    def __sub__(self, other):
        """The same of the differences to another's values."""
        return MeanScore(self.value - other.value, self._residual - other._residual, self._weight)

    def sums(self, weights):
        """Sums of the weights, and of what means and standard errors are made of."""
        residual, weight = self._residual, self._weight
        parts = [residual, np.ones(len(residual)), weight, weight * residual, weight * residual**2]
        return weights @ np.stack(parts, 1)

    def values(self, sums):
        """Mean of each weighting."""
        return self.value + sums[:, 0] / sums[:, 1]

    def noise(self, sums):
        """Errors of the replicates' means, each over its standard error and times the sample's (bootstrap-t).

        A replicate that has drawn hardly a mistake has next to no standard error: a quarter of the sample's is the
        least that counts.
        """
        error = self._standard_errors(self.sums(self._weight[None]))[0]
        ratio = np.maximum(self._standard_errors(sums) / error, _LEAST_RATIO) if error > 0 else 1.0
        return sums[:, 0] / sums[:, 1] / ratio

    def _standard_errors(self, sums):
        """Standard errors of the means of weightings: the samples' own weights times how often they are drawn."""
        mean = sums[:, 0] / sums[:, 1]
        squares = sums[:, 4] - 2 * mean * sums[:, 3] + mean**2 * sums[:, 2]
        return np.sqrt(np.maximum(squares, 0)) / sums[:, 1]


class AnyMetric:
    """A metric that is computed anew for every weighting, by a function of the weights."""

    def __init__(self, value, of_weight):
        self.value, self._of_weight = value, of_weight

    def sums(self, weights):
        """Value of each weighting already."""
        return np.array([self._of_weight(weight) for weight in weights])

    def values(self, sums):
        """The same."""
        return sums


class ScaledError:
    """A calibration error that grows in proportion to the residuals: ``values(sums, scale)`` scales the sample's."""

    def __init__(self, value):
        # What the replicates are compared with; some look at a coarser grid than the metric itself.
        self.value = self.estimate = value

    def values(self, sums, scale=1.0):
        """Error of each weighting with the sample's residuals scaled."""
        raise NotImplementedError

    def at_scale(self, scale):
        """Error of the sample itself with its residuals scaled."""
        return scale * self.value

    def for_upper_end(self):
        """Return the form that tells the upper end of an interval."""
        return self


class ErrorOfPairs(ScaledError):
    """One of some pairs, whose weighted residuals are summed up in groups.

    `groups`, sparse and of shape (n_pairs, n_groups), is the share of each pair in each; `residual` are the pairs' own
    unless others are given.
    """

    def __init__(self, value, pairs, groups, residual=None):
        super().__init__(value)
        self.pairs, self.groups = pairs, groups
        self.residual = pairs.residual if residual is None else residual
        self._weighted = groups.multiply(self.residual[:, None]).tocsr()

    def sums(self, weights):
        """Sums of each weighting of all samples."""
        weights = weights[:, self.pairs.rows]
        return self.reduced(weights @ self._weighted, weights)

    def reduced(self, residual, weights):
        """Sums of weightings of the pairs, from residuals by group; by default these over the weight of all."""
        total = weights.sum(1, keepdims=True)
        return residual / np.where(total > 0, total, 1)

    def of_whole(self, residual):
        """Sums of the sample itself, with these residuals."""
        weights = self.pairs.masses[None]
        return self.reduced((weights * residual) @ self.groups, weights)

    def of_drawn(self, generator):
        """Error under hits that are drawn from the confidences."""
        hits = generator.random(len(self.residual)) < self.pairs.confidence
        # A sample without residual counts as calibrated, whatever is drawn.
        residual = np.where(self.residual == 0, 0.0, hits - self.pairs.confidence)
        return self.values(self.of_whole(residual))[0]


def grouped(place, n_groups):
    """Groups of which each pair is in one."""
    return csr_array((np.ones(len(place)), place, np.arange(len(place) + 1)), shape=(len(place), n_groups))


def resampling_weights(proba, n_resamples, random_state):
    """Yield blocks of weights, shape (n_replicates, n_samples): how often a sample is drawn, times its own weight.

    Samples without weight are none, and aren't drawn.
    """
    size = proba.rows_a_sample
    seed, kept = random_state.randint(2**31 - 1), np.flatnonzero(proba.masses.reshape(-1, size).any(1))
    blocks = _kept_counts if n_resamples * len(kept) <= BLOCK_SIZE else _counts
    for counts in blocks(seed, n_resamples, len(kept), max(1, BLOCK_SIZE // proba.n_samples)):
        # In the order of the samples, as sparse products take them.
        weights = np.zeros((proba.n_samples, len(counts))).T
        weights.T.reshape(-1, size, len(counts))[kept] = counts.T[:, None]
        yield weights if proba.weight is None else weights * proba.weight


def _counts(seed, n_resamples, n, step):
    """Yield blocks of how often each of n samples is drawn in each replicate."""
    generator = np.random.default_rng(seed)
    for start in range(0, n_resamples, step):
        counts = np.empty((min(step, n_resamples - start), n), np.uint16)
        for row in counts:
            row[:] = np.bincount(generator.integers(n, size=n), minlength=n)
        yield counts


# Several metrics, of several calibrators, are compared in the same replicates; the last ones take up to 8 MB.
@lru_cache(maxsize=1)
def _kept_counts(*drawn):
    return tuple(_counts(*drawn))
