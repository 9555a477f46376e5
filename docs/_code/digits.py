"""Scikit-learn's digits, and a small network that is trained until it is sure of all that it has seen."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

# Digits of 8 x 8 pixels: 300 to train with, 600 to calibrate with, 897 to judge by.
X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
X_val, X_test, y_val, y_test = train_test_split(X_rest, y_rest, train_size=600, stratify=y_rest, random_state=0)

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 12, 3),
    nn.ReLU(),
    nn.Conv2d(12, 24, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(216, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for _ in range(25):
    for rows in torch.randperm(300).split(32):
        loss = nn.functional.cross_entropy(net(torch.from_numpy(X_train[rows])), torch.from_numpy(y_train[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
net.eval()
