"""Folds of a calibration set that depend on neither the order of its samples nor that of the classes."""

from hashlib import blake2b

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .._utils.arrays import ComputedRows, to_numpy
from .._utils.least_probability import LOG_MIN_PROBABILITY, are_zeros

# Relative difference of two samples' log-probabilities that is no more than rounding.
_EQUAL = 1e-9
# More equal scores than this are those of no copies: they tell few samples apart, as votes do, or are saturated.
_MAX_COPIES = 10
# Voters, of whom some may have half a vote where none has one, so many scores that tell, and more than their rounding.
_MAX_VOTERS, _MAX_TELLING, _ROUNDING = 500, 1000, 2e-6
# Equal entries at so many places of inputs make it worth to compare all.
_N_PLACES = 32
# Where fewer rows are possible for each sample, equal ones are no copies; but a column of more values than categories
# have, which tells most of the distinct rows apart, holds numbers.
_POSSIBLE_PER_ROW, _MAX_CATEGORIES = 1000, 30


def draw_folds(log_proba, y, weight, n_folds, copies=None):
    """Return the number of the fold of each sample: drawn with a fixed seed, copies kept together.

    The draw is uniform. Folds with equally many samples of each class, or equally many hard ones, would resemble each
    other more than new data do, and flatter the maps that learn how frequent classes are in the samples, or overfit.
    `log_proba` ranks the samples, whatever order they come in; one of weight 0 is as good as absent. Folds are fewer
    where there are fewer distinct samples. Labels of `copies`, of several classes too, share a fold.
    """
    order, first = _ranked(_finite(log_proba), y, weight)
    group, leader = np.cumsum(first) - 1, np.arange(len(y))
    if copies is not None:
        leader = _first_of_each(copies, order)
        leads = leader[order] == order
        order, group = order[leads], np.unique(group[leads], return_inverse=True)[1]
    dealt = np.random.default_rng(0).permutation(np.arange(group.max(initial=-1) + 1) % n_folds)
    folds = np.zeros(len(y), dtype=np.int64)
    folds[order] = dealt[group]
    return folds[leader]


def copies_of(log_proba, weight, X=None, votes=False):
    """Labels that only copies share, of the samples with weight; None where all differ.

    Copies have equal inputs; of rows of categories, which independent samples may share, none are. Where inputs aren't
    arrays, or aren't known (X is None), up to ten samples whose scores are equal but for rounding are copies, unless
    the scores are votes, which tell few samples apart: those that are known as such, and those that look so.
    `log_proba` may be `ComputedRows`.
    """
    counted = np.flatnonzero(weight.cpu().numpy() > 0)
    if isinstance(X, (np.ndarray, torch.Tensor)) or hasattr(X, "to_numpy"):
        return _equal_inputs(to_numpy(X), counted)
    if votes or not len(counted):
        return None
    parts = log_proba.parts() if isinstance(log_proba, ComputedRows) else [log_proba]
    mixed = np.concatenate([_mixed(_finite(part), np.arange(part.shape[1])) for part in parts])[counted]
    order = np.argsort(mixed, kind="stable")
    group = np.cumsum(np.r_[False, _apart(mixed[order])])
    size = np.bincount(group)[group]
    copied = (size > 1) & (size <= _MAX_COPIES)
    if not copied.any() or _are_votes(_finite(log_proba[counted[order[copied]][:_MAX_TELLING]])):
        return None
    copies = np.arange(len(weight))
    copies[counted[order[copied]]] = counted[order[np.searchsorted(group, group[copied])]]
    return copies


def joined(copies, groups):
    """Return a number for each sample, shared by what equal samples and groups link; None without either."""
    if copies is None or groups is None:
        return groups if copies is None else copies
    # Older scipys take 32-bit indices alone.
    places = copies.astype(np.int32), (copies.max() + 1 + groups).astype(np.int32)
    links = coo_array((np.ones(len(copies)), places), shape=(places[1].max() + 1,) * 2)
    return connected_components(links, directed=False)[1][copies]


def _equal_inputs(inputs, rows):
    """Labels that only some rows of equal inputs share; None where all differ."""
    inputs, copies, counted = inputs.reshape(len(inputs), -1), np.arange(len(inputs)), rows
    for places in (np.random.default_rng(0).permutation(inputs.shape[1])[:_N_PLACES], slice(None)):
        contents = (inputs[row, places] for row in rows)
        # Of objects the bytes are their addresses.
        contents = (repr(part.tolist()).encode() if part.dtype.hasobject else part.tobytes() for part in contents)
        digests = [blake2b(content, digest_size=16).digest() for content in contents]
        _, first, number, counts = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
        tied = counts[number] > 1
        leader, rows = rows[first][number][tied], rows[tied]
    copies[rows] = leader
    return copies if len(rows) and not are_categories(inputs[counted], len(np.unique(copies[counted]))) else None


def are_categories(columns, n_distinct):
    """Return whether so few rows are possible that independent ones may well be equal; `n_distinct` of them differ."""
    n_possible, largest = 1, 1
    for column in columns.T:
        values = column.tolist()
        n_values = len(set(map(repr, values) if columns.dtype.hasobject else values))
        n_possible, largest = n_possible * n_values, max(largest, n_values)
        if n_possible >= _POSSIBLE_PER_ROW * len(columns):
            return False
    return largest <= max(_MAX_CATEGORIES, n_distinct / 2)


def _are_votes(log_proba):
    """Return whether in most rows the second class has so simple a fraction of what the first has."""
    first, second = log_proba.topk(2, 1).values.T
    ratio = (second - first).exp().masked_fill(are_zeros(second), 0.0)[:, None]
    ratio = ratio * torch.arange(1, _MAX_VOTERS + 1, device=ratio.device)
    return ((ratio - ratio.round()).abs() <= _ROUNDING * ratio).any(1).double().mean() > 0.5


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
    of_label = log_proba.gather(1, y[:, None].to(log_proba.device))[:, 0].cpu().numpy()
    labels, weight = y.cpu().numpy(), weight.cpu().numpy()
    sums = np.bincount(labels, weight * of_label, minlength=log_proba.shape[1])
    ease = sums / np.maximum(np.bincount(labels, weight, minlength=len(sums)), np.finfo(float).tiny)
    whole = _mixed(log_proba, np.lexsort([weight @ log_proba.cpu().numpy(), ease]))
    order = np.lexsort([weight, whole, of_label, labels, ease[labels]])
    order = order[weight[order] > 0]
    first = np.r_[True, _apart(of_label[order]) | _apart(whole[order]) | (np.diff(labels[order]) != 0)]
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
