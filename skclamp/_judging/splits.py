"""Folds of a calibration set that depend on neither the order of its samples nor that of the classes."""

import numpy as np
import torch
from scipy.sparse import coo_array, issparse
from scipy.sparse.csgraph import connected_components
from torch.utils.data import TensorDataset

from .._utils.arrays import to_numpy
from .._utils.least_probability import LOG_MIN_PROBABILITY
from .paired import numbered

# Where some rows come more often than this times as all do, they are those of no copies.
_MAX_COPIES = 10
# Of samples that equal an earlier one, the share that is of copies, label and all, if any are; and the least that a
# label's probability counts as, since scores may be far too sure.
_COPIED, _LEAST = 0.9, 0.01
# Where fewer rows are possible for each sample, equal ones are no copies; but a column of more values than categories
# have, which tells most of the distinct rows apart, holds numbers.
_POSSIBLE_PER_ROW, _MAX_CATEGORIES = 1000, 30


def draw_folds(log_proba, y, weight, n_folds, units=None):
    """Return the number of the fold of each sample: drawn with a fixed seed, samples of one unit kept together.

    The draw is uniform. Folds with equally many samples of each class, or equally many hard ones, would resemble each
    other more than new data do, and flatter the maps that learn how frequent classes are in the samples, or overfit.
    `log_proba` ranks the samples, whatever order they come in; one of weight 0 is as good as absent. Folds are fewer
    where there are fewer units.
    """
    # Classes that a sample doesn't have, with -inf, count as those of next to no probability.
    order = _ranked(log_proba.masked_fill(log_proba == -torch.inf, LOG_MIN_PROBABILITY), y, weight)
    units = numbered(units, len(y))
    # Each unit stands where its first sample with weight does.
    _, first, number = np.unique(units[order], return_index=True, return_inverse=True)
    place = numbered(first[number])
    dealt = np.random.default_rng(0).permutation(np.arange(place.max(initial=-1) + 1) % n_folds)
    of_units = np.zeros(len(y), dtype=np.int64)
    of_units[units[order]] = dealt[place]
    return of_units[units]


def folds_of_rows(rows, n_folds):
    """Return the number of the fold of each of some `Rows`, by their logits; see `draw_folds`."""
    return draw_folds(rows.logits.double().log_softmax(1), rows.y, rows.weight, n_folds, rows.unit)


def draw_half(y, weight, prints, units, random_state):
    """Return a mask of a random half of the samples, stratified by class: whole units, and all of a class's only one.

    Samples of weight 0 are as good as absent. `prints`, hashes of the inputs, rank the samples, whatever order they
    come in; `units` are labels that only samples share which belong together. None is unknown, and each by itself.
    """
    prints, units = (np.arange(len(y)) if each is None else each for each in (prints, units))
    order = np.lexsort([prints, y, np.bincount(y, weight)[y]])
    order = order[weight[order] > 0]
    # Of each unit a sample of its rarest class.
    leads = order[np.sort(np.unique(units[order], return_index=True)[1])]
    shuffled = np.lexsort([random_state.permutation(len(leads)), y[leads]])
    in_half = np.isin(units, units[leads[shuffled[::2]]])
    return in_half | np.isin(units, units[~np.isin(y, y[in_half])])


def copies_of(prints, weight, X=None, labels=None):
    """Labels that only samples of equal inputs share, of those with weight; None where all differ, or none are known.

    `prints` are hashes of the inputs. Rows of categories, which independent samples may share, are no copies: by the
    columns of `X` or, where these aren't known, where some come more than ten times as often as all do. Of scores, such
    as votes or those of a tree's leaf, `labels` tell, as of `likely_labels`.
    """
    if prints is None:
        return None
    counted = np.flatnonzero(weight.cpu().numpy() > 0)
    _, first, number, counts = np.unique(prints[counted], return_index=True, return_inverse=True, return_counts=True)
    if len(first) == len(counted):
        return None
    if labels is not None:
        are_apart = _are_drawn_apart(number, *(each[counted] for each in labels))
    elif (columns := columns_of(X, len(prints))) is not None:
        are_apart = are_categories(columns[counted], len(first))
    else:
        are_apart = counts.max() > _MAX_COPIES * np.gcd.reduce(counts)
    copies = np.arange(len(prints))
    copies[counted] = counted[first[number]]
    return None if are_apart else copies


