"""What each warning is for, made on purpose: how often it is given, and how often by the words that mend it.

    python benchmarks/looks.py
    python benchmarks/looks.py --only "dropout" --draws 20

Each mistake is made a hundred times, with other samples, through the public API; slow ones ten times. What counts is a
warning of the package that has the words that tell what to do. Two rows are no mistakes: on flawless samples what
counts is that the test NLL is within .005 of the uncalibrated.
"""

import re
import warnings
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from tabulate import tabulate
from torch import nn
from torch.nn import functional
from tqdm import tqdm

import skclamp
from _norm_networks import Patches, Transformer
from _runner import benchmark
from _timing import measure
from skclamp.exceptions import CalibrationWarning
from skclamp.modules import as_module

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
    skclamp.TemperatureScaling(classifier).fit(X[20000:], y[20000:])


def few_samples(seed, calibrator):
    """A map of many parameters on 20 samples of digits."""
    X, y = _drawn_digits(seed, 20)
    calibrator.fit(_perceptron()(X).detach(), y)


def thousand_classes(seed, calibrator):
    """Fewer than three samples a class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 1000, 2500)
    logits = 1.5 * rng.normal(size=(2500, 1000))
    logits[np.arange(2500), y] += rng.normal(6, 2, 2500)
    calibrator.fit(logits.astype(np.float32), y)


def softmax_twice(seed):
    """A network that ends in a softmax, whose outputs its user takes for logits, and softmax for probabilities."""
    X, y = _drawn_digits(seed, 500)
    network = nn.Sequential(_perceptron(), nn.Softmax(1), nn.Softmax(1))
    skclamp.TemperatureScaling(response="probabilities").fit(network(X).detach(), y)


class _Dropout(nn.Module):
    """Digits, with a dropout that stays on."""

    def __init__(self):
        super().__init__()
        first, _, last = _perceptron()
        self.first, self.last = first, last

    def forward(self, X):
        return self.last(functional.dropout(functional.relu(self.first(X)), 0.5, training=True))


def dropout_in_eval(seed, kind):
    """``functional.dropout(training=True)`` in a network in eval mode."""
    X, y = _drawn_digits(seed, 300)
    torch.manual_seed(seed)
    kind(_Dropout().eval()).fit(X, y)


def untrained(seed):
    """A network that nothing has trained."""
    X, y = _drawn_digits(seed, 200)
    images = functional.interpolate(X.view(-1, 1, 8, 8), scale_factor=4.0).expand(-1, 3, -1, -1).contiguous()
    torch.manual_seed(seed)
    skclamp.NeuralClampingCalibrator(Transformer(Patches(3, 4), 64).eval()).fit(images, y)


def frames_of_a_table(seed, times):
    """Standardised features of breast cancer, each so many times with a little noise, under a perceptron."""
    X, y = load_breast_cancer(return_X_y=True)
    X, X_rest, y, y_rest = train_test_split(StandardScaler().fit_transform(X), y, train_size=200, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = as_module(MLPClassifier(32, max_iter=30, random_state=seed).fit(X, y))
    rows = np.repeat(np.arange(200), times)
    noise = np.random.default_rng(seed).normal(size=(len(rows), 30))
    skclamp.NeuralClampingCalibrator(network).fit(X_rest[rows] + 0.05 * noise, y_rest[rows])


def frames(seed, times):
    """Frames of a video: each digit so many times, with a little noise."""
    X, y = (np.repeat(part, times, axis=0) for part in _drawn_digits(seed, 200))
    noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(seed))
    images = (torch.as_tensor(X) + 0.05 * noise).view(-1, 1, 8, 8)
    skclamp.NeuralClampingCalibrator(nn.Sequential(nn.Flatten(), _perceptron()).eval()).fit(images, y)


def three_positives(seed):
    """Three positives among a thousand, which separate."""
    rng = np.random.default_rng(seed)
    y = np.array(["fine"] * 997 + ["fraud"] * 3)
    logits = np.stack([np.zeros(1000), rng.normal(-4, 1, 1000) + 12 * (y == "fraud")], 1)
    skclamp.VectorScaling().fit(logits, y)


def flawless(seed, scale, n):
    """Calibrated logits, nearly always right: whether the NLL stays within .005 of the uncalibrated."""
    rng = np.random.default_rng(seed)
    top = np.eye(10)[rng.integers(10, size=n + 20000)]
    logits = scale * (top + 0.2 * rng.normal(size=top.shape))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    calibrated = skclamp.TemperatureScaling(classes=np.arange(10)).fit(logits[:n], y[:n])
    proba = calibrated.predict_proba(logits[n:]), torch.from_numpy(logits[n:]).softmax(1).numpy()
    after, before = (log_loss(y[n:], p, labels=np.arange(10)) for p in proba)
    return after <= before + 0.005


@cache
def _digits():
    """Digits to train with, and the others, scaled to [0, 1]."""
    X, y = load_digits(return_X_y=True)
    X, X_rest, y, y_rest = train_test_split((X / 16).astype(np.float32), y, train_size=400, random_state=0, stratify=y)
    return (torch.from_numpy(X), y), (torch.from_numpy(X_rest), y_rest)


def _drawn_digits(seed, n):
    """Of those that the perceptron hasn't seen."""
    X, y = _digits()[1]
    rows = np.random.default_rng(seed).permutation(len(y))[:n]
    return X[rows], y[rows]


