"""Metrics under many weightings of the samples at once: what the bootstrap computes in place of passes over the data.

A metric is reduced to sums over the samples, linear in their weights, and a value of these sums. Calibration errors are
norms of residuals (hits minus confidence), so the sums also tell what the value would be if the sample's systematic
residuals were larger or smaller by some factor while the noise stays.
"""

import copy
from collections.abc import Callable

import numpy as np

from .._utils.warnings import unheard
from . import _calibration, _kolmogorov_smirnov, _proper_scores, _smooth
from ._binning import ROUNDING, BinTable, bin_indices, weights_like
from ._kolmogorov_smirnov import pairs_ks_error
from ._reduction import adaptive_bins, check_options, some_pairs
from ._smooth import cosine_transform, fixed_point, grid_places, integral, pairs_smooth_error, smooth

# Groups of neighbouring confidences between which the KS error's replicates are looked at.
_MAX_GROUPS = 2**12
# Divisor in the place of 0.
_SMALL = np.finfo(np.float64).tiny
# Cells of the grid on which the smooth error's replicates are smoothed.
_N_CELLS = 2**11


class GroupSums:
    """Sums over groups of samples, for many weightings; `place` is the group of each sample, and some may be empty."""

    def __init__(self, place, n_groups):
        self.order = np.argsort(place, kind="stable")
        self._used, self._starts = np.unique(place[self.order], return_index=True)
        self._n_groups = n_groups

    def __call__(self, values):
        """Sums of values of shape (n_weightings, n_samples), which are in this object's order of the samples."""
        sums = np.zeros((len(values), self._n_groups))
        sums[:, self._used] = np.add.reduceat(values, self._starts, axis=1)
        return sums


class MeanScore:
    """A mean of one value per sample: no bias, and nothing to scale."""

    is_error = False

    def __init__(self, values):
        self._values = values

    def sums(self, weights):
        """Weighted sum of the values and sum of the weights, each of shape (n_weightings,)."""
        return weights @ self._values, weights.sum(1)

    def values(self, sums):
        """Mean of each weighting."""
        return sums[0] / sums[1]


class _ScaledErrors:
    """A calibration error that grows in proportion to the residuals."""

    is_error = True
    value: float

    def at_scale(self, scale):
        """Error of the sample itself with its residuals scaled."""
        return scale * self.value


class _PairErrors(_ScaledErrors):
    """One of pairs, whose confidences and residuals are in the order of `_groups`, their samples in `_index`."""

    _confidence: np.ndarray
    _residual: np.ndarray
    sums: Callable
    values: Callable

    def of_drawn(self, weight, generator, n_draws):
        """Errors under hits that are drawn from the confidences, shape (n_draws,); `weight` is (1, n_samples)."""
        drawn = copy.copy(self)
        hits = generator.random((n_draws, len(self._confidence))) < self._confidence
        # A sample without residual counts as calibrated, whatever is drawn.
        drawn._residual = np.where(self._residual == 0, 0.0, hits - self._confidence)
        return drawn.values(drawn.sums(weight))


class BinnedErrors(_PairErrors):
    """A binned calibration error with the bins of the whole sample."""

    def __init__(self, pairs, kept, edges, norm, include_lowest=True):
        self._edges, self._norm = edges, norm
        self._groups = GroupSums(bin_indices(pairs.confidence, edges), len(edges) - 1)
        self._index, self._confidence = kept[self._groups.order], pairs.confidence[self._groups.order]
        self._residual = pairs.counted_hits(edges, include_lowest)[self._groups.order] - self._confidence
        table = pairs.table(edges, include_lowest)
        self.value, self._gap = float(table.error(norm)), table.gap

    def sums(self, weights):
        """Residual and weight of each bin, of shape (n_weightings, n_bins)."""
        weights = weights[:, self._index]
        return self._groups(weights * self._residual), self._groups(weights)

    def values(self, sums, scale=1.0):
        """Error of each weighting with the sample's gaps scaled."""
        residual, mass = sums
        shifted = residual + (scale - 1) * self._gap * mass
        return BinTable.from_sums(self._edges, mass.T, np.zeros_like(mass.T), shifted.T).error(self._norm)


