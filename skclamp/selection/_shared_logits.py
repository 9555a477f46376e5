"""The logits that the calibrators of a comparison share, each set of them computed once."""

import copy
import time
from collections import deque

import numpy as np
import torch
from scipy import stats
from sklearn.base import clone

from .. import scaling
from .._backbones.backbone import Opening
from .._backbones.opening import is_frozen, open_backbone
from .._backbones.samples import cross_fit, read
from .._judging.overlap import shared_share
from .._utils.arrays import ComputedRows, to_numpy
from .._utils.labels import check_labels, encode_labels, resolve_classes
from .._utils.metadata import NO_METADATA
from .._utils.warnings import note, one_warning
from ..base import BaseCalibrator
from ..clamping._base import BaseClamping
from ..distributed import ALONE
from ..exceptions import CalibrationSetWarning, TrainingDataWarning
from ..modules import frozen
from ..modules._norm_layers import find_norm_layers

# An accuracy that is higher on the calibration set by chance is taken for a cause this rarely.
_CHANCE_OF_ACCURACIES = 1e-4


class SharedLogits:
    """The network's logits of the calibration and the test set, each computed once, with their labels.

    Parameters are those of `compare_calibrators`; `shared` are those that all calibrators have, by name.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    calibration, test : torch.Tensor of shape (n_samples, n_classes)
        Logits.
    calibration_samples, test_samples : Samples, Reading
        They, and what they are of.
    X_test : array-like or Dataset
        What `dataset_behind` made of the parameter.
    y_cal_encoded, y_test_encoded : ndarray of shape (n_samples,)
        Column index of each label.
    seconds : tuple of float
        What the logits of either set took.
    """

    # More probabilities of a calibrator than these 512 MB aren't kept: whatever reads them predicts anew, some twenty
    # times until a calibrator is scored.
    most_kept = 1 << 26

    def __init__(self, estimator, shared, X_cal, y_cal, X_test, y_test, params, verbose=0):
        self.estimator, self.shared, self.params, self.verbose = estimator, shared, params, verbose
        y_cal = None if y_cal is None else check_labels(y_cal, "y_cal", beside=("X_test", X_test))
        y_test = None if y_test is None else check_labels(y_test, "y_test", beside=("X_test", X_test))
        self.calibration_samples, fit_seconds = timed(self._calibration_samples, X_cal, y_cal)
        self.backbone, self.calibration = self.calibration_samples.deployed, self.calibration_samples.logits
        names = "X_test", "y_test"
        self.test_samples, test_seconds = timed(
            read, self.backbone, X_test, y_test, any_order=y_test is None, names=names
        )
        self.X_test, self.test = self.test_samples.X, self.test_samples.logits
        self.seconds = fit_seconds, test_seconds
        n_columns = self.calibration.shape[1]
        if self.test.shape[1] != n_columns:
            raise ValueError(f"X_test must give logits of {n_columns} columns, as X_cal does; got {self.test.shape[1]}")
        if len(self.test) < 2:
            raise ValueError(f"X_test must hold at least 2 samples; got {len(self.test)}")
        self.classes = resolve_classes(
            self.calibration_samples.labels,
            n_columns,
            classes=shared["classes"],
            known=self.backbone.classes,
            likely=self.backbone.likely_classes,
        )
        self.y_cal_encoded = encode_labels(self.calibration_samples.labels, self.classes, "y_cal")
        self.y_test_encoded = encode_labels(self.test_samples.labels, self.classes, "y_test")
        self._look_for_the_same_samples(X_cal, X_test)
        if is_frozen(estimator):
            self._look_for_training_data()
        self._look_once()

    def _calibration_samples(self, X_cal, y_cal):
        """Out of fold where the estimator has to be fitted."""
        names = "X_cal", "y_cal"
        options = {name: value for name, value in self.shared.items() if name not in ("classes", "cv")}
        opening = Opening(**options, verbose=self.verbose)
        if not is_frozen(self.estimator):
            cv, metadata = self.shared["cv"], self._route(y_cal)
            return cross_fit(self.estimator, opening, X_cal, y_cal, metadata, cv=cv, names=names)
        any_order = y_cal is None and not self.params
        samples = read(open_backbone(self.estimator, opening), X_cal, y_cal, any_order=any_order, names=names)
        # Raises for what nobody takes.
        self._route(samples.labels)
        return samples

    def _route(self, y_cal):
        """What of the parameters of ``fit`` goes where: the same for all calibrators."""
        params = {"sample_weight": None, **self.params}
        return scaling.TemperatureScaling(self.estimator, cv=self.shared["cv"])._route(y_cal, params)

    def _look_once(self):
        """For all the calibrators; those fitted to these logits don't look at them again."""
        looking = scaling.TemperatureScaling(self.estimator, **{**self.shared, "classes": self.classes})
        weight = self.params.get("sample_weight")
        self.calibration_samples = samples = looking._understand(self.calibration_samples, weight, NO_METADATA, ALONE)
        with one_warning() as notes:
            looked = looking._look_at(samples)
            if looked is not None:
                looking._look_back(looked, samples, notes)

    def _look_for_the_same_samples(self, X_cal, X_test):
        """A test set that is the calibration set, or shares rows with it."""
        # Of few categories rows don't tell; equal logits do, but where these are out of fold.
        same = X_test is X_cal or torch.equal(self.test, self.calibration)
        share = float(same and np.array_equal(self.y_cal_encoded, self.y_test_encoded))
        seen, prints = self.calibration_samples.prints, self.test_samples.prints
        if not share and seen is not None and prints is not None:
            weight = self.params.get("sample_weight")
            share = shared_share(prints, seen if weight is None else seen[to_numpy(weight) > 0])
        if share:
            note(
                f"X_test holds samples of X_cal, about {share:.0%} of X_test: the calibrators are compared on what "
                "they were fitted to, and the more a calibrator overfits the better it looks. Compare on other samples",
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
        if not self.backbone.in_batches or self.calibration_samples.inputs.is_stream:
            return None
        batch, _ = next(iter(self.calibration_samples.inputs.batches(1)))
        x, _ = self.backbone.to_device(batch)
        return tuple(x.shape[1:]) if x is not None and x.is_floating_point() else None

    @property
    def has_features_to_clamp(self):
        """Whether a torch network has normalisation layers that neural clamping can clamp, whatever its inputs are."""
        if not self.backbone.in_batches or self.calibration_samples.inputs.is_stream:
            return False
        batch, _ = next(iter(self.calibration_samples.inputs.batches(3)))
        x, others = self.backbone.to_device(batch)
        # Clamping asks which of several inputs is perturbed, and nobody says.
        if x is None and len(others) > 1 and any(entry.is_floating_point() for entry in others.values()):
            return False
        with frozen(self.backbone.module):
            return bool(find_norm_layers(self.backbone.module, x, others)[0])

    def uncalibrated(self):
        """As `predicted`, of the test set: the classifier's own where it gives any, whatever its scores would make."""
        if not self.backbone.in_batches and hasattr(self.backbone.classifier, "predict_proba"):
            return timed(self.backbone.classifier.predict_proba, self.X_test)
        return self.predicted(lambda logits: torch.softmax(logits.double(), 1).cpu().numpy())

    def predicted(self, predict):
        """The test set's probabilities, an array or, of many, `ComputedRows`; and the seconds that one pass takes."""
        if self.test.numel() <= self.most_kept:
            return timed(predict, self.test)
        computed = ComputedRows(predict, self.test)
        _, seconds = timed(deque, computed.parts(), 0)
        return computed, seconds


def fit_and_predict(calibrator, logits, calibration):
    """The fitted calibrator, its probabilities of the test set, and `fit_time` and `predict_time`.

    The calibrator comes unfitted and without an estimator; `calibration` is X_cal and y_cal, for one that perturbs.
    """
    estimator, shared, params = logits.estimator, logits.shared, dict(logits.params)
    weight = params.pop("sample_weight", None)
    if isinstance(calibrator, BaseClamping):
        options = {name: value for name, value in shared.items() if name not in ("cv", "batch_size")}
        if shared["cv"] is not None and not is_frozen(estimator):
            options["cv"] = shared["cv"]
        if not logits.verbose and calibrator.verbose == "auto":
            options["verbose"] = 0
        unfitted = clone(calibrator).set_params(estimator=estimator, **options)
        fitted, fit_time = timed(unfitted._learn, *calibration, weight, params, checks=False)
        proba, predict_time = timed(fitted.predict_proba, logits.X_test)
    else:
        unfitted = clone(calibrator)
        unfitted.set_params(estimator=None, response="logits", classes=np.arange(len(logits.classes)))
        fitted, fit_time = timed(unfitted._learn, logits.calibration, logits.y_cal_encoded, weight, checks=False)
        # The copy goes on to take logits, the calibrator itself takes the estimator's inputs from now on.
        proba, predict_time = logits.predicted(copy.copy(fitted).predict_proba)
        fitted._rebind(logits.calibration_samples, estimator=estimator, **shared)
    return fitted, proba, {"fit_time": fit_time, "predict_time": predict_time}


def predict_as_it_is(name, calibrator, logits):
    """The probabilities of the test set of a calibrator that came fitted, and `fit_time`, NaN, and `predict_time`."""
    inner = calibrator
    while isinstance(inner._backbone.classifier, BaseCalibrator):
        inner = inner._backbone.classifier
    fitted_around, compared = inner._backbone, logits.backbone
    same = fitted_around.classifier is compared.classifier is not None
    if inner.estimator is not None and not same and fitted_around.fingerprint() != compared.fingerprint():
        raise ValueError(
            "calibrators that are fitted must be so around the estimator that is compared, or to logits; got "
            f"{inner!r} for {name!r}, around another"
        )
    classes = calibrator.classes_
    if len(classes) != len(logits.classes) or not (
        np.array_equal(classes, logits.classes) or np.array_equal(classes, np.arange(len(classes)))
    ):
        raise ValueError(
            f"calibrators that are fitted must know the classes {logits.classes.tolist()}, in this order; got "
            f"{classes.tolist()} for {name!r}"
        )
    if not isinstance(inner, BaseClamping):
        proba, seconds = logits.predicted(lambda part: np.exp(calibrator.transform_logits(part)))
    else:
        X_test = logits.X_test
        if inner.estimator is None:
            X_test = logits.test.double().softmax(1) if inner.response == "probabilities" else logits.test
        proba, seconds = timed(calibrator.predict_proba, X_test)
    return proba, {"fit_time": float("nan"), "predict_time": seconds}


def timed(function, *args, **kwargs):
    """What a function returns, and the seconds that it took."""
    started = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - started
