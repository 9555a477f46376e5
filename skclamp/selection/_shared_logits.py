"""The logits that the calibrators of a comparison share, each set of them computed once."""

import time

import numpy as np
import torch
from scipy import stats
from sklearn.base import clone

from .. import scaling
from .._backbones.opening import is_frozen, open_backbone
from .._backbones.samples import cross_fit, read
from .._utils.arrays import tensor_over
from .._utils.labels import check_labels, check_sample_weight, encode_labels, resolve_classes
from .._utils.warnings import note, one_warning
from ..base import BaseCalibrator
from ..clamping._base import BaseClamping
from ..exceptions import CalibrationSetWarning, TrainingDataWarning

# An accuracy that is higher on the calibration set by chance is taken for a cause this rarely.
_CHANCE_OF_ACCURACIES = 1e-4


class SharedLogits:
    """The network's logits of the calibration and the test set, each computed once, with their labels.

    Parameters
    ----------
    estimator : object
        As in `BaseCalibrator`.
    shared : dict
        The parameters `response`, `classes`, `cv`, `device`, `batch_size` and `integer_scale`.
    X_cal, y_cal, X_test, y_test : array-like, dict, Dataset, DataLoader or None
        The data.
    params : dict
        What the calibrators' ``fit`` is given beside them.
    verbose : int or "auto", default=0
        See `progress_bar`.

    Attributes
    ----------
    params : dict
        As the parameter.
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    calibration, test : torch.Tensor of shape (n_samples, n_classes)
        Logits.
    test_reading : Samples
        Of the test set.
    X_test : array-like or Dataset
        What `dataset_behind` made of the parameter.
    y_cal_encoded, y_test_encoded : ndarray of shape (n_samples,)
        Column index of each label.
    seconds : tuple of float
        What the logits of either set took.
    """

    def __init__(self, estimator, shared, X_cal, y_cal, X_test, y_test, params, verbose=0):
        self._estimator, self._shared, self.verbose = estimator, shared, verbose
        self.params = params
        y_cal = None if y_cal is None else check_labels(y_cal, "y_cal", beside=("X_test", X_test))
        y_test = None if y_test is None else check_labels(y_test, "y_test", beside=("X_test", X_test))
        self._read_cal, fit_seconds = timed(self._read_calibration_set, X_cal, y_cal)
        self.backbone, self.calibration = self._read_cal.deployed, self._read_cal.logits
        self.test_reading, test_seconds = timed(
            read, self.backbone, X_test, y_test, any_order=y_test is None, names=("X_test", "y_test")
        )
        self.X_test, self.test = self.test_reading.X, self.test_reading.logits
        self.seconds = fit_seconds, test_seconds
        _check_test_logits(self.test, self.calibration.shape[1])
        names = {"known": self.backbone.classes, "likely": self.backbone.likely_classes}
        self.classes = resolve_classes(
            self._read_cal.labels, self.calibration.shape[1], classes=shared["classes"], **names
        )
        self.y_cal_encoded = encode_labels(self._read_cal.labels, self.classes, "y_cal")
        self.y_test_encoded = encode_labels(self.test_reading.labels, self.classes, "y_test")
        self._look_for_the_same_samples(X_cal, X_test)
        if is_frozen(estimator):
            self._look_for_training_data()
        self._look_once()

    def _read_calibration_set(self, X_cal, y_cal):
        """The logits of the calibration set, out of fold where the estimator has to be fitted."""
        names = "X_cal", "y_cal"
        if not is_frozen(self._estimator):
            options = {name: value for name, value in self._shared.items() if name != "classes"}
            options["verbose"] = self.verbose
            return cross_fit(self._estimator, X_cal, y_cal, self._route(y_cal), names=names, **options)
        opening = {name: value for name, value in self._shared.items() if name not in ("classes", "cv")}
        any_order = y_cal is None and not self.params
        opening["verbose"] = self.verbose
        reading = read(open_backbone(self._estimator, **opening), X_cal, y_cal, any_order=any_order, names=names)
        # Raises for what nobody takes.
        self._route(reading.labels)
        return reading

    def _route(self, y_cal):
        """What of the parameters of ``fit`` goes where: the same for all calibrators."""
        params = {"sample_weight": None, **self.params}
        return scaling.TemperatureScaling(self._estimator, cv=self._shared["cv"])._route(y_cal, params)

    def _look_once(self):
        """For all the calibrators; those fitted to these logits don't look at them again."""
        looking, samples = scaling.TemperatureScaling(self._estimator, **self._shared), self._read_cal
        samples.weight = check_sample_weight(self.params.get("sample_weight"), len(self.calibration))
        samples.y_encoded = tensor_over(self.y_cal_encoded).to(self.calibration.device)
        samples.classes = self.classes
        with one_warning() as notes:
            looked = looking._look_at(samples)
            if looked is not None:
                looking._look_back(looked, samples, notes)

    def _look_for_the_same_samples(self, X_cal, X_test):
        """A test set that is the calibration set; equal logits tell, but where these are out of fold."""
        same = X_test is X_cal or torch.equal(self.test, self.calibration)
        if same and np.array_equal(self.y_cal_encoded, self.y_test_encoded):
            note(
                "X_test holds the samples of X_cal: the calibrators are compared on what they were fitted to, and the "
                "more a calibrator overfits the better it looks. Compare on other samples",
                CalibrationSetWarning,
                explains=True,
            )

    def _look_for_training_data(self):
        """An accuracy on the calibration set that the test set's can't be by chance."""
        pairs = (self.calibration, self.y_cal_encoded), (self.test, self.y_test_encoded)
        hits = [(logits.argmax(1).cpu().numpy() == y_encoded) for logits, y_encoded in pairs]
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
    def shape_of_an_input(self):
        """Of the floating-point input that neural clamping can perturb, where a torch network takes one; else None."""
        if not self.backbone.in_batches or self._read_cal.inputs.is_stream:
            return None
        batch, _ = next(iter(self._read_cal.inputs.batches(1)))
        x, _ = self.backbone.to_device(batch)
        return tuple(x.shape[1:]) if x is not None and x.is_floating_point() else None

    def uncalibrated(self):
        """Probabilities of the test set: the classifier's own where it gives any, whatever its scores would make."""
        if not self.backbone.in_batches and hasattr(self.backbone.classifier, "predict_proba"):
            return self.backbone.classifier.predict_proba(self.X_test)
        return torch.softmax(self.test.double(), 1).cpu().numpy()

    def fit(self, calibrator):
        """A fitted clone of an output map, that takes these logits until `hand_over`."""
        fitted = clone(calibrator).set_params(estimator=None, response="logits", classes=np.arange(len(self.classes)))
        return fitted._learn(self.calibration, self.y_cal_encoded, self.params.get("sample_weight"), checks=False)

    def hand_over(self, fitted):
        """Let a calibrator that was fitted to the logits take the estimator's inputs from now on."""
        return fitted._rebind(self._read_cal, estimator=self._estimator, **self._shared)