class ClasswiseErrors(_ScaledErrors):
    """The mean over the classes of one-vs-rest errors in bins of equal width.

    The probabilities are read once for each block of weightings; beyond the first bin a row has few entries, whose
    places are kept.
    """

    def __init__(self, proba, y_encoded, edges, norm):
        self._proba, self._edges, self._norm = proba, edges, norm
        self._shape = len(edges) - 1, proba.n_classes
        row, place, value = _entries_beyond_first(proba, edges)
        self._beyond = _GroupedEntries(row, place, self._shape)
        self._value = value[self._beyond.order]
        self._own = _GroupedEntries(
            np.arange(len(y_encoded)),
            bin_indices(proba.of_label(y_encoded), edges) * proba.n_classes + y_encoded,
            self._shape,
        )
        table = proba.classwise_table(y_encoded, edges)
        self.value, self._gap = float(table.error(norm).mean()), table.gap

    def sums(self, weights):
        """Residual and weight of each bin of each class, of shape (n_weightings, n_bins, n_classes)."""
        mass = self._beyond(weights)
        confidence = self._beyond(weights, self._value)
        hits = self._own(weights)
        total = weights.sum(1)[:, None]
        rest = total - mass[:, 1:].sum(1)
        # Of an empty first bin rounding leaves something, whose mean could be anything.
        mass[:, 0] = np.maximum(np.where(rest > ROUNDING * total, rest, 0), hits[:, 0])
        rest = self._column_totals(weights) - confidence[:, 1:].sum(1)
        confidence[:, 0] = np.clip(rest, 0, self._edges[1] * mass[:, 0])
        return hits - confidence, mass

    def values(self, sums, scale=1.0):
        """Error of each weighting with the sample's gaps scaled."""
        residual, mass = (np.moveaxis(part, 1, 0) for part in sums)
        shifted = residual + (scale - 1) * self._gap[:, None] * mass
        return BinTable.from_sums(self._edges, mass, np.zeros_like(mass), shifted).error(self._norm).mean(1)

    def _column_totals(self, weights):
        totals = np.zeros((len(weights), self._shape[1]))
        for rows, chunk in self._proba.chunks():
            weight, scale = weights_like(chunk, weights[:, rows])
            totals += scale * (weight @ chunk).astype(np.float64)
        return totals


class _GroupedEntries:
    """Weighted sums of some entries of a matrix over places of a table."""

    def __init__(self, row, place, shape):
        self._groups = GroupSums(place, shape[0] * shape[1])
        self.order, self._shape = self._groups.order, shape
        self._row = row[self.order]

    def __call__(self, weights, values=None):
        weights = weights[:, self._row]
        return self._groups(weights if values is None else weights * values).reshape(-1, *self._shape)


class KSErrors(_PairErrors):
    """The KS error, looked at between at most 4,096 groups of confidences."""

    def __init__(self, pairs, kept):
        _, group = np.unique(pairs.confidence, return_inverse=True)
        n_groups = group.max() + 1
        if n_groups > _MAX_GROUPS:
            group, n_groups = group * _MAX_GROUPS // n_groups, _MAX_GROUPS
        self._groups = GroupSums(group, n_groups)
        self._index, self._confidence = kept[self._groups.order], pairs.confidence[self._groups.order]
        self._residual = pairs.residual[self._groups.order]
        self._path = np.cumsum(self._groups(pairs.masses[self._groups.order] * self._residual[None]), 1)
        self._path /= pairs.masses.sum()
        self.value, self.estimate = float(pairs_ks_error(pairs)), float(np.abs(self._path).max())
        self._shape = self._path
        self._reached = np.cumsum(self._groups(pairs.masses[self._groups.order][None]), 1) / pairs.masses.sum()

    def sums(self, weights):
        """Cumulated residuals over the sum of weights, of shape (n_weightings, n_groups)."""
        weights = weights[:, self._index]
        return (np.cumsum(self._groups(weights * self._residual), 1) / _positive(weights),)

    def values(self, sums, scale=1.0):
        """Error of each weighting with the sample's residuals scaled."""
        return np.abs(sums[0] - self._path + scale * self._shape).max(1)

    def with_plain_shape(self):
        """The same with a straight path to the greatest value, which noise could hardly have made larger.

        The sample's own path has noise that adds to the replicates': under it a value as small as the one found seems
        rarer than it is, which matters for the upper end of an interval.
        """
        other, best = copy.copy(self), np.abs(self._path).argmax()
        straight = np.minimum(self._reached / max(self._reached[0, best], _SMALL), 1)
        other._shape = self._path[0, best] * straight
        return other


class SmoothErrors(_PairErrors):
    """The smooth error with the bandwidth of the whole sample.

    A weighting's own fixed point is at most the sample's exactly if its error at the sample's bandwidth is.
    """

    def __init__(self, pairs, kept, bandwidth=None):
        self._fixed = bandwidth
        self.value = float(pairs_smooth_error(pairs, bandwidth))
        self._bandwidth = max(bandwidth or self.value, 1 / _N_CELLS)
        below, beyond = grid_places(pairs.confidence, _N_CELLS)
        self._groups = GroupSums(below, _N_CELLS)
        order = self._groups.order
        self._index, self._beyond = kept[order], beyond[order]
        self._confidence, self._residual = pairs.confidence[order], pairs.residual[order]
        self._sample = self._cosines(pairs.masses[order][None])
        self._path = smooth(self._sample, self._bandwidth)
        self.estimate = float(integral(self._path)[0])

    def sums(self, weights):
        """Smoothed residuals over the sum of weights, of shape (n_weightings, n_points)."""
        return (smooth(self._cosines(weights[:, self._index]), self._bandwidth),)

    def values(self, sums, scale=1.0):
        """Error of each weighting with the sample's residuals scaled."""
        return integral(sums[0] + (scale - 1) * self._path)

    def at_scale(self, scale):
        """Error of the sample itself with its residuals scaled."""
        if self._fixed is not None:
            return super().at_scale(scale)
        return float(fixed_point(scale * self._sample[0]))

    def _cosines(self, weights):
        residual = weights * self._residual
        grid = np.zeros((len(residual), _N_CELLS + 1))
        grid[:, :-1] += self._groups(residual * (1 - self._beyond))
        grid[:, 1:] += self._groups(residual * self._beyond)
        return cosine_transform(grid / _positive(weights))


