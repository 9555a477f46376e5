"""Tests whether unlabelled samples mix the classes of the labelled ones, by what is predicted and how surely."""

from typing import NamedTuple

import numpy as np
from scipy import stats

# Bins of confidence, which hold equally many labelled samples.
_N_BINS = 4
# As usual for Pearson's statistic, cells that are expected to hold less are pooled.
_MIN_EXPECTED = 5
# EM ends where ten steps raise the log-likelihood by less than this, in nats.
_TOLERANCE = 1e-3
_MAX_STEPS = 500


class ClassHistograms(NamedTuple):
    """The labelled samples by cell, a predicted class and a bin of confidence.

    Attributes
    ----------
    edges : ndarray of shape (3,)
        Between the bins of confidence, as logarithms.
    cells, y_encoded : ndarray of shape (n_samples,)
        Each sample's cell and class.
    weight : ndarray of shape (n_samples,)
        Their weights, of which each class's sum to its number of samples, Kish's where they differ.
    n_classes : int
    """

    edges: np.ndarray
    cells: np.ndarray
    y_encoded: np.ndarray
    weight: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, log_proba, y_encoded, weight):
        """From calibrated log-probabilities, column indices and positive weights of labelled samples."""
        n_classes, confidence = log_proba.shape[1], log_proba.max(1)
        order = confidence.argsort()
        shares = weight[order].cumsum() / weight.sum()
        quarters = np.searchsorted(shares, np.arange(1, _N_BINS) / _N_BINS)
        edges = confidence[order][np.minimum(quarters, len(order) - 1)]
        # Of any scale; their squares mustn't overflow.
        weight = weight / weight.max()
        total, squares = (np.bincount(y_encoded, values, minlength=n_classes) for values in (weight, weight**2))
        weight = weight * (total / np.maximum(squares, np.finfo(float).tiny))[y_encoded]
        return cls(edges, _cells(log_proba, edges), y_encoded, weight, n_classes)

    def n_like(self, priors):
        """Kish's number of labelled samples, once they are weighted to have other class frequencies."""
        sizes = np.bincount(self.y_encoded, self.weight, self.n_classes)
        weights = priors[sizes > 0] / priors[sizes > 0].sum()
        return float(1 / (weights**2 / sizes[sizes > 0]).sum())

    def p_value(self, log_proba, priors):
        """Of two tests, at half the level each, whether unlabelled samples are a mixture of the labelled ones' classes.

        One has all cells, and the mixture that fits their histogram best. With many classes this has little power. The
        other one has the bins of confidence alone, and the mixture of the frequencies `priors`, which EM estimates.
        Residuals have the sampling errors of both sides: of the unlabelled samples, and of the labelled ones, which say
        what a class looks like.
        """
        seen, y_encoded = np.unique(self.y_encoded, return_inverse=True)
        size = _N_BINS * self.n_classes
        labelled = np.bincount(self.cells * len(seen) + y_encoded, self.weight, size * len(seen)).reshape(size, -1)
        observed = np.bincount(_cells(log_proba, self.edges), minlength=size)
        bins = np.arange(size) % _N_BINS
        weights = priors[seen] / priors[seen].sum()
        by_confidence = _test_bins(_sums(labelled, bins), _sums(observed, bins), weights)
        filled = (observed > 0) | labelled.any(1)
        return min(1.0, 2 * min(_test_cells(labelled[filled], observed[filled], bins[filled]), by_confidence))


def _cells(log_proba, edges):
    return log_proba.argmax(1) * _N_BINS + np.searchsorted(edges, log_proba.max(1), side="right")


def _test_bins(labelled, observed, weights):
    """P value of the bins' counts, given the mixture's weights."""
    return _pearson(labelled, observed, _smoothed(labelled, labelled.sum(1)), weights, len(observed) - 1)


def _test_cells(labelled, observed, bins):
    """P value of the cells' counts, with the weights of the mixture that fits best; 1 where any fits."""
    shares, weights = _fit(labelled, observed)
    groups = _pool(observed.sum() * (shares @ weights), bins)
    labelled, observed = _sums(labelled, groups), _sums(observed, groups)
    shares, weights = _fit(labelled, observed)
    # A class of which less than half a sample is there has no weight that was fitted.
    degrees = len(observed) - int((observed.sum() * weights > 0.5).sum())
    return _pearson(labelled, observed, shares, weights, degrees)


def _pearson(labelled, observed, shares, weights, degrees):
    """P value of Pearson's statistic; `shares`, of each class in each cell, are for the variance alone."""
    if degrees < 1:
        return 1.0
    n_samples, sizes = observed.sum(), labelled.sum(0)
    residual = observed - n_samples * (labelled / sizes @ weights)
    variance = n_samples * (shares @ weights) + n_samples**2 * (shares @ (weights**2 / sizes))
    some = variance > 0
    return float(stats.chi2.sf((residual[some] ** 2 / variance[some]).sum(), degrees))


def _smoothed(labelled, everyone):
    """Each class's shares after one more sample, split as those of everyone: no cell that others fill is empty."""
    return (labelled + (everyone / everyone.sum())[:, None]) / (labelled.sum(0) + 1)


def _fit(labelled, observed):
    """Shares (n_cells, n_classes) of the classes and weights of their mixture: EM on the counts of both sides."""
    sizes, n_samples = labelled.sum(0), observed.sum()
    # A cell in which a class starts with nothing would stay without.
    shares = _smoothed(labelled, labelled.sum(1) + observed)
    weights = np.full(len(sizes), 1 / len(sizes))
    before = -np.inf
    for step in range(_MAX_STEPS):
        mixed = shares * weights
        expected = mixed.sum(1)
        if step % 10 == 0:
            likelihood = _log_likelihood(labelled, shares) + _log_likelihood(observed, expected)
            if likelihood - before < _TOLERANCE:
                break
            before = likelihood
        mixed *= (observed / np.maximum(expected, np.finfo(float).tiny))[:, None]
        taken = mixed.sum(0)
        shares, weights = (labelled + mixed) / (sizes + taken), taken / n_samples
    return shares, weights


def _log_likelihood(counts, shares):
    some = counts > 0
    return float(counts[some] @ np.log(shares[some]))


def _pool(expected, bins):
    """Number of each cell's group, which is expected to hold `_MIN_EXPECTED` samples if it isn't the only one.

    Few samples are pooled with such of the same bin, and only what is left over with the next one's: confidence tells
    other inputs from other frequencies.
    """
    small = expected < _MIN_EXPECTED
    groups = np.cumsum(~small) - 1
    last, held = int((~small).sum()), 0.0
    for cell in np.flatnonzero(small)[np.argsort(bins[small], kind="stable")]:
        groups[cell] = last
        held += expected[cell]
        if held >= _MIN_EXPECTED:
            last, held = last + 1, 0.0
    return np.minimum(groups, max(0, last - 1))


def _sums(counts, groups):
    total = np.zeros((groups.max() + 1, *counts.shape[1:]))
    np.add.at(total, groups, counts)
    return total
