"""What each warning is for, made on purpose: how often it is given, and how often by the words that mend it.

    python benchmarks/looks.py
    python benchmarks/looks.py --only "dropout" --draws 20

Each mistake is made a hundred times, with other samples, through the public API; slow ones ten times. What counts is a
warning of the package that has the words that tell what to do. Two rows are no mistakes: on flawless samples what
counts is that the test NLL is within .005 of the uncalibrated.
"""

import argparse
import csv
import re
import time
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from skclamp import (
    DirichletCalibration,
    IsotonicCalibration,
    MatrixScaling,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationWarning
from skclamp.modules import as_module

OUT = Path("benchmarks/results/looks.csv")
COLUMNS = ("mistake", "draws", "words", "warned", "said", "seconds")
# At most so many draws of what takes long.
FEW = 10


class Look(NamedTuple):
    """A mistake as a function of a seed, the words that tell what to do, and whether it takes long."""

    make: object
    words: str
    slow: bool = False


def balanced_weights(seed):
    """Fraud, 1 % of the samples, and a classifier to which both classes count the same."""
    X, y = make_classification(40000, 20, n_informative=6, weights=[0.99], flip_y=0, class_sep=0.8, random_state=seed)
    classifier = LogisticRegression(class_weight="balanced", max_iter=1000).fit(X[:20000], y[:20000])
    TemperatureScaling(classifier).fit(X[20000:], y[20000:])


def few_samples(calibrator):
    """A map of many parameters on 20 samples of digits."""

    def make(seed):
        X, y = _digits()[1]
        rows = np.random.default_rng(seed).permutation(len(y))[:20]
        calibrator.fit(_perceptron()(X[rows]).detach(), y[rows])

    return make


def thousand_classes(calibrator):
    """Fewer than three samples a class."""

    def make(seed):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 1000, 2500)
        logits = 1.5 * rng.normal(size=(2500, 1000))
        logits[np.arange(2500), y] += rng.normal(6, 2, 2500)
        calibrator.fit(logits.astype(np.float32), y)

    return make


def softmax_twice(seed):
    """A network that ends in a softmax, whose outputs its user takes for logits, and softmax for probabilities."""
    X, y = _digits()[1]
    rows = np.random.default_rng(seed).permutation(len(y))[:500]
    network = nn.Sequential(_perceptron(), nn.Softmax(1), nn.Softmax(1))
    TemperatureScaling(response="probabilities").fit(network(X[rows]).detach(), y[rows])


class _Dropout(nn.Module):
    """Digits, with a dropout that stays on."""

    def __init__(self):
        super().__init__()
        first, _, last = _perceptron()
        self.first, self.last = first, last

    def forward(self, X):
        return self.last(functional.dropout(functional.relu(self.first(X)), 0.5, training=True))


def dropout_in_eval(kind):
    """``functional.dropout(training=True)`` in a network in eval mode."""

    def make(seed):
        X, y = _digits()[1]
        rows = np.random.default_rng(seed).permutation(len(y))[:300]
        torch.manual_seed(seed)
        kind(_Dropout().eval()).fit(X[rows], y[rows])

    return make


