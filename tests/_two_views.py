"""A small problem whose labels depend on images and on their mirror images alike, and calibrators of two views."""

import numpy as np
import torch
from torch import nn

from skclamp import NeuralClampingCalibrator
from skclamp.metrics import negative_log_likelihood
from skclamp.perturbations import HorizontalFlip

IMAGE, SEQUENCE = (2, 6, 6), (2, 12)
N = 600


def network_on(shape, n_classes=4):
    """A convolution and a linear layer, with logits of a spread of 3, to which no place is like another."""
    torch.manual_seed(0)
    convolution = {2: nn.Conv1d, 3: nn.Conv2d}[len(shape)](shape[0], 6, 3, padding=1)
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(6 * int(np.prod(shape[1:])), n_classes))
    with torch.no_grad():
        network[-1].weight.mul_(3 / network(torch.randn(500, *shape)).std())
    return network.eval()


def draw(network, shape, n_samples, seed, view=None):
    """Inputs, and labels that depend on them and on their view alike, if there is one."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n_samples, *shape, generator=generator)
    with torch.no_grad():
        logits = network(X) / 1.5 if view is None else (network(X) + network(view(X))) / 1.5
    return X.numpy(), torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0].numpy()


NETWORK = network_on(IMAGE)
X, Y = draw(NETWORK, IMAGE, N, 0, HorizontalFlip())
X_TEST, Y_TEST = draw(NETWORK, IMAGE, 4000, 1, HorizontalFlip())


def two_views(**options):
    """A calibrator of two views and no perturbation, unless told otherwise."""
    return NeuralClampingCalibrator(
        **{"estimator": NETWORK, "max_views": 2, "random_state": 0, "perturbation": None, **options}
    )


def moved(images):
    """What a camera with little gain and much offset makes of images."""
    return (0.3 * images + 1.5).astype(np.float32)


FITTED = two_views().fit(X, Y)


def nll(calibrator, X=X_TEST, y=Y_TEST):
    return negative_log_likelihood(y, calibrator.predict_proba(X))
