"""Speed of temperature scaling and of the metrics against their peers, each as a multiple of one plain torch pass.

Beside them a comparison of all maps, and one image through a clamped calibrator, as a multiple of its ``module_``.

    python benchmarks/speed.py
    python benchmarks/speed.py --sizes 5000x10 10000x100 --threads 2 --out speed.csv

Peers that aren't installed (group ``bench``) are left out with a line. Errors are those of the float32 input's result
against ours in float64: of temperatures relative, of metrics absolute.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from tabulate import tabulate
from torch import nn

from _runner import benchmark
from _timing import best_time
from skclamp import NeuralClampingCalibrator, TemperatureScaling, compare_calibrators, metrics

COLUMNS = ["what", "size", "method", "ms", "baseline", "ratio", "error"]
TRUE_TEMPERATURE = 1.7
N_BINS = 15


class LogitsClassifier(ClassifierMixin, BaseEstimator):
    """A classifier whose decision function is its input: how scikit-learn's calibration takes ready-made logits."""

    def fit(self, X, y=None):
        self.classes_ = np.arange(X.shape[1])
        return self

    def decision_function(self, X):
        return X

    def predict(self, X):
        return X.argmax(1)


# Temperatures of logits.


def fit_ours(y, X):
    return TemperatureScaling().fit(X, y).temperature_


def fit_scikit_learn(y, X):
    calibrated = CalibratedClassifierCV(FrozenEstimator(LogitsClassifier().fit(X)), method="temperature").fit(X, y)
    return 1 / calibrated.calibrated_classifiers_[0].calibrators[0].beta_


def fit_netcal(y, X):
    """It takes probabilities; in float64, for on float32 it always returns 1."""
    from netcal.scaling import TemperatureScaling as NetcalTemperatureScaling

    probabilities = torch.from_numpy(X).softmax(1, dtype=torch.float64).numpy()
    return 1 / NetcalTemperatureScaling().fit(probabilities, y).temperature.item()


# Errors of probabilities.


def torchmetrics_ece(y, proba):
    from torchmetrics.functional.classification import multiclass_calibration_error

    tensors = torch.from_numpy(proba), torch.from_numpy(y)
    return multiclass_calibration_error(*tensors, num_classes=proba.shape[1], n_bins=N_BINS).item()


def netcal_ece(y, proba, **options):
    """With equal mass, its bins part ties and lie one sample elsewhere."""
    from netcal.metrics import ECE

    return ECE(N_BINS, **options).measure(proba, y)


def relplot_smooth(y, proba):
    """With its own choice of the most probable class."""
    import relplot

    return relplot.smECE(*relplot.multiclass_logits_to_confidences(proba, y, probs=True))


def ece_interval(y, proba):
    """Upper end of a bootstrap interval of 1,000 replicates."""
    return metrics.bootstrap_interval(metrics.expected_calibration_error, y, proba, random_state=0).high


def plain_sce(y, proba):
    """Classwise ECE as one writes it in torch: a bin index for every entry, and one scatter for each sum."""
    proba, one_hot = torch.from_numpy(proba), torch.from_numpy(np.eye(proba.shape[1], dtype=np.float32)[y])
    place = (proba * N_BINS).ceil_().clamp_(1, N_BINS).long().sub_(1)
    gap = torch.zeros(N_BINS, proba.shape[1]).scatter_add_(0, place, proba - one_hot)
    return (gap.abs().sum() / proba.numel()).item()


FIT, COMPARISON, PREDICTION = "temperature scaling, fit", "compare_calibrators", "predict_proba, clamped"
# Each takes labels and float32 logits or probabilities, numpy arrays both; ours comes first.
CONTESTS = {
    FIT: {"skclamp": fit_ours, "scikit-learn": fit_scikit_learn, "netcal": fit_netcal},
    "ECE": {"skclamp": metrics.expected_calibration_error, "torchmetrics": torchmetrics_ece, "netcal": netcal_ece},
    "AECE": {
        "skclamp": metrics.adaptive_expected_calibration_error,
        "netcal": lambda y, proba: netcal_ece(y, proba, equal_intervals=False),
    },
    "classwise ECE": {"skclamp": metrics.classwise_calibration_error, "plain torch": plain_sce},
    "smooth ECE": {"skclamp": metrics.smooth_calibration_error, "relplot": relplot_smooth},
    "KS": {"skclamp": metrics.ks_calibration_error},
    "debiased ECE": {"skclamp": metrics.debiased_calibration_error},
    "ECE, 1,000 replicates": {"skclamp": ece_interval},
    "MCE": {"skclamp": metrics.maximum_calibration_error},
    "Brier": {"skclamp": metrics.brier_score},
    "entropy": {"skclamp": lambda y, proba: metrics.predictive_entropy(proba)},
}


