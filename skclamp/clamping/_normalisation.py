"""A perturbation that does what the inverse of a plain normalisation does as well: a bug that it hides."""

from dataclasses import replace

import numpy as np
import torch

from .._utils.arrays import drawn_rows
from ..perturbations._families import AffinePerturbation
from ._learner import with_values
from ._problem import Passes

# Means and standard deviations of channels that images are normalised by.
_STATISTICS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "CIFAR-100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "mean and std of 0.5": ((0.5,), (0.5,)),
    "division by 255": ((0.0,), (255.0,)),
}
_N_SAMPLES = 256
# What was learned from these samples flatters itself: so large a part of its gain will do.
_SHARE_OF_GAIN = 0.9
# In nats a sample: a bug that a normalisation makes costs more.
_LEAST_GAIN = 0.05


@torch.no_grad()
def undone_normalisation(problem, perturbation):
    """The name of a normalisation whose inverse fits a problem as well as a perturbation does.

    None where none does, and where inputs aren't images of one or three channels. `problem` is in full precision.
    """
    shape = problem.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3) or not problem.has_floating_inputs:
        return None
    part = replace(problem.take(drawn_rows(len(problem), _N_SAMPLES)), passes=Passes())
    plain_loss = part.in_sample()[1]
    learned_loss = part.in_sample(part.logits_under(perturbation))[1]
    if plain_loss - learned_loss < _LEAST_GAIN:
        return None
    least = plain_loss - _SHARE_OF_GAIN * (plain_loss - learned_loss)
    found = None
    for name, (mean, std) in _STATISTICS.items():
        if len(mean) not in (1, shape[0]):
            continue
        values = {"gain": np.resize(std, shape[0]), "offset": np.resize(mean, shape[0])}
        logits = part.try_logits_under(with_values(part, AffinePerturbation(shape), values))
        if logits is not None and (loss := part.in_sample(logits)[1]) < least:
            least = loss
            found = name
    return found
