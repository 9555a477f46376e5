"""Calibrators that perturb the input by one plain run of gradient descent, without a guard, and data for them."""

from functools import partial

import torch
from _small_networks import bare_logits, convolutional, images, labels_of

from skclamp import NeuralClampingCalibrator, TorchTraining

X = images()
Y = labels_of(bare_logits(convolutional(), X))
SGD = {"optimizer": partial(torch.optim.SGD, momentum=0.9)}
PLAIN = {
    "perturbation": "full",
    "gamma": 0.0,
    "penalty": 0.0,
    "lr": 0.05,
    "max_epochs": 3,
    "batch_size": 32,
    "validation_fraction": None,
    "random_state": 0,
}

DIVERGING = {"perturbation": "affine", "lr": 1e38, "init_temperature": 1.0}


def by_torch(**settings):
    """Settings with those of a `TorchTraining` in one."""
    own = {name: settings.pop(name) for name in TorchTraining().get_params() if name in settings}
    return {**settings, "training": TorchTraining(**own)} if own else settings


def clamping(estimator, **settings):
    """A calibrator with some of these settings, or of `TorchTraining`'s, changed."""
    defaults = PLAIN if "training" in settings else PLAIN | SGD
    return NeuralClampingCalibrator(estimator, **by_torch(**{**defaults, **settings}))