def simulated_logits(n_samples, n_classes, *, temperature=TRUE_TEMPERATURE, seed=0):
    """Float32 logits of a random network, and labels drawn from ``softmax(logits / temperature)``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        # Features of mean zero favour no class: scikit-learn's cross-fitting needs them all in each fold.
        network = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, n_classes))
        nn.init.normal_(network[-1].weight, std=0.5)
        parts = []
        for start in range(0, n_samples, 4096):
            logits = network(torch.randn(min(4096, n_samples - start), 64))
            noise = torch.empty_like(logits).exponential_().log_().neg_()
            parts.append((logits, (logits / temperature + noise).argmax(1)))
    logits, y = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(y)


def inputs(what, n_samples, n_classes):
    """Labels, and what a contest is about."""
    logits, y = simulated_logits(n_samples, n_classes)
    return y.numpy(), (logits if what == FIT else (logits / TRUE_TEMPERATURE).softmax(1)).numpy()


def works(what, name, method):
    """Try a method on a few samples; say why one is left out."""
    try:
        method(*inputs(what, 200, 3))
    except (ImportError, ValueError) as error:
        print(f"{name}, {what}: left out ({error})")
        return False
    return True


def contest(what, methods, size):
    """A row for each method at a size; it takes turns with the plain pass, so that a busy spell hits both."""
    y, X = inputs(what, *size)
    tensor, exact = torch.from_numpy(X), methods["skclamp"](y, X.astype(np.float64))
    one_pass = (lambda: tensor.logsumexp(1)) if what == FIT else (lambda: tensor.max(1))
    for name, method in methods.items():
        times = [(best_time(lambda f=method: f(y, X), budget=0.5), best_time(one_pass, budget=0.5)) for _ in range(4)]
        spent, baseline = np.min(times, axis=0)
        found = float(method(y, X))
        error = abs(found / exact - 1) if what == FIT else abs(found - exact)
        named = "torch.logsumexp" if what == FIT else "torch.max"
        yield _row(what, "{} x {}".format(*size), spent, named, baseline, error, name)


def comparison(n_samples=2000, n_classes=10):
    """A row of a comparison of all maps, on as many samples as it calibrates with."""
    logits, y = (values.numpy() for values in simulated_logits(2 * n_samples, n_classes))
    parts = logits[:n_samples], y[:n_samples], logits[n_samples:], y[n_samples:]
    tensor = torch.from_numpy(parts[2])
    spent = best_time(lambda: compare_calibrators(None, *parts, verbose=0))
    baseline = best_time(lambda: tensor.logsumexp(1))
    return _row(COMPARISON, f"{n_samples} x {n_classes}", spent, "torch.logsumexp", baseline)


def prediction():
    """A row of one image through a calibrator that clamps inputs and features, beside its module's forward pass."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = [(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(6)]
        stem, head = nn.Conv2d(3, 16, 3, padding=1), (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
        network = nn.Sequential(stem, *(layer for block in blocks for layer in block), *head).eval()
        X, y = torch.rand(300, 3, 32, 32), torch.arange(300) % 10
    calibrator = NeuralClampingCalibrator(network, perturbation="norm", validation_fraction=None, random_state=0)
    with warnings.catch_warnings():
        # The labels are none of the images'.
        warnings.simplefilter("ignore")
        module = calibrator.fit(X, y).module_.eval()
    image = X[:1]
    with torch.inference_mode():
        expected, baseline = module(image).softmax(1), best_time(lambda: module(image))
    error = np.abs(calibrator.predict_proba(image) - expected.numpy()).max()
    spent = best_time(lambda: calibrator.predict_proba(image))
    return _row(PREDICTION, "1 image", spent, "module_", baseline, error)


def _row(what, size, spent, named, baseline, error=np.nan, method="skclamp"):
    return dict(zip(COLUMNS, [what, size, method, 1e3 * spent, named, spent / baseline, error], strict=True))


@benchmark
def main(sizes=("5000x10", "10000x100", "50000x1000"), only="", out: Path = None):
    chosen = {
        what: {name: method for name, method in methods.items() if works(what, name, method)}
        for what, methods in CONTESTS.items()
        if only in what
    }
    sizes = [tuple(map(int, size.split("x"))) for size in sizes]
    rows = [row for what, methods in chosen.items() for size in sizes for row in contest(what, methods, size)]
    rows += [row() for what, row in {COMPARISON: comparison, PREDICTION: prediction}.items() if only in what]
    print("baseline: one pass of the function named over the same float32 array")
    frame = pd.DataFrame(rows, columns=COLUMNS)
    print(tabulate(frame, headers="keys", showindex=False, floatfmt=("", "", "", ".3g", "", ".2f", ".0e")))
    if out:
        frame.to_csv(out, index=False)
