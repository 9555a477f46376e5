"""Two classes, the second of them rare: what class weights in training do, and how many positives mend it.

Features are drawn, and labels from probabilities that are known. Gradient boosting is trained on 20,000 samples, as
they are or with ``class_weight="balanced"``; a number of positives calibrates, with the negatives that come with them,
and 50,000 samples judge.

With ``--tables``: tables of scikit-learn, three classifiers, and the maps and the selector on their probabilities. 40 %
of a table train, 30 % calibrate, and the rest judges.

    python benchmarks/two_classes.py
    python benchmarks/two_classes.py --tables cancer digits diabetes hastie noisy rare --seeds 5
"""

from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_classification, make_hastie_10_2
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tabulate import tabulate

from _runner import RESULTS, benchmark, record, show
from skclamp import (
    BetaCalibration,
    CalibratorSelector,
    IsotonicCalibration,
    PlattScaling,
    QuadraticScaling,
    TemperatureScaling,
    VennAbersCalibration,
)
from skclamp.metrics import expected_calibration_error

# The log-odds of a positive where all features are 0.
OFFSETS = {0.3: -1.3, 0.01: -6.6}
METHODS = {"temperature": TemperatureScaling, "Platt": PlattScaling, "beta": BetaCalibration}
METHODS |= {"isotonic": IsotonicCalibration, "uncalibrated": None}
# Features and labels of two classes, by seed.
TABLES = {
    "cancer": lambda seed: load_breast_cancer(return_X_y=True),
    "digits": lambda seed: thresholded(*load_digits(return_X_y=True), lambda digit: digit % 2),
    "diabetes": lambda seed: thresholded(*load_diabetes(return_X_y=True), lambda y: y > 140.5),
    "hastie": lambda seed: thresholded(*make_hastie_10_2(8000, random_state=seed), lambda y: y > 0),
    "noisy": lambda seed: make_classification(6000, n_informative=8, flip_y=0.2, random_state=seed),
    "rare": lambda seed: make_classification(
        10_000, n_informative=8, n_clusters_per_class=3, weights=[0.95], flip_y=0.02, class_sep=0.7, random_state=seed
    ),
}
CLASSIFIERS = {
    "boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
    "forest": lambda seed: RandomForestClassifier(random_state=seed),
    "logistic regression": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}
MAPS = {name: METHODS[name] for name in ("temperature", "Platt", "beta", "isotonic")}
MAPS |= {"quadratic": QuadraticScaling, "Venn-Abers": VennAbersCalibration, "selector": CalibratorSelector}
# What the selector has to be as good as.
RIVALS = "temperature", "Platt", "beta", "isotonic"
COLUMNS = ("share", "training", "seed", "positives", "method", "nll", "true_nll", "ece", "mean")


def draw(n, share, rng):
    """Features, labels, and the probabilities that these are drawn from."""
    X = rng.normal(size=(n, 8))
    proba = expit(OFFSETS[share] + X[:, :4].sum(1) + 0.8 * X[:, 0] * X[:, 1])
    return X, (rng.random(n) < proba).astype(int), proba


@lru_cache(maxsize=1)
def trained(share, training, seed):
    """A classifier, and other samples to judge by."""
    rng = np.random.default_rng(seed)
    weight = "balanced" if training == "balanced" else None
    classifier = HistGradientBoostingClassifier(max_iter=60, class_weight=weight, random_state=seed)
    return classifier.fit(*draw(20_000, share, rng)[:2]), draw(50_000, share, rng)


def measure(share, training, seed, positives, method):
    """Scores of a method; the ECE is the second class's, in per cent."""
    classifier, (X, y, true) = trained(share, training, seed)
    X_cal, y_cal, _ = draw(round(3 * positives / share), share, np.random.default_rng([seed, positives]))
    n = np.flatnonzero(y_cal)[positives - 1] + 1
    model = METHODS[method](classifier).fit(X_cal[:n], y_cal[:n]) if METHODS[method] else classifier
    proba = model.predict_proba(X)[:, 1]
    scores = {"nll": log_loss(y, proba), "true_nll": log_loss(y, true), "mean": proba.mean()}
    return scores | {"ece": 100 * expected_calibration_error(y, proba, n_bins=15)}


def thresholded(X, y, is_second):
    """Features, and labels of whether a number is of the second class."""
    return X, is_second(y).astype(int)


@lru_cache(maxsize=1)
def tabled(table, classifier, seed):
    """A classifier of a table, and the two parts of it that it hasn't seen."""
    X, y = TABLES[table](seed)
    X_train, X, y_train, y = train_test_split(X, y, train_size=0.4, random_state=seed, stratify=y)
    model = CLASSIFIERS[classifier](seed).fit(X_train, y_train)
    return model, train_test_split(X, y, train_size=0.5, random_state=seed, stratify=y)


def measure_table(table, classifier, seed, method):
    """NLL of a map."""
    model, (X_cal, X, y_cal, y) = tabled(table, classifier, seed)
    log_proba = MAPS[method](model).fit(X_cal, y_cal).predict_log_proba(X)
    return {"nll": -log_proba[np.arange(len(y)), y].mean()}


def show_tables(results):
    """Print ratios to temperature scaling of mean NLLs, and how the selector stands beside the best single map."""
    nll = results.pivot_table("nll", ["table", "classifier", "seed"], "method", sort=False)
    means = nll.groupby(["table", "classifier"], sort=False).mean()
    ratios = means.div(means["temperature"], axis=0)
    ratios.loc[("geometric mean", ""), :] = np.exp(np.log(ratios).mean())
    print(tabulate(ratios.reset_index(), headers="keys", showindex=False, floatfmt=".4f"))
    best = means[list(RIVALS)].idxmin(axis=1)
    for cell, rival in best.items():
        lead = nll.loc[cell, "selector"] - nll.loc[cell, rival]
        error = lead.std() / np.sqrt(len(lead))
        print(f"{', '.join(cell)}: selector - {rival} = {lead.mean():+.4f} (standard error {error:.4f})")


@benchmark
def main(
    shares: OFFSETS = tuple(OFFSETS), positives=(10, 30, 100, 300), tables: TABLES = (), seeds=10, out: Path = None
):
    if tables:
        cells = product(tables, CLASSIFIERS, range(seeds), MAPS)
        columns = "table", "classifier", "seed", "method", "nll"
        show_tables(record(out or RESULTS / "two_classes_tables.csv", columns, cells, measure_table))
        return
    cells = product(shares, ("plain", "balanced"), range(seeds), positives, METHODS)
    results = record(out or RESULTS / "two_classes.csv", COLUMNS, cells, measure)
    show(results, ["share", "training", "positives"], ["nll", "ece"], across="method")
