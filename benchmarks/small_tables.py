"""Few labelled samples of a table that has drifted: what clamping does where it has nearly as many parameters.

A network is trained on the first two batches of the gas sensors (128 features, 6 classes; Vergara et al., 2012). Each
draw takes 100 to 300 samples of a later batch to calibrate on, and judges by the rest of that batch.

    python benchmarks/small_tables.py --data DIR
    python benchmarks/small_tables.py --data DIR --draws 30 --families affine --out affine.csv
"""

import warnings
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from _data import load_gas_sensors
from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.modules import as_module

FAMILIES = ("channel", "affine", "auto")
TRAINING_BATCHES, LATER_BATCHES = (1, 2), (3, 4, 5, 6, 8, 9)
LEAST, MOST = 100, 300
# What is left to judge by, at the least.
N_TEST = 50
SCORES = ("nll", "unfloored", "accuracy")
COLUMNS = ("family", "draw", "batch", "n", "accepted", "temperature", *SCORES, *(f"ts_{score}" for score in SCORES))


def load_sensors(data, n_iter=200):
    """A perceptron as a torch module, and its standardised inputs, labels as column indices and batches."""
    X, y, batch = load_gas_sensors(data)
    known = np.isin(batch, TRAINING_BATCHES)
    X = StandardScaler().fit(X[known]).transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = MLPClassifier(max_iter=n_iter, random_state=0).fit(X[known], y[known])
    return as_module(classifier), X, np.searchsorted(classifier.classes_, y), batch


def draw(batch, seed):
    """A later batch, and its samples to calibrate and to test on."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(LATER_BATCHES)
    rows = rng.permutation(np.flatnonzero(batch == chosen))
    n = rng.integers(LEAST, min(MOST, len(rows) - N_TEST) + 1)
    return chosen, rows[:n], rows[n:]


def score(calibrator, X, columns):
    """NLL in nats with scikit-learn's floor, that without it, and accuracy in per cent.

    A sensor that fails gives one sample logits of several hundred, at which the second says nothing of the others.
    """
    log_proba = calibrator.predict_log_proba(X)
    own = log_proba[np.arange(len(columns)), columns]
    accuracy = 100 * (log_proba.argmax(1) == columns).mean()
    return -np.maximum(own, np.log(np.finfo(float).eps)).mean(), -own.mean(), accuracy


def measure(sensors, family, seed):
    """The row of one draw and family."""
    network, X, columns, batch = sensors
    chosen, fit, test = draw(batch, seed)
    classes = np.arange(columns.max() + 1)
    plain = TemperatureScaling(network, classes=classes)
    clamping = NeuralClampingCalibrator(network, perturbation=family, random_state=seed, classes=classes)
    own, baseline = (score(fitted.fit(X[fit], columns[fit]), X[test], columns[test]) for fitted in (clamping, plain))
    values = chosen, len(fit), int(clamping.accepted_), clamping.temperature_, *own, *baseline
    return dict(zip(COLUMNS[2:], values, strict=True))


@benchmark
def main(data: Path, draws=300, families=FAMILIES, iterations=200, out=RESULTS / "small_tables.csv"):
    sensors = cache(lambda: load_sensors(data, iterations))
    cells = [(family, seed) for seed, family in product(range(draws), families)]
    results = record(out, COLUMNS, cells, lambda *cell: measure(sensors(), *cell))
    show(beside_temperature(results), ["family", "accepted"], ["ts_nll", "over", "points"])
