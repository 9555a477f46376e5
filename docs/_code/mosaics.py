"""Mosaics of four digits, "which digits appear", and a small network with a sigmoid for each of the ten."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

N_EPOCHS = 20

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32).reshape(-1, 8, 8)
order = np.random.default_rng(0).permutation(len(images))


def mosaics(n_samples, digits, seed):
    """Four places, of which a quarter is empty; 1 for each digit that is there."""
    rng = np.random.default_rng(seed)
    X, Y = np.zeros((n_samples, 1, 16, 16), np.float32), np.zeros((n_samples, 10), int)
    for row in range(n_samples):
        for top in (0, 8):
            for left in (0, 8):
                if rng.random() < 0.75:
                    digit = rng.choice(digits)
                    X[row, 0, top : top + 8, left : left + 8] = images[digit]
                    Y[row, labels[digit]] = 1
    return X, Y


# Mosaics of other digits to train with than to calibrate with and to judge by.
X_train, Y_train = mosaics(2000, order[:900], seed=0)
X_cal, Y_cal = mosaics(500, order[900:], seed=1)
X_test, Y_test = mosaics(1000, order[900:], seed=2)

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(512, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for _ in range(N_EPOCHS):
    for rows in torch.randperm(2000).split(64):
        targets = torch.from_numpy(Y_train[rows]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(net(torch.from_numpy(X_train[rows])), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
net.eval()
