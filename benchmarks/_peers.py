"""Calibrators of other packages behind one call: ``PEERS[name]()`` has ``fit(proba, y)`` and ``predict_proba(proba)``.

They are given float64 probabilities, of which those that want logits take the logarithm. Of scikit-learn it is the maps
within `CalibratedClassifierCV`, whose time would hold a cross-validation as well. Imports happen when a peer is made:
whatever isn't installed (extra ``bench``) raises ImportError then.
"""

import contextlib
import io
import warnings

import numpy as np
from sklearn.calibration import _SigmoidCalibration, _TemperatureScaling
from sklearn.isotonic import IsotonicRegression

# The least probability whose logarithm is taken.
LEAST = 1e-300


class Temperature:
    """Scikit-learn's temperature scaling, on the logarithm of the probabilities."""

    def __init__(self):
        self.calibrator = _TemperatureScaling()

    def fit(self, proba, y):
        """Fit the calibrator."""
        self.calibrator.fit(log_p(proba), y)
        return self

    def predict_proba(self, proba):
        """Calibrated probabilities."""
        return self.calibrator.predict(log_p(proba))


def log_p(proba):
    """Of each class."""
    return np.log(np.maximum(proba, LEAST))


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
    scores : callable, default=None
        What it takes, from probabilities; None for these.
    """

    def __init__(self, make, scores=None):
        self.make, self.scores = make, scores or (lambda proba: proba)

    def fit(self, proba, y):
        """One calibrator per class."""
        scores = self.scores(proba)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.calibrators = [self.make().fit(scores[:, k], (y == k).astype(int)) for k in range(scores.shape[1])]
        return self

    def predict_proba(self, proba):
        """Calibrated probabilities."""
        scores = self.scores(proba)
        columns = [calibrator.predict(scores[:, k]) for k, calibrator in enumerate(self.calibrators)]
        columns = np.maximum(np.column_stack(columns), LEAST)
        return columns / columns.sum(1, keepdims=True)


class NetcalBinning:
    """A binning of netcal; its progress bars and warnings are kept back.

    Parameters
    ----------
    class_name : str
        In ``netcal.binning``.
    """

    def __init__(self, class_name, **parameters):
        from netcal import binning

        self.calibrator = getattr(binning, class_name)(**parameters)

    def fit(self, proba, y):
        """Fit the calibrator."""
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            self.calibrator.fit(proba, y)
        return self

    def predict_proba(self, proba):
        """Calibrated probabilities."""
        return self.calibrator.transform(proba)


class Binary:
    """A binary calibrator of probmetrics or venn-abers, given the probability of the hit alone.

    Parameters
    ----------
    calibrator : object
        With ``fit(proba, y)`` and ``predict_proba(proba)`` on two columns; the latter may return a tuple.
    """

    def __init__(self, calibrator):
        self.calibrator = calibrator

    def fit(self, p, hit):
        """Fit the calibrator."""
        self.calibrator.fit(np.stack([1 - p, p], 1), hit)
        return self

    def predict(self, p):
        """Calibrated probability of the hit."""
        found = self.calibrator.predict_proba(np.stack([1 - p, p], 1))
        return (found[0] if isinstance(found, tuple) else found)[:, 1]


class TopLabel:
    """A binary calibrator for the top probability; the other classes share the rest in proportion.

    Parameters
    ----------
    binary : object
        With ``fit(p, hit)`` and ``predict(p)``.
    """

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


def _beta():
    from betacal import BetaCalibration

    return OneVsRest(lambda: BetaCalibration("abm"))


def _histograms():
    from probmetrics.calibrators.binning import BinaryHistogramBinningCalibrator

    return OneVsRest(lambda: Binary(BinaryHistogramBinningCalibrator(n_bins=15)))


def _splines():
    from probmetrics.calibrators.splines import CDFSplineCalibrator

    return TopLabel(Binary(CDFSplineCalibrator()))


def _intra_order_preserving():
    from probmetrics.calibrators.orderpreserving import IntraOrderPreservingCalibrator

    return IntraOrderPreservingCalibrator()


def _venn_abers():
    from venn_abers import VennAbers

    return OneVsRest(lambda: Binary(VennAbers()))


PEERS = {
    "probmetrics temperature": _probmetrics("TemperatureScalingCalibrator"),
    "probmetrics vector": _probmetrics("VectorScalingCalibrator"),
    "probmetrics SVS": _probmetrics("SVSCalibrator"),
    "probmetrics SMS": _probmetrics("SMSCalibrator"),
    "probmetrics matrix": _probmetrics("MatrixScalingCalibrator"),
    "probmetrics ETS(ce)": _probmetrics("ETSCalibrator", loss="ce"),
    "scikit-learn temperature": Temperature,
    "scikit-learn sigmoid of log p": lambda: OneVsRest(_SigmoidCalibration, log_p),
    "scikit-learn sigmoid of log-odds": lambda: OneVsRest(_SigmoidCalibration, log_odds),
    "betacal one-vs-rest": _beta,
    "scikit-learn isotonic": lambda: OneVsRest(lambda: IsotonicRegression(out_of_bounds="clip")),
    "netcal histogram binning": lambda: NetcalBinning("HistogramBinning", bins=15),
    "probmetrics histogram binning": _histograms,
    "netcal BBQ": lambda: NetcalBinning("BBQ"),
    "venn-abers one-vs-rest": _venn_abers,
    "probmetrics spline": _splines,
    "probmetrics IOP": _intra_order_preserving,
}
