"""Distinct values among scores that rounding errors may have told apart.

Imports nothing of the package.
"""

import numpy as np

# Relative difference of two scores up to which they are one.
SAME = 1e-12


def distinct_scores(score, hit, weight, noise):
    """Distinct scores in ascending order, the weight of the samples that have each, and that of the hits among them.

    Scores that only rounding errors tell apart are one: else the order of the samples could decide which comes first.

    Parameters
    ----------
    score, hit, weight : ndarrays of shape (n_samples,)
        Values, whether the sample is a hit, and positive weights.
    noise : ndarray of shape (n_samples,)
        How far above its next lower neighbour a score must lie to be another one.

    Returns
    -------
    distinct, total, hits : ndarrays of shape (n_distinct,)
    """
    order = np.argsort(score, kind="stable")
    score, noise, weight, hit = score[order], noise[order], weight[order], hit[order]
    first = np.flatnonzero(np.diff(score, prepend=-np.inf) > noise)
    return score[first], np.add.reduceat(weight, first), np.add.reduceat(weight * hit, first)
