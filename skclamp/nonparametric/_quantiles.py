"""Distinct values, and where to cut them so that the parts weigh equally much."""

import numpy as np

# Relative difference of two values up to which they are one.
SAME = 1e-12


def distinct_values(values, hit, weight, noise):
    """Distinct values in ascending order, the weight of the samples that have each, and that of the hits among them.

    Values that only rounding errors tell apart are one: else the order of the samples could decide which comes first.
    `noise` is how far above its next lower neighbour a value must lie to be another one. Weights are positive.
    """
    order = np.argsort(values, kind="stable")
    values, noise, weight, hit = values[order], noise[order], weight[order], hit[order]
    first = np.flatnonzero(np.diff(values, prepend=-np.inf) > noise)
    return values[first], np.add.reduceat(weight, first), np.add.reduceat(weight * hit, first)


def bounds_between(distinct):
    """0, the midpoints between m distinct ascending probabilities, and 1: m + 1 bounds."""
    low, high = distinct[:-1], distinct[1:]
    middle = (low + high) / 2
    # Between neighbouring floats the midpoint may round to the upper one, which belongs to the right.
    return np.concatenate([[0.0], np.where(middle < high, middle, low), [1.0]])


def quantile_places(total, part, n_parts):
    """How many of the distinct values, from 0 to m, lie left of the cut at ``part / n_parts`` of their weight `total`.

    A value's weight isn't divided: the cut is at the first place that has enough on its left.
    """
    left = np.concatenate([[0.0], np.cumsum(total)])
    return np.minimum(np.searchsorted(left, left[-1] * part / n_parts), len(total))
