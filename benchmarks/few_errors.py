"""Temperature scaling on a hundred samples of which few are errors, beside no calibration.

    python benchmarks/few_errors.py --data DIR

Records are the logits of stored networks (left out without a folder), of small ones on scikit-learn's digits, and drawn
ones whose true T is in their name. Of each as many errors, or right samples, are left out as makes it 97.5 % right. A
cell fits n samples with a given number of errors among them, and the rest judges. Shown are the mean and the largest
ratio of the NLL to the uncalibrated one, over draws.
"""

from functools import lru_cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import skclamp
from _data import load_record
from _runner import RESULTS, benchmark, record
from _scores import nll_and_accuracy, scaled

ACCURACY = 0.975
STORED = ("cifar10_resnet20", "cifar10_resnet32", "cifar10_resnet34")
DIGITS = {
    "digits, perceptron": lambda: MLPClassifier((64,), max_iter=300, random_state=0),
    "digits, decayed perceptron": lambda: MLPClassifier((128, 64), alpha=1.0, max_iter=200, random_state=0),
    "digits, logistic regression": lambda: LogisticRegression(C=10, max_iter=1000),
}
DRAWN = {f"drawn, K = {k}, T = {T}": (k, T) for k in (2, 10) for T in (0.7, 1.0, 2.0)}
RECORDS = (*STORED, *DIGITS, *DRAWN)
COLUMNS = ("record", "n", "errors", "draw", "temperature", "nll", "uncalibrated")


def load(name, data):
    """Logits and labels, so many of them as are 97.5 % right."""
    if name in STORED:
        logits, y = _stored(name, data)
    else:
        logits, y = _digits(DIGITS[name]) if name in DIGITS else _drawn(*DRAWN[name])
    right = logits.argmax(1) == y
    rows = np.random.default_rng(0).permutation(len(y))
    hits, errors = rows[right[rows]], rows[~right[rows]]
    n_errors = min(len(errors), int(len(hits) * (1 - ACCURACY) / ACCURACY))
    rows = np.concatenate([hits[: int(n_errors * ACCURACY / (1 - ACCURACY))], errors[:n_errors]])
    return logits[rows], y[rows]


def _stored(name, data):
    if name != "cifar10_resnet34":
        return load_record(name, data)
    with np.load(data / "strong_networks.npz") as file:
        return file[f"{name}_logits"], file[f"{name}_labels"].astype(np.int64)


def _digits(make):
    X, y = load_digits(return_X_y=True)
    parts = []
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(len(y))
        train, test = rows[:600], rows[600:]
        network = make().fit(X[train] / 16, y[train])
        parts.append((np.log(np.maximum(network.predict_proba(X[test] / 16), 1e-30)), y[test]))
    return map(np.concatenate, zip(*parts, strict=True))


def _drawn(n_classes, temperature):
    """Logits that are overconfident by a temperature; how far the top one leads varies."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, n_classes))
    logits[np.arange(20_000), rng.integers(n_classes, size=20_000)] += 8 * rng.gamma(2, 0.5, size=20_000) + 2
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return temperature * logits, y


def measure(problem, n, n_errors, draw):
    logits, y = problem
    right = logits.argmax(1) == y
    rng = np.random.default_rng([draw, n_errors])
    hits, errors = rng.permutation(np.flatnonzero(right)), rng.permutation(np.flatnonzero(~right))
    rows = np.concatenate([hits[: n - n_errors], errors[:n_errors]])
    test = np.setdiff1d(np.arange(len(y)), rows)
    calibrator = skclamp.TemperatureScaling(classes=np.arange(logits.shape[1])).fit(logits[rows], y[rows])
    return {
        "temperature": calibrator.temperature_,
        "nll": nll_and_accuracy(scaled(logits[test], calibrator.temperature_), y[test])["nll"],
        "uncalibrated": nll_and_accuracy(scaled(logits[test]), y[test])["nll"],
    }


@benchmark
def main(
    data=None, records: RECORDS = RECORDS, n=100, errors=tuple(range(6)), draws=100, out=RESULTS / "few_errors.csv"
):
    problem = lru_cache(maxsize=1)(lambda name: load(name, data))
    names = [name for name in records if data or name not in STORED]
    cells = [(name, n, count, draw) for name in names for count in errors for draw in range(draws)]
    results = record(out, COLUMNS, cells, lambda name, *cell: measure(problem(name), *cell))
    results["ratio"] = results.nll / results.uncalibrated
    for statistic in ("mean", "max"):
        table = results.pivot_table("ratio", "record", "errors", aggfunc=statistic, sort=False)
        print(f"\n{statistic}\n{table.to_markdown(floatfmt='.3f')}")
