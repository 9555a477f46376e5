"""What `report` shows: calibrators fitted to one set of logits and scored on another, and which of them tie.

Imports `_backbone`, the metrics and the calibrators.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.utils import check_random_state
from torch.utils.data import IterableDataset

from . import nonparametric, scaling
from ._backbone import ClassifierBackbone, NetworkBackbone, check_classifier, is_frozen, open_backbone
from ._binning import Probabilities
from ._cells import BinnedPredictions, BinnedTest, Cells, menu_with
from ._clamping import BaseClamping
from ._cross_fit import cross_fit
from ._data_sets import UNFITTED, check_no_dataset, dataset_behind
from ._validation import check_labels, check_same_length, check_sample_weight, encode_labels, resolve_classes
from ._warnings import note, one_warning
from .base import BaseCalibrator
from .clamping import NeuralClampingCalibrator
from .exceptions import TrainingDataWarning
from .metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
)
from .metrics._noise_floor import draw_labels, floor_of
from .metrics._proper_scores import log_losses

# Full matrices of more classes than this take minutes, and structured ones do as well.
_MOST_CLASSES_OF_A_MATRIX = 50
# Maps of one class against the rest see as many positive samples as a class has.
_FEWEST_SAMPLES_A_CLASS = 10
# Classes with bins of their own, the most frequent ones: what a page has room for.
_MOST_CLASSES_BINNED = 24
# In nats: differences of a sample's loss that are rounding.
_ROUNDING = 1e-9

# An accuracy that is higher on the calibration set by chance is taken for a cause this rarely.
_CHANCE_OF_ACCURACIES = 1e-4

UNCALIBRATED = "uncalibrated"


@dataclass(frozen=True)
class CalibratorScores:
    """One row of a comparison: what a calibrator reaches on the test set.

    Attributes
    ----------
    name : str
        Of the calibrator.
    accuracy, nll, brier, ece, aece, sce : float
        Accuracy; negative log-likelihood in nats; Brier score; expected calibration error, the adaptive one and the
        classwise one. All but the NLL are parts of 1, not percentages.
    ece_low, ece_high : float
        Bootstrap interval of the ECE.
    ece_floor, ece_floor_quantile : float
        Mean, and 95 % quantile, of the ECE of perfectly calibrated probabilities like these.
    nll_difference, nll_difference_se : float
        Mean of the paired differences to the best calibrator's NLL, and its standard error.
    p_value : float
        Of a difference of 0, corrected for the number of calibrators.
    tied : bool
        Whether the calibrator is the best or can't be told from it.
    fit_time, predict_time : float
        Seconds. Those of output maps exclude the network, whose logits all of them share.
    """

    name: str
    accuracy: float
    nll: float
    brier: float
    ece: float
    ece_low: float
    ece_high: float
    ece_floor: float
    ece_floor_quantile: float
    aece: float
    sce: float
    nll_difference: float
    nll_difference_se: float
    p_value: float
    tied: bool
    fit_time: float
    predict_time: float


class SharedLogits:
    """The network's logits of the calibration and the test set, each computed once, with their labels.

    Parameters
    ----------
    estimator : object
        As in `BaseCalibrator`.
    shared : dict
        The parameters `response`, `classes`, `cv`, `device`, `batch_size`, `num_workers`, `pin_memory` and
        `integer_scale`.
    X_cal, y_cal, X_test, y_test : array-like, dict, Dataset, DataLoader or None
        The data.
    params : dict
        What the calibrators' ``fit`` is given beside them.

    Attributes
    ----------
    params : dict
        As the parameter.
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    calibration, test : torch.Tensor of shape (n_samples, n_classes)
        Logits.
    calibration_codes, test_codes : ndarray of shape (n_samples,)
        Column index of each label.
    seconds : tuple of float
        What the logits of either set took.
    """

    def __init__(self, estimator, shared, X_cal, y_cal, X_test, y_test, params):
        self._estimator, self._shared = estimator, shared
        self._X_cal, self._X_test = (
            dataset_behind(X_cal, any_order=y_cal is None and not params),
            dataset_behind(X_test),
        )
        self.params = params
        y_cal, fit_seconds = timed(self._open, y_cal)
        (self.test, labels), test_seconds = timed(self.backbone.logits, self._X_test)
        self.seconds = fit_seconds, test_seconds
        _check_test_logits(self.test, self.calibration.shape[1])
        names = {"known": self.backbone.classes, "likely": self.backbone.likely_classes}
        self.classes = resolve_classes(y_cal, self.calibration.shape[1], classes=shared["classes"], **names)
        self.calibration_codes = encode_labels(y_cal, self.classes, "y_cal")
        y_test = check_labels(labels if y_test is None else y_test, "y_test")
        check_same_length(y_test, len(self.test), "y_test")
        self.test_codes = encode_labels(y_test, self.classes, "y_test")
        with one_warning():
            if is_frozen(estimator):
                self._look_for_training_data()
            self._look_once()

    def _open(self, y_cal):
        """Find the logits of the calibration set, and return its labels."""
        if is_frozen(self._estimator):
            opening = {name: value for name, value in self._shared.items() if name not in ("classes", "cv")}
            self.backbone = open_backbone(self._estimator, **opening)
            self.calibration, labels = self.backbone.logits(self._X_cal)
            y_cal = check_labels(labels if y_cal is None else y_cal, "y_cal")
            self._route(y_cal)
        else:
            check_classifier(self._estimator)
            check_no_dataset(self._X_cal, UNFITTED, "X_cal")
            y_cal = check_labels(y_cal, "y_cal")
            options = {name: self._shared[name] for name in ("response", "cv")}
            options["metadata"] = self._route(y_cal)
            self.backbone, self.calibration = cross_fit(self._estimator, self._X_cal, y_cal, **options)
        check_same_length(y_cal, len(self.calibration), "y_cal")
        return y_cal

    def _route(self, y_cal):
        """What of the parameters of ``fit`` goes where: the same for all calibrators."""
        params = {"sample_weight": None, **self.params}
        return scaling.TemperatureScaling(self._estimator, cv=self._shared["cv"])._route(y_cal, params)

    def _look_once(self):
        """For all the calibrators; those fitted to these logits don't look at them again."""
        looking = scaling.TemperatureScaling(self._estimator, **self._shared)
        weight = check_sample_weight(self.params.get("sample_weight"), len(self.calibration))
        codes = torch.from_numpy(self.calibration_codes).to(self.calibration.device)
        looking._look_at(self.calibration, codes, weight, self.classes, self.backbone)
        looking._look_back()

    def _look_for_training_data(self):
        """An accuracy on the calibration set that the test set's can't be by chance."""
        pairs = (self.calibration, self.calibration_codes), (self.test, self.test_codes)
        hits = [(logits.argmax(1).cpu().numpy() == codes) for logits, codes in pairs]
        counts = [[hit.sum(), len(hit) - hit.sum()] for hit in hits]
        if stats.fisher_exact(counts, alternative="greater")[1] < _CHANCE_OF_ACCURACIES:
            note(
                f"the accuracy is {hits[0].mean():.2%} on X_cal and {hits[1].mean():.2%} on X_test, which isn't by "
                "chance: either X_cal trained the network, and nothing learned from it will do, or X_test is of "
                "another kind",
                TrainingDataWarning,
                explains=True,
            )

    @property
    def is_of_a_network(self):
        """Whether a torch network made the logits from one floating-point input, which neural clamping can perturb."""
        if not isinstance(self.backbone, NetworkBackbone) or isinstance(self._X_cal, IterableDataset):
            return False
        batch, _ = next(iter(self.backbone.open(self._X_cal).batches(1)))
        x, _ = self.backbone.to_device(batch)
        return x is not None and x.is_floating_point()

    def uncalibrated(self):
        """Probabilities of the test set: the classifier's own where it gives any, whatever its scores would make."""
        if isinstance(self.backbone, ClassifierBackbone) and hasattr(self.backbone.classifier, "predict_proba"):
            return self.backbone.classifier.predict_proba(self._X_test)
        return torch.softmax(self.test.double(), 1).cpu().numpy()

    def fit(self, calibrator):
        """A fitted clone of an output map, that takes these logits until `hand_over`."""
        fitted = clone(calibrator).set_params(estimator=None, response="logits", classes=np.arange(len(self.classes)))
        weight = self.params.get("sample_weight")
        with one_warning():
            return fitted.fit(self.calibration, self.calibration_codes, sample_weight=weight)

    def hand_over(self, fitted):
        """Let a calibrator that was fitted to the logits take the estimator's inputs from now on."""
        fitted.set_params(estimator=self._estimator, **self._shared)
        if not is_frozen(self._estimator):
            fitted.estimator_ = self.backbone.classifier
        del fitted.n_features_in_
        fitted._remember(self.backbone, self.classes, self._X_cal)
        return fitted


