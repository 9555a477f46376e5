"""Parts of a calibration set, such as scanners: what one calibrator for all of them costs each."""

import numpy as np
import torch
from scipy import stats

from .._judging.paired import n_effective, of_groups, student_below_zero
from .._looks.words import MIN_SAMPLES_PER_PARAMETER
from .._solvers.temperature import log_likelihoods, solve_temperature

# A part loses by more than so many nats, in Student's test at this level of all parts together: two standard errors.
_TRIFLE = 0.01
_LEVEL = 0.025


def judged_by_part(parts, rows, losses):
    """What `BaseCalibrator.parts_` tells: of samples' parts, the `Rows` of their own logits, and NLLs as calibrated.

    A temperature of the part's own is the least that fits it better. It is fitted to the samples that judge it: what
    it gains by that on the average, and loses on new ones, is taken from it (Akaike's criterion).
    """
    part = parts.repeat(len(rows.y) // len(parts))
    names = np.unique(part[rows.weight.numpy() > 0]).tolist()
    found = {}
    for name in names:
        logits, y, weight, unit = rows.take(torch.from_numpy(part == name))
        temperature = solve_temperature(logits, y, sample_weight=weight, prior=True).temperature
        lost = losses[part == name] + log_likelihoods(logits, y, temperature).cpu().numpy()
        lost, weight = of_groups(lost, weight.numpy(), unit)
        mean, error, _ = student_below_zero(lost, weight)
        n_samples = float(n_effective(weight))
        difference = mean - 1 / n_samples
        least = max(_TRIFLE, error * stats.t.isf(_LEVEL / len(names), max(1.0, n_samples - 1)))
        loses = bool(n_samples >= MIN_SAMPLES_PER_PARAMETER and difference > least)
        found[name] = {"n_samples": n_samples, "difference": difference, "standard_error": error, "loses": loses}
    return found
