"""Recordings, such as frames of a drive in their order: samples whose losses agree with those of their neighbours."""

import numpy as np
from scipy.ndimage import uniform_filter1d

# Of chance; and fewer samples tell little.
_DEVIATIONS, _MIN_SAMPLES = 3.0, 20
# Samples of one kind, about equally sure, whose mean a loss is compared with, itself in the middle of them.
_ALIKE = 7
# Recordings turn between rising and falling more often than once in so many steps.
_LONG = 5
# Losses that differ by less are equal.
_ROUNDING = 1e-9
# So many samples in succession tell of all.
MAX_SEEN = 2000
# Means of stretches twice as long as losses agree hardly depend on each other.
_LONGER = 2
# What is told, of which samples, what follows, and which parameter mends it.
IN_ORDER = (
    "the order of {samples} looks like a recording, such as frames of a drive, since the losses of neighbours agree: "
    "{then}. Give {groups}=..., a name for each sample of what it belongs to"
)
COUNTED = "stretches of {length} count as one sample each"


def stretch_of(losses, confidence, kinds):
    """Return how many samples in succession are one stretch, where their order looks like a recording; else 0.

    Losses, or log-likelihoods, are compared with those of samples of one kind, such as a class, about which a network
    is equally sure: so samples sorted by one of the `kinds`, or by confidence, are no recording. Nor are those sorted
    by several at once, which rise or fall for long. Of independent ones the products of neighbours' are martingale
    differences, however unequal their variances are: their sum over the root of their squares' is about normal, if not
    nearer to 0.

    A stretch is twice as long as losses agree: the sum of correlations, from both sides, in units of the largest, which
    noise of each loss by itself makes small but no shorter.
    """
    if len(losses) < _MIN_SAMPLES or np.ptp(losses) < _ROUNDING:
        return 0
    n_kinds = np.unique(kinds, axis=1).shape[1]
    for each in (losses, confidence):
        steps = np.sign(np.diff(each))
        steps = steps[steps != 0]
        # Of each kind sorted values turn twice at most.
        if np.count_nonzero(np.diff(steps)) < min(2 * n_kinds, len(steps) / _LONG):
            return 0
    for kind in kinds:
        order = np.lexsort([confidence, kind])
        surprise = np.empty(len(losses))
        surprise[order] = losses[order] - uniform_filter1d(losses[order], _ALIKE, mode="wrap")
        products = np.concatenate([surprise[lag:] * surprise[:-lag] for lag in (1, 2)])
        if products.sum() <= _DEVIATIONS * np.linalg.norm(products):
            return 0
    centred = losses - losses.mean()
    # From a lag of one up to the first at which nothing is left.
    products = np.correlate(centred, centred, "full")[len(losses) :]
    left = products[: max(1, np.argmax(products <= 0))]
    length = np.ceil(_LONGER * 2 * left.sum() / left.max()) if left.max() > 0 else _LONGER
    # Two at least.
    return int(min(length, len(losses) // 2))
