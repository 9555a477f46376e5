"""Dependence: near-copies among samples, and an order that looks like a recording's, of which few are independent."""

from dataclasses import replace

import numpy as np
import torch

from .._judging.near_duplicates import near_copies
from .._judging.paired import numbered
from .._judging.recordings import MAX_SEEN, counted, stretch_of
from .._utils.warnings import note
from ..distributed import ALONE
from ..exceptions import CalibrationSetWarning
from . import words

# So many places of each tell of all, since neighbours agree.
_MAX_PLACES = 256


def look_for_dependence(samples, thoroughly, names=None):
    """Return the samples with what is found, and note it; near-copies `thoroughly`, or where their order is odd.

    Samples that errors of means are computed of have `names`: theirs, and that of their groups.
    """
    of_all = samples.rows(_MAX_PLACES)
    # A row of numbers for each sample.
    numbers = np.arange(len(of_all.y)).reshape(samples.shard.total, -1)
    weight = of_all.weight.numpy()[numbers].max(1)
    # Copies are told elsewhere.
    copies, rows = numbered(samples.copies(), len(weight)), np.flatnonzero(weight)
    rows = np.sort(rows[np.unique(copies[rows], return_index=True)[1]])
    some = of_all.take(torch.from_numpy(numbers[rows[:MAX_SEEN]].ravel()))
    proba, labels, known = (each.cpu().numpy() for each in (some.logits.double().softmax(1), some.y, some.weight > 0))
    length = stretch_of(proba, labels, known, numbers.shape[1])
    if length or thoroughly:
        X = samples.X if samples.shard.ranks is ALONE else None
        classes = of_all.y.cpu().numpy() if numbers.shape[1] == 1 else np.zeros(len(weight))
        samples = replace(samples, near_copies=near_copies(X, classes, weight, of_all.logits.reshape(len(weight), -1)))
    if not length or samples.near_copies is not None:
        return samples
    length, told = counted(length, len(rows), *names) if names else (length, words.RECORDING)
    note(told, CalibrationSetWarning)
    stretches = np.searchsorted(rows, np.arange(len(weight))) // length
    return replace(samples, groups=stretches, is_recording=True)
