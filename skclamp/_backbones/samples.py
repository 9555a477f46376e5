"""Samples: X is opened once, goes through the estimator once, and brings its labels or gets them beside."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_validate
from sklearn.utils.validation import indexable
from skorch import NeuralNet
from torch.utils.data import Dataset

from .._judging.splits import check_partition
from .._utils.arrays import to_numpy
from .._utils.labels import check_labels, check_same_length, first_difference
from .._utils.labels import predict_labelled as labels_and_predictions
from .._utils.metadata import NO_METADATA, Metadata, routing_enabled
from .._utils.sklearn_private import num_samples, take_rows
from ..distributed import ALONE, Shard
from ..modules._from_sklearn import flat_steps
from .backbone import Backbone
from .classifier import CrossFittedBackbone, check_differentiable, of_all_classes
from .inputs import UNFITTED, check_items, check_no_dataset, dataset_behind, joined_labels, open_inputs
from .network import skorch_logits
from .opening import check_classifier, open_backbone
from .rows import prints_of, recording, row_prints


@dataclass(eq=False)
class Reading:
    """Samples that were opened once, and what the estimator says of them.

    A process of several holds a part of them only.

    Attributes
    ----------
    logits : torch.Tensor of shape (n_samples, n_classes)
        What the estimator says.
    labels : ndarray of shape (n_samples,)
        As the user gave them, or as X brought them.
    backbone : Backbone
        What said the logits.
    deployed : Backbone
        What new samples go through: `backbone` itself, unless that is of the folds of a cross-fit.
    X : array-like or Dataset
        What `dataset_behind` made of what the user gave.
    inputs : object
        The samples as `backbone` opened them.
    unseen : torch.Tensor of shape (n_samples, n_classes), bool, or None
        Where a fold's classifier doesn't know the class; None where all know all.
    estimator : object
        The clone that was fitted to all of them; None where it was given fitted.
    prints : ndarray of shape (n_samples,), uint32, or None
        Hashes of the rows of X; None where it isn't known what these are.
    """

    logits: torch.Tensor
    labels: np.ndarray
    backbone: Backbone
    deployed: Backbone
    X: Any
    inputs: Any
    unseen: torch.Tensor | None = None
    estimator: Any = None
    prints: np.ndarray | None = None


@dataclass(eq=False, kw_only=True)
class Samples(Reading):
    """Samples, and what the user says of them: what a fit starts from.

    Attributes
    ----------
    y_encoded : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each label, on the logits' device.
    weight : torch.Tensor of shape (n_samples,), float64
        Sample weights, 1 where the user gave none.
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    shard : Shard
        Which samples these are of those of all processes.
    metadata : Metadata
        What the user gave beside them, and where it goes.
    guesses : bool
        Whether the logits are those of an untrained network: they say nothing of the labels, and are much alike.
    misordered : bool
        Whether the columns fit the labels in another order.
    random : bool
        Whether the network draws in eval mode.
    """

    y_encoded: torch.Tensor
    weight: torch.Tensor
    classes: np.ndarray
    shard: Shard
    metadata: Metadata = NO_METADATA
    guesses: bool = False
    misordered: bool = False
    random: bool = False

    def of_all(self):
        """Logits, column indices and weights of the samples of all processes."""
        own = self.logits, self.y_encoded, self.weight
        return own if self.shard.ranks is ALONE else tuple(map(self.shard.all_gather, own))

    def rows_seen(self):
        """Hashes of the rows with weight of the samples of all processes; None if unknown."""
        own = None if self.prints is None else self.prints[self.weight.cpu().numpy() > 0]
        parts = self.shard.ranks.all_gather_object(own)
        return None if any(part is None for part in parts) else np.concatenate(parts)


def read(backbone, X, y=None, *, any_order=False, again=False, names=("X", "y")):
    """The `Reading` of a frozen estimator's inputs; raises unless X and its labels fit each other.

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
        if backbone.classifier is None and isinstance(X, (list, tuple)):
            check_items(X, y, backbone.names_taken)
        y = check_labels_of(X, y, names[1])
    inputs = backbone.open(X)
    if again and getattr(inputs, "is_stream", False):
        raise TypeError(
            f"{names[0]} must be an array, a dict or a map-style Dataset: clamping reads samples several times, by "
            f"their numbers; got {type(inputs.dataset).__name__}, a stream. Collect its samples first, or use a "
            "calibrator of the outputs alone, such as TemperatureScaling"
        )
    with recording() as recorded:
        logits, brought = backbone.logits(inputs, labelled=True)
    labels = labels_beside(brought, y, len(logits), names[1])
    return Reading(logits, labels, backbone, backbone, X, inputs, prints=prints_of(X, recorded, len(logits)))


