"""Confidences summed up in cells that no bin on offer parts: tables of any of these bins are sums over cells."""

from dataclasses import dataclass

import numpy as np

from ..metrics._binning import bin_indices, rounded

# Bins that every page offers, beside the comparison's own.
COUNTS = (*range(1, 21), 25, 30, 40, 50)
# Finer where networks are most of the time, and where rare events are: 0.99 and 0.999 aren't alike.
_ENDS = (0.0001, 0.0005, *(k / 1000 for k in range(1, 10)))
THRESHOLDS = (0.0, *_ENDS, *(k / 200 for k in range(2, 199)), *(round(1 - k, 4) for k in reversed(_ENDS)))


@dataclass(frozen=True)
class Cells:
    """Confidences of one event per sample, summed up between all edges that bins on offer can have.

    Attributes
    ----------
    columns : ndarray of shape (4, n_cells)
        Of the cells that hold samples: which of the edges and thresholds, in ascending order, is the lower end; number
        of samples; number of those whose event came true; sum of the confidences.
    floors : ndarray of shape (n_counts, 2)
        For each number of bins, mean and 95 % quantile of the calibration error of perfectly calibrated confidences
        like these.
    effect : float
        Design effect: how many rows tell as much as one that is independent of all others.
    """

    columns: np.ndarray
    floors: np.ndarray
    effect: float


def cells_of(confidence, hits, drawn, counts, *, dtype, units):
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
    units : ndarray of shape (n_samples,), int
        Numbers that rows share which depend on each other.
    """
    of_bins = [np.arange(n + 1) / n for n in counts]
    edges = np.unique(np.concatenate([THRESHOLDS, *of_bins]))
    place, cell, count = np.unique(
        bin_indices(confidence, rounded(edges, dtype)), return_inverse=True, return_counts=True
    )
    total = np.bincount(cell, confidence)
    in_cells, *drawn_in_cells = (np.bincount(cell[true], minlength=len(count)) for true in (hits, *drawn))
    residuals = np.array(drawn_in_cells) - total
    floors = []
    for own in of_bins:
        starts = np.flatnonzero(np.diff(bin_indices(edges[place + 1], own), prepend=-1))
        errors = abs(np.add.reduceat(residuals, starts, axis=1)).sum(1) / len(cell)
        floors.append([errors.mean(), np.quantile(errors, 0.95)])
    # Variance of the residuals' sum over what it were if rows of a unit were independent (L. Kish, 1965).
    deviations = hits - confidence - (hits - confidence).mean()
    variance = (deviations**2).sum()
    of_units = (np.bincount(units, deviations) ** 2).sum()
    effect = max(1.0, float(of_units / variance)) if variance else 1.0
    # Draws are independent, and their sums vary less than those of rows that aren't.
    return Cells(np.stack([place, count, in_cells, total]), np.array(floors) * effect**0.5, effect)
