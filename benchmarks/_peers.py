"""Calibrators of other packages behind one call: ``PEERS[name]()`` has ``fit(proba, y)`` and ``predict_proba(proba)``.

They are given float64 probabilities, of which those that want logits take the logarithm. Imports happen when a peer is
made: whatever isn't installed (extra ``bench``) raises ImportError then.
"""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

# The least probability whose logarithm is taken.
LEAST = 1e-300


class Scores(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose inputs are its scores."""

    def __init__(self, n_classes):
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, X, y):
        """Nothing to learn."""
        return self

    def predict(self, X):
        """The class of the highest score."""
        return X.argmax(1)

    def decision_function(self, X):
        """The inputs."""
        return X[:, 1] if self.n_classes == 2 else X


class ScikitLearn:
    """`CalibratedClassifierCV` on given scores.

    Parameters
    ----------
    method : str
        As there.
    scores : callable
        From probabilities.
    """

    def __init__(self, method, scores=lambda proba: np.log(np.maximum(proba, LEAST))):
        self.method, self.scores = method, scores

    def fit(self, proba, y):
        """Fit the calibrator alone."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.frozen import FrozenEstimator

        frozen = FrozenEstimator(Scores(proba.shape[1]))
        self.calibrator = CalibratedClassifierCV(frozen, method=self.method, ensemble=False).fit(self.scores(proba), y)
        return self

    def predict_proba(self, proba):
        """Calibrated probabilities."""
        return self.calibrator.predict_proba(self.scores(proba))


def log_odds(proba):
    """Of each class against the rest."""
    proba = np.clip(proba, LEAST, 1 - np.finfo(float).eps / 2)
    return np.log(proba) - np.log1p(-proba)


class OneVsRest:
    """A binary calibrator, with ``fit(p, y)`` and ``predict(p)``, for each class; renormalised.

    Parameters
    ----------
    make : callable
        Makes it.
    """

    def __init__(self, make):
        self.make = make

    def fit(self, proba, y):
        """One calibrator a class."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.calibrators = [self.make().fit(proba[:, k], (y == k).astype(int)) for k in range(proba.shape[1])]
        return self

    def predict_proba(self, proba):
        """Calibrated probabilities."""
        columns = [calibrator.predict(proba[:, k]) for k, calibrator in enumerate(self.calibrators)]
        columns = np.maximum(np.column_stack(columns), LEAST)
        return columns / columns.sum(1, keepdims=True)


def _probmetrics(class_name, **parameters):
    def make():
        from probmetrics.calibrators import logistic, temperature_scaling

        module = logistic if hasattr(logistic, class_name) else temperature_scaling
        return getattr(module, class_name)(**parameters)

    return make


def _beta():
    from betacal import BetaCalibration

    return OneVsRest(lambda: BetaCalibration("abm"))


PEERS = {
    "probmetrics temperature": _probmetrics("TemperatureScalingCalibrator"),
    "probmetrics vector": _probmetrics("VectorScalingCalibrator"),
    "probmetrics SVS": _probmetrics("SVSCalibrator"),
    "probmetrics SMS": _probmetrics("SMSCalibrator"),
    "probmetrics matrix": _probmetrics("MatrixScalingCalibrator"),
    "probmetrics ETS(ce)": _probmetrics("ETSCalibrator", loss="ce"),
    "probmetrics ETS(mse)": _probmetrics("ETSCalibrator", loss="mse"),
    "scikit-learn temperature": lambda: ScikitLearn("temperature"),
    "scikit-learn sigmoid of log p": lambda: ScikitLearn("sigmoid"),
    "scikit-learn sigmoid of log-odds": lambda: ScikitLearn("sigmoid", log_odds),
    "betacal one-vs-rest": _beta,
}
