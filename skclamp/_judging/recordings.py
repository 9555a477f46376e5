"""Recordings, such as frames of a drive in their order: samples whose losses agree with those of their neighbours."""

import numpy as np
from scipy.ndimage import uniform_filter1d

from .paired import deviations

# Of chance, of losses and probabilities and of losses alone; and fewer samples tell little.
_DEVIATIONS, _DEVIATIONS_OF_LOSSES, _MIN_SAMPLES = 3.0, 2.0, 20
# Samples of one kind, about equally sure, whose mean a sample is compared with, itself in the middle of them.
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
_COUNTED = "stretches of {length} count as one sample each"
_FEW = _COUNTED + ", and as losses agree for longer, errors are still too small"
# Fewer tell nothing of how a mean varies.
_MIN_STRETCHES = 8


def stretch_of(proba, labels, known, size=1):
    """Return how many samples in succession are one stretch, where their order looks like a recording; else 0.

    Losses of neighbours agree, those at the same place: their means over an image may not. Together with mean
    probabilities, losses still agree where each sample is compared with those of its class and prediction about which
    a network is equally sure: so samples sorted by class, prediction or confidence are no recording. Nor are those
    sorted by several at once, or by the probability of a class, which rise or fall for long. Of independent ones the
    products of neighbours' are martingale differences, however unequal their variances are: their sum over the root of
    their squares' is about normal, if not nearer to 0.

    A stretch is twice as long as losses agree: the sum of correlations, from both sides, in units of the largest, which
    noise of each loss by itself makes small but no shorter.

    Parameters
    ----------
    proba : ndarray of shape (n_samples * size, n_classes)
        Probabilities of the places, or labels, of each sample.
    labels : ndarray of shape (n_samples * size,), int
    known : ndarray of shape (n_samples * size,), bool
        Whether a label counts.
    size : int, default=1
        Places, or labels, of a sample.
    """
    labels = np.where(known, labels, 0)
    losses = -np.log(np.maximum(proba[np.arange(len(labels)), labels], np.finfo(np.float32).tiny))
    losses, confidence = ((each * known).reshape(-1, size) for each in (losses, proba.max(1)))
    at_places, losses, confidence = losses - losses.mean(0), losses.mean(1), confidence.mean(1)
    if len(losses) < _MIN_SAMPLES or np.ptp(losses) < _ROUNDING:
        return 0
    means = proba.reshape(-1, size, proba.shape[1]).mean(1, dtype=float)
    series, kinds = np.column_stack([losses, means]), [labels[::size] * (size == 1), means.argmax(1)]
    n_kinds = np.unique(kinds, axis=1).shape[1]
    for each in (confidence, *series.T):
        steps = np.sign(np.diff(each))
        steps = steps[steps != 0]
        # Of each kind sorted values turn twice at most.
        if np.count_nonzero(np.diff(steps)) < min(2 * n_kinds, len(steps) / _LONG):
            return 0
    for kind in (kinds, kinds[::-1], kinds[1:]):
        order = np.lexsort([confidence, *kind])
        surprise = np.empty_like(series)
        surprise[order] = series[order] - uniform_filter1d(series[order], _ALIKE, axis=0, mode="wrap")
        if _agreement(surprise) <= _DEVIATIONS:
            return 0
    if _agreement(at_places) <= _DEVIATIONS_OF_LOSSES:
        return 0
    centred = losses - losses.mean()
    # From a lag of one up to the first at which nothing is left.
    products = np.correlate(centred, centred, "full")[len(losses) :]
    left = products[: max(1, np.argmax(products <= 0))]
    length = np.ceil(_LONGER * 2 * left.sum() / left.max()) if left.max() > 0 else _LONGER
    # Two at least.
    return int(min(length, len(losses) // 2))


def _agreement(values):
    """Sum of the products of neighbours' rows, each column in units of its own, in standard errors."""
    values = values / (values.std(0) + _ROUNDING)
    products = np.concatenate([(values[lag:] * values[:-lag]).sum(1) for lag in (1, 2)])
    # Of shuffled rows, whose sum is 0, a product is a little below it.
    return deviations(products + values.shape[1] / (len(values) - 1))


def counted(length, n_samples, samples, groups):
    """Return the length of the stretches that a mean's error goes by, and what is told.

    Where there are fewer than eight, shorter ones come nearer to the error than single samples do.
    """
    most = n_samples // _MIN_STRETCHES
    then = _COUNTED if length <= most else _FEW
    length = min(length, most)
    return length, IN_ORDER.format(samples=samples, then=then.format(length=length), groups=groups)
