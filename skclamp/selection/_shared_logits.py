"""The logits that the calibrators of a comparison share, each set of them computed once."""

import copy
import math
import time

import numpy as np
import torch
from scipy import stats
from scipy.special import expit
from sklearn.base import clone

from .. import scaling
from .._backbones.classifier import CalibratorBackbone
from .._backbones.opening import is_frozen
from .._backbones.samples import Samples, read
from .._judging.overlap import shared_share
from .._judging.paired import numbered
from .._judging.splits import joined
from .._looks.dependence import look_for_dependence
from .._utils.arrays import to_numpy
from .._utils.labels import check_groups, group_numbers
from .._utils.metadata import without_none
from .._utils.outputs import SOFTMAX, check_columns, check_not_swapped, some_places, understood
from .._utils.progress import fit_task
from .._utils.warnings import note, one_warning
from ..base import BaseCalibrator
from ..clamping import NeuralClampingCalibrator
from ..distributed import ALONE
from ..exceptions import CalibrationSetWarning, TrainingDataWarning
from ..scaling._covariates import columns_of, split
from ._candidates import covariates_in, is_fitted

# Rows of dense outputs that are compared: a bootstrap of more takes minutes for each calibrator.
_MOST_ROWS = 50_000
# Of a calibration set on which the network is right more often than on the test set.
_CHANCE_OF_ACCURACIES = 1e-4


