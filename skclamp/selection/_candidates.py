"""The calibrators of a comparison, by name."""

import inspect

import numpy as np

from .._pooling.candidates import MAPS, takers
from .._utils.parameters import by_name
from ..base import BaseCalibrator
from ..clamping import NeuralClampingCalibrator
from ..perturbations._views import views_of
from ..scaling import CovariateScaling, PlattScaling

UNCALIBRATED = "uncalibrated"
# What a comparison has for all of them.
_SHARED = ("response", "classes", "cv", "device", "integer_scale", "outputs", "ignore_index")
# Of labels that don't exclude each other: samples that have each, and that don't, from which maps of one label learn.
_LEAST_OF_LABEL = 100


def default_calibrators(logits, random_state):
    """The package's calibrators that suit the number of classes and of samples, by name."""
    suited = [kind() for kind in MAPS]
    if logits.outputs.is_dense:
        suited = [each for each in suited if each._tags.where_dense]
    else:
        n_classes = 1 if logits.outputs.n_labels else len(logits.classes)
        suited = [each for each in suited if len(logits.calibration) >= each._tags.compared_samples * n_classes]
    if logits.outputs.n_labels:
        rarer = np.min([(logits.y_cal_encoded == value).sum(0) for value in (0, 1)])
        taken = ("all", "each") if rarer >= _LEAST_OF_LABEL else ("all",)
        suited = [each for each in suited if each._tags.map_of_labels in taken or isinstance(each, PlattScaling)]
    by_kind = [(type(each).__name__, each) for each in suited]
    chosen = dict(takers(by_kind, *map(logits.outputs.rows, (logits.calibration, logits.test))))
    shape = logits.clampable()
    if shape is not None:
        chosen["NeuralClampingCalibrator"] = NeuralClampingCalibrator(random_state=random_state)
        # Without candidates it would be the same once more.
        if views_of(shape):
            chosen["NeuralClampingCalibrator, 2 views"] = NeuralClampingCalibrator(
                max_views=2, random_state=random_state
            )
    return chosen


def named(calibrators):
    """Calibrators by name, each of which came fitted or is bare."""
    found = by_name(calibrators, "calibrators")
    if UNCALIBRATED in found:
        raise ValueError(f"calibrators must not be named {UNCALIBRATED!r}, which is the estimator's own row")
    for name, calibrator in found.items():
        if not is_fitted(calibrator):
            check_bare(name, calibrator, "calibrators")
            _check_shared(name, calibrator)
            if isinstance(calibrator, CovariateScaling) and calibrator.covariates is None:
                raise ValueError(
                    "calibrators must name the covariates among the columns of X, CovariateScaling(covariates=[...]); "
                    f"got {calibrator!r} for {name!r}"
                )
            calibrator._validate_params()
    return found


def covariates_of(calibrators):
    """Return what of X the calibrators take beside logits, None where none does; raise unless all take the same."""
    first = None
    for name, calibrator in calibrators.items():
        covariates = covariates_in(calibrator)
        first = covariates if first is None else first
        if covariates is not None and covariates is not first and _listed(covariates) != _listed(first):
            raise ValueError(
                "calibrators must have the same covariates, which all others do without; got "
                f"{first!r}, and {covariates!r} for {name!r}"
            )
    return first


def _listed(covariates):
    return covariates if callable(covariates) else [covariates] if isinstance(covariates, str) else list(covariates)


def covariates_in(calibrator):
    """Return what of X a calibrator, or one inside it, takes beside logits; None where none does."""
    while isinstance(calibrator, BaseCalibrator):
        covariates = getattr(calibrator, "covariates", None)
        if covariates is not None:
            return covariates
        calibrator = calibrator._frozen_part()
    return None


def is_fitted(calibrator):
    """Return True for a calibrator that is compared as it is."""
    return isinstance(calibrator, BaseCalibrator) and calibrator.__sklearn_is_fitted__()


def _check_shared(name, calibrator):
    """Raise where a calibrator was given what the comparison has for all of them."""
    parameters = inspect.signature(type(calibrator)).parameters
    for shared in filter(parameters.__contains__, _SHARED):
        value = getattr(calibrator, shared)
        default = parameters[shared].default
        # A search of its own over folds is the calibrator's affair.
        if (shared == "cv" and default is not None) or (type(value) is type(default) and value == default):
            continue
        raise ValueError(
            f"calibrators must have {shared}={default!r}, since all of them see the same: give {shared} to the "
            f"comparison; got {value!r} for {name!r}"
        )


def check_bare(name, calibrator, parameter):
    """Raise unless something is a calibrator without an estimator of its own."""
    if not isinstance(calibrator, BaseCalibrator):
        raise TypeError(f"{parameter} must be calibrators of skclamp, such as TemperatureScaling(); got {calibrator!r}")
    if calibrator.estimator is not None:
        raise ValueError(
            f"{parameter} must have estimator=None, since all of them calibrate the same logits; got {calibrator!r} "
            f"for {name!r}"
        )
