"""Forms that metrics take under many weightings of the samples: sums, linear in the weights, and a value of them.

Calibration errors are norms of residuals (hits minus confidence), so the sums also tell what the value would be if the
sample's systematic residuals were larger or smaller by some factor while the noise stays. A form has the `value` of the
sample itself; ``sums(weights)``, an array whose first axis is that of weights of shape (n_weightings, n_samples); and
``values(sums)``, the metric of each weighting.
"""

from functools import lru_cache

import numpy as np

from ._metric import some_pairs

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
    """One of the most probable classes' pairs; `residual` is theirs."""

    def __init__(self, value, y_encoded, proba, top_k, threshold):
        super().__init__(value)
        self.pairs = some_pairs(proba, y_encoded, top_k, threshold)
        self.residual = self.pairs.residual
        # Of all samples those above the threshold.
        self._above = slice(None)
        if threshold is not None:
            self._above = proba.pairs(y_encoded, top_k).confidence > threshold

    def sums(self, weights):
        """Sums of each weighting of all samples, one by one: what one takes stays in the processor's cache."""
        weighted = np.empty_like(self.residual)
        return np.array(
            [
                self.sums_of(weight, np.multiply(weight, self.residual, out=weighted))
                for weight in weights[:, self._above]
            ]
        )

    def sums_of(self, weight, residual):
        """Sums of one weighting of the pairs, and of their residuals so weighted."""
        raise NotImplementedError

    def of_drawn(self, generator):
        """Error under hits that are drawn from the confidences."""
        confidence, weight = self.pairs.confidence, self.pairs.masses
        hits = generator.random(len(confidence)) < confidence
        # A sample without residual counts as calibrated, whatever is drawn.
        residual = np.where(self.residual == 0, 0.0, hits - confidence)
        return self.values(self.sums_of(weight, weight * residual)[None])[0]


def resampling_weights(proba, n_resamples, random_state):
    """Yield blocks of weights, shape (n_replicates, n_samples): how often a sample is drawn, times its own weight.

    Samples without weight are none, and aren't drawn.
    """
    seed, weight = random_state.randint(2**31 - 1), proba.weight
    kept = slice(None) if weight is None else weight > 0
    n = proba.n_samples if weight is None else np.count_nonzero(weight)
    generator = None if n_resamples * n <= BLOCK_SIZE else np.random.default_rng(seed)
    step = max(1, BLOCK_SIZE // proba.n_samples)
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        counts = _few_counts(seed, n_resamples, n)[start:][:size] if generator is None else _counts(generator, size, n)
        weights = np.zeros((size, proba.n_samples))
        weights[:, kept] = counts
        yield weights if weight is None else weights * weight


def _counts(generator, n_resamples, n):
    """Count how often each of n samples is drawn in each replicate."""
    counts = np.empty((n_resamples, n), np.uint16)
    for row in counts:
        row[:] = np.bincount(generator.integers(n, size=n), minlength=n)
    return counts


# Several metrics, of several calibrators, are compared in the same replicates; the last ones take up to 8 MB.
@lru_cache(maxsize=1)
def _few_counts(seed, n_resamples, n):
    return _counts(np.random.default_rng(seed), n_resamples, n)
