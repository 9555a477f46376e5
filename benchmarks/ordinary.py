"""Two hundred ordinary problems, which no warning should greet: what people have, beside what they call.

    python benchmarks/ordinary.py --data DIR
    python benchmarks/ordinary.py --quick
    python benchmarks/ordinary.py --data DIR --only "digits" --draw 1

Tables of scikit-learn and made-up ones, some with 98 to 2 % of two classes, gas sensors, CIFAR's images and records of
logits; forests, other classifiers and networks; 50 to 8,000 samples; each calibrator where it is a sensible thing to
take. A problem's number is its seed. What a fit and a prediction warn of is printed and written to a CSV file, empty
where they are silent, beside the NLL of the samples that are left and that of temperature scaling.
"""

import warnings
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn import ensemble
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

import skclamp
from _data import PROBABILITIES, load_gas_sensors, load_problem, load_record
from _runner import benchmark
from _tabular import train
from _timing import measure
from skclamp import TemperatureScaling, compare_calibrators

COLUMNS = ("number", "data", "model", "n", "call", "warnings", "nll_temperature", "nll", "seconds")


class Problem(NamedTuple):
    """What is calibrated, by how many samples, and what is called."""

    data: str
    model: str
    n: int
    call: str


class Case(NamedTuple):
    """What a user has: an estimator (None of bare logits), samples to calibrate with, and others."""

    estimator: Any
    X: Any
    y: np.ndarray
    X_rest: Any
    y_rest: np.ndarray
    response: str = "auto"


made_up = partial(make_classification, random_state=0)


def rare_digits():
    """Eights among all digits, thinned until they are one in fifty."""
    X, y = load_digits(return_X_y=True)
    eights, others = np.flatnonzero(y == 8), np.flatnonzero(y != 8)
    rows = np.r_[others, eights[: len(others) // 49]]
    return X[rows], (y[rows] == 8).astype(int)


RARE = {"n_samples": 12000, "n_informative": 6, "weights": [0.98]}
FIVE, TWENTY = {"n_samples": 8000, "n_classes": 5}, {"n_samples": 8000, "n_features": 40, "n_classes": 20}
# Features and labels, and the share of them that trains.
TABLES = {
    "digits": (partial(load_digits, return_X_y=True), 0.4),
    "wine": (partial(load_wine, return_X_y=True), 0.4),
    "breast cancer": (partial(load_breast_cancer, return_X_y=True), 0.3),
    "iris": (partial(load_iris, return_X_y=True), 0.3),
    "98:2": (partial(made_up, **RARE, class_sep=0.8, flip_y=0), 0.3),
    "98:2, noisy": (partial(made_up, **RARE, class_sep=1.2, random_state=1), 0.3),
    "98:2, eights": (rare_digits, 0.4),
    "two classes": (partial(made_up, n_samples=16000, n_informative=8, flip_y=0.1), 0.3),
    "five classes": (partial(made_up, **FIVE, n_informative=10, flip_y=0.1), 0.3),
    "twenty classes": (
        partial(made_up, **TWENTY, n_informative=20, n_clusters_per_class=1, class_sep=1.5, flip_y=0.05),
        0.4,
    ),
}
SENSORS = "gas sensors"
MODELS = {
    **{f"forest of {n}": partial(ensemble.RandomForestClassifier, n) for n in (10, 25, 50, 100, 200)},
    "forest, leaves of 5": partial(ensemble.RandomForestClassifier, 100, min_samples_leaf=5),
    "forest, depth 6": partial(ensemble.RandomForestClassifier, 100, max_depth=6),
    "forest, entropy": partial(ensemble.RandomForestClassifier, 100, criterion="entropy"),
    "extra trees": partial(ensemble.ExtraTreesClassifier, 100),
    "bagged trees": partial(ensemble.BaggingClassifier, n_estimators=30),
    "gradient boosting": partial(ensemble.GradientBoostingClassifier, n_estimators=50),
    "histogram boosting": partial(ensemble.HistGradientBoostingClassifier, max_iter=50),
    "naive Bayes": GaussianNB,
    "discriminant analysis": LinearDiscriminantAnalysis,
    "10 neighbours": partial(KNeighborsClassifier, 10),
    "logistic regression": partial(LogisticRegression, max_iter=1000),
    "SVC": SVC,
    "linear SVC": LinearSVC,
    "MLP": partial(MLPClassifier, 64, max_iter=60),
}
# Without a seed; and those that standardise their features.
UNSEEDED = ("naive Bayes", "discriminant analysis", "10 neighbours", "logistic regression")
STANDARDISED = ("logistic regression", "SVC", "linear SVC", "MLP")
FORESTS, OTHERS = list(MODELS)[:10], list(MODELS)[10:]
NETWORKS = {
    "perceptron": lambda k, c: nn.Sequential(nn.Linear(k, 64), nn.ReLU(), nn.Linear(64, c)),
    "deep perceptron": lambda k, c: nn.Sequential(
        nn.Linear(k, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, c)
    ),
    "convolutional": lambda k, c: nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(24 * 16, c)),
    ),
}
IMAGES = ("cifar10_resnet20", "cifar10_resnet32", "cifar100_resnet20")


