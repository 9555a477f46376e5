"""Speed of temperature scaling, ours and the peers', as multiples of one logsumexp pass over the logits."""

import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from _timing import best_time, simulated_logits
from skclamp import TemperatureScaling

BASELINE = "torch.logsumexp"


class LogitsClassifier(ClassifierMixin, BaseEstimator):
    """A classifier whose decision function is its input: how scikit-learn's calibration takes ready-made logits."""

    def __init__(self, n_classes=2):
        self.n_classes = n_classes

    def fit(self, X, y=None):
        """Remember the classes."""
        self.classes_ = np.arange(self.n_classes)
        return self

    def decision_function(self, X):
        """The input."""
        return X

    def predict(self, X):
        """Index of the largest logit."""
        return X.argmax(1)


def fit_ours(X, y):
    """Temperature of `TemperatureScaling`, end to end from numpy arrays."""
    return TemperatureScaling().fit(X, y).temperature_


def fit_scikit_learn(X, y):
    """Temperature of ``CalibratedClassifierCV(method="temperature")`` around a frozen classifier."""
    frozen = FrozenEstimator(LogitsClassifier(X.shape[1]).fit(X))
    calibrated = CalibratedClassifierCV(frozen, method="temperature").fit(X, y)
    return 1 / calibrated.calibrated_classifiers_[0].calibrators[0].beta_


def fit_netcal(X, y):
    """Temperature of netcal, which takes probabilities; in float64, for on float32 it always returns 1."""
    from netcal.scaling import TemperatureScaling as NetcalTemperatureScaling

    probabilities = torch.from_numpy(X).softmax(1, dtype=torch.float64).numpy()
    return 1 / NetcalTemperatureScaling().fit(probabilities, y).temperature.item()


METHODS = {
    "skclamp": fit_ours,
    "scikit-learn": fit_scikit_learn,
    "netcal": fit_netcal,
}


def rows(sizes, threads):
    """Measure each method at each size.

    Parameters
    ----------
    sizes : list of (int, int)
        Numbers of samples and classes.
    threads : int
        For torch.

    Returns
    -------
    list of dict
        Keys what, size, method, ms, baseline, ratio, and error: of the temperature, relative to the exact one.
    """
    torch.set_num_threads(threads)
    methods = {name: method for name, method in METHODS.items() if _works(name, method)}
    return [row for size in sizes for row in _rows_at(size, methods)]


def _works(name, method):
    """Try a method on a few samples; say why one is left out."""
    logits, y = simulated_logits(200, 3)
    try:
        _quietly(method, logits.numpy(), y.numpy())
    except (ImportError, ValueError) as error:
        print(f"{name}: left out ({error})")
        return False
    return True


def _rows_at(size, methods):
    logits, y = simulated_logits(*size)
    X, labels = logits.numpy(), y.numpy()
    exact = fit_ours(logits.double().numpy(), labels)
    for name, method in methods.items():
        found = []
        before = best_time(lambda: logits.logsumexp(1), budget=1.0)
        spent = best_time(lambda method=method, found=found: found.append(_quietly(method, X, labels)))
        one_pass = min(before, best_time(lambda: logits.logsumexp(1), budget=1.0))
        yield {
            "what": "temperature scaling, fit",
            "size": "{} x {}".format(*size),
            "method": name,
            "ms": 1e3 * spent,
            "baseline": BASELINE,
            "ratio": spent / one_pass,
            "error": abs(float(found[-1]) / exact - 1),
        }


def _quietly(method, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(X, y)
