"""Folds go by what the samples are, not by where they stand."""

import numpy as np
import pytest
import torch
from _small_networks import labels_of, logits

from skclamp._backbones.rows import row_prints
from skclamp._judging.splits import copies_of, draw_folds, likely_labels


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


def test_rows_of_permuted_scores_are_told_apart():
    log_proba = np.log(np.tile([[0.7, 0.2, 0.1], [0.7, 0.1, 0.2]], (4, 1)))
    first, second = (
        folds_of(log_proba[rows], np.zeros(8, dtype=int), np.ones(8), 8) for rows in ([*range(8)], [*range(8)][::-1])
    )
    assert set(first[::2]) == set(second[1::2])


def log_softmax(scores):
    return torch.log_softmax(torch.as_tensor(scores).double(), 1)


def drawn(log_proba, y, n_folds, copies=None):
    """The fold of each sample, all of weight 1."""
    return draw_folds(log_proba, torch.as_tensor(y), torch.ones(len(y), dtype=torch.float64), n_folds, copies)


def test_folds_are_of_one_size_and_keep_equal_samples_together():
    units = np.repeat(np.arange(100), 3)
    numbers = drawn(log_softmax(logits(100)[units]), labels_of(logits(100))[units], 5, units)
    assert (numbers.reshape(-1, 3) == numbers[::3, None]).all()
    assert (np.bincount(numbers) == 60).all()


@pytest.mark.parametrize("kind", ["votes", "saturated"])
def test_folds_are_even_where_many_samples_have_equal_scores(kind):
    """Votes of a few neighbours, and logits whose softmax is 0 or 1, in arithmetic."""
    Z = logits(900)
    y = torch.from_numpy(labels_of(Z))
    votes = (5 * log_softmax(Z).exp()).round()
    scores = torch.log_softmax(votes.clamp(min=1e-9).log(), 1) if kind == "votes" else log_softmax(1000 * Z)
    assert len(np.unique(scores.gather(1, y[:, None]))) < 700, "ties"
    numbers = drawn(scores, y, 5)
    shares = np.bincount(numbers, minlength=5) / 900
    assert shares.min() > 0.1 and shares.max() < 0.3


def test_copies_of_several_labels_share_a_fold():
    rows = np.tile(np.arange(200), 4)
    Z = log_softmax(logits(200)[rows])
    y = labels_of(Z)
    assert len(np.unique(np.column_stack([rows, y]), axis=0)) > 300, "several labels"
    copies = copies_of(row_prints(Z), torch.ones(800, dtype=torch.float64))
    assert (copies.reshape(4, 200) == copies[:200]).all()
    assert len(np.unique(copies)) == 200
    numbers = drawn(Z, y, 5, copies).reshape(4, 200)
    assert (numbers == numbers[0]).all()
    assert np.bincount(numbers[0]).min() > 20


def test_distinct_samples_are_no_copies():
    Z, weight = logits(500), torch.ones(500, dtype=torch.float64)
    assert copies_of(row_prints(Z), weight, Z) is None
    assert copies_of(None, weight, Z) is None
    # Copies of what has no weight.
    weight[250:] = 0
    assert copies_of(row_prints(np.tile(Z[:250], (2, 1))), weight) is None


def test_without_columns_rows_that_come_unevenly_often_are_categories():
    """Of a Dataset or a sparse matrix hashes alone are known."""
    rng, weight = np.random.default_rng(0), torch.ones(800, dtype=torch.float64)
    assert copies_of(row_prints(rng.integers(0, 2, (800, 5))), weight) is None
    distinct = rng.normal(size=(40, 5))
    np.testing.assert_array_equal(copies_of(row_prints(np.tile(distinct, (20, 1))), weight), np.tile(np.arange(40), 20))
    once = rng.normal(size=(800, 5))
    once[1] = once[0]
    for columns in (None, once):
        assert len(np.unique(copies_of(row_prints(once), weight, columns))) == 799


@pytest.mark.parametrize("n_times", [2, 11, 40])
def test_labels_tell_equal_scores_from_copies(n_times):
    """However often all are repeated."""
    Z = log_softmax(np.tile(logits(60), (n_times, 1)))
    weight = torch.ones(len(Z), dtype=torch.float64)
    for y, are_copies in ((np.tile(labels_of(logits(60)), n_times), True), (labels_of(Z.numpy()), False)):
        copies = copies_of(row_prints(Z), weight, Z, likely_labels(Z, torch.from_numpy(y)))
        assert (copies is not None) == are_copies


@pytest.mark.parametrize("kind", [float, object])
def test_equal_rows_of_categories_are_no_copies(kind):
    rng = np.random.default_rng(0)
    weight, X = torch.ones(600, dtype=torch.float64), rng.integers(0, 4, (600, 3)).astype(kind)
    assert copies_of(row_prints(X), weight, X) is None
    # Few columns of numbers.
    for n_columns in (1, 2, 8):
        X = np.tile(rng.normal(size=(60, n_columns)), (10, 1)).astype(kind)
        copies = copies_of(row_prints(X), weight, X)
        np.testing.assert_array_equal(copies, np.tile(np.arange(60), 10))