def _plan():
    """Each line crosses data with models, sizes and calls."""
    one, two, clamp = "TemperatureScaling", ("PlattScaling", "BetaCalibration"), "NeuralClampingCalibrator"
    selector, shift, compared = "CalibratorSelector", "PriorShiftCorrection", "compare_calibrators"
    lines = [
        # Forests, ten of them, and what else scikit-learn has.
        (["digits", "breast cancer"], FORESTS, [300], [one]),
        (["twenty classes"], FORESTS[:5], [300], [one]),
        (["digits"], FORESTS[3:8], [500], ["StructuredVectorScaling"]),
        (["digits"], OTHERS, [200], [one]),
        (["digits"], OTHERS[-2:], [800], [one]),
        (["five classes"], OTHERS, [1000], [one]),
        (["five classes"], OTHERS[-4:], [3000], ["VectorScaling"]),
        (["breast cancer"], ["logistic regression", "MLP"], [50], [one]),
        (["breast cancer"], ["logistic regression", "SVC", "MLP"], [200], [one, "PlattScaling"]),
        (["wine"], ["logistic regression", "forest of 50", "gradient boosting", "10 neighbours"], [60], [one]),
        (["iris"], ["naive Bayes", "logistic regression", "forest of 50", "SVC"], [60], [one]),
        (["twenty classes"], ["MLP", "forest of 200"], [1000], ["IntraOrderPreservingCalibration"]),
        # Two classes.
        (["two classes"], ["linear SVC", "gradient boosting", "forest of 100"], [500, 3000], two),
        (["two classes"], ["logistic regression", "MLP"], [8000], ["IsotonicCalibration", "VennAbersCalibration"]),
        (["98:2", "98:2, noisy"], ["logistic regression", "forest of 100"], [1000, 4000], [one, "PlattScaling"]),
        (["98:2, eights"], ["MLP", "forest of 200"], [800], [one, "PlattScaling"]),
        (["98:2"], ["histogram boosting"], [2000], [*two, selector]),
        # More parameters where there are samples for them.
        (["five classes"], ["MLP"], [3000], ["MatrixScaling", "DirichletCalibration", "StructuredMatrixScaling"]),
        (["five classes"], ["forest of 100"], [3000], ["EnsembleTemperatureScaling"]),
        # Networks.
        (["digits"], list(NETWORKS), [250, 400, 900], [one, clamp]),
        (["breast cancer"], ["perceptron"], [200], [one, clamp]),
        (["five classes", "98:2"], ["perceptron"], [500, 2000], [one, clamp]),
        (["digits", "five classes"], ["skorch"], [300], [one, clamp]),
        ([SENSORS], ["perceptron", "forest of 100"], [500], [one, "StructuredVectorScaling", selector]),
        ([SENSORS], ["perceptron"], [500], [clamp]),
        (["digits"], ["convolutional"], [500], [shift, compared]),
        (["digits", "five classes"], ["forest of 100"], [500], [selector, shift, compared]),
        (["two classes"], ["logistic regression"], [1000], [selector, shift, compared]),
        # Images, and records of logits.
        (["cifar10_resnet20"], ["network"], [300], [one, clamp, shift]),
        (list(IMAGES), ["logits"], [500, 2000], [one, selector]),
        (list(IMAGES), ["logits"], [2000], ["StructuredVectorScaling", "IntraOrderPreservingCalibration", shift]),
        (["cifar10_resnet20"], ["logits"], [5000], [one, "VectorScaling", "BetaCalibration"]),
        (list(PROBABILITIES), ["logits"], [1000, 5000], [one, "IntraOrderPreservingCalibration"]),
    ]
    return [Problem(*key) for line in lines for key in product(*line)]


