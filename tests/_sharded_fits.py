"""Fits on digits from a fogged camera, by one process or by several that hold a part each; run by test_distributed.

``python _sharded_fits.py FOLDER`` fits everything in one process, ``torchrun … _sharded_fits.py FOLDER`` in several.
Each process writes what came out, by the name of the fit, to FOLDER/PROCESSES-RANK.pt.
"""

import copy
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from _digits import calibration_and_test, convolutional_network
from sklearn.model_selection import KFold, TimeSeriesSplit
from skorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset, TensorDataset

from skclamp import (
    REFERENCE_SETTINGS,
    CalibratorSelector,
    NeuralClampingCalibrator,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)
from skclamp.distributed import sharded
from skclamp.metrics import brier_score
from skclamp.perturbations import HorizontalFlip

N_PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
RANK = int(os.environ.get("RANK", 0))
# Of 600: the first process has less than half, and none of the classes 8 and 9.
CUT = 240


def negative_brier(calibrator, X, y, sample_weight=None):
    """A scorer that each process has a copy of."""
    return -brier_score(y, calibrator.predict_proba(X), sample_weight=sample_weight)


class Stop(Callback):
    """Ends the training of one process, and with it of all, after two epochs."""

    def on_epoch_end(self, net, **kwargs):
        if RANK == N_PROCESSES - 1 and len(net.history) == 2:
            raise KeyboardInterrupt


class Keyed(Dataset):
    """Samples by keys of six digits, of which none is negative."""

    def __init__(self, X, y):
        self.rows = {f"{i:06d}": pair for i, pair in enumerate(zip(X, y, strict=True))}

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[f"{index:06d}"]


class Clearer(torch.nn.Module):
    """Images with less fog in some of their rows."""

    def __init__(self, start, stop):
        super().__init__()
        self.rows = slice(start, stop)

    def forward(self, x):
        """Batch with less fog."""
        x = x.clone()
        x[:, :, self.rows] = (x[:, :, self.rows] - 0.2) / 0.6
        return x


NETWORK = convolutional_network()
SETTINGS = {"estimator": NETWORK, "random_state": 0}
# For steps that amplify what float32 rounds by a factor of a hundred.
DOUBLE = {**SETTINGS, "estimator": copy.deepcopy(NETWORK).double()}
FITS = {
    "affine": NeuralClampingCalibrator(perturbation="affine", **SETTINGS),
    "auto": NeuralClampingCalibrator(**DOUBLE),
    "wide": NeuralClampingCalibrator(
        torch.nn.Sequential(torch.nn.Unflatten(1, (3, 8, 8)), DOUBLE["estimator"]),
        perturbation="curve",
        random_state=0,
    ),
    "norm": NeuralClampingCalibrator(perturbation="norm", **DOUBLE),
    "gamma": NeuralClampingCalibrator(gamma="auto", perturbation="affine", **SETTINGS),
    "views": NeuralClampingCalibrator(
        max_views=[Clearer(0, 5), Clearer(3, 8), HorizontalFlip()], perturbation=None, **SETTINGS
    ),
    "output": NeuralClampingCalibrator(perturbation="affine", output=VectorScaling(), **SETTINGS),
    "series": NeuralClampingCalibrator(
        perturbation="affine", validation_fraction=TimeSeriesSplit(3), output=VectorScaling(), **DOUBLE
    ),
    "reference": NeuralClampingCalibrator(
        NETWORK, **{**REFERENCE_SETTINGS, "max_epochs": 3, "batch_size": 50}, random_state=0
    ),
    "gradient": NeuralClampingCalibrator(
        perturbation="full",
        training=TorchTraining(init="gradient", optimizer="sgd"),
        max_epochs=2,
        validation_fraction=None,
        penalty=0.01,
        **SETTINGS,
    ),
    "dataset": NeuralClampingCalibrator(perturbation="full", max_epochs=2, batch_size=8, **SETTINGS),
    "copies": NeuralClampingCalibrator(perturbation="affine", **SETTINGS),
    "search": NeuralClampingCalibrator(perturbation="affine", gamma="auto", **DOUBLE),
    "seeds": NeuralClampingCalibrator(NETWORK, perturbation="affine", validation_fraction=KFold(2, shuffle=True)),
    "temperature": TemperatureScaling(NETWORK),
    "weightless": TemperatureScaling(NETWORK),
    "focal": TemperatureScaling(NETWORK, gamma=2.0),
    "selector": CalibratorSelector(NETWORK, scoring=negative_brier),
    "stopped": NeuralClampingCalibrator(
        NETWORK,
        perturbation="full",
        max_epochs=6,
        validation_fraction=None,
        training=TorchTraining(callbacks=[Stop()]),
        random_state=0,
    ),
    "keys": NeuralClampingCalibrator(
        perturbation="full",
        training=TorchTraining(shuffle=False),
        max_epochs=2,
        batch_size=8,
        validation_fraction=None,
        **SETTINGS,
    ),
}
DATASETS = {"dataset": lambda X, y: TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), "keys": Keyed}
# Fits to images as rows of a table.
FLAT = ("wide",)
# Fits to which the second process brings nothing but copies of the first one's samples.
COPIED = ("copies",)
WEIGHTED = ("auto", "wide", "search", "temperature", "gradient")


def calibration_data():
    """Fogged images, labels and weights, the samples of the classes 8 and 9 last."""
    (X, y), _ = calibration_and_test(0)
    X, y = 0.35 + 0.3 * np.asarray(X), np.asarray(y)
    order = np.argsort(y >= 8, kind="stable")
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    weight[::7] = 0
    return X[order].astype(np.float32), y[order], weight


