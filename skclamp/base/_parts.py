"""Parts of a calibration set, such as scanners: what one calibrator for all of them costs each."""

import numpy as np
import torch

from .._judging.paired import n_effective, of_groups, student_below_zero
from .._looks.words import MIN_SAMPLES_PER_PARAMETER
from .._solvers.temperature import log_likelihoods, solve_temperature

# Beyond so many standard errors, and so many nats, a part loses.
_ERRORS, _TRIFLE = 2.0, 0.01


def judged_by_part(parts, rows, raw, map_):
    """What `BaseCalibrator.parts_` tells, of samples' parts, their `Rows` that a map takes, and the network's logits.

    A temperature of the part's own is the least that fits it better. It is fitted to the samples that judge it: what
    it gains by that on the average, and loses on new ones, is taken from it (Akaike's criterion).
    """
    part = parts.repeat(len(rows.y) // len(parts))
    found = {}
    for name in np.unique(part[rows.weight.numpy() > 0]).tolist():
        inside = torch.from_numpy(part == name)
        logits, y, weight, unit = rows.take(inside)
        own = raw[inside.to(raw.device)]
        temperature = solve_temperature(own, y, sample_weight=weight, prior=True).temperature
        losses = log_likelihoods(own, y, temperature) - log_likelihoods(map_(logits.double()), y, 1.0)
        losses, weight = of_groups(losses.cpu().numpy(), weight.numpy(), unit)
        mean, error, _ = student_below_zero(losses, weight)
        n_samples = float(n_effective(weight))
        lost = mean - 1 / n_samples
        loses = n_samples >= MIN_SAMPLES_PER_PARAMETER and lost > max(_TRIFLE, _ERRORS * error)
        found[name] = {"n_samples": n_samples, "difference": lost, "standard_error": error, "loses": loses}
    return found