class SharedLogits:
    """The network's logits of the calibration and the test set, each computed once, with their labels.

    Parameters are those of `compare_calibrators`; `shared` are those that all calibrators have, by name, and
    `covariates` choose what of X is beside the estimator's inputs.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    calibration_samples, test_samples : Samples
        They, and what `read` made of them.
    calibration, test : torch.Tensor of shape (n_samples, n_classes)
        Logits.
    outputs : OutputLayer
        What a row of logits means.
    y_cal_encoded, y_test_encoded : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Column index of each label; of labels that don't exclude each other 0, 1, or -1 where one isn't known.
    units : ndarray of shape (n_samples,), int
        Numbers that test samples share which are copies or of one group.
    parts : ndarray of shape (n_samples,) or None
        Names of the parts that test samples come from.
    seconds : tuple of float
        What the logits of either set took.
    """

    def __init__(self, estimator, shared, X_cal, y_cal, X_test, y_test, params, groups_test, by, verbose, covariates):
        self.estimator = estimator
        if estimator is None and hasattr(X_cal, "columns") and hasattr(X_test, "columns"):
            check_columns(X_test, list(X_cal.columns), "X_test", "X_cal")
        same = X_test is X_cal
        self.given = X_cal, X_test
        self.beside: tuple = ({}, {})
        if covariates is not None:
            (X_cal, of_cal), (X_test, of_test) = (
                split(X, covariates, estimator, "compare_calibrators") for X in self.given
            )
            self.beside = columns_of(of_cal), columns_of(of_test)
        # For what perturbs inputs.
        self.inputs = X_cal, y_cal
        self.shared = shared
        self.verbose = verbose
        ignored = shared["ignore_index"]
        check_not_swapped(X_test, y_cal, "X_test", "y_cal")
        self.outputs, y_cal = understood(shared["outputs"], y_cal, ignored, "y_cal")
        if self.outputs.is_dense:
            y_cal, weight = y_cal.weighted(params.get("sample_weight"))
            params = {**params, "sample_weight": weight}
        _, y_test = understood(self.outputs.kind, y_test, ignored, "y_test")
        self.params = params = without_none(params)
        # What reads the samples, and looks at them, for all the calibrators.
        self.reader = reader = scaling.TemperatureScaling(estimator, **shared, verbose=verbose)
        reader._take_on(self.outputs, ALONE)
        # What calibrators that were fitted to logits are given.
        self.of_logits = _innermost(reader).estimator is None
        # Out of fold where the estimator has to be fitted.
        self.calibration_samples, fit_seconds = timed(
            reader._read,
            X_cal,
            y_cal,
            names=("X_cal", "y_cal"),
            classes=shared["classes"],
            sample_weight=params.get("sample_weight"),
            any_order=y_cal is None and not params,
            metadata=reader._route(y_cal, params),
        )
        self.backbone = self.calibration_samples.deployed
        self.calibration = self.calibration_samples.logits
        self.classes = self.calibration_samples.classes
        # Those of a Dataset are known by now.
        self.outputs = outputs = self.calibration_samples.outputs
        if outputs.is_dense and outputs.n_labels:
            raise ValueError(
                "y_cal must be one class a sample or place, or several labels a sample; got several labels at each "
                "place. Compare one of them: y_cal[:, 0] with the logits X_cal[:, :1]"
            )
        reader._take_on(outputs, ALONE)
        # What reads notes the places of dense outputs.
        found, test_seconds = timed(
            read,
            copy.copy(self.backbone),
            X_test,
            y_test,
            any_order=y_test is None and groups_test is None and by is None,
            names=("X_test", "y_test"),
            ignore_index=ignored,
        )
        self.test = found["logits"]
        self.parts = None if by is None else check_groups(by, len(self.test), "by")
        labels = found["labels"]
        self.seconds = (fit_seconds, test_seconds)
        n_columns = self.test.shape[1]
        if n_columns != self.calibration.shape[1]:
            raise ValueError(
                f"X_test must give logits of {self.calibration.shape[1]} columns, as X_cal does; got {n_columns}"
            )
        if outputs.n_labels:
            check_columns(labels, self.classes, "y_test")
        self.test_samples = Samples.of(**found, classes=self.classes, name="y_test")
        self.y_cal_encoded = self.calibration_samples.y_encoded.cpu().numpy()
        self.y_test_encoded = self.test_samples.y_encoded.cpu().numpy()
        if outputs.is_dense:
            self._compare_some_places()
        elif outputs.n_labels and (unknown := (self.y_test_encoded < 0).all(0)).any():
            raise ValueError(
                f"y_test must know each label of some sample; got NaN alone for {self.classes[unknown].tolist()}"
            )
        if groups_test is None and same:
            groups_test = params.get("groups")
        self.units = self._units_of(groups_test)
        # Of few categories rows don't tell; equal logits do, but where these are out of fold.
        self._look_for_the_same_samples(same or torch.equal(self.test, self.calibration))
        if is_frozen(estimator):
            self._look_for_training_data()
        with one_warning() as notes:
            if outputs != SOFTMAX:
                reader._look_for_probabilities(self.calibration_samples)
            looked = reader._look_at(self.calibration_samples)
            if looked is not None:
                reader._look_back(looked, self.calibration_samples, notes)

    def _units_of(self, groups_test):
        """Numbers that test samples share which are copies, or of one group or stretch of a recording.

        Tells of a recording, and where only X_cal has groups.
        """
        samples = self.test_samples
        if groups_test is not None:
            groups_test = group_numbers(groups_test, len(self.test), "groups_test")
        elif "groups" in self.params:
            note(
                "groups are those of X_cal alone: each sample of X_test counts by itself, which makes intervals too "
                "narrow if samples of a group depend on each other there too. Give groups_test, a number of its own "
                "for each sample if they don't",
                CalibrationSetWarning,
            )
        else:
            samples = look_for_dependence(samples, False, ("X_test", "groups_test"))
        return numbered(joined(samples.unit, groups_test), len(self.test))

    def _compare_some_places(self):
        """Go on with as many places of each test sample as resampling has time for, drawn once for all."""
        backbone = self.test_samples.backbone
        n_places = self.test.shape[2]
        some = some_places(n_places, min(n_places, max(1, _MOST_ROWS // len(self.test))))
        self.test = self.test[:, :, some.to(self.test.device)]
        self.y_test_encoded = self.y_test_encoded[..., some.numpy()]
        self.places = np.arange(math.prod(backbone.places))[backbone.kept][some.numpy()]

    def _look_for_the_same_samples(self, same):
        """A test set that is the `same` as the calibration set, or shares rows with it, known by hashes."""
        share = float(same and np.array_equal(self.y_cal_encoded, self.y_test_encoded))
        seen = self.calibration_samples.rows_seen()
        prints = self.test_samples.prints
        if not share and seen is not None and prints is not None:
            share = shared_share(prints, seen)
        if share:
            note(
                f"X_test holds samples of X_cal, about {share:.0%} of X_test: the calibrators are compared on what "
                "they were fitted to, and the more a calibrator overfits the better it looks. Compare on other samples",
                CalibrationSetWarning,
                explains=True,
            )

    def _look_for_training_data(self):
        """An accuracy on the calibration set that the test set's can't be by chance."""
        shares = []
        counts = []
        for logits, y_encoded, units in (
            (self.calibration, self.y_cal_encoded, self.calibration_samples.groups),
            (self.test, self.y_test_encoded, self.units),
        ):
            best = (logits >= 0) if self.outputs.n_labels else logits.argmax(1)
            share = (best.cpu().numpy() == y_encoded)[y_encoded >= 0].mean()
            # A group's samples, and a sample's labels or places, count as one together.
            n_units = numbered(units, len(y_encoded)).max() + 1
            n_right = round(share * n_units)
            shares.append(share)
            counts.append([n_right, n_units - n_right])
        if stats.fisher_exact(counts, alternative="greater")[1] < _CHANCE_OF_ACCURACIES:
            note(
                f"the accuracy is {shares[0]:.2%} on X_cal and {shares[1]:.2%} on X_test, which isn't by chance: "
                "either X_cal trained the network, and nothing learned from it will do, or X_test is of another kind, "
                "or its classes in another order",
                TrainingDataWarning,
                explains=True,
            )

    def clampable(self):
        """Return the shape of the input that clamping may perturb, () where it is none of one size; else None."""
        inputs = self.calibration_samples.inputs
        if not self.backbone.in_batches or inputs.is_stream:
            return None
        x, _ = self.backbone.to_device(next(iter(inputs.batches(3)))[0])
        is_perturbed = x is not None and x.is_floating_point() and not inputs.is_ragged
        return tuple(x.shape[1:]) if is_perturbed else ()

    def uncalibrated(self):
        """The test set's probabilities, the classifier's own where it gives any, and the seconds that they took."""
        own = None if self.backbone.in_batches or self.outputs.n_labels else self.backbone.classifier
        if hasattr(own, "predict_proba"):
            return timed(proba_of, own, self.test_samples.X)
        return timed(lambda: self.outputs.proba(self.test.double()).cpu().numpy())

    def _predicted_by(self, calibrator):
        """As `uncalibrated`, by a fitted calibrator: by its map alone where it shares the estimator."""
        is_map = calibrator._frozen_part() is self.reader._frozen_part()
        # A map around a calibrator takes what this is around, and one's own calibrator predicts as it likes.
        is_map &= not isinstance(calibrator._backbone, CalibratorBackbone)
        is_map &= type(calibrator).predict_proba is BaseCalibrator.predict_proba
        if is_map and not isinstance(calibrator, NeuralClampingCalibrator):
            normalise = expit if self.outputs.n_labels else np.exp
            beside = {} if covariates_in(calibrator) is None else {"covariates": self.beside[1]}
            return timed(lambda: normalise(to_numpy(calibrator.transform_logits(self.test, **beside))))
        inner = _innermost(calibrator)
        seen = self.test
        if covariates_in(calibrator) is not None:
            seen = self.given[1]
        elif self.of_logits or inner.estimator is not None:
            seen = self.test_samples.X
        elif inner.response == "probabilities":
            seen = self.outputs.proba(self.test.double())
        y_proba, seconds = timed(proba_of, calibrator, seen)
        if self.outputs.is_dense and y_proba.shape[2:] != self.test.shape[2:]:
            # Of whole samples, at the places that are compared.
            y_proba = y_proba.reshape(*y_proba.shape[:2], -1)[:, :, self.places]
        return y_proba, seconds

    def fit(self, calibrator):
        """Return a fitted clone of a calibrator, the seconds that its fit took, and as `uncalibrated`.

        One that came fitted is itself.
        """
        if is_fitted(calibrator):
            return calibrator, math.nan, self._predicted_by(calibrator)
        params = dict(self.params)
        weight = params.pop("sample_weight", None)
        samples = self.calibration_samples
        options = dict(self.shared)
        if isinstance(calibrator, NeuralClampingCalibrator):
            task: tuple = (*self.inputs, weight)
            given: tuple = (*task, params)
            # It has its own, and halves samples where the estimator isn't fitted.
            del options["batch_size"], options["cv"]
        else:
            task = (samples.logits, samples.y_encoded, samples.weight)
            given = (samples if covariates_in(calibrator) is None else samples.among(self.given[0], self.beside[0]),)
        if not self.verbose and calibrator.verbose == "auto":
            options["verbose"] = 0
        fitted = clone(calibrator).set_params(estimator=self.estimator, **options)
        with fit_task(fitted, *task):
            _, seconds = timed(fitted._learn, *given, checks=False)
        return fitted, seconds, self._predicted_by(fitted)

    def check_comparable(self, name, calibrator):
        """Raise unless a calibrator that came fitted says probabilities of these classes, of what is compared."""
        if self.of_logits and _innermost(calibrator).estimator is not None:
            raise ValueError(
                "calibrators that are fitted must take what X_test holds, logits; got "
                f"{calibrator!r} for {name!r}, around an estimator"
            )
        if calibrator._outputs != self.outputs:
            raise ValueError(
                f"calibrators that are fitted must be so to {_told(self.outputs)}, as y_cal has it; got "
                f"{_told(calibrator._outputs)} for {name!r}"
            )
        classes = calibrator.classes_
        expected = self.classes
        if not any(np.array_equal(classes, known) for known in (expected, np.arange(len(expected)))):
            raise ValueError(
                f"calibrators that are fitted must know the classes {expected.tolist()}, in this order; got "
                f"{classes.tolist()} for {name!r}"
            )


def _innermost(calibrator):
    """Of calibrators around each other the one that is around none."""
    while isinstance(inner := calibrator._frozen_part(), BaseCalibrator):
        calibrator = inner
    return calibrator


def _told(outputs):
    if outputs.is_dense:
        return "a class at each place of a sample"
    return f"{outputs.n_labels} labels a sample" if outputs.n_labels else "one label a sample"


def proba_of(classifier, X):
    """Return a classifier's probabilities as an array."""
    return to_numpy(classifier.predict_proba(X))


def timed(function, *args, **kwargs):
    """Return what a function returns, and the seconds that it took."""
    started = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - started
