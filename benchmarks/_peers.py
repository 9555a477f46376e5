"""Calibrators of other packages behind one call: ``PEERS[name]()`` has ``fit(proba, y)`` and ``predict_proba(proba)``.

They are given float64 probabilities, of which those that want logits take the logarithm. Of scikit-learn it is the maps
within `CalibratedClassifierCV`, whose time would hold a cross-validation as well. Imports happen when a peer is made:
whatever isn't installed (group ``bench``) raises ImportError then.
"""

import contextlib
import importlib
import io
import warnings
from functools import partial

import numpy as np
from sklearn.isotonic import IsotonicRegression

# The least probability whose logarithm is taken.
LEAST = 1e-300


class Temperature:
    """Scikit-learn's temperature scaling, on the logarithm of the probabilities."""

    def __init__(self):
        from sklearn.calibration import _TemperatureScaling

        self.calibrator = _TemperatureScaling()

    def fit(self, proba, y):
        self.calibrator.fit(log_p(proba), y)
        return self

    def predict_proba(self, proba):
        return self.calibrator.predict(log_p(proba))


def log_p(proba):
    """Of each class."""
    return np.log(np.maximum(proba, LEAST))


def log_odds(proba):
    """Of each class against the rest."""
    proba = np.clip(proba, LEAST, 1 - np.finfo(float).eps / 2)
    return np.log(proba) - np.log1p(-proba)


class OneVsRest:
    """A binary calibrator, with ``fit(p, y)`` and ``predict(p)``, for each class of `scores`; renormalised."""

    def __init__(self, make, scores=None):
        self.make, self.scores = make, scores or (lambda proba: proba)

    def fit(self, proba, y):
        scores = self.scores(proba)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.calibrators = [self.make().fit(scores[:, k], (y == k).astype(int)) for k in range(scores.shape[1])]
        return self

    def predict_proba(self, proba):
        scores = self.scores(proba)
        columns = [calibrator.predict(scores[:, k]) for k, calibrator in enumerate(self.calibrators)]
        columns = np.maximum(np.column_stack(columns), LEAST)
        return columns / columns.sum(1, keepdims=True)


class NetcalBinning:
    """A binning of netcal; its progress bars and warnings are kept back."""

    def __init__(self, class_name, **parameters):
        from netcal import binning

        self.calibrator = getattr(binning, class_name)(**parameters)

    def fit(self, proba, y):
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            self.calibrator.fit(proba, y)
        return self

    def predict_proba(self, proba):
        return self.calibrator.transform(proba)


class Binary:
    """A binary calibrator of probmetrics or venn-abers, given the probability of the hit alone."""

    def __init__(self, calibrator):
        self.calibrator = calibrator

    def fit(self, p, hit):
        self.calibrator.fit(np.stack([1 - p, p], 1), hit)
        return self

    def predict(self, p):
        """Calibrated probability of the hit."""
        found = self.calibrator.predict_proba(np.stack([1 - p, p], 1))
        return (found[0] if isinstance(found, tuple) else found)[:, 1]


class TopLabel:
    """A binary calibrator for the top probability; the other classes share the rest in proportion."""

    def __init__(self, binary):
        self.binary = binary

    def fit(self, proba, y):
        """Fit the calibrator to the top probability and whether it is the label's."""
        self.binary.fit(proba.max(1), (proba.argmax(1) == y).astype(int))
        return self

    def predict_proba(self, proba):
        """Calibrated probabilities; those of the top class are kept off 0 and 1, where the NLL is infinite."""
        top = proba.argmax(1)[:, None]
        score = np.take_along_axis(proba, top, 1)
        calibrated = np.clip(self.binary.predict(score[:, 0]), 1e-6, 1 - 1e-6)[:, None]
        others = proba * (1 - calibrated) / np.maximum(1 - score, LEAST)
        np.put_along_axis(others, top, calibrated, 1)
        return others / others.sum(1, keepdims=True)


def _probmetrics(class_name, **parameters):
    def make():
        from probmetrics.calibrators import logistic, temperature_scaling

        module = logistic if hasattr(logistic, class_name) else temperature_scaling
        return getattr(module, class_name)(**parameters)

    return make


def _made(module, class_name, *args, **parameters):
    """One of another package's calibrators."""
    return getattr(importlib.import_module(module), class_name)(*args, **parameters)


def _sigmoids(scores):
    return OneVsRest(lambda: _made("sklearn.calibration", "_SigmoidCalibration"), scores)


def _one_vs_rest(module, class_name, **parameters):
    """Of a binary calibrator of two columns."""
    importlib.import_module(module)
    return OneVsRest(lambda: Binary(_made(module, class_name, **parameters)))


_PROBMETRICS = "probmetrics.calibrators"
PEERS = {
    "probmetrics temperature": _probmetrics("TemperatureScalingCalibrator"),
    "probmetrics vector": _probmetrics("VectorScalingCalibrator"),
    "probmetrics SVS": _probmetrics("SVSCalibrator"),
    "probmetrics SMS": _probmetrics("SMSCalibrator"),
    "probmetrics matrix": _probmetrics("MatrixScalingCalibrator"),
    "probmetrics ETS(ce)": _probmetrics("ETSCalibrator", loss="ce"),
    "scikit-learn temperature": Temperature,
    "scikit-learn sigmoid of log p": lambda: _sigmoids(log_p),
    "scikit-learn sigmoid of log-odds": lambda: _sigmoids(log_odds),
    "betacal one-vs-rest": lambda: OneVsRest(partial(importlib.import_module("betacal").BetaCalibration, "abm")),
    "scikit-learn isotonic": lambda: OneVsRest(lambda: IsotonicRegression(out_of_bounds="clip")),
    "netcal histogram binning": lambda: NetcalBinning("HistogramBinning", bins=15),
    "probmetrics histogram binning": lambda: _one_vs_rest(
        f"{_PROBMETRICS}.binning", "BinaryHistogramBinningCalibrator", n_bins=15
    ),
    "netcal BBQ": lambda: NetcalBinning("BBQ"),
    "venn-abers one-vs-rest": lambda: _one_vs_rest("venn_abers", "VennAbers"),
    "probmetrics spline": lambda: TopLabel(Binary(_made(f"{_PROBMETRICS}.splines", "CDFSplineCalibrator"))),
    "probmetrics IOP": lambda: _made(f"{_PROBMETRICS}.orderpreserving", "IntraOrderPreservingCalibrator"),
}