class AnyMetric:
    """A metric that is called anew for every weighting: one of this package, which shares passes, or any other."""

    def __init__(self, metric, proba, y_encoded, y_proba, shares):
        self._metric, self._proba, self._y_encoded, self._y_proba = metric, proba, y_encoded, y_proba
        self.is_error = self._shares = shares

    def sums(self, weights):
        """Value of each weighting already."""
        # What is odd about the labels of a resample is chance.
        with unheard():
            return (np.array([self._value(weight) for weight in weights]),)

    def values(self, sums):
        """What `sums` found."""
        return sums[0]

    def _value(self, weight):
        if self._shares:
            return self._metric(self._y_encoded, self._proba.reweighted(weight))
        rows = np.repeat(np.arange(len(weight)), weight.astype(np.int64))
        return self._metric(self._y_encoded[rows], self._y_proba[rows])


def resampled(metric, options, y_encoded, proba):
    """The metric as sums and a value of them, or None for one that has no such form."""
    reduce = _REDUCTIONS.get(metric)
    return reduce(y_encoded, proba, **options) if reduce else None


def _uniform(y_encoded, proba, *, n_bins=15, norm="l1", top_k=1, threshold=None):
    check_options(norm=norm, threshold=threshold)
    pairs, kept = _kept_pairs(y_encoded, proba, top_k, threshold)
    return BinnedErrors(pairs, kept, proba.equal_width_edges(n_bins), norm)


def _maximum(y_encoded, proba, **options):
    return _uniform(y_encoded, proba, norm="max", **options)


def _adaptive(y_encoded, proba, *, n_bins=15, include_lowest="auto", norm="l1", top_k=1, threshold=None):
    check_options(norm=norm, threshold=threshold)
    pairs, kept = _kept_pairs(y_encoded, proba, top_k, threshold)
    edges, include_lowest = adaptive_bins(pairs, proba, n_bins, include_lowest)
    return BinnedErrors(pairs, kept, edges, norm, include_lowest)


def _classwise(y_encoded, proba, *, n_bins=15, norm="l1", strategy="uniform", threshold=None, average="macro"):
    check_options(norm=norm, strategy=strategy, threshold=threshold)
    if strategy == "uniform" and threshold is None and average == "macro":
        return ClasswiseErrors(proba, y_encoded, proba.equal_width_edges(n_bins), norm)
    return None


def _ks(y_encoded, proba, *, mode="top-label", top_k=1, threshold=None):
    check_options(mode=mode, top_k=top_k, threshold=threshold)
    return KSErrors(*_kept_pairs(y_encoded, proba, top_k, threshold)) if mode == "top-label" else None


def _smoothed(y_encoded, proba, *, bandwidth=None, mode="top-label", top_k=1, threshold=None):
    check_options(mode=mode, top_k=top_k, threshold=threshold)
    if mode != "top-label":
        return None
    pairs, kept = _kept_pairs(y_encoded, proba, top_k, threshold)
    return SmoothErrors(pairs, kept, bandwidth)


def _nll(y_encoded, proba):
    return MeanScore(_proper_scores.log_losses(proba, y_encoded))


def _brier(y_encoded, proba, *, scale_by_half="auto"):
    return MeanScore(_proper_scores.brier_losses(proba, y_encoded, scale_by_half))


_REDUCTIONS: dict[Callable, Callable] = {
    _calibration.expected_calibration_error: _uniform,
    _calibration.maximum_calibration_error: _maximum,
    _calibration.adaptive_expected_calibration_error: _adaptive,
    _calibration.classwise_calibration_error: _classwise,
    _kolmogorov_smirnov.ks_calibration_error: _ks,
    _smooth.smooth_calibration_error: _smoothed,
    _proper_scores.negative_log_likelihood: _nll,
    _proper_scores.brier_score: _brier,
}


def _kept_pairs(y_encoded, proba, top_k, threshold):
    """Pairs above the threshold, and which samples they are of."""
    pairs = some_pairs(proba, y_encoded, top_k, threshold)
    kept = np.arange(proba.n_samples)
    return pairs, kept if threshold is None else kept[proba.pairs(y_encoded, top_k).confidence > threshold]


def _positive(weights):
    """Sum of each weighting, shape (n_weightings, 1), 1 in the place of 0."""
    total = weights.sum(1, keepdims=True)
    return np.where(total > 0, total, 1.0)


def _entries_beyond_first(proba, edges):
    """Row, place in a table of bins by classes, and value of every probability beyond the first bin."""
    found = []
    for rows, chunk in proba.chunks():
        row, column = np.nonzero(chunk > chunk.dtype.type(edges[1]))
        value = chunk[row, column].astype(np.float64)
        found.append((row + rows.start, bin_indices(value, edges) * proba.n_classes + column, value))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
