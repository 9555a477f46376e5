"""Small networks with each kind of normalisation layer, trained from a seed on what is at hand, in a minute or less."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from _data import load_gas_sensors, load_images, split_off
from _networks import RESNETS, load_resnet

# Weights are trained once on a machine.
CACHE = Path(tempfile.gettempdir()) / "skclamp-benchmarks"
BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 50, 2e-3, 0.05


class Problem(NamedTuple):
    """A network in eval mode, and what it hasn't seen: inputs and labels."""

    network: nn.Module
    X: torch.Tensor
    y: np.ndarray


class Transformer(nn.Module):
    """A small transformer with LayerNorm: `embed` gives the tokens, (n, length, width), all of these the logits."""

    def __init__(self, embed, length, width=32, depth=2, n_classes=10):
        super().__init__()
        self.embed = embed
        self.position = nn.Parameter(0.1 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(length * width, n_classes)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.position).flatten(1))


class Patches(nn.Module):
    """Square patches of images, each a token."""

    def __init__(self, channels, side, width=32):
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, side, side)

    def forward(self, x):
        return self.convolution(x).flatten(2).mT


def perceptron(X):
    layers = nn.Linear(X.shape[1], 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(64, 6))


def convolutional(_):
    """With GroupNorm; layers that work in place are what a user has."""

    def block(inputs, channels, stride):
        convolution = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        return convolution, nn.GroupNorm(4, channels), nn.SiLU(inplace=True)

    blocks = (*block(3, 24, 1), *block(24, 48, 2), *block(48, 64, 2))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10))


def small_images(data):
    """CIFAR-10's test set at half the side."""
    images, labels = load_images("cifar10_test", data)
    return functional.avg_pool2d(images, 2), labels


def digits(_):
    X, y = load_digits(return_X_y=True)
    return torch.from_numpy(X).float().view(-1, 1, 8, 8) / 16, y


def tokens(_):
    """Digits as 64 tokens of 17 grey levels."""
    X, y = load_digits(return_X_y=True)
    return torch.from_numpy(X).long(), y


def sensors(data):
    X, y, _ = load_gas_sensors(data)
    return torch.from_numpy(StandardScaler().fit_transform(X)).float(), np.unique(y, return_inverse=True)[1]


def mirrored(x):
    return x.flip(-1) if torch.rand(()) < 0.5 else x


def jittered(x):
    """Each token a level more or less, or as it is."""
    return (x + torch.randint(-1, 2, x.shape)).clamp(0, 16)


class Spec(NamedTuple):
    """Inputs and labels, the network, the share of the samples and the epochs to train, and what is done to a batch."""

    load: Any
    build: Any
    share: float
    epochs: int
    augment: Any = lambda x: x


TRAINED = {
    "mlp": Spec(sensors, perceptron, 0.1, 30),
    "cnn": Spec(small_images, convolutional, 0.4, 30, mirrored),
    "vit": Spec(small_images, lambda _: Transformer(Patches(3, 4), 16), 0.4, 40, mirrored),
    "digits_vit": Spec(digits, lambda _: Transformer(Patches(1, 2), 16), 0.5, 40),
    "digits_tokens": Spec(tokens, lambda _: Transformer(nn.Embedding(17, 32), 64), 0.5, 40, jittered),
}


def load_problem(name, data=None):
    """One of CIFAR's ResNets, or one of `TRAINED`."""
    if name in RESNETS:
        return Problem(load_resnet(name, data), *load_images("cifar10_test", data))
    spec = TRAINED[name]
    X, y = spec.load(data)
    train, rest = split_off(y, int(spec.share * len(y)), 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = spec.build(X)
        version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        path = CACHE / f"{name}-{len(train)}-{version}.pt"
        if path.exists():
            network.load_state_dict(torch.load(path, weights_only=True))
        else:
            fit(network, X[train], torch.from_numpy(y[train]), spec)
            CACHE.mkdir(exist_ok=True)
            # Another process may want it, too.
            torch.save(network.state_dict(), path.with_suffix(f".{os.getpid()}"))
            path.with_suffix(f".{os.getpid()}").replace(path)
    return Problem(network.eval(), X[rest], y[rest])


def fit(network, X, y, spec):
    """AdamW, its rate along one cycle."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    n_steps = spec.epochs * -(-len(X) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, n_steps)
    for _ in range(spec.epochs):
        for rows in torch.randperm(len(X)).split(BATCH_SIZE):
            optimizer.zero_grad()
            functional.cross_entropy(network(spec.augment(X[rows])), y[rows]).backward()
            optimizer.step()
            schedule.step()
