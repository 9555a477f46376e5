r"""Abstention: how often answers break the promise of their risk, and how many there are, beside MAPIE's.

    python benchmarks/abstention.py --data DIR
    python benchmarks/abstention.py --data DIR --methods skclamp empirical --draws 50 --out abstention.csv

Logits of four CIFAR networks' test images, and of a perceptron for the gas sensors' later batches. A third of a record
fits the temperature, once. The others are the truth: calibration sets are drawn from them with replacement, so that the
true risk of any threshold, and the largest coverage whose risk is within the target, are known exactly. All methods
have the same draws and confidences. Of a draw's equal samples ours counts one: of 1,000 of the sensors a seventh less.

MAPIE's `BinaryClassificationController` is told that the positive class is a right answer, whose probability is the
confidence, and to keep the precision at one less the risk: as it comes (Bonferroni-Holm on 100 thresholds), and by
fixed sequences. A split one learns its order on half of each draw, which takes long, so that it has a tenth of the
draws. The empirical threshold is the lowest from which on the draw's own risk is within the target, which promises
nothing. Floors: a promise is broken in at most .05 of draws and two standard errors; at 10 % and 500 labels 1.5 times
as many are answered as by MAPIE as it comes, of which the best threshold would answer 1.39 times as many on these
records. Needs the group ``bench``.

Another version of the package in PYTHONPATH has the same draws.
"""

import math
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch

from _data import load_record
from _networks import compute_logits
from _runner import RESULTS, benchmark, record, show
from _tabular import LATER_BATCHES, load_sensors
from skclamp import SelectiveClassifier, TemperatureScaling
from skclamp.metrics import risk_coverage_curve

SENSORS = "gas_sensors"
RECORDS = ("cifar10_resnet20", "cifar100_resnet20", "cifar100_wideresnet-16-4", "cifar100_lenet-5", SENSORS)
RISKS, SIZES = (0.05, 0.1, 0.2), (200, 500, 1000)
CONFIDENCE = 0.95
COLUMNS = (
    *("record", "risk", "n", "method", "draws", "broken", "broken_error"),
    *("coverage", "coverage_error", "best_coverage", "silent"),
)


def load(name, data):
    """A calibrator, and logits and labels of which it has seen none."""
    if name == SENSORS:
        network, X, labels, batch = load_sensors(data)
        later = np.isin(batch, LATER_BATCHES)
        logits, labels = compute_logits(network, torch.from_numpy(X[later]).double()).numpy(), labels[later]
    else:
        logits, labels = load_record(name, data)
    fit, others = np.split(np.random.default_rng(0).permutation(len(labels)), [len(labels) // 3])
    calibrator = TemperatureScaling(classes=np.arange(logits.shape[1])).fit(logits[fit], labels[fit])
    return calibrator, logits[others], labels[others]


def lowest(calibrator, X, y, risk):
    """The least confidence from which on the samples' own risk is within the target; infinite where there is none."""
    curve = risk_coverage_curve(y, calibrator.predict_proba(X), labels=calibrator.classes_)
    within = curve.thresholds[curve.risks <= risk]
    return within.min(initial=np.inf)


def ours(calibrator, X, y, risk):
    selective = SelectiveClassifier(calibrator, target_risk=risk, confidence=CONFIDENCE).fit(X, y)
    return np.nextafter(selective.threshold_, np.inf)


def mapie(calibrator, X, y, risk, **options):
    from mapie.risk_control import BinaryClassificationController

    def is_right(X):
        confidence = calibrator.predict_proba(X).max(1)
        return np.column_stack([1 - confidence, confidence])

    right = (calibrator.predict(X) == y).astype(int)
    controller = BinaryClassificationController(
        is_right, "precision", target_level=1 - risk, confidence_level=CONFIDENCE, **options
    )
    if options.get("fwer_method") == "split_fixed_sequence":
        learn, X, right_of_learn, right = *np.array_split(X, 2), *np.array_split(right, 2)
        controller.learn_fixed_sequence_order(learn, right_of_learn)
    best = controller.calibrate(X, right).best_predict_param
    return np.inf if best is None else best


# The least confidence that each answers.
METHODS = {
    "skclamp": ours,
    "MAPIE": mapie,
    "MAPIE fixed sequence": lambda *sample: mapie(*sample, fwer_method="fixed_sequence"),
    "MAPIE split sequence": lambda *sample: mapie(*sample, fwer_method="split_fixed_sequence"),
    "empirical": lowest,
}
SLOW = "MAPIE split sequence"


def measure(problem, risk, n, method, draws):
    """Means over draws, and their standard errors."""
    calibrator, X, y = problem
    confidence, wrong = calibrator.predict_proba(X).max(1), calibrator.predict(X) != y
    found = np.empty((draws, 3))
    for seed in range(draws):
        rows = np.random.default_rng(seed).integers(len(y), size=n)
        answered = confidence >= METHODS[method](calibrator, X[rows], y[rows], risk)
        found[seed] = wrong[answered].sum() > risk * answered.sum(), answered.mean(), not answered.any()
    broken, coverage, silent = found.mean(0)
    broken_error, coverage_error, _ = found.std(0) / np.sqrt(draws)
    return {
        "draws": draws,
        "broken": broken,
        "broken_error": broken_error,
        "coverage": coverage,
        "coverage_error": coverage_error,
        "best_coverage": (confidence >= lowest(calibrator, X, y, risk)).mean(),
        "silent": silent,
    }


@benchmark
def main(
    data: Path,
    records: RECORDS = RECORDS,
    methods: METHODS = tuple(METHODS),
    risks=RISKS,
    sizes=SIZES,
    draws=300,
    out=RESULTS / "abstention.csv",
):
    problem = cache(lambda name: load(name, data))
    cells = product(records, risks, sizes, methods)

    def of_cell(name, risk, n, method):
        return measure(problem(name), risk, n, method, math.ceil(draws / 10) if method == SLOW else draws)

    results = record(out, COLUMNS, cells, of_cell).assign(of_best=lambda frame: frame.coverage / frame.best_coverage)
    # "silent" is the share of draws in which nothing is answered.
    show(results, ["record", "risk", "n"], ["broken", "coverage", "of_best", "silent"], across="method")
