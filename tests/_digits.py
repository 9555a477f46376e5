"""Networks trained on scikit-learn's digits, and shifts of what they see: small problems on which clamping helps."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

N_TRAIN = 600


@cache
def splits():
    """Digits of three channels (as they are, inverted, and blurred): (X, y) to train with, and (X, y) of the rest."""
    images, labels = load_digits(return_X_y=True)
    gray = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    x = torch.cat([gray, 1 - gray, _blur(gray)], 1).numpy()
    train, rest = train_test_split(np.arange(len(x)), train_size=N_TRAIN, stratify=labels, random_state=0)
    return (x[train], labels[train]), (x[rest], labels[rest])


def calibration_and_test(seed, n_calibration=600):
    """(X, y) to calibrate with and (X, y) to test on, of what no network was trained on."""
    _, (x, y) = splits()
    order = np.random.default_rng(seed).permutation(len(y))
    here, there = order[:n_calibration], order[n_calibration:]
    return (x[here], y[here]), (x[there], y[there])


def shifted(x, name):
    """What a camera gone wrong makes of images."""
    x = torch.as_tensor(x)
    if name == "gain and offset":
        x = x * torch.tensor([0.5, 1.2, 0.7]).view(3, 1, 1) + torch.tensor([0.3, -0.25, 0.0]).view(3, 1, 1)
    elif name == "mixed colours":
        x = x[:, [2, 0, 1]]
    elif name == "blur":
        x = _blur(x)
    return x.numpy()


def _blur(x):
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    taps = kernel.outer(kernel).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), taps, groups=x.shape[1])


@cache
def convolutional_network():
    """Convolutions and batch norms, trained on images."""
    (x, y), _ = splits()
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )
    return _train(network, torch.as_tensor(x), torch.as_tensor(y))


def _train(network, x, y, n_epochs=15):
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network.eval()