def outcome(calibrator, X):
    """What a fit left, as plain values."""
    names = ("temperature_", "accepted_", "delta_", "cost_", "best_params_", "classes_", "view_weights_")
    found = {name: getattr(calibrator, name) for name in names if hasattr(calibrator, name)}
    if hasattr(calibrator, "history_"):
        found["losses"] = [row["train_loss"] for row in calibrator.history_]
    if hasattr(calibrator, "verdict_"):
        found["p_value"] = calibrator.verdict_.p_value
    if hasattr(calibrator, "views_verdict_"):
        found["views_p_value"] = calibrator.views_verdict_.p_value
    return {**found, "proba": calibrator.predict_proba(X[:100])}


def fit_all(fit):
    """Outcomes of all fits; `fit` takes a calibrator, the data and weights."""
    X, y, weight = calibration_data()
    results = {}
    for name, calibrator in FITS.items():
        given = weight if name in WEIGHTED else np.where(np.arange(len(y)) < CUT, 0, weight)
        given = given if name in (*WEIGHTED, "weightless") else None
        inputs = X.reshape(len(X), -1) if name in FLAT else X
        rows = np.arange(len(y)) % CUT if name in COPIED else slice(None)
        fitted = fit(calibrator, inputs[rows], y[rows], given, dataset=DATASETS.get(name))
        results[name] = outcome(fitted, inputs)
    return results


def fit_part(calibrator, X, y, weight, *, dataset=None):
    """A fit to this process's samples."""
    own = slice(0, len(y)) if N_PROCESSES == 1 else slice(0, CUT) if RANK == 0 else slice(CUT, len(y))
    if dataset is not None:
        return calibrator.fit(dataset(X[own], y[own]))
    return calibrator.fit(X[own], y[own], None if weight is None else weight[own])


class Interrupt(Callback):
    """Ctrl-C between two batches, if the process is the second."""

    def on_batch_end(self, net, training=False, **kwargs):
        if RANK == 1 and len(net.history) == 2:
            raise KeyboardInterrupt


# Of 3 x 8 x 8 numbers, of which a repr leaves out most.
INIT = np.zeros((3, 8, 8), np.float32)
OTHER_INIT = np.pad(np.ones((1, 1, 1), np.float32), ((1, 1), (3, 4), (3, 4)))
OTHERWISE = {
    "another init": {"perturbation": "full", "training": TorchTraining(init=np.tile(INIT, (8, 1, 1)))},
    "an interrupt": {
        "perturbation": "full",
        "training": TorchTraining(optimizer="sgd", callbacks=[Interrupt()]),
        "validation_fraction": None,
    },
    "another momentum": {
        "perturbation": "full",
        "training": TorchTraining(optimizer=partial(torch.optim.SGD, momentum=0.9)),
    },
}
AT_FAULT = {
    **OTHERWISE,
    "another gamma": {"gamma": 1.0},
    "another momentum": {
        "perturbation": "full",
        "training": TorchTraining(optimizer=partial(torch.optim.SGD, momentum=0.5)),
    },
    "another init": {"perturbation": "full", "training": TorchTraining(init=np.tile(OTHER_INIT, (8, 1, 1)))},
}


def failures():
    """What each process is told where one of them gives something else; a fit after each shows that all go on."""
    X, y, _ = calibration_data()
    images, labels = (X[:CUT], y[:CUT]) if RANK == 0 else (X[CUT:], y[CUT:])
    other = copy.deepcopy(NETWORK)
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    nine = torch.nn.Sequential(NETWORK, torch.nn.Linear(10, 9))
    with_nan = images.copy()
    with_nan[-1] = np.nan
    faults = {
        "another network": (other, images, labels),
        "nine classes": (nine, images, labels % 9),
        "not a number": (NETWORK, with_nan, labels),
        "no labels": (NETWORK, images, labels[1:]),
        "strings": (NETWORK, images, labels.astype(str)),
        "integers": (NETWORK, (255 * images).astype(np.uint8), labels),
        "another shape": (torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), NETWORK), images[..., :4], labels),
        "another gamma": (NETWORK, images, labels),
        "another init": (NETWORK, images, labels),
        "another momentum": (NETWORK, images, labels),
        "an interrupt": (NETWORK, images, labels),
        "no weights": (NETWORK, images, labels),
        "another batch size": (NETWORK, DataLoader(DATASETS["dataset"](images, labels), batch_size=8), labels),
    }
    told = {}
    for name, (network, given, y_given) in faults.items():
        mine = (network, given, y_given) if RANK == 1 else (NETWORK, images, labels)
        if name == "another shape":
            mine = (network, *mine[1:])
        settings = {"perturbation": "affine", **(AT_FAULT.get(name, {}) if RANK == 1 else OTHERWISE.get(name, {}))}
        calibrator = NeuralClampingCalibrator(mine[0], random_state=0, **settings)
        weight = np.ones(len(labels)) if name == "no weights" and RANK == 0 else None
        try:
            calibrator.fit(*mine[1:], weight)
            told[name] = None
        except BaseException as error:  # noqa: BLE001
            told[name] = type(error).__name__, str(error)
        told[f"after {name}"] = TemperatureScaling(NETWORK).fit(images, labels).temperature_
    return told


def main(folder):
    """Fit, and write what came out."""
    torch.set_num_threads(1)
    if N_PROCESSES == 1:
        results = fit_all(fit_part)
    else:
        dist.init_process_group("gloo")
        with sharded() as ranks:
            results = {**fit_all(fit_part), "failures": failures()}
        results["n_bytes"] = ranks.n_bytes
        dist.destroy_process_group()
    torch.save(results, Path(folder) / f"{N_PROCESSES}-{RANK}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
