"""Forms that metrics take in many resamples: sums, linear in how often samples are drawn, and a value of them.

Calibration errors are norms of residuals (hits minus confidence), so the sums also tell what the value would be if the
sample's systematic residuals were larger or smaller by some factor while the noise stays. A form has the `value` of the
sample itself; ``sums(counts)``, an array whose first axis is that of counts of shape (n_resamples, n_units); and
``values(sums)``, the metric of each resample. A sample's own weights belong to the form, and a unit may be several
rows, such as the places of an image or the samples of a patient, which are summed up once.
"""

import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.sparse import csr_array

from .._judging.paired import n_effective

# Weights of a block of replicates: 32 MB.
BLOCK_SIZE = 2**22
# Of those that are worked on at a time.
_N_CACHED = 2**15
# Halvings of the range of scales: far finer than the noise of the replicates.
_N_HALVINGS = 14
_LARGEST_SCALE = 2**20
_LEAST_RATIO = 1 / 4


class MeanScore:
    """A mean of one value per sample: no bias, nothing to scale, and a standard error in closed form.

    `residual` are the values less their mean, `weight` their weights and `unit` numbers that those which depend on each
    other share; `largest` is the most that a mean can be, and `few` what few events hide. No lower end is below both
    0 and all values.
    """

    few: Any = None
    largest: float = np.inf

    def __init__(self, value, residual, weight, unit):
        self.value = value
        # Weighted, as a unit may have no weight.
        self.residual, self.weight = (np.bincount(unit, part) for part in (weight * residual, weight))
        self._is_clustered = len(self.weight) < len(weight)
        self._least = min(0.0, value + residual.min())

    def __sub__(self, other):
        """The same of the differences to another's values."""
        difference = copy.copy(self)
        difference.value = self.value - other.value
        difference.residual = self.residual - other.residual
        return difference

    def sums(self, counts):
        """Mean residual of each resample and its standard error, of shape (n_resamples, 2)."""
        residual = self.residual
        weight = self.weight
        total = counts @ weight
        mean = counts @ residual / total
        squares = counts @ residual**2 - 2 * mean * (counts @ (weight * residual)) + mean**2 * (counts @ weight**2)
        return np.stack([mean, np.sqrt(np.maximum(squares, 0)) / total], 1)

    def values(self, sums):
        """Mean of each resample."""
        return self.value + sums[:, 0]

    def noise(self, sums):
        """Errors of the replicates' means, each over its standard error and times the sample's (bootstrap-t).

        A replicate that has drawn hardly a mistake has next to no standard error: a quarter of the sample's is the
        least that counts.
        """
        mean, error = sums.T
        ((_, own_error),) = self.sums(np.ones((1, len(self.weight))))
        return mean / np.maximum(error / own_error, _LEAST_RATIO) if own_error > 0 else mean

    def interval(self, sums, tail):
        """Return the value and an interval, each of whose ends misses the true one with a probability `tail`."""
        low, high = np.quantile(-self.noise(sums), [tail, 1 - tail])
        if self._is_clustered:
            # Of few units, which may be of several sizes, resamples alone end too soon.
            half = stats.t.isf(tail, n_effective(self.weight) - 1) * sums[:, 0].std()
            low = min(low, -half)
            high = max(high, half)
        low = self.value + low
        high = self.value + high
        if self.few is not None:
            high = max(high, self.few(tail))
        return self.value, max(low, self._least), min(high, self.largest)


class AnyMetric:
    """A metric that is computed anew for every resample, by a function of the weights of all rows of `proba`."""

    def __init__(self, value, of_weight, proba):
        self.value = value
        self._of_weight = of_weight
        self._proba = proba

    def sums(self, counts):
        """Value of each resample already."""
        proba = self._proba
        return np.array([self._of_weight(count[proba.unit] * proba.masses) for count in counts])

    def values(self, sums):
        """The same."""
        return sums


