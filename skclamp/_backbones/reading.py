"""Reads calibration samples: X is opened once, and goes through the estimator once."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from .._utils.labels import check_labels, check_same_length
from .._utils.sklearn_private import num_samples
from .datasets import dataset_behind
from .inputs import StreamInputs


class Reading(NamedTuple):
    """What an estimator says of samples.

    Attributes
    ----------
    backbone : ArrayBackbone, ClassifierBackbone or NetworkBackbone
        What said it.
    deployed : ArrayBackbone, ClassifierBackbone or NetworkBackbone
        What new samples go through: `backbone` itself, unless that is of the folds of a cross-fit.
    X : array-like or Dataset
        What `dataset_behind` made of what the user gave.
    inputs : object
        The samples as `backbone` opened them.
    logits : torch.Tensor of shape (n_samples, n_classes)
        Of these.
    labels : ndarray of shape (n_samples,)
        As the user gave them, or as X brought them.
    """

    backbone: Any
    deployed: Any
    X: Any
    inputs: Any
    logits: torch.Tensor
    labels: np.ndarray


def read(backbone, X, y=None, *, any_order=False, again=False, names=("X", "y")):
    """Run a frozen estimator over X, and see that X and its labels fit each other.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), default=None
        Labels, as `check_labels` returns them; None where a Dataset is to bring them.
    any_order : bool, default=False
        See `dataset_behind`.
    again : bool, default=False
        Whether the samples will be read again, by their numbers.
    names : tuple of two strs, default=("X", "y")
        What the user calls `X` and `y`, for messages.
    """
    X = dataset_behind(X, any_order=any_order)
    if not isinstance(X, Dataset):
        check_labels_of(X, y, names[1])
    inputs = backbone.open(X)
    if again and isinstance(inputs, StreamInputs):
        raise TypeError(
            f"{names[0]} must be an array, a dict or a map-style Dataset: clamping reads samples several times, by "
            f"their numbers; got {type(X).__name__}, a stream. Collect its samples first, or use a calibrator of the "
            "outputs alone, such as TemperatureScaling"
        )
    logits, found = backbone.logits(inputs, labelled=y is None)
    if y is None and found is None:
        raise ValueError(
            f"requires {names[1]} to be passed: the Dataset {type(X).__name__} brings no labels. Its items must be "
            "(input, label) pairs, or dicts with 'labels' or 'label'"
        )
    labels = check_labels(found, names[1]) if y is None else y
    check_same_length(labels, len(logits), names[1])
    return Reading(backbone, backbone, X, inputs, logits, labels)


def check_labels_of(X, y, name="y"):
    """Raise unless there is one label per row of an array, before anyone spends time on it."""
    y = check_labels(y, name) if y is None else y
    if len(y) == 1 < num_samples(X):
        raise ValueError(
            f"{name} must have one value per sample: X and {name} have inconsistent numbers of samples, "
            f"{num_samples(X)} and 1. X has shape {tuple(np.shape(X))}, first axis the samples; a single one is X[None]"
        )
    check_same_length(y, num_samples(X), name)
