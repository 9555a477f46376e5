"""Tests whether unlabelled samples look like a mixture of the labelled ones' classes."""

from typing import NamedTuple

import numpy as np
from scipy import stats

# Bins of each probability, which hold equally many labelled samples.
_N_BINS = 4


class ClassHistograms(NamedTuple):
    """How probabilities of the labelled samples of each class are distributed: the largest one, and each class's.

    Attributes
    ----------
    edges : ndarray of shape (n_classes + 1, 3)
        Between the bins of each probability, as logarithms; the last row is of the largest one.
    counts : ndarray of shape (n_classes + 1, 4, n_classes)
        Samples of each class, last axis, in each bin. A class's sum to Kish's number where samples have weights.
    """

    edges: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, log_proba, y_encoded, weight):
        """From calibrated log-probabilities, column indices and positive weights of labelled samples."""
        n_classes = log_proba.shape[1]
        total, squares = (np.bincount(y_encoded, values, n_classes) for values in (weight, weight**2))
        weight = weight * (total / np.maximum(squares, np.finfo(float).tiny))[y_encoded]
        columns = _columns(log_proba)
        edges = np.quantile(columns, np.arange(1, _N_BINS) / _N_BINS, axis=1).T
        cells = (_bins(column, inner) * n_classes + y_encoded for column, inner in zip(columns, edges, strict=True))
        counts = [np.bincount(cell, weight, _N_BINS * n_classes) for cell in cells]
        return cls(edges, np.reshape(counts, (-1, _N_BINS, n_classes)).astype(np.float32))

    def p_value(self, log_proba, priors):
        """Bonferroni's of Pearson's tests, one for each probability, of unlabelled samples against a mixture.

        The mixture has the frequencies `priors`, which EM estimates. Residuals have sampling errors of both sides: of
        the unlabelled samples, and of the labelled ones, which say what a class looks like.
        """
        columns, n_samples = _columns(log_proba), len(log_proba)
        bins = (_bins(column, inner) for column, inner in zip(columns, self.edges, strict=True))
        observed = np.array([np.bincount(found, minlength=_N_BINS) for found in bins])
        sizes = self._sizes()
        counts, sizes, weights = self.counts[..., sizes > 0], sizes[sizes > 0], _weights(sizes, priors)
        everyone = counts.sum(2) / sizes.sum()
        # One sample more of each class, as everyone's are: no bin in which others lie is known to be empty.
        mixed = (counts @ (weights / (sizes + 1))) + everyone * (weights / (sizes + 1)).sum()
        errors = weights**2 / sizes / (sizes + 1)
        variance = n_samples * mixed + n_samples**2 * (counts @ errors + everyone * errors.sum())
        residual = observed - n_samples * (counts @ (weights / sizes))
        filled = variance > 0
        statistic = (residual**2 / np.where(filled, variance, 1)).sum(1)
        degrees = np.maximum(filled.sum(1) - 1, 1)
        return float(min(1.0, len(columns) * stats.chi2.sf(statistic, degrees).min()))

    def n_like(self, priors):
        """Kish's number of labelled samples, once they are weighted to have other class frequencies."""
        sizes = self._sizes()
        return float(1 / (_weights(sizes, priors) ** 2 / sizes[sizes > 0]).sum())

    def _sizes(self):
        return self.counts[0].sum(0, dtype=np.float64)


def _columns(log_proba):
    # Of classes that a sample doesn't have they are -inf, between which there are no quantiles.
    return np.maximum(np.vstack([log_proba.T, log_proba.max(1)]), np.finfo(np.float64).min / 2)


def _bins(column, edges):
    return np.searchsorted(edges, column, side="right")


def _weights(sizes, priors):
    """Shares of the classes that have labelled samples."""
    return priors[sizes > 0] / priors[sizes > 0].sum()
