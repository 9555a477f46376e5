"""First alarms of the two tests, and the start of what the earlier one speaks of."""

import copy
from dataclasses import dataclass

import numpy as np

from .._utils.encoding import register


@register
@dataclass(eq=False)
class Alarms:
    """What stays as it was when the first alarm was raised, whatever comes later.

    Attributes
    ----------
    first : list of two ints or None
        Of the mixture and of the restarting test, number of labels at the first alarm; None without one.
    since : int or None
        Number of labels before the start, as estimated at the earlier of these; 0 where none tell of a better time.
    before : ndarray of shape (n_sums,) or float
        The evidence's `totals` at that start.
    """

    first: list
    since: int | None = None
    before: np.ndarray | float = 0.0


def watch_on(evidence, alarms, limits, log_p, y):
    """Evidence and alarms once more samples are in; those given stay as they are."""
    after = copy.copy(evidence)
    above = after.update(log_p, y) >= np.reshape(limits, (2, 1))
    numbers = [evidence.n_samples + int(row.argmax()) + 1 if row.any() else None for row in above]
    first = [known or new for known, new in zip(alarms.first, numbers, strict=True)]
    since, before = alarms.since, alarms.before
    if since is None and any(first):
        # However the samples are cut, the start is the likeliest one at the alarm.
        until, n_rows = copy.copy(evidence), min(filter(None, first)) - evidence.n_samples
        until.update(log_p[:n_rows], y[:n_rows])
        since, before = until.change(limits[0])
    return after, Alarms(first, since, before)
