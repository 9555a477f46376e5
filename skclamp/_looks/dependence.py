"""Dependence: near-copies among samples, and an order that looks like a recording's, of which few are independent."""

from dataclasses import replace

import numpy as np
import torch

from .._judging.near_duplicates import near_copies
from .._judging.paired import numbered
from .._judging.recordings import MAX_SEEN, stretch_of
from .._solvers.temperature import log_likelihoods
from .._utils.warnings import note
from ..distributed import ALONE
from ..exceptions import CalibrationSetWarning
from . import words

# So many places of each tell of all, since neighbours agree.
_MAX_PLACES = 256


def look_for_dependence(samples, thoroughly, recording=words.RECORDING):
    """Return the samples with what is found; near-copies `thoroughly`, or where their order is odd.

    It is noted, of a `recording` in these words, in which {length} stands for that of a stretch.
    """
    of_all = samples.rows(_MAX_PLACES)
    # A row of numbers for each sample.
    numbers = np.arange(len(of_all.y)).reshape(samples.shard.total, -1)
    weight = of_all.weight.numpy()[numbers].max(1)
    # Copies are told elsewhere.
    copies, rows = numbered(samples.copies(), len(weight)), np.flatnonzero(weight)
    rows = np.sort(rows[np.unique(copies[rows], return_index=True)[1]])
    first = rows[:MAX_SEEN]
    logits, y, known, _ = of_all.take(torch.from_numpy(numbers[first].ravel()))
    likelihoods, confidence = (
        (each.cpu() * (known > 0)).view(len(first), -1).mean(1).numpy()
        for each in (log_likelihoods(logits, y, 1.0), logits.double().log_softmax(1).amax(1))
    )
    classes = of_all.y.cpu().numpy() if numbers.shape[1] == 1 else np.zeros(len(weight))
    # Samples may be sorted by their labels, by what is predicted, or by a score of it.
    kinds = classes[first], logits.reshape(len(first), -1).argmax(1).cpu().numpy()
    length = stretch_of(likelihoods, confidence, kinds)
    if length or thoroughly:
        X = samples.X if samples.shard.ranks is ALONE else None
        samples = replace(samples, near_copies=near_copies(X, classes, weight, of_all.logits.reshape(len(weight), -1)))
    if not length or samples.near_copies is not None:
        return samples
    note(recording.format(length=length), CalibrationSetWarning)
    stretches = np.searchsorted(rows, np.arange(len(weight))) // length
    return replace(samples, groups=stretches, is_recording=True)
