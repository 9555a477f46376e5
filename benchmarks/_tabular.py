"""Tables whose sensors drift after training: scikit-learn's own, by a made-up drift, and the gas sensors'."""

import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from _data import load_gas_sensors
from skclamp.modules import as_module


def digits():
    """1,797 digits as 64 sensors see them, one per pixel."""
    return load_digits(return_X_y=True)


def digits_coarse():
    """The same through 16 sensors, each of which sees the mean of 2 x 2 pixels."""
    X, y = digits()
    return X.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16), y


def breast_cancer():
    """569 biopsies with 30 measurements."""
    return load_breast_cancer(return_X_y=True)


# Each with the numbers of samples to train on and to calibrate on; the others are tested on.
TABLES = {
    "digits_mlp": (digits, 400, 800),
    "digits_coarse_mlp": (digits_coarse, 400, 800),
    "breast_cancer_mlp": (breast_cancer, 120, 300),
}


def drift(X, *, share=0.25, gain=0.5, offset=1.0, seed=0):
    """Sensors that drift: a share of the features gets a log-normal gain and a normal offset (spreads given).

    X is standardised, so the offset's spread is in standard deviations of the feature.
    """
    rng = np.random.default_rng(seed)
    shifted = X.copy()
    drifted = rng.permutation(X.shape[1])[: max(1, round(share * X.shape[1]))]
    gains, offsets = np.exp(rng.normal(0, gain, len(drifted))), rng.normal(0, offset, len(drifted))
    shifted[:, drifted] = X[:, drifted] * gains + offsets
    return shifted


TABULAR_SHIFTS = {"none": lambda X, seed: X.copy(), "drift": lambda X, seed: drift(X, seed=seed)}


def train_mlp(name, seed):
    """A trained network in eval mode, and the standardised features and labels of what it hasn't seen."""
    load, n_train, _ = TABLES[name]
    X, y = load()
    X_train, X, y_train, y = train_test_split(X, y, train_size=n_train, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mlp = nn.Sequential(
            nn.Linear(X.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, len(np.unique(y_train)))
        )
        network = train(mlp, scaler.transform(X_train), y_train, lr=1e-3, max_epochs=60).module_.eval()
    return network, scaler.transform(X).astype(np.float32), y.astype(np.int64)


def train(network, X, y, lr, max_epochs):
    """A skorch net after training by Adam, batches of 32."""
    return NeuralNetClassifier(
        network,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=lr,
        batch_size=32,
        iterator_train__shuffle=True,
        max_epochs=max_epochs,
        train_split=None,
        verbose=0,
    ).fit(X.astype(np.float32), y.astype(np.int64))


TRAINING_BATCHES, LATER_BATCHES = (1, 2), (3, 4, 5, 6, 8, 9)


def load_sensors(data, n_iter=200):
    """A perceptron as a torch module, and its standardised inputs, labels as column indices and batches."""
    X, y, batch = load_gas_sensors(data)
    known = np.isin(batch, TRAINING_BATCHES)
    X = StandardScaler().fit(X[known]).transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = MLPClassifier(max_iter=n_iter, random_state=0).fit(X[known], y[known])
    return as_module(classifier), X, np.searchsorted(classifier.classes_, y), batch
