"""Prediction sets with a guarantee, around calibrated probabilities: MAPIE takes a calibrator as its estimator.

A conformal method turns a classifier's probabilities into a set of classes for each image that holds the true one in 95
of 100 cases on average, whatever the probabilities are worth: what they are worth shows in how small the sets can be.
This naive Bayes classifier is so sure of itself that the true class often has a probability of 0 but for rounding. No
threshold on that is of use, and only sets of all the classes hold what they should. Of calibrated probabilities one or
two classes do. Each step needs data of its own: to train the network, to calibrate it, to find the threshold of the
sets, and to judge all of it.

Prints a table. Takes some seconds, and needs ``pip install mapie``.
"""

import numpy as np
from mapie.classification import SplitConformalClassifier
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from tabulate import tabulate

from skclamp import StructuredVectorScaling, TemperatureScaling

CONFIDENCE = 0.95
SIZES = {"train": 400, "calibrate": 400, "conformalise": 400}


def main():
    """Train, calibrate, conformalise and judge."""
    parts = split(*load_digits(return_X_y=True))
    network = GaussianNB(var_smoothing=1e-3).fit(*parts["train"])
    estimators = {
        "uncalibrated": network,
        "temperature scaling": TemperatureScaling(network).fit(*parts["calibrate"]),
        "structured vector scaling": StructuredVectorScaling(network).fit(*parts["calibrate"]),
    }
    rows = [(name, *judge(estimator, parts)) for name, estimator in estimators.items()]
    print(tabulate(rows, headers=("estimator", "coverage %", "classes a set"), floatfmt=".2f"))


def split(X, y):
    """Digits by what they are for; the rest judges."""
    parts = {}
    for name, size in SIZES.items():
        X_part, X, y_part, y = train_test_split(X, y, train_size=size, stratify=y, random_state=0)
        parts[name] = X_part, y_part
    return {**parts, "test": (X, y)}


def judge(estimator, parts):
    """How many of 100 sets hold the true class, and how many classes a set has."""
    conformal = SplitConformalClassifier(estimator, confidence_level=CONFIDENCE, conformity_score="lac", prefit=True)
    conformal.conformalize(*parts["conformalise"])
    X, y = parts["test"]
    _, sets = conformal.predict_set(X)
    return 100 * sets[np.arange(len(y)), y].mean(), sets.sum(1).mean()


if __name__ == "__main__":
    main()
