"""Near-duplicates, such as frames of a video: small clusters of points far nearer to each other than to all others."""

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.neighbors import NearestNeighbors

# Larger clusters are parts of the distribution.
_MAX_SIZE = 20
# Fewer points of a class tell little of its density.
_MIN_OF_CLASS = 10


def share_of_near_duplicates(points, y, far):
    """Return the share of points in clusters, each class by itself, that with permuted columns, and how many were seen.

    Permuted columns show how often discrete values or few columns make it look so.
    """
    rng = np.random.default_rng(0)
    seen, by_chance, n_seen = 0, 0, 0
    for k in np.unique(y):
        part = points[y == k]
        if len(part) >= _MIN_OF_CLASS:
            permuted = np.column_stack([rng.permutation(column) for column in part.T])
            seen, by_chance = seen + _n_clustered(part, far), by_chance + _n_clustered(permuted, far)
            n_seen += len(part)
    return (seen / n_seen, by_chance / n_seen, n_seen) if n_seen else (0.0, 0.0, 0)


def _n_clustered(points, far):
    distinct = np.unique(points, axis=0)
    _, size = np.unique(clusters(distinct, far), return_counts=True)
    # Equal points differ elsewhere, or are known.
    return len(points) * float(size[size > 1].sum()) / len(distinct)


def clusters(points, far):
    """Return labels that only points of one cluster share, integers of shape (n_points,).

    Clusters are those of single linkage, the largest of each point that a step more than `far` times as long as its own
    longest leaves, and that has 20 points at most; any other point is alone. Equal points share a label.
    """
    points, number = np.unique(points, axis=0, return_inverse=True)
    n_points, n_neighbors = len(points), min(_MAX_SIZE, len(points) - 1)
    if not n_neighbors:
        return number.ravel()
    # A cluster of so many has a neighbour outside for each point. A distance of 0 would be no edge.
    distances, neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors()
    distances = np.maximum(distances, np.finfo(float).tiny)
    ends = np.arange(0, distances.size + 1, n_neighbors)
    # Older scipys take 32-bit indices alone.
    indices = neighbors.ravel().astype(np.int32), ends.astype(np.int32)
    tree = minimum_spanning_tree(csr_array((distances.ravel(), *indices), shape=(n_points,) * 2)).tocoo()
    order = np.argsort(tree.data, kind="stable")
    labels, longest, sets = np.arange(n_points), np.zeros(n_points), DisjointSet(range(n_points))
    for first, second, length in zip(*(part[order].tolist() for part in (tree.row, tree.col, tree.data)), strict=True):
        for root in (sets[first], sets[second]):
            if 1 < sets.subset_size(root) <= _MAX_SIZE and length > far * longest[root]:
                labels[[*sets.subset(root)]] = root
        sets.merge(first, second)
        longest[sets[first]] = length
    return labels[number.ravel()]