def _check_test_logits(logits, n_columns):
    if logits.shape[1] != n_columns:
        raise ValueError(f"X_test must give logits of {n_columns} columns, as X_cal does; got {logits.shape[1]}")
    if len(logits) < 2:
        raise ValueError(f"X_test must hold at least 2 samples; got {len(logits)}")


def default_calibrators(logits, random_state):
    """The package's calibrators that suit the number of classes and of samples, by name."""
    n_classes, n_samples = len(logits.classes), len(logits.calibration)
    found = [
        scaling.TemperatureScaling(),
        scaling.EnsembleTemperatureScaling(),
        scaling.ParameterizedTemperatureScaling(),
        scaling.VectorScaling(),
        scaling.StructuredVectorScaling(),
        scaling.StructuredMatrixScaling(),
        scaling.PlattScaling(),
        scaling.BetaCalibration(),
        scaling.SplineCalibration(),
        scaling.IntraOrderPreservingCalibration(),
        nonparametric.AccuracyPreservingIsotonic(),
    ]
    if n_classes <= _MOST_CLASSES_OF_A_MATRIX:
        found += [scaling.MatrixScaling(), scaling.DirichletCalibration()]
    if n_samples >= _FEWEST_SAMPLES_A_CLASS * n_classes:
        found += [
            nonparametric.IsotonicCalibration(),
            nonparametric.HistogramBinning(),
            nonparametric.BayesianBinningIntoQuantiles(),
        ]
    if logits.is_of_a_network:
        found.append(NeuralClampingCalibrator(random_state=random_state))
    return named(found)


