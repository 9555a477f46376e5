"""Folds of a calibration set that depend on neither the order of its samples nor that of the classes."""

import numpy as np
import torch

from .least_probability import LOG_MIN_PROBABILITY

# Relative difference of two samples' log-probabilities that is no more than rounding.
_EQUAL = 1e-9
# More equal samples than this are no copies: the scores tell few samples apart, as votes do, or are saturated.
_MAX_COPIES = 10


def draw_folds(log_proba, y, weight, n_folds, copies=None):
    """Number of the fold of each sample: drawn with a fixed seed, copies kept together.

    The draw is uniform. Folds with equally many samples of each class, or equally many hard ones, would resemble each
    other more than new data do, and flatter the maps that learn how frequent classes are in the samples, or overfit.
    `log_proba` ranks the samples, whatever order they come in; one of weight 0 is as good as absent. Folds are fewer
    than `n_folds` where there are fewer distinct samples. `copies` are labels that `copies_of` gave: copies of several
    classes are in the fold of one of them.
    """
    order, first = _ranked(_finite(log_proba), y, weight)
    dealt = np.random.default_rng(0).permutation(np.arange(first.sum()) % n_folds)
    folds = np.zeros(len(y), dtype=np.int64)
    folds[order] = dealt[np.cumsum(first) - 1]
    return folds if copies is None else folds[_first_of_each(copies, order)]


def copies_of(log_proba, weight):
    """Labels that only copies share, samples whose scores are equal but for rounding; None where all differ.

    More equal samples than ten aren't copies, unless there are no others.
    """
    counted = np.flatnonzero(weight.cpu().numpy() > 0)
    if not len(counted):
        return None
    mixed = _mixed(_finite(log_proba), np.arange(log_proba.shape[1]))[counted]
    order = np.argsort(mixed, kind="stable")
    group = np.cumsum(np.r_[False, _apart(mixed[order])])
    size = np.bincount(group)[group]
    copied = (size > 1) & (size <= _MAX_COPIES)
    if not copied.any():
        return None
    copies = np.arange(len(weight))
    copies[counted[order[copied]]] = counted[order[np.searchsorted(group, group[copied])]]
    return copies


def _finite(log_proba):
    """Classes that a sample doesn't have, with -inf, count as those of next to no probability."""
    return log_proba.masked_fill(log_proba == -torch.inf, LOG_MIN_PROBABILITY)


def _first_of_each(copies, order):
    """For each sample the one of its copies that comes first in an order of those with weight."""
    place = np.full(len(copies), len(copies))
    place[order] = np.arange(len(order))
    by_place = np.argsort(place, kind="stable")
    _, first, number = np.unique(copies[by_place], return_index=True, return_inverse=True)
    leader = np.empty(len(copies), dtype=np.int64)
    leader[by_place] = by_place[first[number]]
    return leader


def _ranked(log_proba, y, weight):
    """Indices of the samples with weight, by class and then from hard to easy, and which of them begin a group.

    Copies of a sample make a group, unless they are too many for copies, and there are others.
    """
    own = log_proba.gather(1, y[:, None].to(log_proba.device))[:, 0].cpu().numpy()
    labels, weight = y.cpu().numpy(), weight.cpu().numpy()
    sums = np.bincount(labels, weight * own, minlength=log_proba.shape[1])
    ease = sums / np.maximum(np.bincount(labels, weight, minlength=len(sums)), np.finfo(float).tiny)
    whole = _mixed(log_proba, np.lexsort([weight @ log_proba.cpu().numpy(), ease]))
    order = np.lexsort([weight, whole, own, labels, ease[labels]])
    order = order[weight[order] > 0]
    first = np.r_[True, _apart(own[order]) | _apart(whole[order]) | (np.diff(labels[order]) != 0)]
    group = np.cumsum(first) - 1
    size = np.bincount(group)
    return order, first | (size > _MAX_COPIES)[group] if len(size) > 1 else first


def _mixed(log_proba, classes):
    """A number for each row that tells it from others, its permutations among them; `classes` is their order."""
    mix = np.empty(len(classes))
    mix[classes] = np.random.default_rng(0).uniform(1, 2, len(classes))
    return (log_proba @ torch.from_numpy(mix).to(log_proba)).cpu().numpy()


def _apart(values):
    return np.abs(np.diff(values)) > _EQUAL * np.abs(values[1:])


def check_partition(parts, n_samples):
    """Raise unless each sample is in one of the held-out parts."""
    held_out = np.bincount(np.concatenate(parts), minlength=n_samples)
    if (held_out != 1).any():
        row = int((held_out != 1).argmax())
        raise ValueError(f"cv must hold out each sample exactly once; got sample {row} {held_out[row]} times")


def check_disjoint(splits, n_samples):
    """Raise where a split lacks a part, or a sample is held out several times, or is in both parts of a split."""
    if not splits:
        raise ValueError("validation_fraction must have at least one split; got none")
    for k, parts in enumerate(splits):
        if not all(map(len, parts)):
            raise ValueError(
                f"validation_fraction must have samples with weight in both parts of each split; got {len(parts[0])} "
                f"to train on and {len(parts[1])} held out in split {k}"
            )
    held_out = np.bincount(np.concatenate([rows for _, rows in splits]), minlength=n_samples)
    if (held_out > 1).any():
        row = int((held_out > 1).argmax())
        raise ValueError(
            f"validation_fraction must hold out each sample at most once; got sample {row} {held_out[row]} times"
        )
    for k, (train, rows) in enumerate(splits):
        both = np.intersect1d(train, rows)
        if len(both):
            raise ValueError(
                f"validation_fraction must hold out samples that aren't trained on; got sample {both[0]} in both parts "
                f"of split {k}"
            )
