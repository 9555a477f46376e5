"""What is watched: logits of a classifier's probabilities, and the labels that are there."""

import torch
from skorch import NeuralNet
from torch.utils.data import Dataset

from .._backbones.datasets import LabelledSamples
from .._backbones.opening import check_classifier, is_frozen, open_backbone
from .._backbones.reading import labels_beside
from .._utils.labels import check_same_length, split_missing
from ..base import BaseCalibrator


def open_watched(estimator, response):
    """The way from an estimator's inputs to logits of what its ``predict_proba`` says."""
    if isinstance(estimator, torch.nn.Module):
        raise TypeError(
            f"estimator must be a fitted classifier or None; got a network alone, {type(estimator).__name__}: "
            "calibrate it first, as by TemperatureScaling(network).fit(X, y), or give its logits as X, without an "
            "estimator"
        )
    if estimator is None or isinstance(estimator, NeuralNet):
        return open_backbone(estimator, response=response)
    check_classifier(estimator)
    if not is_frozen(estimator):
        raise ValueError(f"estimator must be fitted: a monitor fits none; got {type(estimator).__name__}")
    if response == "logits" or not hasattr(estimator, "predict_proba"):
        raise ValueError(
            "response must be what is watched, of a classifier the probabilities of its predict_proba; got "
            f"{response!r} for {type(estimator).__name__}"
        )
    return open_backbone(estimator, response="probabilities")


def read_watched(estimator, backbone, X, y):
    """Logits of X, labels of those samples that have one, and which lack it; X as `dataset_behind` returns it."""
    if isinstance(X, Dataset) and isinstance(estimator, BaseCalibrator):
        samples = LabelledSamples(X)
        logits, found = backbone.logits_of(estimator.predict_proba(samples)), samples.labels
    else:
        logits, found = backbone.logits(backbone.open(X), labelled=True)
    labels, missing = split_missing(found if y is None else y)
    check_same_length(missing, len(logits), "y")
    if y is not None and found is not None:
        labels_beside(found[~missing], labels, len(labels))
    return logits, labels, missing


def refuse_metadata(params):
    """Raise for whatever goes with samples beside labels."""
    given = [name for name, value in params.items() if value is not None]
    if "sample_weight" in given:
        raise ValueError(
            "sample_weight must be left out: weighted likelihoods are none of the labels', so that nothing would bound "
            "the false alarms. Give the samples that count, each once"
        )
    if given:
        raise TypeError(f"a monitor takes X and y alone; got {given[0]!r}")
