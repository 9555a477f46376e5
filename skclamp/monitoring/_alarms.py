"""First alarms of the two tests, and the start of what the earlier one speaks of."""

import copy
from dataclasses import dataclass, replace

import numpy as np

from .._utils.encoding import register


@register
@dataclass(eq=False)
class Alarms:
    """State of a monitor when the first alarm was raised, which stays whatever comes later.

    Attributes
    ----------
    first : list of two ints or None
        Of the mixture and of the restarting test, number of labels at the first alarm; None without one.
    since : int or None
        Number of labels before the start, as estimated at the earlier of these; 0 where none tell of a better time.
    before : ndarray of shape (n_sums,) or float
        The evidence's `totals` at that start.
    changed : bool
        Whether the samples tell that the probabilities were true before.
    """

    first: list
    since: int | None = None
    before: np.ndarray | float = 0.0
    changed: bool = False


def watch_on(evidence, alarms, limits, samples, sizes):
    """Evidence and alarms once more samples, arrays with a row each, are in; those given stay as they are."""
    after = copy.copy(evidence)
    above = after.update(*samples, sizes) >= np.reshape(limits, (2, 1))
    numbers = [evidence.n_samples + int(row.argmax()) + 1 if row.any() else None for row in above]
    first = [known or new for known, new in zip(alarms.first, numbers, strict=True)]
    if alarms.since is not None or not any(first):
        return after, replace(alarms, first=first)
    # However the samples are cut, the start is the likeliest one at the alarm.
    until, sizes = copy.copy(evidence), sizes[: min(filter(None, first)) - evidence.n_samples]
    until.update(*(rows[: sizes.sum()] for rows in samples), sizes)
    return after, Alarms(first, *until.change(limits[0]))
