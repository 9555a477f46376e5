"""Parts of a calibration set, such as scanners: what one calibrator for all of them costs each."""

import numpy as np
import torch
from scipy import stats

from .._judging.paired import n_effective, of_groups, student_below_zero
from .._judging.splits import folds_of_rows
from .._looks.words import MIN_SAMPLES_PER_PARAMETER
from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.labels import names_in_order

# A part loses by more than so many nats, in Student's test at this level of all parts together: two standard errors.
_TRIFLE = 0.01
_LEVEL = 0.025


def judged_by_part(parts, rows, losses, held_out):
    """What `BaseCalibrator.parts_` tells: of samples' parts, the `Rows` of their own logits, and NLLs as calibrated."""
    names = names_in_order(parts)
    places = {name: place for place, name in enumerate(names)}
    number = np.array([places[name] for name in parts.tolist()]).repeat(len(rows.y) // len(parts))
    counted = np.unique(number[rows.weight.numpy() > 0])
    found = {}
    for own in counted:
        part = rows.take(torch.from_numpy(number == own))
        weight = part.weight.numpy()
        n_samples = float(n_effective(of_groups(weight, weight, part.unit)[1]))
        difference = error = np.nan
        loses = False
        if n_samples >= MIN_SAMPLES_PER_PARAMETER:
            lost = of_groups(losses[number == own] - _own_losses(part), weight, part.unit)
            difference, error, _ = student_below_zero(*lost)
            loses = bool(difference > max(_TRIFLE, error * stats.t.isf(_LEVEL / len(counted), n_samples - 1)))
        found[names[own]] = {
            "n_samples": n_samples,
            "difference": difference,
            "standard_error": error,
            "loses": loses,
            "held_out": held_out,
        }
    return found


def _own_losses(rows):
    """NLLs of a part's rows under a temperature of its own: that of the half of its units which they aren't in."""
    fold = folds_of_rows(rows, 2)
    losses = np.empty(len(fold))
    for half in (fold == 0, fold == 1):
        logits, y, weight, _ = rows.take(torch.from_numpy(~half))
        temperature = solve_temperature(logits, y, sample_weight=weight, prior=True).temperature
        held_out = rows.take(torch.from_numpy(half))
        losses[half] = -log_likelihoods(held_out.logits, held_out.y, temperature).cpu().numpy()
    return losses