@cache
def _perceptron():
    """Trained on digits, without a softmax."""
    (X, y), _ = _digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return as_module(MLPClassifier(64, max_iter=80, random_state=0).fit(X.numpy(), y)).float()


WORSE = "worse than (one|a single) temperature"
LOOKS = {
    "balanced class weights, 1 % positives": Look(balanced_weights, "PlattScaling|VectorScaling"),
    "Dirichlet on 20 samples": Look(partial(few_samples, calibrator=skclamp.DirichletCalibration()), WORSE),
    "matrix on 20 samples": Look(partial(few_samples, calibrator=skclamp.MatrixScaling()), WORSE),
    "isotonic, 1,000 classes": Look(
        partial(thousand_classes, calibrator=skclamp.IsotonicCalibration()), WORSE, slow=True
    ),
    "vector, 1,000 classes": Look(partial(thousand_classes, calibrator=skclamp.VectorScaling()), WORSE, slow=True),
    "softmax twice": Look(softmax_twice, "softmax"),
    "dropout in eval": Look(partial(dropout_in_eval, kind=skclamp.TemperatureScaling), "random"),
    "dropout in eval, clamping": Look(partial(dropout_in_eval, kind=skclamp.NeuralClampingCalibrator), "random"),
    "an untrained transformer": Look(untrained, "no better than"),
    "repeated rows x 5": Look(partial(frames_of_a_table, times=5), "groups"),
    "repeated rows x 10": Look(partial(frames_of_a_table, times=10), "groups"),
    "frames of digits x 5": Look(partial(frames, times=5), "groups"),
    "frames of digits x 10": Look(partial(frames, times=10), "groups"),
    "three positives that separate": Look(three_positives, "fraud"),
    "flawless: 99.4 %, n = 100": Look(partial(flawless, scale=14, n=100), ""),
    "flawless: 99.8 %, n = 500": Look(partial(flawless, scale=21, n=500), ""),
}


def run(name, look, draws):
    """How many draws warned at all, and how many by the words that mend; median processor time."""
    draws = min(draws, FEW) if look.slow else draws
    warned, said, seconds = 0, 0, []
    for seed in range(draws):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome, spent = measure(lambda seed=seed: look.make(seed))
        seconds.append(spent.cpu)
        texts = [str(warning.message) for warning in caught if issubclass(warning.category, CalibrationWarning)]
        warned += bool(texts)
        said += outcome if look.words == "" else any(re.search(look.words, text) for text in texts)
    return dict(zip(COLUMNS, (name, draws, look.words, warned, int(said), f"{np.median(seconds):.2f}"), strict=True))


@benchmark
def main(only="", draws=100, out: Path = None):
    names = [name for name in LOOKS if only in name]
    rows = pd.DataFrame([run(name, LOOKS[name], draws) for name in tqdm(names, disable=None)], columns=COLUMNS)
    print(tabulate(rows, headers="keys", showindex=False))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(out, index=False)
