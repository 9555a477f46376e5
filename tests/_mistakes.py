"""Problems to make mistakes with, and the warnings that a call gives."""

import pytest
import torch
from torch import nn

from tests._small_networks import bare_logits, images, labels_of, perceptron, vectors

N_SAMPLES = 120


def of_images():
    """A network that takes images of one size only."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))
    with torch.no_grad():
        network[3].weight.mul_(12)
    return network


def labels(network, X):
    """Drawn from what the network says, half as sure."""
    return labels_of(bare_logits(network, X))


def problem():
    network, X = of_images(), images(N_SAMPLES)
    return network, X, labels(network, X)


def table():
    network, X = perceptron(), vectors(N_SAMPLES)
    return network, X, labels(network, X)


class Named(nn.Module):
    """Takes its input by name."""

    def __init__(self):
        super().__init__()
        self.network = perceptron()

    def forward(self, pixels):
        return self.network(pixels)


def warned(category, function):
    """The message of the one warning, of a class, that a call gives."""
    with pytest.warns(category) as caught:
        function()
    assert [type(each.message) for each in caught] == [category]
    return str(caught[0].message)
