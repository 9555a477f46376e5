"""Votes of trees, which hold exact zeros."""

import numpy as np


def votes_of_trees(n_samples, n_trees=25, seed=0):
    """What trees vote for, each for one of 20 classes, and labels; most classes get no vote."""
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(20, 0.3), size=n_samples)
    votes = np.array([rng.multinomial(n_trees, row) for row in proba]) / n_trees
    return votes, np.array([rng.choice(20, p=row) for row in proba])
