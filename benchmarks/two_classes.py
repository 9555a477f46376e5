"""Two classes, the second of them rare: what class weights in training do, and how many positives mend it.

Features are drawn, and labels from probabilities that are known. Gradient boosting is trained on 20,000 samples, as
they are or with ``class_weight="balanced"``; a number of positives calibrates, with the negatives that come with them,
and 50,000 samples judge.

    python benchmarks/two_classes.py
"""

from functools import lru_cache
from itertools import product

import numpy as np
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss

from _runner import RESULTS, benchmark, record, show
from skclamp import BetaCalibration, IsotonicCalibration, PlattScaling, TemperatureScaling
from skclamp.metrics import expected_calibration_error

# The log-odds of a positive where all features are 0.
OFFSETS = {0.3: -1.3, 0.01: -6.6}
METHODS = {"temperature": TemperatureScaling, "Platt": PlattScaling, "beta": BetaCalibration}
METHODS |= {"isotonic": IsotonicCalibration, "uncalibrated": None}
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


@benchmark
def main(shares: OFFSETS = tuple(OFFSETS), positives=(10, 30, 100, 300), seeds=10, out=RESULTS / "two_classes.csv"):
    cells = product(shares, ("plain", "balanced"), range(seeds), positives, METHODS)
    results = record(out, COLUMNS, cells, measure)
    show(results, ["share", "training", "positives"], ["nll", "ece"], across="method")
