"""A small network for each kind of input, with inputs and labels that say something of each other."""

from functools import cache

import torch
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron, vectors
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skclamp.persistence import register


@register
class Exposure(nn.Module):
    """A user's perturbation of one number."""

    def __init__(self):
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x * self.log_gain.exp()


class Masked(nn.Module):
    """A network of two inputs by name, of which one says which entries of the other count."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, values, mask):
        return self.network(values * mask)


@cache
def data(kind, n_samples=110):
    """A network, inputs as an array and labels: of images, sequences, or a table of so many features."""
    if kind == "images":
        network, X = convolutional(), images(n_samples)
    elif kind == "sequences":
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv1d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4)).eval()
        X = vectors(n_samples, 36).reshape(-1, 3, 12)
    else:
        n_features = int(kind.split()[0])
        network, X = perceptron(n_features=n_features), vectors(n_samples, n_features)
    return network, X, labels_of(bare_logits(network, X))


def as_entries(network, X):
    """The same as a network of inputs by name, and a dict of them."""
    return Masked(network), {"values": X, "mask": (abs(X) < 2).astype(X.dtype)}


def as_dataset(X, y):
    """The same as a Dataset of pairs, labels beside the inputs."""
    return TensorDataset(torch.as_tensor(X), torch.as_tensor(y))


def as_loader(X, y):
    """The same behind a DataLoader."""
    return DataLoader(as_dataset(X, y), batch_size=32)
