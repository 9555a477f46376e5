"""Samples that count as one: equal ones, and those of a group."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Relative difference of two scores that is no more than a network's rounding, which hangs on the batch.
_ROUNDING = 1e-6


def joined(copies, groups):
    """A number for each sample of what it is linked to by equal samples and groups, numbers both; None without any."""
    if copies is None or groups is None:
        return groups if copies is None else copies
    places = copies, copies.max() + 1 + groups
    graph = coo_array((np.ones(len(copies)), places), shape=(places[1].max() + 1,) * 2)
    return connected_components(graph, directed=False)[1][copies]


def as_one(units, scores, losses):
    """None, and one sample of each unit, where those of each have one score and one loss; else the units, and all."""
    _, first, number = np.unique(units, return_index=True, return_inverse=True)
    one = first[number]
    alike = (losses == losses[one]) & (np.abs(scores - scores[one]) <= _ROUNDING * np.abs(scores[one]))
    return (None, np.sort(first)) if alike.all() else (units, np.arange(len(units)))
