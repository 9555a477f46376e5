"""Sensors that drift: calibrating the old network by a few new samples, against retraining it or a new model.

A network is trained on the first two batches of the gas sensors (128 features, 6 classes; Vergara et al., 2012). Of a
later batch 150 or 500 labelled samples, a stratified draw, are what a method gets; the rest of the batch judges. Every
method's result is appended to a CSV file as it is computed; what the file has already is left out.

    python benchmarks/drift.py --data DIR
    python benchmarks/drift.py --summary --out drift.csv
"""

import argparse
import time
import warnings
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _estimates import paired_estimate
from _result_file import ResultFile
from _suite import facts
from selecting import rest_judges
from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling
from small_tables import TRAINING_BATCHES, load_sensors

# Batches with enough samples left to judge by.
BATCHES = {150: (3, 6, 8, 9), 500: (3, 6)}
# Draws with smaller seeds helped to choose the defaults.
SEEDS = range(50, 55)
PAIRS = {"clamping": "temperature", "clamping_selector": "selector"}


class Cell(NamedTuple):
    """Who learns from which samples."""

    n: int
    batch: int
    seed: int
    method: str


COLUMNS = (*Cell._fields, "n_test", "nll", "accuracy", "accepted", "families", "seconds")


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


def clamping(draw, **parameters):
    parameters = {"random_state": draw.seed, "classes": draw.classes, **parameters}
    return NeuralClampingCalibrator(draw.network, **parameters).fit(*draw.new)


def clamping_selector(draw):
    return clamping(draw, output=CalibratorSelector())


def retrained(draw):
    """The network's architecture on old and new samples."""
    X, y = (np.concatenate(parts) for parts in zip(draw.old, draw.new, strict=True))
    return MLPClassifier(random_state=draw.seed).fit(X, y)


def new_model(draw):
    """Logistic regression on the new samples alone."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*draw.new)


METHODS = {
    method.__name__: method for method in (temperature, selector, clamping, clamping_selector, retrained, new_model)
}


def cells_of(options):
    """All cells, those of one draw one after the other."""
    return [
        Cell(n, batch, seed, method)
        for n in options.sizes
        for batch, seed, method in product(BATCHES[n], options.seeds, options.methods)
    ]


def compute(options):
    """Compute and write what the file doesn't have yet."""
    results = ResultFile(options.out, COLUMNS, len(Cell._fields))
    pending = [cell for cell in cells_of(options) if cell not in results]
    if not pending:
        return
    network, X, labels, batch = load_sensors(options.data, options.iterations)
    old, classes = np.isin(batch, TRAINING_BATCHES), np.arange(labels.max() + 1)
    with tqdm(total=len(pending), disable=None) as progress:
        for (n, number, seed), group in groupby(pending, key=lambda cell: cell[:-1]):
            X_new, y_new = X[batch == number], labels[batch == number]
            fit, test = rest_judges(y_new, seed, n, stratify=True)
            draw = Draw(network, (X[old], labels[old]), (X_new[fit], y_new[fit]), classes, seed)
            for cell in group:
                results.append([run(cell, draw, X_new[test], y_new[test])])
                progress.update()


def run(cell, draw, X, y):
    """The row of a cell."""
    start = time.process_time()
    fitted = METHODS[cell.method](draw)
    seconds = time.process_time() - start
    proba = np.zeros((len(X), len(draw.classes)))
    proba[:, fitted.classes_] = fitted.predict_proba(X)
    row = {**cell._asdict(), "n_test": len(y), "nll": log_loss(y, proba, labels=draw.classes), "seconds": seconds}
    row["accuracy"] = 100 * (proba.argmax(1) == y).mean()
    if isinstance(fitted, NeuralClampingCalibrator):
        row |= {name: facts(fitted)[name] for name in ("accepted", "families")}
    return row


def means_table(results):
    """NLL and accuracy of each method, means over seeds: a line for each batch and one for all of a size."""
    rows = []
    for name, part in parts_of(results):
        row = {"samples, batch": name}
        for method, own in part.groupby("method", sort=False):
            row[method] = f"{own.nll.mean():.3f} / {own.accuracy.mean():.1f}"
        rows.append(row)
    return tabulate(rows, headers="keys", disable_numparse=True)


def differences_table(results):
    """Clamping less the method that it adds to, with standard errors, and how often its NLL is the lower one."""
    rows = []
    for (name, part), (method, baseline) in product(parts_of(results), PAIRS.items()):
        if not {method, baseline} <= set(part.method):
            continue
        nll = part.pivot_table("nll", ["seed", "batch"], "method")
        accepted = part.accepted[part.method == method]
        rows.append(
            {
                "samples, batch": name,
                "difference": f"{method} − {baseline}",
                "NLL": f"{difference(part, 'nll', method, baseline):+.4f}",
                "points": f"{difference(part, 'accuracy', method, baseline):+.2f}",
                "better": f"{(nll[method] < nll[baseline]).sum()} of {len(nll)}",
                "kept": f"{accepted.sum():.0f} of {len(accepted)}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def difference(part, score, method, baseline):
    """Paired by draws; of several batches the mean."""
    means = part.pivot_table(score, "seed", "method")
    judged = (part.n_test / (part.n + part.n_test)).mean()
    return paired_estimate(means[method], means[baseline], judged)


def parts_of(results):
    """Name and results of each batch, and of all batches of a size."""
    for n, sized in results.groupby("n"):
        for batch, part in sized.groupby("batch"):
            yield f"{n}, {batch}", part
        yield f"{n}, all", sized


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of gas_sensor_drift.npz (X, y, batch)")
    parser.add_argument("--sizes", nargs="+", type=int, choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="draws (default: 50 to 54)")
    parser.add_argument("--iterations", type=int, default=200, help="of the network's training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch and numpy (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/drift.csv"), help="CSV file to append to")
    parser.add_argument("--summary", action="store_true", help="compute nothing: tables of the file")
    options = parser.parse_args(arguments)
    if not options.summary and options.data is None:
        parser.error("--data is needed unless there is --summary")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    if not options.summary:
        with threadpool_limits(options.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compute(options)
    results = pd.read_csv(options.out)
    print("NLL / accuracy in %, means over draws")
    print(means_table(results))
    print("\nwhat clamping adds (paired, ± corrected standard error), and how often a perturbation was kept")
    print(differences_table(results))


if __name__ == "__main__":
    main()
