"""Estimators whose probabilities are taken as they are."""

from torch import nn

from .._backbones.backbone import Opening
from .._backbones.classifier import CalibratorBackbone
from .._backbones.opening import check_classifier, open_backbone
from ._calibrator import BaseCalibrator


def check_probabilistic(estimator):
    """Raise unless an estimator is a calibrator or a classifier that has probabilities, fitted or not."""
    if estimator is None or isinstance(estimator, nn.Module):
        what = "None" if estimator is None else f"a network alone, {type(estimator).__name__}"
        raise TypeError(
            f"estimator must be a classifier; got {what}: give a fitted calibrator, such as "
            "TemperatureScaling(network).fit(X, y)"
        )
    check_classifier(estimator)
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(f"estimator must have predict_proba; got {type(estimator).__name__}: calibrate it first")


def open_probabilities(estimator):
    """The way from the inputs of a fitted calibrator or classifier to the logarithms of its probabilities."""
    if isinstance(estimator, BaseCalibrator):
        return CalibratorBackbone(estimator, "probabilities")
    return open_backbone(estimator, Opening("probabilities"))
