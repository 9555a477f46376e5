"""Recordings, such as frames of a drive in their order: samples whose losses agree with those of their neighbours."""

import numpy as np

# Of chance.
_DEVIATIONS = 3.0
# Samples of one class, about equally hard, that a loss is compared with, in an order of these.
_ALIKE = -3, -2, -1, 1, 2, 3


def stretch_of(losses, hardness, y):
    """Return how many samples in succession tell about as much as one, where their order looks like a recording; or 0.

    Losses are compared with those of samples of their class that are about equally hard: so samples sorted by class, or
    by how hard they are, are no recording. Of independent ones the products of neighbours' are martingale differences,
    however unequal their variances are: their sum over the root of their squares' is about normal, if not nearer to 0.
    """
    order = np.lexsort([hardness, y])
    surprise = np.empty(len(y))
    surprise[order] = losses[order] - np.mean([np.roll(losses[order], shift) for shift in _ALIKE], axis=0)
    products = np.concatenate([surprise[lag:] * surprise[:-lag] for lag in (1, 2)])
    if products.sum() <= _DEVIATIONS * np.linalg.norm(products):
        return 0
    centred = losses - losses.mean()
    # From no lag up to the first at which nothing is left.
    products = np.correlate(centred, centred, "full")[len(y) - 1 :]
    return int(np.ceil(2 * products[: np.argmax(products <= 0)].sum() / products[0] - 1))
