"""Scores of the parts of a test set, such as sites: what one calibrator for all of them leaves in each."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._judging.paired import of_groups, student_below_zero
from .._report.cells import cells_of
from ..metrics._binning import bin_indices


@dataclass(frozen=True)
class PartScores:
    """Scores of a calibrator on one part of the test set.

    Attributes
    ----------
    part : str, int or float
        Name of the part.
    n_samples : int
        How many of its samples have a label that is known.
    nll : float
        Negative log-likelihood in nats.
    gain, gain_se : float
        What the NLL is below that of the uncalibrated estimator on the same samples, and its standard error.
    ece, ece_floor, ece_floor_quantile : float
        Expected calibration error, and mean and 95 % quantile of that of perfectly calibrated probabilities like
        these, all of them as in `CalibratorScores`.

    Notes
    -----
    Of a part whose samples are all of one group, floor and standard error aren't known: they are NaN.
    """

    part: Any
    n_samples: int
    nll: float
    gain: float
    gain_se: float
    ece: float
    ece_floor: float
    ece_floor_quantile: float

    @property
    def excess(self):
        """How far the ECE is above the quantile of its floor, by which few samples lead no list."""
        return self.ece - self.ece_floor_quantile


def error_of_part(probability, hits, drawn, edges, *, dtype, units):
    """ECE of a part's events, and the mean and 95 % quantile of its floor; other parameters are as of `cells_of`."""
    residuals = np.bincount(bin_indices(probability, edges), hits - probability)
    error = float(abs(residuals).sum() / len(probability))
    if len(np.unique(units)) < 2:
        return error, np.nan, np.nan
    cells = cells_of(probability, hits, drawn, [len(edges) - 1], dtype=dtype, units=units)
    return error, *map(float, cells.floors[0])


def scores_of_parts(names, errors, losses, uncalibrated, units):
    """`PartScores` of a calibrator, the worst first.

    Parameters
    ----------
    names : list
        Of the parts.
    errors : list of tuple
        What `error_of_part` returns for each.
    losses, uncalibrated : list of ndarrays of shape (n_samples,)
        Losses of the samples of each, those of the calibrator and those without it.
    units : list of ndarrays of shape (n_samples,)
        Numbers that samples share which depend on each other.
    """
    found = []
    for name, error, after, before, unit in zip(names, errors, losses, uncalibrated, units, strict=True):
        gain, gain_se, _ = student_below_zero(*of_groups(before - after, np.ones(len(unit)), unit))
        gain_se = gain_se if len(np.unique(unit)) > 1 else np.nan
        found.append(PartScores(name, len(unit), float(after.mean()), gain, gain_se, *error))
    # Those whose floor isn't known come last.
    return sorted(found, key=lambda own: (np.isnan(own.excess), -np.nan_to_num(own.excess)))
