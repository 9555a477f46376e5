"""The calibrators of a comparison, by name."""

import inspect

from .._pooling.candidates import MAPS, takers
from ..base import BaseCalibrator
from ..clamping import NeuralClampingCalibrator
from ..perturbations._views import views_of

UNCALIBRATED = "uncalibrated"
# What a comparison has for all of them.
_SHARED = ("response", "classes", "cv", "device", "integer_scale")


def default_calibrators(logits, random_state):
    """The package's calibrators that suit the number of classes and of samples, by name."""
    n_classes, n_samples = len(logits.classes), len(logits.calibration)
    suited = [kind() for kind in MAPS if n_samples >= kind._compared_samples * n_classes]
    chosen = named(takers(named(suited).items(), logits.calibration, logits.test))
    takes_part, shape = logits.clampable()
    if takes_part:
        chosen["NeuralClampingCalibrator"] = NeuralClampingCalibrator(random_state=random_state)
        # Without candidates it would be the same once more.
        if shape is not None and views_of(shape):
            chosen["NeuralClampingCalibrator, 2 views"] = NeuralClampingCalibrator(
                max_views=2, random_state=random_state
            )
    return chosen


def named(calibrators):
    """Calibrators by name: those given, or those of their classes, numbered where a class comes several times."""
    if isinstance(calibrators, BaseCalibrator) or not hasattr(calibrators, "__iter__"):
        raise TypeError(f"calibrators must be a list of calibrators or a dict of them by name; got {calibrators!r}")
    by_name = calibrators
    if not isinstance(calibrators, dict):
        calibrators = list(calibrators)
        pairs = calibrators
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            pairs = list(zip(_names_of_classes(calibrators), calibrators, strict=True))
        by_name = dict(pairs)
        if len(by_name) < len(pairs):
            raise ValueError(f"calibrators must have names of their own; got {[name for name, _ in pairs]}")
    if not by_name:
        raise ValueError("calibrators must hold at least one calibrator; got none")
    if UNCALIBRATED in by_name:
        raise ValueError(f"calibrators must not be named {UNCALIBRATED!r}, which is the estimator's own row")
    for name, calibrator in by_name.items():
        if not is_fitted(calibrator):
            check_bare(name, calibrator, "calibrators")
            _check_shared(name, calibrator)
            calibrator._validate_params()
    return by_name


def _names_of_classes(calibrators):
    kinds = [type(calibrator).__name__ for calibrator in calibrators]
    return [
        kind if kinds.count(kind) == 1 else f"{kind}-{kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]


def is_fitted(calibrator):
    """Return True for a calibrator that is compared as it is."""
    return isinstance(calibrator, BaseCalibrator) and calibrator.__sklearn_is_fitted__()


def _check_shared(name, calibrator):
    """Raise where a calibrator was given what the comparison has for all of them."""
    parameters = inspect.signature(type(calibrator)).parameters
    for shared in _SHARED:
        value, default = getattr(calibrator, shared), parameters[shared].default
        # A search of its own over folds is the calibrator's affair.
        if value is default or (shared == "cv" and default is not None):
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
