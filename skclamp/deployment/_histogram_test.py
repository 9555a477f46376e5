"""Tests whether unlabelled samples are a mixture of the labelled ones' classes, by predicted class and confidence."""

from typing import NamedTuple

import numpy as np
from scipy import stats

N_BINS = 4
# Cells that are expected to hold fewer samples are pooled, as is usual for Pearson's statistic.
_MIN_EXPECTED = 5
_MAX_STEPS, _TOLERANCE = 2000, 1e-3
_POSITIVE = 1e-6


class ClassHistograms(NamedTuple):
    """What the labelled samples of each class look like.

    Attributes
    ----------
    edges : ndarray of shape (N_BINS - 1,)
        Of the bins of log-confidence.
    shares : ndarray of shape (n_cells, n_classes)
        Of each class's samples in each cell; 0 of classes without any.
    n_effective : ndarray of shape (n_classes,)
        Number of samples of each class, Kish's where they have weights.
    """

    edges: np.ndarray
    shares: np.ndarray
    n_effective: np.ndarray

    @classmethod
    def of(cls, log_proba, y, weight):
        """From labelled samples."""
        n_classes = log_proba.shape[1]
        confidence = log_proba.max(1)
        edges = np.quantile(confidence[weight > 0], np.arange(1, N_BINS) / N_BINS)
        cells = _cells(log_proba, edges)
        counts = np.zeros((N_BINS * n_classes, n_classes))
        np.add.at(counts, (cells, y), weight)
        total = counts.sum(0)
        squares = np.bincount(y, weight**2, minlength=n_classes)
        some = total > 0
        shares = counts / np.where(some, total, 1)
        return cls(edges, shares, np.where(some, total**2 / np.where(some, squares, 1), 0))


class Fit(NamedTuple):
    statistic: float
    degrees: int
    p_value: float
    mixture: np.ndarray


def _cells(log_proba, edges):
    confidence = log_proba.max(1)
    return log_proba.argmax(1) * N_BINS + np.searchsorted(edges, confidence, side="right")


def test_mixture(histograms, log_proba, min_expected=_MIN_EXPECTED):
    observed = np.bincount(_cells(log_proba, histograms.edges), minlength=len(histograms.shares)).astype(float)
    known = histograms.n_effective > 0
    shares, sizes = histograms.shares[:, known], histograms.n_effective[known]
    n = observed.sum()
    weights = _mixture(shares, observed)
    expected = n * (shares @ weights)
    variance = expected + n**2 * ((shares) @ (weights**2 / sizes))
    observed, expected, variance = _pooled(observed, expected, variance, min_expected)
    degrees = len(observed) - int((weights > _POSITIVE).sum())
    if degrees < 1:
        return Fit(0.0, degrees, 1.0, weights)
    statistic = float(((observed - expected) ** 2 / variance).sum())
    return Fit(statistic, degrees, float(stats.chi2.sf(statistic, degrees)), weights)


def _mixture(shares, observed):
    """Weights of the classes at which the histogram is most likely; cells that no class has count for nothing."""
    met = (observed > 0) & (shares.sum(1) > 0)
    shares, counts = shares[met], observed[met]
    weights = np.full(shares.shape[1], 1 / shares.shape[1])
    for _ in range(_MAX_STEPS):
        gradient = (counts / (shares @ weights)) @ shares
        weights = weights * gradient / counts.sum()
        if gradient.max() - counts.sum() < _TOLERANCE:
            break
    return weights / weights.sum()


def _pooled(observed, expected, variance, least):
    few = expected < least

    def pool(v):
        return np.r_[v[~few], v[few].sum()]

    parts = [pool(v) for v in (observed, expected, variance)]
    if parts[1][-1] < least and len(parts[1]) > 1:
        # join to the smallest of the others
        k = np.argmin(parts[1][:-1])
        out = []
        for v in parts:
            v = v.copy()
            v[k] += v[-1]
            out.append(v[:-1])
        parts = out
    return parts
