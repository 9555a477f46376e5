"""Columns that fit the labels in another order."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from .paired import deviations

# The Hungarian method takes time with the cube of the columns.
_MAX_COLUMNS = 2048
_DEVIATIONS = 3.09  # of a level of 1e-3, one-sided
# Of fewer even flawless mending isn't significant.
_MIN_ERRORS = 10
# Of an order with the labels, beyond chance: Cohen's kappa.
_MIN_AGREEMENT = 0.4


def better_order(best, labels, weight, units):
    """Where each column goes in an order that fits the labels significantly better; None where there is none.

    It is found on one half of the samples and tested on the other. `best` and `labels` are the columns of the greatest
    logits and of the labels. Those of a unit, such as an image, are one observation.
    """
    columns, places = np.unique([best, labels], return_inverse=True)
    if (best != labels).sum() < _MIN_ERRORS or len(columns) > _MAX_COLUMNS:
        return None
    best, labels = places.reshape(2, -1)
    second = (np.random.default_rng(0).random(len(best)) >= 0.5)[units]
    counts = np.zeros((len(columns), len(columns)))
    np.add.at(counts, (best, labels), weight * ~second)
    # Each column goes to one label at the best, which bounds the accuracy of every order; most nonsense ends here.
    if counts.max(1).sum() <= _MIN_AGREEMENT * counts.sum():
        return None
    # Beyond what the shares of columns and labels make by chance: a class that is predicted too often isn't misplaced.
    excess = counts - np.outer(counts.sum(1), counts.sum(0)) / max(counts.sum(), np.finfo(float).tiny)
    order = linear_sum_assignment(excess, maximize=True)[1]
    if not _is_better(order, best[second], labels[second], weight[second], units[second]):
        return None
    wanted = np.arange(columns[-1] + 1)
    wanted[columns] = columns[order]
    return wanted


def _is_better(order, best, labels, weight, units):
    """Return True where an order is more accurate on units beyond chance, and far more than labels' shares make."""
    moved = order[best]
    gain = (moved == labels).astype(float) - (best == labels)
    if deviations(np.bincount(units, weight * gain)) <= _DEVIATIONS:
        return False
    # Inputs that have shifted confuse classes as well, and what is moved then is mostly wrong again.
    if 2 * (weight @ (gain > 0)) <= weight @ (moved != best):
        return False
    # And the right order makes a network worth its calibration.
    share = np.bincount(labels, weight, minlength=len(order)) / weight.sum()
    hits, chance = np.average([moved == labels, share[moved]], axis=1, weights=weight)
    return hits - chance > _MIN_AGREEMENT * (1 - chance)
