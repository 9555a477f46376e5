"""Confidences summed up in cells that no bin on offer parts: tables of any of these bins are sums over cells."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Bins that every page offers, beside the comparison's own.
_COUNTS = (*range(1, 21), 25, 30, 40, 50)
# Finer where networks are most of the time: 0.99 and 0.999 aren't alike.
_THRESHOLDS = (*(k / 200 for k in range(198)), *(k / 1000 for k in range(990, 1000)), 0.9995, 0.9999)


@dataclass(frozen=True)
class Menu:
    """The bins and thresholds that a reader can choose: numbers of bins, and confidences in [0, 1), both ascending."""

    counts: tuple[int, ...]
    thresholds: tuple[float, ...]

    @cached_property
    def bin_edges(self):
        """Edges of all bins of equal width."""
        return np.unique(np.concatenate([np.arange(n + 1) / n for n in self.counts]))

    @cached_property
    def edges(self):
        """These and the thresholds."""
        return np.union1d(self.bin_edges, self.thresholds)


def menu_with(n_bins):
    """The usual numbers of bins and thresholds, and one number more."""
    return Menu(tuple(sorted({*_COUNTS, n_bins})), _THRESHOLDS)


def equal_mass_ranks(n_samples, n_bins, side):
    """Places of the edges of `metrics._binning.equal_mass_edges` among ascending confidences without weights."""
    k = np.arange(n_bins + 1) * n_samples
    return np.minimum(k // n_bins, n_samples - 1) if side == "right" else np.maximum(-(-k // n_bins) - 1, 0)


@dataclass(frozen=True)
class Cells:
    """Confidences of one event per sample, summed up between all edges that a menu's bins can have.

    Attributes
    ----------
    place : ndarray of shape (n_cells,), int64
        How many of the menu's edges lie below the cell.
    upper : ndarray of shape (n_cells,)
        Largest confidence; where the edge of a bin of equal mass closes the cell, that edge.
    confidence : ndarray of shape (n_cells,)
        Sum of the confidences.
    count, hits : ndarray of shape (n_cells,), int64
        Number of samples, and of those whose event came true.
    floors : ndarray of shape (2, n_counts, 2)
        For bins of equal width and of equal mass, for each number of bins, mean and 95 % quantile of the calibration
        error of perfectly calibrated confidences like these.
    """

    place: np.ndarray
    upper: np.ndarray
    confidence: np.ndarray
    count: np.ndarray
    hits: np.ndarray
    floors: np.ndarray


def cells_of(confidence, hits, drawn, menu, *, dtype, is_top):
    """Sum up the probabilities of an event between all edges that a menu's bins can have.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,), float64
        Probability of the event.
    hits : ndarray of shape (n_samples,), bool
        Whether it came true.
    drawn : ndarray of shape (n_draws, n_samples), bool
        The same of labels drawn from the probabilities.
    menu : Menu
        The bins.
    dtype : dtype
        Of the probabilities, to which edges are rounded.
    is_top : bool
        Whether the event is that the most probable class is right. Thresholds are of its confidence alone, and the
        bins of equal mass those of ``adaptive_expected_calibration_error``, where the least confident sample, if it is
        one alone, counts as calibrated; else those of ``classwise_calibration_error``.
    """
    side = "right" if is_top else "left"
    order = np.argsort(confidence, kind="stable")
    ascending, n_samples = confidence[order], len(order)
    width_cuts = (menu.edges if is_top else menu.bin_edges).astype(dtype).astype(np.float64)
    mass_cuts = ascending[np.concatenate([equal_mass_ranks(n_samples, n, side) for n in menu.counts])]
    _, start, count = np.unique(
        np.searchsorted(np.union1d(width_cuts, mass_cuts), ascending), return_index=True, return_counts=True
    )
    upper, total = ascending[start + count - 1], np.add.reduceat(ascending, start)
    place = np.searchsorted(menu.edges.astype(dtype), upper)
    cell = np.empty(n_samples, np.intp)
    cell[order] = np.repeat(np.arange(len(start)), count)
    in_cells, *drawn_in_cells = (np.bincount(cell[true], minlength=len(start)) for true in (hits, *drawn))
    floors = _floors(np.array(drawn_in_cells) - total, place, count, menu, side)
    return Cells(place, upper, total, count, in_cells, floors)


def _floors(residuals, place, count, menu, side):
    """The cells' `floors`, from residuals of shape (n_draws, n_cells)."""
    reached, n_samples = np.cumsum(count), count.sum()
    # Where bins begin among the cells, bin by bin, number by number: of equal width, then of equal mass.
    inner = [
        np.searchsorted(place, np.searchsorted(menu.edges, np.arange(1, n) / n), side="right") for n in menu.counts
    ]
    n_width = sum(menu.counts)
    for n in menu.counts:
        inner.append(np.searchsorted(reached, equal_mass_ranks(n_samples, n, side)[1:-1], side="right") + 1)
    starts = np.concatenate([np.r_[0, bounds] for bounds in inner])
    ends = np.concatenate([np.r_[bounds, len(place)] for bounds in inner])
    first_bins = np.cumsum([0, *(len(bounds) + 1 for bounds in inner)])[:-1]
    # A row of the draws for each cell: whole rows are quickly taken.
    path = np.zeros((len(place) + 1, len(residuals)))
    np.cumsum(residuals.T, axis=0, out=path[1:])
    gaps = path[ends] - path[starts]
    if side == "right" and count[0] == 1 < n_samples:
        # The first sample counts as calibrated, and no bin of equal mass before it is empty.
        gaps[np.flatnonzero(starts[n_width:] == 0) + n_width] -= residuals[:, 0]
    errors = np.add.reduceat(np.abs(gaps, out=gaps), first_bins) / n_samples
    return np.stack([errors.mean(1), np.quantile(errors, 0.95, axis=1)], axis=-1).reshape(2, -1, 2)


@dataclass(frozen=True)
class BinnedTest:
    """Test set as it is kept for bins that a reader chooses.

    Attributes
    ----------
    menu : Menu
        The bins.
    n_bins : int
        Their number in the comparison's scores.
    n_samples, n_classes : int
        Of the test set.
    class_names : list of str
        Names of the classes that have cells of their own.
    predictions : dict of list of Cells
        By the calibrator's name: the most probable class's, then those of the classes.
    """

    menu: Menu
    n_bins: int
    n_samples: int
    n_classes: int
    class_names: list[str]
    predictions: dict[str, list[Cells]]

    @property
    def event(self):
        """Index, among the classes with cells, of the one that scores are about: the second of two; -1 of others."""
        return 1 if self.n_classes == len(self.class_names) == 2 else -1
