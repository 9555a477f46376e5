"""Neural clamping of small networks where nothing has changed: trained for seconds, they leave something to the input.

    python benchmarks/small_networks.py

Networks learn some of scikit-learn's digits, 600 others calibrate, and the rest judges, all of them as they are.
"clamping alone" has a temperature behind it, and shows what is kept; "clamping" pools maps of the logits as well.
"""

from functools import lru_cache, partial
from itertools import product

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from _runner import RESULTS, benchmark, record, show
from _scores import facts, nll_and_accuracy
from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling


def cnn(norm=nn.Identity):
    """The network of the user guide."""
    layers = [nn.Conv2d(1, 12, 3), norm(12), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1), norm(24), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(216, 64), nn.ReLU(), nn.Linear(64, 10))


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


# What is trained, on how many digits, in how many epochs.
NETWORKS = {
    "CNN": (cnn, 300, 25),
    "CNN, 5 epochs": (cnn, 300, 5),
    "CNN, 100 digits": (cnn, 100, 25),
    "CNN with batch norm": (partial(cnn, nn.BatchNorm2d), 300, 25),
    "perceptron": (perceptron, 300, 25),
    "CNN, 1,000 digits, 100 epochs": (cnn, 1000, 100),
}
METHODS = {"temperature": TemperatureScaling, "selector": CalibratorSelector}
METHODS["clamping alone"] = partial(NeuralClampingCalibrator, random_state=0, output=None)
METHODS["clamping"] = partial(NeuralClampingCalibrator, random_state=0)
N_CAL = 600
COLUMNS = ("network", "seed", "method", "nll", "accuracy", "accepted", "families")


@lru_cache(maxsize=1)
def trained(name, seed):
    """A network, and the images and labels that calibrate and that judge."""
    make, n, n_epochs = NETWORKS[name]
    X, y = load_digits(return_X_y=True)
    X = torch.from_numpy((X / 16).astype(np.float32)).reshape(-1, 1, 8, 8)
    train, rest = train_test_split(np.arange(len(y)), train_size=n, stratify=y, random_state=seed)
    cal, test = train_test_split(rest, train_size=N_CAL, stratify=y[rest], random_state=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(n_epochs):
            for rows in torch.randperm(n).split(32):
                loss = nn.functional.cross_entropy(network(X[train[rows]]), torch.from_numpy(y[train[rows]]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval(), *((X[rows].numpy(), y[rows]) for rows in (cal, test))


def measure(name, seed, method):
    network, calibration, (X, y) = trained(name, seed)
    fitted = METHODS[method](network).fit(*calibration)
    told = facts(fitted) if hasattr(fitted, "accepted_") else {"accepted": 0, "families": ""}
    return nll_and_accuracy(fitted.predict_log_proba(X), y) | told


@benchmark
def main(networks: NETWORKS = tuple(NETWORKS), seeds=10, out=RESULTS / "small_networks.csv"):
    results = record(out, COLUMNS, product(networks, range(seeds), METHODS), measure)
    show(results, ["network", "method"], ["nll", "accuracy", "accepted"])