class QuickMetric(AnyMetric):
    """The same by a function that is given a row of weights for each of many resamples.

    They are those of the rows `kept`, in their order; without it, of all that have some.
    """

    def __init__(self, value, of_weight, proba, kept=None):
        super().__init__(value, of_weight, proba)
        self._kept = np.flatnonzero(proba.masses) if kept is None else kept

    def sums(self, counts):
        """Value of each resample already."""
        unit, masses = self._proba.unit[self._kept], self._proba.masses[self._kept]
        # Few enough at a time to stay in a processor's cache.
        blocks = np.array_split(counts, min(len(counts), 1 + len(counts) * len(unit) // _N_CACHED))
        return np.concatenate([self._of_weight(block[:, unit] * masses) for block in blocks])


class ErrorOfPairs:
    """A calibration error of pairs, the norm of a path that grows in proportion to the residuals.

    `groups` are as for `Pairs.in_units`. ``path(residual, mass)`` is given sums of their residuals and weights, a row
    for each resample, and ``norm(path)`` is the error of each. `estimate` is the sample's own as replicates have it.
    With `allows_for_noise`, and of units of several pairs, an upper end isn't below Student's: noise of the sample's
    own path adds to the replicates', under which a value as small as the one found seems rarer than it is. No error is
    above `largest`.
    """

    largest: float = 1.0

    def __init__(self, value, pairs, groups, path, norm, allows_for_noise=False):
        self.value = value
        self.pairs = pairs
        self.groups = groups
        self._path = path
        self._norm = norm
        cluster = pairs.cluster
        self._allows_for_noise = allows_for_noise or np.bincount(cluster).max() > 1
        self._of_units = pairs.in_units(groups, pairs.residual)
        self._mass = (pairs.masses @ groups)[None]
        (self._own,) = self.sums(np.ones((1, pairs.n_units)))
        # What the replicates are compared with: groups may be coarser than the metric itself.
        self.estimate = self._norm(self._own)
        # Residuals less two standard errors of calibrated ones: nothing is left of most groups that aren't off.
        residual = self._of_units[0].sum(0)
        deviation = pairs.masses * abs(pairs.confidence - pairs.confidence**2) ** 0.5
        # Pairs of a unit, such as copies, may all be off together.
        of_cluster = np.bincount(cluster, deviation)[cluster]
        noise = 2 * (deviation * of_cluster @ groups) ** 0.5
        self.local = residual - residual.clip(-noise, noise)

    def sums(self, counts):
        """Path of each resample."""
        return self._path(*(counts @ each for each in self._of_units))

    def errors(self, residual):
        """Error of each row of residuals' sums, of the sample's weights."""
        return self._norm(self._path_of(residual))

    def values(self, sums, scale=1.0):
        """Error of each resample with the sample's residuals scaled."""
        return self._norm(sums + (scale - 1) * self._own)

    def interval(self, sums, tail):
        """Median-unbiased value and interval: true errors under which a value up to the one found isn't too rare."""
        low, middle = (self.estimate * self.last_scale(sums, level) for level in (1 - tail, 0.5))
        if self.local.any():
            # Noise adds the more, the fewer groups are off.
            local = copy.copy(self)
            local._own = self._path_of(self.local[None])
            low = min(low, self._norm(local._own).item() * local.last_scale(sums + local._own - self._own, 1 - tail))
        high = self.estimate
        at_zero = self._chance(sums, 0.0)
        if at_zero > 0:
            high *= self.last_scale(sums, tail * at_zero)
        if self._allows_for_noise:
            half = stats.t.isf(tail, self.pairs.n_units - 1) * self.values(sums).std()
            high = max(high, min(self.largest, self.estimate + half))
        return middle, min(low, high), high

    def last_scale(self, sums, level):
        """The scale up to which the chance exceeds a level; 0 where it never does."""
        low = 0.0
        high = 1.0
        if self._chance(sums, low) <= level:
            return low
        while self._chance(sums, high) > level and high < _LARGEST_SCALE:
            low = high
            high = 2 * high
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            if self._chance(sums, middle) > level:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def _chance(self, sums, scale):
        """Share of the replicates up to the value found, where the sample's true error were its own times a scale."""
        return (self.values(sums, scale) <= self.estimate * (1 + 1e-12)).mean()

    def _path_of(self, residual):
        return self._path(residual, self._mass)


def cumulated(rows):
    """Cumulative sums of each row, which torch has sooner where it is no row in memory."""
    return torch.from_numpy(rows).cumsum(-1).numpy()


def norm_of(order):
    """Norm of rows; `order` is as in `numpy.linalg.norm`."""
    return partial(np.linalg.norm, ord=order, axis=-1)


def grouped(place, n_groups):
    """Groups of which each pair is in one."""
    return csr_array((np.ones(len(place)), place, np.arange(len(place) + 1)), shape=(len(place), n_groups))


def neighbours(confidence, most):
    """Groups of neighbouring confidences, `most` at the most."""
    distinct, place = np.unique(confidence, return_inverse=True)
    n_groups = min(len(distinct), most)
    return grouped(place * n_groups // len(distinct), n_groups)


def resampling_counts(proba, n_resamples, random_state):
    """Yield blocks of how often each unit is drawn, shape (n_replicates, n_units).

    Units without weight are none, and aren't drawn.
    """
    generator = np.random.default_rng(random_state.randint(2**31 - 1))
    kept = np.flatnonzero(np.bincount(proba.unit, proba.weight))
    step = max(1, BLOCK_SIZE // proba.n_units)
    for start in range(0, n_resamples, step):
        counts = np.zeros((min(step, n_resamples - start), proba.n_units))
        for row in counts:
            row[kept] = np.bincount(generator.integers(len(kept), size=len(kept)), minlength=len(kept))
        yield counts
