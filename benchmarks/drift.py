"""Sensors that drift: calibrating the old network by a few new samples, against retraining it or a new model.

A network is trained on the first two batches of the gas sensors (128 features, 6 classes; Vergara et al., 2012). Of a
later batch 150 or 500 labelled samples, a stratified draw, are what a method gets; the rest of the batch judges.

    python benchmarks/drift.py --data DIR
    python benchmarks/drift.py --summary --out drift.csv
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from _data import split_off
from _runner import RESULTS, benchmark, record, show
from _scores import facts
from _tabular import TRAINING_BATCHES, load_sensors
from _timing import measure
from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling

# Batches with enough samples left to judge by.
BATCHES = {150: (3, 6, 8, 9), 500: (3, 6)}
COLUMNS = ("n", "batch", "seed", "method", "n_test", "nll", "accuracy", "accepted", "families", "seconds")


class Draw(NamedTuple):
    """The old network, old samples, and new samples to learn from; labels are column indices."""

    network: torch.nn.Module
    old: tuple[np.ndarray, np.ndarray]
    new: tuple[np.ndarray, np.ndarray]
    classes: np.ndarray
    seed: int


# Methods: each takes a Draw and returns something fitted, with predict_proba and classes_.


def temperature(draw):
    return TemperatureScaling(draw.network, classes=draw.classes).fit(*draw.new)


def selector(draw):
    return CalibratorSelector(draw.network, classes=draw.classes).fit(*draw.new)


def clamping(draw):
    return NeuralClampingCalibrator(draw.network, random_state=draw.seed, classes=draw.classes).fit(*draw.new)


def retrained(draw):
    """The network's architecture on old and new samples."""
    X, y = (np.concatenate(parts) for parts in zip(draw.old, draw.new, strict=True))
    return MLPClassifier(random_state=draw.seed).fit(X, y)


def new_model(draw):
    """Logistic regression on the new samples alone."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*draw.new)


METHODS = {method.__name__: method for method in (temperature, selector, clamping, retrained, new_model)}


def run(sensors, n, number, seed, method):
    """The row of a cell."""
    network, X, labels, batch = sensors
    old, new, classes = np.isin(batch, TRAINING_BATCHES), batch == number, np.arange(labels.max() + 1)
    X_new, y_new = X[new], labels[new]
    fit, test = split_off(y_new, n, seed)
    draw = Draw(network, (X[old], labels[old]), (X_new[fit], y_new[fit]), classes, seed)
    fitted, spent = measure(lambda: METHODS[method](draw))
    proba, y = np.zeros((len(test), len(classes))), y_new[test]
    proba[:, fitted.classes_] = fitted.predict_proba(X_new[test])
    row = {"n_test": len(y), "nll": log_loss(y, proba, labels=classes), "seconds": spent.cpu}
    row["accuracy"] = 100 * (proba.argmax(1) == y).mean()
    if isinstance(fitted, NeuralClampingCalibrator):
        row |= {name: facts(fitted)[name] for name in ("accepted", "families")}
    return row


@benchmark
def main(
    data=None,
    sizes: BATCHES = tuple(BATCHES),
    methods: METHODS = tuple(METHODS),
    # Draws with smaller seeds helped to choose the defaults.
    seeds=range(50, 55),
    iterations=200,
    out=RESULTS / "drift.csv",
    summary=False,
):
    sensors = cache(lambda: load_sensors(data, iterations))
    cells = [(n, *cell) for n in sizes for cell in product(BATCHES[n], seeds, methods)]
    results = record(out, COLUMNS, () if summary else cells, lambda *cell: run(sensors(), *cell))
    show(results, ["n", "batch"], ["nll", "accuracy"], across="method")
