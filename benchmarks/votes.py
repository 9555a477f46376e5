"""Votes of forests, neighbours and trees, with exact zeros: temperature scaling here and in scikit-learn.

    python benchmarks/votes.py --data DIR
    python benchmarks/votes.py --data DIR --seeds 2 --out votes.csv
    python benchmarks/votes.py --masked

Of digits, breast cancer and the gas sensors of the second batch 40 % train a classifier, 30 % calibrate it, and 30 %
judge; 20 splits. Probabilities below 2.2e-16 count as this, as in scikit-learn's ``log_loss``.

Zeros of another kind, as of masked actions: of 100 classes each sample has ten, and its label is drawn from their
probabilities. 1,000 samples calibrate, 20,000 judge; nothing is written.
"""

from itertools import product

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from _data import load_gas_sensors
from _runner import RESULTS, benchmark, record, show
from skclamp import TemperatureScaling
from skclamp.metrics import expected_calibration_error, negative_log_likelihood

TABLES = {
    "digits": lambda data: load_digits(return_X_y=True),
    "breast cancer": lambda data: load_breast_cancer(return_X_y=True),
    "gas sensors": lambda data: load_gas_sensors(data, batch=2)[:2],
}
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
COLUMNS = ("seed", "table", "classifier", "method", "nll", "ece", "accuracy")


def measure(X, y, seed, classifier, method):
    """NLL, ECE in per cent and accuracy in per cent of a method on one split."""
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=0.4, stratify=y, random_state=seed)
    X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=seed)
    fitted = FrozenEstimator(CLASSIFIERS[classifier](seed).fit(X_train, y_train))
    calibrated = METHODS[method](fitted).fit(X_cal, y_cal)
    proba = calibrated.predict_proba(X_test)
    return {
        "nll": log_loss(y_test, proba),
        "ece": 100 * expected_calibration_error(y_test, proba),
        "accuracy": 100 * (calibrated.classes_[proba.argmax(1)] == y_test).mean(),
    }


def masked_samples(n_samples, rng, n_classes=100, n_active=10):
    """Probabilities that labels are drawn from, exactly 0 for most classes."""
    logits = rng.normal(size=(n_samples, n_classes))
    logits[rng.random(logits.shape).argsort(1) >= n_active] = -np.inf
    return softmax(logits, axis=1), (logits + rng.gumbel(size=logits.shape)).argmax(1)


def measure_masked(seed):
    """NLL of the probabilities, with half a vote for each 0, and as chosen; the mass on classes a sample hasn't."""
    rng = np.random.default_rng(seed)
    (proba, y), (new, y_new) = masked_samples(1000, rng), masked_samples(20_000, rng)
    half = min(proba[proba > 0].min(), 0.01) / 2
    row = {"uncalibrated": negative_log_likelihood(y_new, new)}
    for name, least in (("half a vote", half), ("skclamp", 0)):
        calibrator = TemperatureScaling(response="probabilities", classes=range(100))
        found = calibrator.fit(np.maximum(proba, least), y).predict_proba(np.maximum(new, least))
        row |= {name: negative_log_likelihood(y_new, found), f"mass astray, {name}": found[new == 0].sum() / len(new)}
    return row


@benchmark
def main(data=None, tables: TABLES = tuple(TABLES), seeds=20, masked=False, out=RESULTS / "votes.csv"):
    if masked:
        print(pd.DataFrame([measure_masked(seed) for seed in range(seeds)]).mean().round(4).to_string())
        return
    cells = product(range(FIRST_SEED, FIRST_SEED + seeds), tables, CLASSIFIERS, METHODS)
    results = record(out, COLUMNS, cells, lambda seed, name, *rest: measure(*TABLES[name](data), seed, *rest))
    show(results, ["table", "classifier"], ["nll", "ece"], across="method")