def _check_test_logits(logits, n_columns):
    if logits.shape[1] != n_columns:
        raise ValueError(f"X_test must give logits of {n_columns} columns, as X_cal does; got {logits.shape[1]}")
    if len(logits) < 2:
        raise ValueError(f"X_test must hold at least 2 samples; got {len(logits)}")


def fit_and_predict(calibrator, logits, estimator, shared, data):
    """The fitted calibrator, its probabilities of the test set, and `fit_time` and `predict_time`.

    The calibrator comes unfitted and without an estimator; `data` is X_cal, y_cal and X_test.
    """
    if isinstance(calibrator, BaseClamping):
        X_cal, y_cal, X_test = data
        own = {name: value for name, value in shared.items() if name not in ("cv", "batch_size")}
        if shared["cv"] is not None and not is_frozen(estimator):
            own["cv"] = shared["cv"]
        if not logits.verbose and calibrator.verbose == "auto":
            own["verbose"] = 0
        unfitted = clone(calibrator).set_params(estimator=estimator, **own)
        fitted, fit_time = timed(unfitted._learn, X_cal, y_cal, checks=False, **logits.params)
        proba, predict_time = timed(fitted.predict_proba, X_test)
    else:
        fitted, fit_time = timed(logits.fit, calibrator)
        proba, predict_time = timed(fitted.predict_proba, logits.test)
        logits.hand_over(fitted)
    return fitted, proba, {"fit_time": fit_time, "predict_time": predict_time}


def predict_as_it_is(name, calibrator, logits):
    """The probabilities of the test set of a calibrator that came fitted, and `fit_time`, NaN, and `predict_time`."""
    inner = calibrator
    while isinstance(inner._backbone.classifier, BaseCalibrator):
        inner = inner._backbone.classifier
    _check_estimator(name, inner, logits)
    classes = calibrator.classes_
    if len(classes) != len(logits.classes) or not (
        np.array_equal(classes, logits.classes) or np.array_equal(classes, np.arange(len(classes)))
    ):
        raise ValueError(
            f"calibrators that are fitted must know the classes {logits.classes.tolist()}, in this order; got "
            f"{classes.tolist()} for {name!r}"
        )
    if isinstance(inner, BaseClamping) and inner.estimator is not None:
        proba, seconds = timed(calibrator.predict_proba, logits.X_test)
    elif isinstance(inner, BaseClamping):
        scores = logits.test.double().softmax(1) if inner.response == "probabilities" else logits.test
        proba, seconds = timed(calibrator.predict_proba, scores)
    else:
        log_proba, seconds = timed(calibrator.transform_logits, logits.test)
        proba = np.exp(log_proba)
    return proba, {"fit_time": float("nan"), "predict_time": seconds}


def _check_estimator(name, calibrator, logits):
    """Raise unless a calibrator was fitted to logits, or around what gives these."""
    own, compared = calibrator._backbone, logits.backbone
    same = own.classifier is compared.classifier is not None
    if calibrator.estimator is None or same or own.fingerprint() == compared.fingerprint():
        return
    raise ValueError(
        "calibrators that are fitted must be so around the estimator that is compared, or to logits; got "
        f"{calibrator!r} for {name!r}, around another"
    )


def timed(function, *args, **kwargs):
    """What a function returns, and the seconds that it took."""
    started = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - started
