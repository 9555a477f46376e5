"""Overfit: maps of many parameters that do worse than one temperature on samples that they haven't seen."""

from typing import NamedTuple

import numpy as np
import torch

from .._judging.paired import student_below_zero
from .._judging.splits import draw_folds
from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.outputs import SOFTMAX
from .._utils.warnings import silenced

# So few samples for each number that a class asks for are too few, whatever they say.
HOPELESS = 5
# Of more classes a fit takes long, and nothing is held out.
MAX_CLASSES = 50
# One of so many folds judges where there are many logits, each where there are few.
_N_FOLDS, _MANY_LOGITS = 3, 1 << 14
# By how many standard errors, and what part of the NLL, a map is worse; and the part that needs no standard error.
_ERRORS, _PART, _LARGE_PART = 2.0, 0.1, 0.5


class OutOfFold(NamedTuple):
    """Mean NLL of held-out samples under a map, and under one temperature; and whether the map is clearly worse."""

    loss: float
    of_temperature: float
    worse: bool


def against_temperature(calibrator, rows):
    """Fit a map, a clone of a calibrator, and a temperature without each fold of the rows, and judge both on it.

    None without folds.
    """
    logits, y, weight, unit = rows
    numbers = draw_folds(torch.log_softmax(logits.double(), 1), y, weight, _N_FOLDS, unit)
    if not numbers.any():
        return None
    judged = []
    for k in range(1 if logits.numel() > _MANY_LOGITS else numbers.max() + 1):
        fold = torch.from_numpy(numbers == k)
        # Samples without weight are in no fold.
        train, held = (rows.take(part & (weight > 0)) for part in (~fold, fold))
        with silenced():
            mapped = calibrator._fitted_to(train, SOFTMAX).map_(held.logits.double())
        temperature = solve_temperature(train.logits, train.y, sample_weight=train.weight).temperature
        likelihoods = log_likelihoods(mapped, held.y, 1.0), log_likelihoods(held.logits, held.y, temperature)
        judged.append([*(-each.cpu().numpy() for each in likelihoods), held.weight.numpy()])
    losses, of_temperature, weights = np.concatenate(judged, axis=1)
    negative, error, _ = student_below_zero(of_temperature - losses, weights)
    loss, plain = np.average([losses, of_temperature], axis=1, weights=weights).tolist()
    # Without a standard error where the map is far worse.
    worse = loss - plain > _LARGE_PART * plain or (loss - plain > _PART * plain and -negative > _ERRORS * error)
    return OutOfFold(loss, plain, bool(worse))
