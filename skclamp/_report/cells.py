"""Confidences summed up in cells that no bin on offer parts: tables of any of these bins are sums over cells."""

from dataclasses import dataclass

import numpy as np

from ..metrics._binning import bin_indices, edges_of_sorted, rounded

# Bins that every page offers, beside the comparison's own.
_COUNTS = (*range(1, 21), 25, 30, 40, 50)
# Finer where networks are most of the time: 0.99 and 0.999 aren't alike.
THRESHOLDS = (*(k / 200 for k in range(198)), *(k / 1000 for k in range(990, 1000)), 0.9995, 0.9999)


def counts_with(n_bins):
    """The usual numbers of bins, and one more."""
    return sorted({*_COUNTS, n_bins})


@dataclass(frozen=True)
class Cells:
    """Confidences of one event per sample, summed up between all edges that bins on offer can have.

    Attributes
    ----------
    place : ndarray of shape (n_cells,), int64
        How many thresholds and edges of bins of equal width lie below the cell.
    upper : ndarray of shape (n_cells,)
        Largest confidence; where the edge of a bin of equal mass closes the cell, that edge.
    confidence : ndarray of shape (n_cells,)
        Sum of the confidences.
    count, hits : ndarray of shape (n_cells,), int64
        Number of samples, and of those whose event came true.
    floors : ndarray of shape (2, n_counts, 2)
        For bins of equal width and of equal mass, for each number of bins, mean and 95 % quantile of the calibration
        error of perfectly calibrated confidences like these.
    effect : float
        Design effect: how many rows tell as much as one that is independent of all others.
    """

    place: np.ndarray
    upper: np.ndarray
    confidence: np.ndarray
    count: np.ndarray
    hits: np.ndarray
    floors: np.ndarray
    effect: float


def cells_of(confidence, hits, drawn, counts, *, dtype, is_top, units):
    """Sum up the probabilities of an event between all edges that bins on offer can have.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,), float64
        Probability of the event.
    hits : ndarray of shape (n_samples,), bool
        Whether it came true.
    drawn : iterable of ndarrays of shape (n_samples,), bool
        The same of labels drawn from the probabilities, one draw after another.
    counts : list of int
        Numbers of bins.
    dtype : torch.dtype
        Of the probabilities, to which edges are rounded.
    is_top : bool
        Whether the event is that the most probable class is right. Thresholds are of its confidence alone, and the
        bins of equal mass those of ``adaptive_expected_calibration_error``, where the least confident sample, if it is
        one alone, counts as calibrated; else those of ``classwise_calibration_error``.
    units : ndarray of shape (n_samples,), int
        Numbers that rows share which depend on each other.
    """
    ascending = np.sort(confidence)
    side = "right" if is_top else "left"
    exact = [np.arange(n + 1) / n for n in counts]
    widths = [rounded(edges, dtype) for edges in exact]
    masses = [edges_of_sorted(ascending, np.ones(len(ascending)), n, side) for n in counts]
    thresholds = rounded(np.unique(np.concatenate([THRESHOLDS, *exact])), dtype)
    cuts = np.unique(np.concatenate([*widths, *masses, *([thresholds] if is_top else [])]))
    _, cell, count = np.unique(np.searchsorted(cuts, confidence), return_inverse=True, return_counts=True)
    upper = ascending[np.cumsum(count) - 1]
    total = np.bincount(cell, confidence)
    in_cells, *drawn_in_cells = (np.bincount(cell[true], minlength=len(count)) for true in (hits, *drawn))
    residuals = np.array(drawn_in_cells) - total
    errors = _errors(residuals, upper, widths)
    if is_top and count[0] == 1 < len(cell):
        # The first sample counts as calibrated in bins of equal mass.
        residuals[:, 0] = 0
    errors = np.array([errors, _errors(residuals, upper, masses)]) / len(cell)
    floors = np.stack([errors.mean(-1), np.quantile(errors, 0.95, axis=-1)], axis=-1)
    # Variance of the residuals' sum over what it were if rows of a unit were independent (L. Kish, 1965).
    deviations = hits - confidence - np.mean(hits - confidence)
    variance = np.square(deviations).sum()
    of_units = np.square(np.bincount(units, deviations)).sum()
    effect = max(1.0, float(of_units / variance)) if variance else 1.0
    # Draws are independent, and their sums vary less than those of rows that aren't.
    return Cells(np.searchsorted(thresholds, upper), upper, total, count, in_cells, floors * effect**0.5, effect)


def _errors(residuals, upper, bins):
    """Sum of absolute residuals over the bins of each draw, for each of some bins' edges."""
    path = np.cumsum(np.pad(residuals, ((0, 0), (1, 0))), axis=1)
    errors = []
    for edges in bins:
        first = np.flatnonzero(np.diff(bin_indices(upper, edges), prepend=-1))
        errors.append(np.abs(np.diff(path[:, [*first, len(upper)]])).sum(1))
    return errors
