"""Maps fitted to samples that lack some of ten classes, beside temperature scaling of the same samples.

    python benchmarks/missing_classes.py --data DIR
    python benchmarks/missing_classes.py --data DIR --records digits --sizes 500 --draws 2

Of a record's logits six tenths calibrate, without the classes that each draw leaves out, and all of the rest judge. Per
record, size and number of missing classes: mean and largest NLL over temperature scaling's. With none missing it tells
what so few samples do to a map by themselves.
"""

import warnings
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from tabulate import tabulate

import skclamp
from _data import load_record
from _runner import RESULTS, benchmark, record
from skclamp.metrics import negative_log_likelihood

COLUMNS = ("record", "n", "missing", "draw", "map", "ratio")
MAPS = (
    *("MatrixScaling", "DirichletCalibration", "VectorScaling", "StructuredVectorScaling", "StructuredMatrixScaling"),
    *("PlattScaling", "BetaCalibration", "CalibratorSelector"),
)


def digits(data):
    """Log-probabilities of a perceptron on scikit-learn's digits, and labels."""
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))
    known, new = rows[:500], rows[500:]
    model = MLPClassifier(64, max_iter=60, random_state=0).fit(X[known] / 16, y[known])
    return model.predict_log_proba(X[new] / 16), y[new]


def strong(data):
    """Logits of a CIFAR-10 ResNet-34 of 95.4 % accuracy, and labels."""
    with np.load(Path(data) / "strong_networks.npz") as file:
        return file["cifar10_resnet34_logits"], file["cifar10_resnet34_labels"].astype(np.int64)


RECORDS = {"digits": digits, "resnet20": lambda data: load_record("cifar10_resnet20", data), "resnet34": strong}


def ratios(logits, y, n, n_missing, draw, maps):
    """NLL of each map over that of temperature scaling, on samples of all classes."""
    rng = np.random.default_rng([draw, n, n_missing])
    rows, missing = rng.permutation(len(y)), rng.choice(10, n_missing, replace=False)
    known, new = np.split(rows, [len(y) * 6 // 10])
    known = known[~np.isin(y[known], missing)][:n]

    def nll(name):
        calibrator = getattr(skclamp, name)().fit(logits[known], y[known])
        return negative_log_likelihood(y[new], calibrator.predict_proba(logits[new]))

    of_temperature = nll("TemperatureScaling")
    return {name: nll(name) / of_temperature for name in maps}


@benchmark
def main(
    data=None,
    records: RECORDS = tuple(RECORDS),
    maps: MAPS = MAPS,
    sizes=(200, 500, 1000, 2000, 5000),
    missing=(0, 1, 3),
    draws=10,
    out=RESULTS / "missing_classes.csv",
):
    @cache
    def scores(name):
        logits, y = RECORDS[name](data)
        return log_softmax(logits.astype(np.float64), axis=1), y

    def measure(name, n, n_missing, draw):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ratios(*scores(name), n, n_missing, draw, maps)
        return [{"map": each, "ratio": ratio} for each, ratio in found.items()]

    cells = product(records, sizes, missing, range(draws))
    results = record(out, COLUMNS, (cell for cell in cells if cell[1] <= len(scores(cell[0])[1]) // 2), measure)
    for value, part in (("means", "mean"), ("largest", "max")):
        table = results.pivot_table("ratio", ["record", "n", "missing"], "map", part, sort=False)
        print(f"\nNLL over temperature scaling's, {value}\n{tabulate(table, headers='keys', floatfmt='.3f')}")