def columns_of(X, n_samples):
    """All columns of an array, a list, a frame, a TensorDataset or a dict of such; None of others."""
    X = X.tensors[0] if isinstance(X, TensorDataset) else X
    if isinstance(X, dict) and not issparse(X) and len(X):
        parts = [columns_of(values, n_samples) for values in X.values()]
        return None if any(part is None for part in parts) else np.concatenate(parts, 1)
    if isinstance(X, (np.ndarray, torch.Tensor, list, tuple)) or hasattr(X, "to_numpy"):
        return to_numpy(X).reshape(n_samples, -1)
    return None


def joined(copies, groups):
    """Return a number for each sample, shared by what equal samples and groups link; None without either."""
    if copies is None or groups is None:
        return groups if copies is None else copies
    # Older scipys take 32-bit indices alone.
    places = copies.astype(np.int32), (copies.max() + 1 + groups).astype(np.int32)
    links = coo_array((np.ones(len(copies)), places), shape=(places[1].max() + 1,) * 2)
    return connected_components(links, directed=False)[1][copies]


def are_categories(columns, n_distinct):
    """Return whether so few rows are possible that independent ones may well be equal; `n_distinct` of them differ."""
    n_possible = 1
    largest = 1
    for column in columns.T:
        values = column.tolist()
        n_values = len(set(map(repr, values) if columns.dtype.hasobject else values))
        n_possible = n_possible * n_values
        largest = max(largest, n_values)
        if n_possible >= _POSSIBLE_PER_ROW * len(columns):
            return False
    return largest <= max(_MAX_CATEGORIES, n_distinct / 2)


def likely_labels(log_proba, y):
    """Numbers of samples' labels, rows (n, R), and of each sample the log-probability that all of them come, at most.

    `log_proba` has a row for each label; one that isn't known, of -1, says nothing.
    """
    y = y.cpu().reshape(len(y), -1)
    each = log_proba.cpu().gather(1, y.clamp(min=0).view(-1, 1)).view(y.shape)
    return y.numpy(), each.masked_fill(y < 0, 0.0).amin(1).numpy()


def _are_drawn_apart(copies, y, log_likelihood):
    """Return whether labels of equal samples are likelier of independent ones than of copies."""
    order = np.argsort(copies, kind="stable")
    again = np.flatnonzero(np.diff(copies[order]) == 0)
    same = (y[order[again + 1]] == y[order[again]]).all(1)
    chance = np.maximum(np.exp(log_likelihood[order[again]]), _LEAST)
    return np.log(1 - _COPIED + _COPIED * same / chance).sum() < 0


def _ranked(log_proba, y, weight):
    """Indices of the samples with weight, by class and then from hard to easy."""
    of_label = log_proba.gather(1, y[:, None].to(log_proba.device))[:, 0].cpu().numpy()
    labels = y.cpu().numpy()
    weight = weight.cpu().numpy()
    sums = np.bincount(labels, weight * of_label, minlength=log_proba.shape[1])
    ease = sums / np.maximum(np.bincount(labels, weight, minlength=len(sums)), np.finfo(float).tiny)
    # A number for each row that tells it from others, its permutations among them, whatever the classes' order.
    mix = np.empty(len(ease))
    mix[np.lexsort([weight @ log_proba.cpu().numpy(), ease])] = np.random.default_rng(0).uniform(1, 2, len(ease))
    whole = (log_proba @ torch.from_numpy(mix).to(log_proba)).cpu().numpy()
    order = np.lexsort([weight, whole, of_label, labels, ease[labels]])
    return order[weight[order] > 0]


def check_partition(parts, n_samples, name="cv", how_often="exactly once"):
    """Raise unless each sample is in one of the held-out parts; or, "at most once", in none."""
    held_out = np.bincount(np.concatenate(parts), minlength=n_samples)
    wrong = held_out != 1 if how_often == "exactly once" else held_out > 1
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{name} must hold out each sample {how_often}; got sample {row} {held_out[row]} times")
