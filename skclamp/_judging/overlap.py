"""Rows that two sets of samples share, beyond what chance and values that come often explain."""

import math

import numpy as np

# By so many standard errors more rows are shared than chance explains.
_DEVIATIONS = 5


def shared_share(prints, seen):
    """Return the share of rows whose hashes are among those of others; 0 where that may be by chance.

    `prints` are uint32, and `seen` those of the others, or their upper halves, uint16. Of two sets of m and n
    independent draws from the same values, of which the second is the larger, let d_i values come i times in the
    second. Then at most ``m / n * (i + 1) * d_(i + 1)`` of the d_i are expected in the first, as Good and Turing
    reckon, whatever the values.
    """
    rows = prints >> np.uint32(32 - 8 * seen.itemsize)
    (new, of_new), (old, of_old) = (np.unique(part, return_counts=True) for part in (rows, seen))
    if len(seen) < len(rows):
        counts = of_new
        is_shared = np.isin(new, old)
        ratio = len(seen) / len(rows)
    else:
        counts = of_old
        is_shared = np.isin(old, new)
        ratio = len(rows) / len(seen)
    if not is_shared.any() or not _is_more(counts, is_shared, ratio):
        return 0.0
    by_chance = len(old) / 256.0**seen.itemsize
    found = of_new[np.isin(new, old)].sum() / len(rows)
    return float(max(0.0, found - by_chance) / (1 - by_chance))


def _is_more(counts, is_shared, ratio):
    """Return whether twins explain less than is shared; `counts` says how often each value comes in the larger set."""
    twins = counts[counts > 1]
    # A pair that didn't happen to come counts as one that did.
    spread = math.sqrt(is_shared.sum() + ratio**2 * ((twins**2).sum() + 4))
    return bool(is_shared.sum() - ratio * twins.sum() > _DEVIATIONS * spread)
