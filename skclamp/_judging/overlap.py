"""Rows that two sets of samples share, beyond what chance and values that come often explain."""

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
    counts, ratio = (of_old, len(rows) / len(seen)) if len(rows) <= len(seen) else (of_new, len(seen) / len(rows))
    twins = counts[counts > 1]
    n_shared = np.isin(new, old).sum()
    # A pair that didn't happen to come counts as one that did.
    spread = np.sqrt(n_shared + ratio**2 * ((twins**2).sum() + 4))
    if n_shared - ratio * twins.sum() <= _DEVIATIONS * spread:
        return 0.0
    by_chance = len(old) / 256.0**seen.itemsize
    return float(max(0.0, np.isin(rows, old).mean() - by_chance) / (1 - by_chance))