def cross_fit(classifier, opening, X, y, metadata=NO_METADATA, *, cv, names=("X", "y")):
    """Fit an unfitted classifier on all the data, and the `Reading` of clones that haven't seen them.

    The classifier is cloned, and its clones opened as `opening` says; `cv` is that of
    `sklearn.model_selection.cross_val_predict`.
    The samples' logits are out of fold; new ones go through the classifier fitted on all the data. Where inputs are to
    be perturbed, the samples go through a `CrossFittedBackbone`.
    """
    opening = opening._replace(input_key=None)
    # A net that was forgotten to be initialised: to train several takes time, and has to be asked for.
    if cv is None and isinstance(net := flat_steps(classifier)[-1], NeuralNet):
        skorch_logits(net, "auto", None)
    check_classifier(classifier)
    if opening.perturbs:
        check_differentiable(classifier)
    X = dataset_behind(X)
    check_no_dataset(X, UNFITTED, names[0])
    check_labels_of(X, y, names[1])
    (X,) = indexable(to_numpy(X) if hasattr(X, "detach") else X)
    whole = clone(classifier).fit(X, y, **metadata.fit)
    deployed = open_backbone(whole, opening)
    classifiers, splits = fit_folds(classifier, X, y, cv, metadata)
    if opening.perturbs:
        backbone = CrossFittedBackbone(deployed, classifiers, splits, opening)
        inputs = backbone.open(X)
        logits, prints = backbone.logits(inputs)[0], row_prints(X)
        return Reading(logits, y, backbone, deployed, X, inputs, estimator=whole, prints=prints)
    held_out = [rows for _, rows in splits]
    parts = [
        _logits_of_all(deployed.classes, open_backbone(fitted, opening), take_rows(X, rows))
        for fitted, rows in zip(classifiers, held_out, strict=True)
    ]
    logits = torch.cat(parts)[np.concatenate(held_out).argsort()]
    # A net has an output for each class, whether it has seen any sample of it or not.
    unseen = None if deployed.in_batches else _unseen(deployed.classes, classifiers, splits)
    return Reading(logits, y, deployed, deployed, X, X, unseen, whole, row_prints(X))


def fit_folds(classifier, X, y, cv, metadata):
    """A clone fitted without each fold, and training and held-out rows of each; each row is held out once."""
    # Without metadata routing groups have an argument of their own.
    told = {"params": metadata.given} if routing_enabled() else {"params": metadata.fit, **metadata.split}
    results = cross_validate(
        clone(classifier),
        X,
        y,
        cv=cv,
        **told,
        scoring=lambda classifier, X, y: 0.0,
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    splits = list(zip(results["indices"]["train"], results["indices"]["test"], strict=True))
    check_partition([rows for _, rows in splits], len(y))
    return results["estimator"], splits


def _logits_of_all(classes, backbone, X):
    """Logits of a fold's classifier, with those of the classes that it hasn't seen."""
    if backbone.in_batches:
        return backbone.logits(backbone.open(X))[0]
    seen = backbone.classes
    # A single column would be taken for the second of two classes.
    alone = len(seen) == 1
    logits = torch.zeros(num_samples(X), 1, dtype=torch.float64) if alone else backbone.logits(X)[0]
    if len(seen) == len(classes):
        return logits
    return of_all_classes(logits, torch.as_tensor(np.searchsorted(classes, seen)), len(classes))


def _unseen(classes, classifiers, splits):
    """Which classes the classifier that scored a sample has not seen; None where each has seen all."""
    if all(len(fitted.classes_) == len(classes) for fitted in classifiers):
        return None
    unseen = np.empty((sum(len(rows) for _, rows in splits), len(classes)), dtype=bool)
    for fitted, (_, rows) in zip(classifiers, splits, strict=True):
        unseen[rows] = ~np.isin(classes, fitted.classes_)
    return torch.from_numpy(unseen)


def labels_beside(brought, y, n_samples, name="y"):
    """Labels of samples: `y`, as `check_labels` returns them, or those `brought` with the samples, or None.

    Both must say the same. Where y is given, what can't be labels is left aside, and so is the one number that data
    sets without labels have in their place.
    """
    if y is None and brought is None:
        raise ValueError(
            f"requires {name} to be passed: X brings no labels. Items of a Dataset must be (input, label) pairs, or "
            "dicts with 'labels' or 'label'"
        )
    labels = check_labels(brought, name) if y is None else y
    check_same_length(labels, n_samples, name)
    if y is None or brought is None:
        return labels
    try:
        brought = check_labels(brought)
    except ValueError:
        return labels
    where = first_difference(y, brought) if (brought != brought[0]).any() else None
    if where is not None:
        raise ValueError(
            f"{name} must be the labels that X brings, or be left out; got {y[where]} for sample {where}, where X has "
            f"{brought[where]}. If X's aren't meant, give its inputs alone, as skorch's SliceDataset(X) does"
        )
    return labels


def read_labels(X):
    """The labels that a Dataset brings, or None; X as `dataset_behind` returns it."""
    return joined_labels([labels for _, labels in open_inputs(X).batches()])


def predict_labelled(estimator, method, X, y, *, in_order=False):
    """See `_utils.labels.predict_labelled`; labels that X brings are read before where no calibrator reads them."""
    if y is None and not hasattr(estimator, "_predict_labelled"):
        data = dataset_behind(X)
        y = check_labels(read_labels(data) if isinstance(data, Dataset) else None)
    return labels_and_predictions(estimator, method, X, y, in_order=in_order)


def check_labels_of(X, y, name="y"):
    """Labels of an array's rows; raises unless there is one for each, before anyone spends time on them."""
    y = check_labels(y, name) if y is None else y
    n_samples = num_samples(X)
    if len(y) == 1 < n_samples:
        raise ValueError(
            f"{name} must have one value per sample: X and {name} have inconsistent numbers of samples, "
            f"{n_samples} and 1. X has shape {to_numpy(X, 'X').shape}, first axis the samples; a single one is X[None]"
        )
    check_same_length(y, n_samples, name)
    return y