class _Transformer(nn.Module):
    """A small vision transformer: patches of 4 × 4 pixels, two layers."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(64, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, X):
        return self.head(self.layers(self.patches(X).flatten(2).mT + self.places).mean(1))


def untrained(seed):
    """A network that nothing has trained."""
    X, y = _digits()[1]
    rows = np.random.default_rng(seed).permutation(len(y))[:200]
    images = functional.interpolate(X[rows].view(-1, 1, 8, 8), scale_factor=4.0).expand(-1, 3, -1, -1).contiguous()
    torch.manual_seed(seed)
    NeuralClampingCalibrator(_Transformer().eval()).fit(images, y[rows])


def frames_of_a_table(times):
    """Standardised features of breast cancer, each so many times with a little noise, under a perceptron."""

    def make(seed):
        X, y = load_breast_cancer(return_X_y=True)
        X, X_rest, y, y_rest = train_test_split(StandardScaler().fit_transform(X), y, train_size=200, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = as_module(MLPClassifier(32, max_iter=30, random_state=seed).fit(X, y))
        rows = np.repeat(np.arange(200), times)
        noise = np.random.default_rng(seed).normal(size=(len(rows), 30))
        NeuralClampingCalibrator(network).fit(X_rest[rows] + 0.05 * noise, y_rest[rows])

    return make


def frames(times):
    """Frames of a video: each digit so many times, with a little noise."""

    def make(seed):
        X, y = _digits()[1]
        rows = np.repeat(np.random.default_rng(seed).permutation(len(y))[:200], times)
        noise = torch.randn((len(rows), 64), generator=torch.Generator().manual_seed(seed))
        images = (X[rows] + 0.05 * noise).view(-1, 1, 8, 8)
        NeuralClampingCalibrator(nn.Sequential(nn.Flatten(), _perceptron()).eval()).fit(images, y[rows])

    return make


def three_positives(seed):
    """Three positives among a thousand, which separate."""
    rng = np.random.default_rng(seed)
    y = np.array(["fine"] * 997 + ["fraud"] * 3)
    logits = np.stack([np.zeros(1000), rng.normal(-4, 1, 1000) + 12 * (y == "fraud")], 1)
    VectorScaling().fit(logits, y)


def flawless(accuracy, n):
    """Calibrated logits, nearly always right: whether the NLL stays within .005 of the uncalibrated."""

    def make(seed):
        rng = np.random.default_rng(seed)
        logits = _sure_logits(rng, n + 20000, accuracy)
        y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
        calibrated = TemperatureScaling(classes=np.arange(10)).fit(logits[:n], y[:n])
        proba = calibrated.predict_proba(logits[n:]), torch.from_numpy(logits[n:]).softmax(1).numpy()
        after, before = (log_loss(y[n:], p, labels=np.arange(10)) for p in proba)
        return after <= before + 0.005

    return make


def _sure_logits(rng, n, accuracy):
    """Of ten classes, such that labels drawn from their softmax agree with the largest so often."""
    logits = rng.normal(size=(n, 10))
    gap = rng.exponential(1.0, n)
    low, high = 0.0, 50.0
    best = logits.argmax(1)
    for _ in range(40):
        middle = (low + high) / 2
        raised = logits.copy()
        raised[np.arange(n), best] += middle * (0.5 + gap)
        found = torch.from_numpy(raised).softmax(1).max(1).values.mean()
        low, high = (middle, high) if found < accuracy else (low, middle)
    return raised


@cache
def _digits():
    """Digits to train with, and the others, scaled to [0, 1]."""
    X, y = load_digits(return_X_y=True)
    X, X_rest, y, y_rest = train_test_split((X / 16).astype(np.float32), y, train_size=400, random_state=0, stratify=y)
    return (torch.from_numpy(X), y), (torch.from_numpy(X_rest), y_rest)


@cache
def _perceptron():
    """Trained on digits, without a softmax."""
    (X, y), _ = _digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = MLPClassifier(64, max_iter=80, random_state=0).fit(X.numpy(), y)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    with torch.no_grad():
        for layer, weight, bias in zip((network[0], network[2]), trained.coefs_, trained.intercepts_, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
    return network.eval()


WORSE = "worse than (one|a single) temperature"
LOOKS = {
    "balanced class weights, 1 % positives": Look(balanced_weights, "PlattScaling|VectorScaling"),
    "Dirichlet on 20 samples": Look(few_samples(DirichletCalibration()), WORSE),
    "matrix on 20 samples": Look(few_samples(MatrixScaling()), WORSE),
    "isotonic, 1,000 classes": Look(thousand_classes(IsotonicCalibration()), WORSE, slow=True),
    "vector, 1,000 classes": Look(thousand_classes(VectorScaling()), WORSE, slow=True),
    "softmax twice": Look(softmax_twice, "softmax"),
    "dropout in eval": Look(dropout_in_eval(TemperatureScaling), "random"),
    "dropout in eval, clamping": Look(dropout_in_eval(NeuralClampingCalibrator), "random"),
    "an untrained transformer": Look(untrained, "no better than"),
    "repeated rows x 5": Look(frames_of_a_table(5), "groups"),
    "repeated rows x 10": Look(frames_of_a_table(10), "groups"),
    "frames of digits x 5": Look(frames(5), "groups"),
    "frames of digits x 10": Look(frames(10), "groups"),
    "three positives that separate": Look(three_positives, "fraud"),
    "flawless: 99.4 %, n = 100": Look(flawless(0.994, 100), ""),
    "flawless: 99.8 %, n = 500": Look(flawless(0.998, 500), ""),
}


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(1)
    rows = []
    with threadpool_limits(1):
        for name in tqdm([name for name in LOOKS if options.only in name], disable=None):
            rows.append(run(name, LOOKS[name], options.draws))
    print(tabulate(rows, headers="keys"))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100, help="of each mistake (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", default="", help="mistakes whose name has this text")
    parser.add_argument("--out", type=Path, metavar="CSV", help=f"file to write; that of the repository is {OUT}")
    return parser.parse_args(arguments)


def run(name, look, draws):
    """How many draws warned at all, and how many by the words that mend; median processor time."""
    draws = min(draws, FEW) if look.slow else draws
    warned, said, seconds = 0, 0, []
    for seed in range(draws):
        start = time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = look.make(seed)
        seconds.append(time.process_time() - start)
        texts = [str(each.message) for each in caught if issubclass(each.category, CalibrationWarning)]
        warned += bool(texts)
        said += outcome if look.words == "" else any(re.search(look.words, text) for text in texts)
    return dict(zip(COLUMNS, (name, draws, look.words, warned, int(said), f"{np.median(seconds):.2f}"), strict=True))


if __name__ == "__main__":
    main()