def named(calibrators):
    """Calibrators by name: those given, or those of their classes, numbered where a class comes several times."""
    if isinstance(calibrators, BaseCalibrator) or not hasattr(calibrators, "__iter__"):
        raise TypeError(f"calibrators must be a list of calibrators or a dict of them by name; got {calibrators!r}")
    if isinstance(calibrators, dict):
        found = calibrators
    else:
        calibrators = list(calibrators)
        paired = all(isinstance(each, tuple) and len(each) == 2 for each in calibrators)
        pairs = calibrators if paired else list(zip(_names_of_classes(calibrators), calibrators, strict=True))
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"calibrators must have names of their own; got {[name for name, _ in pairs]}")
    _check_calibrators(found)
    return found


def _names_of_classes(calibrators):
    kinds = [type(calibrator).__name__ for calibrator in calibrators]
    return [
        kind if kinds.count(kind) == 1 else f"{kind}-{kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]


def _check_calibrators(calibrators):
    if not calibrators:
        raise ValueError("calibrators must hold at least one calibrator; got none")
    if UNCALIBRATED in calibrators:
        raise ValueError(f"calibrators must not be named {UNCALIBRATED!r}, which is the estimator's own row")
    for name, calibrator in calibrators.items():
        if not isinstance(calibrator, BaseCalibrator):
            raise TypeError(
                f"calibrators must be calibrators of skclamp, such as TemperatureScaling(); got {calibrator!r} for "
                f"{name!r}"
            )
        if calibrator.estimator is not None:
            raise ValueError(
                f"calibrators must have estimator=None, since all of them share one; got {calibrator!r} for {name!r}"
            )
        if calibrator.response != "auto":
            raise ValueError(
                "calibrators must have response='auto', since all of them see the same: give response to the "
                f"comparison; got {calibrator.response!r} for {name!r}"
            )
        calibrator._validate_params()


def fit_and_predict(calibrator, logits, estimator, shared, data):
    """The fitted calibrator, its probabilities of the test set, and `fit_time` and `predict_time`.

    Parameters
    ----------
    calibrator : BaseCalibrator
        Unfitted, without an estimator.
    logits : SharedLogits
        Of the data.
    estimator : object
        What made them.
    shared : dict
        As in `SharedLogits`.
    data : tuple
        X_cal, y_cal and X_test.
    """
    if isinstance(calibrator, BaseClamping):
        X_cal, y_cal, X_test = data
        own = {name: value for name, value in shared.items() if name not in ("cv", "batch_size")}
        if not is_frozen(estimator):
            own["cv"] = shared["cv"]
        unfitted = clone(calibrator).set_params(estimator=estimator, **own)
        with one_warning():
            fitted, fit_time = timed(unfitted.fit, X_cal, y_cal, **logits.params)
        proba, predict_time = timed(fitted.predict_proba, X_test)
    else:
        fitted, fit_time = timed(logits.fit, calibrator)
        proba, predict_time = timed(fitted.predict_proba, logits.test)
        logits.hand_over(fitted)
    return fitted, proba, {"fit_time": fit_time, "predict_time": predict_time}


def timed(function, *args, **kwargs):
    """What a function returns, and the seconds that it took."""
    started = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - started


class Scoring:
    """Scores probabilities of one test set; draws and resamples are the same for all of them.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Column index of each label.
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    n_bins, n_resamples, n_draws : int
        Bins, bootstrap replicates, and draws of labels for the noise floor.
    random_state : int, RandomState instance or None
        Seed.
    """

    def __init__(self, codes, classes, *, n_bins, n_resamples, n_draws, random_state):
        self._codes, self._classes = codes, classes
        self._n_bins, self._n_resamples, self._n_draws = n_bins, n_resamples, n_draws
        self._seed = check_random_state(random_state).randint(2**31 - 1)
        self._menu = menu_with(n_bins)
        self._columns = _most_frequent(codes, len(classes))

    def __call__(self, y_proba):
        """Scores by name, the loss of each sample, and `BinnedPredictions`."""
        proba, codes = Probabilities(y_proba), self._codes
        ece = partial(expected_calibration_error, n_bins=self._n_bins)
        interval = bootstrap_interval(ece, codes, proba, n_resamples=self._n_resamples, random_state=self._seed)
        draws = draw_labels(proba, self._n_draws, check_random_state(self._seed))
        floor = floor_of(ece, proba, draws)
        losses = log_losses(proba, codes)
        scores = {
            "accuracy": float((proba.top_label[1] == codes).mean()),
            "nll": float(losses.mean()),
            "brier": brier_score(codes, proba),
            "ece": interval.value,
            "ece_low": interval.low,
            "ece_high": interval.high,
            "ece_floor": floor.mean,
            "ece_floor_quantile": floor.quantile,
            "aece": adaptive_expected_calibration_error(codes, proba, n_bins=self._n_bins),
            "sce": classwise_calibration_error(codes, proba, n_bins=self._n_bins),
        }
        return scores, losses, self._binned(y_proba, proba.top_label, draws)

    def _binned(self, y_proba, top_label, draws):
        codes, (confidence, prediction) = self._codes, top_label
        cells = partial(Cells.of, menu=self._menu, dtype=y_proba.dtype)
        top = cells(confidence, prediction == codes, draws == prediction, is_top=True)
        classes = [cells(y_proba[:, k].astype(np.float64), codes == k, draws == k, is_top=False) for k in self._columns]
        return BinnedPredictions(top, tuple(classes))

    def binned_test(self, predictions):
        """What a page needs of the test set, from the `BinnedPredictions` of each calibrator by name."""
        names = [str(self._classes[k]) for k in self._columns]
        size = len(self._codes), len(self._classes)
        return BinnedTest(self._menu, self._n_bins, *size, names, predictions)


def _most_frequent(codes, n_classes):
    """Columns of the most frequent classes, ascending."""
    counts = np.bincount(codes, minlength=n_classes)
    return np.sort(np.argsort(-counts, kind="stable")[:_MOST_CLASSES_BINNED])


def compare_losses(losses, alpha):
    """How each calibrator's losses differ from the best one's.

    Parameters
    ----------
    losses : array-like of shape (n_calibrators, n_samples)
        Losses of the samples.
    alpha : float
        Chance of calling a calibrator worse that isn't.

    Returns
    -------
    list of dict
        For each calibrator `nll_difference`, `nll_difference_se`, `p_value` and `tied`.
    """
    losses = np.asarray(losses)
    best = losses.mean(1).argmin()
    differences = losses - losses[best]
    errors = differences.std(1, ddof=1) / np.sqrt(losses.shape[1])
    others = np.arange(len(losses)) != best
    p_values = np.ones(len(losses))
    p_values[others] = holm(_paired_p_values(differences, errors)[others])
    return [
        {"nll_difference": float(d), "nll_difference_se": float(e), "p_value": float(p), "tied": bool(p > alpha)}
        for d, e, p in zip(differences.mean(1), errors, p_values, strict=True)
    ]


def _paired_p_values(differences, errors):
    """Of Student's paired test, two-sided, from the differences and the standard error of their mean.

    The bootstrap's p-value is no smaller than one over its replicates, which a correction for many calibrators then
    multiplies; and the mean of many samples needs no bootstrap.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(differences.mean(1)) / errors
    same = np.abs(differences).max(1) <= _ROUNDING
    return np.where(same, 1.0, 2 * stats.t.sf(t, differences.shape[1] - 1))


def holm(p_values):
    """P-values adjusted for their number by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979)."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
