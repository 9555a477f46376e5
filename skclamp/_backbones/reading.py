"""Reads calibration samples: X is opened once, and goes through the estimator once."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from .._utils.arrays import to_numpy
from .._utils.labels import check_labels, check_same_length, first_difference
from .._utils.sklearn_private import num_samples
from .datasets import check_no_items, check_one_input, dataset_behind
from .inputs import StreamInputs, joined_labels, open_inputs


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
    unseen : torch.Tensor of shape (n_samples, n_classes), bool, or None
        Where a fold's classifier doesn't know the class; None where all know all.
    estimator : object
        The clone that was fitted to all of them; None where it was given fitted.
    """

    backbone: Any
    deployed: Any
    X: Any
    inputs: Any
    logits: torch.Tensor
    labels: np.ndarray
    unseen: torch.Tensor | None = None
    estimator: Any = None


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
        # A classifier may well take dicts, in a pipeline that makes numbers of them.
        if not hasattr(backbone, "classifier"):
            check_no_items(X)
            if y is not None:
                check_one_input(X, y, getattr(backbone, "names_taken", None))
        check_labels_of(X, y, names[1])
    inputs = backbone.open(X)
    if again and isinstance(inputs, StreamInputs):
        raise TypeError(
            f"{names[0]} must be an array, a dict or a map-style Dataset: clamping reads samples several times, by "
            f"their numbers; got {type(inputs.dataset).__name__}, a stream. Collect its samples first, or use a "
            "calibrator of the outputs alone, such as TemperatureScaling"
        )
    logits, found = backbone.logits(inputs, labelled=True)
    return Reading(backbone, backbone, X, inputs, logits, labels_beside(found, y, len(logits), names[1]))


def labels_beside(found, y, n_samples, name="y"):
    """Labels of samples: `y`, as `check_labels` returns them, or those `found` with them, or None.

    Both must say the same. Where y is given, what can't be labels is left aside, and so is the one number that data
    sets without labels have in their place.
    """
    if y is None and found is None:
        raise ValueError(
            f"requires {name} to be passed: X brings no labels. Items of a Dataset must be (input, label) pairs, or "
            "dicts with 'labels' or 'label'"
        )
    labels = check_labels(found, name) if y is None else y
    check_same_length(labels, n_samples, name)
    if y is None or found is None:
        return labels
    try:
        found = check_labels(found)
    except ValueError:
        return labels
    where = first_difference(y, found) if (found != found[0]).any() else None
    if where is not None:
        raise ValueError(
            f"{name} must be the labels that X brings, or be left out; got {y[where]} for sample {where}, where X has "
            f"{found[where]}. If X's aren't meant, give its inputs alone, as skorch's SliceDataset(X) does"
        )
    return labels


def labels_in(X, name="y"):
    """The labels that a Dataset or its like brings; raises for arrays, which bring none."""
    X = dataset_behind(X)
    parts = [labels for _, labels in open_inputs(X).batches()] if isinstance(X, Dataset) else []
    return check_labels(joined_labels(parts), name)


def check_labels_of(X, y, name="y"):
    """Raise unless there is one label per row of an array, before anyone spends time on it."""
    y = check_labels(y, name) if y is None else y
    if len(y) == 1 < num_samples(X):
        raise ValueError(
            f"{name} must have one value per sample: X and {name} have inconsistent numbers of samples, "
            f"{num_samples(X)} and 1. X has shape {to_numpy(X, 'X').shape}, first axis the samples; a single one is "
            "X[None]"
        )
    check_same_length(y, num_samples(X), name)
