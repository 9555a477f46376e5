"""Folds of a calibration set that depend on neither the order of its samples nor that of the classes.

Nothing here imports from the package.
"""

import numpy as np

# Relative difference of two samples' log-probabilities that is no more than rounding.
_EQUAL = 1e-9


def draw_folds(log_proba, y, weight, n_folds):
    """Number of the fold of each sample: drawn with a fixed seed, stratified by class, equal samples kept together.

    Within a class the draw is uniform. Folds that held equally many hard samples each would resemble each other more
    than new data do, and flatter the maps that overfit.

    Parameters
    ----------
    log_proba : torch.Tensor of shape (n_samples, n_classes), float64
        Ranks the samples of a class, whatever order they come in.
    y : torch.Tensor of shape (n_samples,), int64
        Column indices of the labels.
    weight : torch.Tensor of shape (n_samples,), float64
        Their weights; one of 0 is as good as absent.
    n_folds : int
        How many at most; fewer where there are fewer distinct samples.

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    own = log_proba.gather(1, y[:, None].to(log_proba.device))[:, 0].cpu().numpy()
    labels, weight = y.cpu().numpy(), weight.cpu().numpy()
    order, first = _distinct_samples(own, labels, weight)
    drawn = np.empty(first.sum(), dtype=np.int64)
    generator = np.random.default_rng(0)
    starts = np.flatnonzero(np.diff(labels[order][first], prepend=-1, append=-1))
    for low, high in zip(starts[:-1], starts[1:], strict=True):
        drawn[low:high] = generator.permutation(np.arange(low, high) % n_folds)
    folds = np.zeros(len(labels), dtype=np.int64)
    folds[order] = drawn[np.cumsum(first) - 1]
    return folds


def _distinct_samples(own, labels, weight):
    """Indices of the samples with weight, by class and then by `own`, and which of them differ from the one before."""
    of_class = np.bincount(labels, weight * own) / np.maximum(np.bincount(labels, weight), np.finfo(float).tiny)
    order = np.lexsort([own, labels, of_class[labels]])
    order = order[weight[order] > 0]
    apart = np.diff(own[order]) > _EQUAL * np.abs(own[order[1:]])
    return order, np.r_[True, apart | (np.diff(labels[order]) != 0)]
