"""Folds go by what the samples are, not by where they stand."""

import numpy as np
import pytest
import torch

from skclamp._judging.splits import draw_folds


def votes(n_samples, n_classes=4, n_voters=5, seed=0):
    """Log-probabilities of a few voters, of which most are shared by many samples, and labels."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_voters, rng.dirichlet(np.ones(n_classes)), n_samples) + 0.1
    log_proba = np.log(counts / counts.sum(1, keepdims=True))
    return log_proba, (log_proba / 2 + rng.gumbel(size=log_proba.shape)).argmax(1)


def folds_of(log_proba, y, weight, n_folds=3):
    return draw_folds(torch.from_numpy(log_proba.copy()), torch.from_numpy(y), torch.from_numpy(weight), n_folds)


@pytest.mark.parametrize("n_seen", [4, 2])
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_samples_and_classes_decides_nothing_though_most_are_tied(seed, n_seen):
    log_proba, y = votes(400, seed=seed)
    y %= n_seen
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 4, 400).astype(float)
    rows, classes = rng.permutation(400), rng.permutation(4)
    moved = log_proba[rows][:, classes], np.argsort(classes)[y[rows]], weight[rows]
    # Samples that are equal in everything may change places.
    first = np.column_stack([log_proba, y, weight, folds_of(log_proba, y, weight)])
    second = np.column_stack([log_proba[rows], y[rows], weight[rows], folds_of(*moved)])
    assert sorted(map(tuple, first)) == sorted(map(tuple, second))


def test_copies_stay_together_but_rows_of_permuted_scores_are_none():
    log_proba = np.log(np.tile([[0.7, 0.2, 0.1], [0.7, 0.1, 0.2]], (4, 1)))
    numbers = folds_of(log_proba, np.zeros(8, dtype=int), np.ones(8), 2)
    assert set(numbers[::2]) != set(numbers[1::2])
    assert len(set(numbers[::2])) == len(set(numbers[1::2])) == 1
