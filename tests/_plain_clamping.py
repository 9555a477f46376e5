"""Calibrators that perturb the input by one plain run of gradient descent, without a guard, and data for them."""

from functools import partial

import torch
from _small_networks import bare_logits, convolutional, images, labels_of

from skclamp import NeuralClampingCalibrator

X = images()
Y = labels_of(bare_logits(convolutional(), X))
PLAIN = {
    "perturbation": "full",
    "gamma": 0.0,
    "penalty": 0.0,
    "init": "zeros",
    "init_temperature": "optimal",
    "refit_temperature": True,
    "optimizer": partial(torch.optim.SGD, momentum=0.9),
    "lr": 0.05,
    "max_epochs": 3,
    "batch_size": 32,
    "shuffle": True,
    "validation_fraction": None,
    "random_state": 0,
}

DIVERGING = {"perturbation": "affine", "lr": 1e38, "init_temperature": 1.0}


def clamping(estimator, **settings):
    return NeuralClampingCalibrator(estimator, **{**PLAIN, **settings})