PROBLEMS = _plan()
# A few of each kind, without files.
QUICK = ("wine", "iris", "breast cancer")


def run(number, problem, draw=0, data=None):
    """The row of one problem."""
    case = case_of(problem, number + len(PROBLEMS) * draw, data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proba, spent = measure(lambda: call(problem.call, case))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        temperature = TemperatureScaling(case.estimator, response=case.response).fit(case.X, case.y)
    told = " | ".join(f"{warning.category.__name__}: {warning.message}" for warning in caught)
    predicted = temperature.predict_proba(case.X_rest), proba
    nll = ["" if p is None else f"{log_loss(case.y_rest, p, labels=temperature.classes_):.4f}" for p in predicted]
    return dict(zip(COLUMNS, (number, *problem, told, *nll, f"{spent.cpu:.2f}"), strict=True))


def call(name, case):
    """Probabilities of the samples that are left; None of a comparison."""
    if name == "compare_calibrators":
        compare_calibrators(case.estimator, case.X, case.y, case.X_rest, case.y_rest, response=case.response)
        return None
    calibrator = getattr(skclamp, name)(case.estimator, response=case.response).fit(case.X, case.y)
    if name == "PriorShiftCorrection":
        calibrator.adapt(case.X_rest)
    return calibrator.predict_proba(case.X_rest)


def case_of(problem, seed, data_dir):
    """What a problem's user has."""
    rng = np.random.default_rng(seed)
    if problem.model == "logits":
        logits, labels = _record(problem.data, data_dir)
        scores = (np.exp(logits), "probabilities") if problem.data in PROBABILITIES else (logits, "auto")
        return _cut(None, scores[0], labels, rng.permutation(len(labels)), problem.n, scores[1])
    if problem.data in IMAGES:
        network, images, labels = load_problem(problem.data, data_dir)
        return _cut(network, images, labels, rng.permutation(len(labels))[: problem.n + 500], problem.n)
    X, y, share = _table(problem.data, data_dir)
    X, X_rest, y, y_rest = train_test_split(X, y, train_size=share, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X)
    estimator, X_rest = _train(problem.model, scaler.transform(X), y, seed), scaler.transform(X_rest)
    X_rest = X_rest if problem.model in MODELS else X_rest.astype(np.float32)
    return _cut(estimator, X_rest, y_rest, rng.permutation(len(y_rest)), problem.n)


def _cut(estimator, X, y, rows, n, response="auto"):
    """The first n of some rows calibrate, the others are left."""
    X = X[rows]
    return Case(estimator, X[:n], y[rows[:n]], X[n:], y[rows[n:]], response)


_record = cache(load_record)


@cache
def _table(name, data_dir):
    """Features, labels and the share that trains."""
    if name in TABLES:
        load, share = TABLES[name]
        return *load(), share
    X, y, _ = load_gas_sensors(data_dir, batch=2)
    return X, np.searchsorted(np.unique(y), y), 0.3


def _train(model, X, y, seed):
    """A fitted classifier, or a trained network in eval mode."""
    if model in MODELS:
        classifier = MODELS[model](**({} if model in UNSEEDED else {"random_state": seed}))
        return (make_pipeline(StandardScaler(), classifier) if model in STANDARDISED else classifier).fit(X, y)
    build = NETWORKS.get(model, NETWORKS["perceptron"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = train(build(X.shape[1], len(np.unique(y))), X, y, lr=3e-3, max_epochs=20)
    return net if model == "skorch" else net.module_.eval()


@benchmark
def main(data=None, only="", quick=False, draw=0, out: Path = None):
    chosen = [
        (number, problem)
        for number, problem in enumerate(PROBLEMS)
        if only in ", ".join(map(str, problem))
        and (problem.data in QUICK or not quick)
        and (problem.data in TABLES or data is not None)
    ]
    rows = [run(number, problem, draw, data) for number, problem in tqdm(chosen, disable=None)]
    rows = pd.DataFrame(rows, columns=COLUMNS)
    print(tabulate(rows[rows.warnings != ""], headers="keys", showindex=False))
    print(f"{(rows.warnings == '').sum()} of {len(rows)} problems without a warning")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(out, index=False)
