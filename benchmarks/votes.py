"""Votes of forests, neighbours and trees, with exact zeros: temperature scaling here and in scikit-learn.

    python benchmarks/votes.py --data DIR
    python benchmarks/votes.py --data DIR --seeds 2 --out votes.csv
    python benchmarks/votes.py --masked

Of digits, breast cancer and the gas sensors of the second batch 40 % train a classifier, 30 % calibrate it, and 30 %
judge; 20 splits. Every split is appended to a CSV file as it is computed; what the file has already is left out.
Probabilities below 2.2e-16 count as this, as in scikit-learn's ``log_loss``.

Zeros of another kind, as of masked actions: of 100 classes each sample has ten, and its label is drawn from their
probabilities. 1,000 samples calibrate, 20,000 judge; nothing is written.
"""

import argparse
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _result_file import ResultFile
from skclamp import TemperatureScaling
from skclamp.metrics import expected_calibration_error, negative_log_likelihood

TABLES = ("digits", "breast cancer", "gas sensors")
CLASSIFIERS = {
    "25 trees": lambda seed: RandomForestClassifier(25, random_state=seed),
    "100 trees": lambda seed: RandomForestClassifier(100, random_state=seed),
    "10 neighbours": lambda seed: KNeighborsClassifier(10),
    "one tree": lambda seed: DecisionTreeClassifier(min_samples_leaf=5, random_state=seed),
}
METHODS = {
    "uncalibrated": lambda classifier: classifier,
    "scikit-learn": lambda classifier: CalibratedClassifierCV(classifier, method="temperature"),
    "skclamp": TemperatureScaling,
}
# Splits with smaller seeds showed that zeros need something else to stand for them.
FIRST_SEED = 50
KEY = ("seed", "table", "classifier", "method")


def load(table, data_dir):
    """Features and labels."""
    if table == "digits":
        return load_digits(return_X_y=True)
    if table == "breast cancer":
        return load_breast_cancer(return_X_y=True)
    with np.load(Path(data_dir) / "gas_sensor_drift.npz") as file:
        batch = file["batch"] == 2
        return file["X"][batch], file["y"][batch]


def run(X, y, seed, classifier, method):
    """NLL, ECE in per cent and accuracy in per cent of a method on one split."""
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=0.4, stratify=y, random_state=seed)
    X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=seed)
    fitted = FrozenEstimator(CLASSIFIERS[classifier](seed).fit(X_train, y_train))
    calibrated = METHODS[method](fitted).fit(X_cal, y_cal)
    proba = calibrated.predict_proba(X_test)
    accuracy = (calibrated.classes_[proba.argmax(1)] == y_test).mean()
    return {
        "nll": log_loss(y_test, proba),
        "ece": 100 * expected_calibration_error(y_test, proba),
        "accuracy": 100 * accuracy,
    }


def compute(options):
    """Compute and write the splits that the file doesn't have yet."""
    results = ResultFile(options.out, (*KEY, "nll", "ece", "accuracy"), len(KEY))
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    pending = [key for key in product(seeds, TABLES, CLASSIFIERS, METHODS) if key not in results]
    for key in tqdm(pending, disable=None):
        seed, table, *rest = key
        results.append([{**dict(zip(KEY, key, strict=True)), **run(*load(table, options.data), seed, *rest)}])


def masked(n_samples, rng, n_classes=100, n_active=10):
    """Probabilities that labels are drawn from, exactly 0 for most classes."""
    logits = rng.normal(size=(n_samples, n_classes))
    logits[rng.random(logits.shape).argsort(1) >= n_active] = -np.inf
    return softmax(logits, axis=1), (logits + rng.gumbel(size=logits.shape)).argmax(1)


def run_masked(seed):
    """NLL of the probabilities, with half a vote for each 0, and as chosen; the mass on classes a sample hasn't."""
    rng = np.random.default_rng(seed)
    (proba, y), (new, y_new) = masked(1000, rng), masked(20_000, rng)
    half = min(proba[proba > 0].min(), 0.01) / 2
    row = {"uncalibrated": negative_log_likelihood(y_new, new)}
    for name, least in (("half a vote", half), ("skclamp", "auto")):
        calibrator = TemperatureScaling(response="probabilities", classes=range(100), least_probability=least)
        found = calibrator.fit(proba, y).predict_proba(new)
        row |= {name: negative_log_likelihood(y_new, found), f"mass astray, {name}": found[new == 0].sum() / len(new)}
    return row


def summary(results):
    """One row for each table and classifier: mean NLL of each method, and how much less it is here, paired."""
    rows = []
    for (table, classifier), part in results.groupby(["table", "classifier"], sort=False):
        nll, ece = (part.pivot(index="seed", columns="method", values=score) for score in ("nll", "ece"))
        less = nll["scikit-learn"] - nll["skclamp"]
        rows.append(
            {
                "table": table,
                "classifier": classifier,
                **{f"NLL, {method}": nll[method].mean() for method in METHODS},
                "less here": less.mean(),
                "standard error": less.std() / np.sqrt(len(less)),
                "worse in": f"{(less < 0).sum()} of {len(less)}",
                **{f"ECE %, {method}": ece[method].mean() for method in METHODS},
            }
        )
    return pd.DataFrame(rows)


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masked", action="store_true", help="the zeros of another kind alone")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of gas_sensor_drift.npz")
    parser.add_argument("--seeds", type=int, default=20, help="number of splits (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/votes.csv"), help="CSV file to append to")
    options = parser.parse_args(arguments)
    if not options.masked and options.data is None:
        parser.error("--data DIR is needed for gas_sensor_drift.npz")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if options.masked:
            print(pd.DataFrame([run_masked(seed) for seed in range(options.seeds)]).mean().round(4).to_string())
            return
        compute(options)
    print(tabulate(summary(pd.read_csv(options.out)), headers="keys", showindex=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
