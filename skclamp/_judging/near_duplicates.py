"""Near-duplicates, such as frames of a video: small clusters of points far nearer to each other than to all others."""

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import linkage
from sklearn.preprocessing import StandardScaler

from .._utils.arrays import to_numpy
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning
from .splits import columns_of, copies_of, joined

# Larger clusters are parts of the distribution.
_MAX_SIZE = 20
# Fewer points of a class tell little of its density.
_MIN_OF_CLASS = 10
_MAX_SEEN, _MIN_SEEN, _MAX_ENTRIES, _MAX_CLUSTERED = 2000, 100, 128, 5000
# So many times as far as the others of a cluster is the next sample. Of gas sensors up to half of the samples look so,
# of digits and CIFAR's images 0.00; of five or ten frames of a video at least 0.8. Where so many do, clusters that are
# less clear are units too: torn apart they would prove.
_FAR, _MANY_CLUSTERED, _FAR_OF_UNITS = 2.5, 0.6, 1.25
_HUGE = 1e100


class Units(NamedTuple):
    """What is independent of each other among some samples.

    Attributes
    ----------
    numbers : ndarray of shape (n_samples,) or None
        Shared by samples of one group, of equal inputs, or of one cluster of near-duplicates; None where all differ.
    are_near : bool
        Whether near-duplicates were found, which nobody has told.
    """

    numbers: np.ndarray | None
    are_near: bool


def units_of(X, prints, y, weight, logits, groups=None, *, labels=None):
    """Find what is independent among samples with weight.

    Parameters
    ----------
    X : array-like or Dataset
        The samples, as `dataset_behind` returns them.
    prints : ndarray of shape (n_samples,) or None
        Hashes of their rows; None if unknown.
    y : ndarray of shape (n_samples,)
        Numbers of their classes.
    weight : torch.Tensor of shape (n_samples,)
        Of 0 where a sample doesn't count.
    logits : torch.Tensor of shape (n_samples, ...) or None
        What a classifier says of them, by which near-duplicates are told where X holds no rows of floats.
    groups : ndarray of shape (n_samples,), default=None
        Numbers of what they belong to, from 0 on; None has near-duplicates looked for.
    labels : tuple of ndarrays, default=None
        What `likely_labels` says, where it is a classifier's scores that X holds.

    Returns
    -------
    Units
    """
    X = None if prints is None else X
    copies = copies_of(prints, weight, X, labels)
    near = near_copies(X, y, weight.numpy(), logits) if groups is None else None
    return Units(joined(copies, near if groups is None else groups), near is not None)


def near_copies(X, y, weight, logits=None):
    """Return labels that only near-copies share, such as frames of a video, and note them; None where there are none.

    They are told by some entries of rows of floats in X, as `dataset_behind` returns it, or else by logits, if there
    are any, among the samples with weight, those of each number in y by themselves.
    """
    rows = np.flatnonzero(weight)
    if len(rows) < _MIN_SEEN:
        return None
    columns = columns_of(X, len(weight))
    if columns is None or columns.dtype.kind != "f":
        # Numbers of tokens tell no distance.
        if logits is None:
            return None
        columns = to_numpy(logits).reshape(len(weight), -1)
    drawn = np.random.default_rng(0).permutation(columns.shape[1])[:_MAX_ENTRIES]
    entries = columns[rows[:, None], drawn].astype(float)
    # What isn't finite, or has no finite square.
    entries[~(abs(entries) < _HUGE)] = 0.0
    if len(getattr(X, "shape", ())) < 3:
        # Columns of a table have units of their own; of images noise where nothing else is would count as much.
        entries = StandardScaler().fit_transform(entries)
    # Some samples in succession of all, in which near-copies are neighbours.
    order = np.argsort(entries @ np.random.default_rng(0).normal(size=entries.shape[1]))
    some = order[max(0, len(rows) - _MAX_SEEN) // 2 :][:_MAX_SEEN]
    seen, by_chance, n_seen = _near_duplicates(entries[some], y[rows[some]])
    if seen - by_chance <= _MANY_CLUSTERED * max(n_seen, _MIN_SEEN):
        return None
    found = np.arange(len(weight))
    # Distances among all of very many would take memory.
    for part in np.array_split(order, 1 + len(order) // _MAX_CLUSTERED):
        found[rows[part]] = rows[part[clusters(entries[part], _FAR_OF_UNITS)]]
    note(
        f"{seen / n_seen:.0%} of the samples have others of their class at a fraction of the distance to the rest, as "
        "frames of a video and altered copies have. Each cluster of them counts as one sample, "
        f"{len(np.unique(found[rows]))} in place of {len(rows)}. Where you know what belongs together, give fit the "
        "groups",
        CalibrationSetWarning,
    )
    return found


def _near_duplicates(points, y):
    """Return how many points are in clusters, each class by itself, and with permuted columns; and how many were seen.

    Permuted columns show how often discrete values or few columns make it look so.
    """
    rng = np.random.default_rng(0)
    found = np.zeros(3)
    for k in np.unique(y):
        part = points[y == k]
        if len(part) >= _MIN_OF_CLASS:
            found += _n_clustered(part), _n_clustered(rng.permuted(part, axis=0)), len(part)
    return found


def _n_clustered(points):
    distinct = np.unique(points, axis=0)
    _, size = np.unique(clusters(distinct, _FAR), return_counts=True)
    # Equal points differ elsewhere, or are known.
    return len(points) * size[size > 1].sum() / len(distinct)


def clusters(points, far):
    """Return for each point the number of one of its cluster, the same for all of these, integers of shape (n_points,).

    Clusters are those of single linkage, the largest of each point that a step more than `far` times as long as its own
    longest leaves, and that has 20 points at most; any other point is alone. Equal points share a label.
    """
    points, some, number = np.unique(points, axis=0, return_index=True, return_inverse=True)
    labels = np.arange(len(points))
    # Of each cluster, the points and then what later steps join, some points and the longest step within.
    members = [[k] for k in labels.tolist()]
    longest = [0.0] * len(points)
    for first, second, length, _ in linkage(points, "single").tolist() if len(points) > 1 else []:
        parts = [members[int(part)] for part in (first, second)]
        for part, step in zip(parts, (longest[int(first)], longest[int(second)]), strict=True):
            if 1 < len(part) <= _MAX_SIZE and length > far * step:
                labels[part] = part[0]
        members.append(sum(parts, [])[: _MAX_SIZE + 1])
        longest.append(length)
    return some[labels[number.ravel()]]
