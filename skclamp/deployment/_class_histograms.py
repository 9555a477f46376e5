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


class MixtureTest(NamedTuple):
    """How well a mixture of the labelled samples' classes fits.

    Attributes
    ----------
    p_value : float
        Of Pearson's statistic; 1 without degrees of freedom.
    degrees_of_freedom : int
        Cells less classes that the mixture has; where they are below 1 nothing was tested.
    """

    p_value: float
    degrees_of_freedom: int


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

    def test(self, log_proba):
        """Test unlabelled samples, by their log-probabilities, against the best mixture of the classes.

        The mixture's weights and the classes' histograms are fitted to both sides together by maximum likelihood.
        Residuals have a sampling error of either side: of the unlabelled samples, and of the labelled ones that say
        what each class looks like.
        """
        seen, y_encoded = np.unique(self.y_encoded, return_inverse=True)
        size = _N_BINS * self.n_classes
        labelled = np.bincount(self.cells * len(seen) + y_encoded, self.weight, size * len(seen)).reshape(size, -1)
        observed = np.bincount(_cells(log_proba, self.edges), minlength=size)
        filled = (observed > 0) | labelled.any(1)
        # Confidence tells other inputs from other frequencies: few samples of a bin are pooled with such of that bin.
        bins = (np.arange(size) % _N_BINS)[filled]
        labelled, observed = labelled[filled], observed[filled]
        expected = _expected(*_fit(labelled, observed))
        groups = _pool(expected * observed.sum(), bins)
        return _test(_sums(labelled, groups), _sums(observed, groups))


def _cells(log_proba, edges):
    return log_proba.argmax(1) * _N_BINS + np.searchsorted(edges, log_proba.max(1), side="right")


def _fit(labelled, observed):
    """Histograms (n_cells, n_classes) of the classes and weights of their mixture, by EM on both sides' counts."""
    sizes, n_samples = labelled.sum(0), observed.sum()
    everyone = (labelled.sum(1) + observed) / (sizes.sum() + n_samples)
    # A cell in which a class starts with nothing would stay without.
    shares = (labelled + everyone[:, None]) / (sizes + 1)
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


def _expected(shares, weights):
    return shares @ weights


def _pool(expected, bins):
    """Number of the group of each cell: large ones alone, small ones with such of the same bin or, at its end, the next.

    Each group but the only one is expected to hold `_MIN_EXPECTED` samples.
    """
    small = expected < _MIN_EXPECTED
    groups = np.cumsum(~small) - 1
    last, held = int((~small).sum()), 0.0
    for cell in np.flatnonzero(small)[np.argsort(bins[small], kind="stable")]:
        groups[cell] = last
        held += expected[cell]
        if held >= _MIN_EXPECTED:
            last, held = last + 1, 0.0
    # What is left over at the end joins the group before.
    return np.minimum(groups, max(0, last - 1))


def _sums(counts, groups):
    total = np.zeros((groups.max() + 1, *counts.shape[1:]))
    np.add.at(total, groups, counts)
    return total


def _test(labelled, observed):
    shares, weights = _fit(labelled, observed)
    sizes, n_samples = labelled.sum(0), observed.sum()
    # A class of which less than half a sample is there has no weight that was fitted.
    degrees = len(observed) - int((n_samples * weights > 0.5).sum())
    if degrees < 1:
        return MixtureTest(1.0, degrees)
    residual = observed - n_samples * _expected(labelled / sizes, weights)
    variance = n_samples * _expected(shares, weights) + n_samples**2 * _expected(shares, weights**2 / sizes)
    statistic = (residual**2 / np.maximum(variance, np.finfo(float).tiny)).sum()
    return MixtureTest(float(stats.chi2.sf(statistic, degrees)), degrees)
