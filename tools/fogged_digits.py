"""Train the network of `skclamp.datasets.load_fogged_digits`, and write the file of its weights.

python tools/fogged_digits.py --out skclamp/datasets/fogged_digits.npz

The file holds the weights by their names, and of each of scikit-learn's digits what it is for ("part": 0 to train, 1 to
calibrate, 2 to test), so that no other version of a splitter makes a training image a test image.
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skclamp.datasets._fogged_digits import CALIBRATE, TEST, TRAIN, untrained_network

N_TRAIN, N_CALIBRATION, N_EPOCHS = 300, 600, 120


def parts(y):
    """What each digit is for, stratified by class."""
    train, rest = train_test_split(np.arange(len(y)), train_size=N_TRAIN, stratify=y, random_state=0)
    calibration, _ = train_test_split(rest, train_size=N_CALIBRATION, stratify=y[rest], random_state=0)
    part = np.full(len(y), TEST, dtype=np.uint8)
    part[train], part[calibration] = TRAIN, CALIBRATE
    return part


def trained(X, y):
    """The network, once it is sure of all that it has seen."""
    torch.manual_seed(4)
    torch.set_num_threads(1)  # the network is too small for more
    network = untrained_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    for _ in range(N_EPOCHS):
        for rows in torch.randperm(len(X)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()
    return network


def main(arguments=None):
    """Train, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="file to write")
    path = parser.parse_args(arguments).out
    X, y = load_digits(return_X_y=True)
    part = parts(y)
    X = torch.from_numpy(X[part == TRAIN] / 16).float().view(-1, 1, 8, 8)
    network = trained(X, torch.from_numpy(y[part == TRAIN]))
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    np.savez_compressed(path, part=part, **weights)


if __name__ == "__main__":
    main()
