"""Unfitted classifiers: fitted on all the data and, to calibrate, without each fold in turn."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_validate
from sklearn.utils.validation import indexable
from skorch import NeuralNet

from .._judging.splits import check_partition
from .._utils.arrays import to_numpy
from .._utils.metadata import NO_METADATA, routing_enabled
from .._utils.sklearn_private import num_samples, take_rows
from .classifier import of_all_classes
from .datasets import UNFITTED, check_no_dataset, dataset_behind
from .differentiable import CrossFittedBackbone, DifferentiableBackbone, check_differentiable
from .network import NetworkBackbone
from .opening import check_classifier, open_backbone
from .reading import Reading, check_labels_of
from .skorch_net import check_fitting


def cross_fit(classifier, X, y, metadata=NO_METADATA, *, response, cv, names=("X", "y"), device=None, **loading):
    """Fit an unfitted classifier on all the data, and its logits for each sample from a clone that hasn't seen it.

    The classifier is cloned; `response`, `device` and `loading` are as in `open_backbone`, `cv` as in
    `sklearn.model_selection.cross_val_predict`. The Reading holds the logits out of fold; its backbone is that of the
    classifier fitted on all the data.
    """
    check_fitting(classifier, cv)
    check_classifier(classifier)
    (X,) = indexable(_array(X, y, names))
    options = {"response": response, "device": device, **loading}
    whole = clone(classifier).fit(X, y, **metadata.fit)
    backbone = open_backbone(whole, **options)
    classifiers, splits = _fit_folds(classifier, X, y, cv, metadata.given)
    held_out = [rows for _, rows in splits]
    parts = [
        _logits_of_all(backbone.classes, open_backbone(each, **options), take_rows(X, rows))
        for each, rows in zip(classifiers, held_out, strict=True)
    ]
    order = np.concatenate(held_out).argsort()
    # A net has an output for each class, whether it has seen any sample of it or not.
    unseen = None if isinstance(backbone, NetworkBackbone) else _unseen(backbone.classes, classifiers, splits)
    return Reading(backbone, backbone, X, X, torch.cat(parts)[order], y, unseen, whole)


def cross_fit_networks(classifier, X, y, metadata=NO_METADATA, *, response, cv, device=None, **loading):
    """Fit an unfitted classifier on all the data, and without each fold, as networks that clamping can perturb.

    The classifier is cloned; `response`, `device` and `loading` are as in `open_backbone`. The Reading goes through a
    `CrossFittedBackbone`; deployed is the `DifferentiableBackbone` of the classifier fitted on all the data.
    """
    check_fitting(classifier, cv)
    check_classifier(classifier)
    check_differentiable(classifier)
    X = _array(X, y)
    fitted = clone(classifier).fit(X, y, **metadata.fit)
    if isinstance(fitted, NeuralNet):
        whole = open_backbone(fitted, response=response, device=device, perturbs=True, **loading)
    else:
        whole = DifferentiableBackbone(fitted, response, device=device, **loading)
    classifiers, splits = _fit_folds(classifier, X, y, cv, metadata.given)
    backbone = CrossFittedBackbone(whole, classifiers, splits, response, device=device, **loading)
    inputs = backbone.open(X)
    return Reading(backbone, whole, X, inputs, backbone.logits(inputs)[0], y, estimator=fitted)


def _array(X, y, names=("X", "y")):
    """X as an array whose rows can be chosen; raises unless it is one, with one label per row."""
    X = dataset_behind(X)
    check_no_dataset(X, UNFITTED, names[0])
    check_labels_of(X, y, names[1])
    return to_numpy(X) if hasattr(X, "detach") else X


def _fit_folds(classifier, X, y, cv, params):
    """A clone fitted without each fold, and training and held-out rows of each; each row is held out once."""
    # Without metadata routing groups have an argument of their own.
    apart = {"groups"} if not routing_enabled() else set()
    found = cross_validate(
        clone(classifier),
        X,
        y,
        cv=cv,
        params={name: value for name, value in params.items() if name not in apart},
        **{name: params[name] for name in apart & params.keys()},
        scoring=_unscored,
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    splits = list(zip(found["indices"]["train"], found["indices"]["test"], strict=True))
    check_partition([rows for _, rows in splits], len(y))
    return found["estimator"], splits


def _logits_of_all(classes, backbone, X):
    """Logits of a fold's classifier, with those of the classes that it hasn't seen."""
    if isinstance(backbone, NetworkBackbone):
        return backbone.logits(backbone.open(X))[0]
    seen = backbone.classes
    if len(seen) == 1:
        # A single column would be taken for the second of two classes.
        logits = torch.zeros(num_samples(X), 1, dtype=torch.float64)
    else:
        logits, _ = backbone.logits(X)
    if len(seen) == len(classes):
        return logits
    return of_all_classes(logits, torch.as_tensor(np.searchsorted(classes, seen)), len(classes))


def _unseen(classes, classifiers, splits):
    """Which classes the classifier that scored a sample has not seen; None where each has seen all."""
    if all(len(each.classes_) == len(classes) for each in classifiers):
        return None
    unseen = np.empty((sum(len(rows) for _, rows in splits), len(classes)), dtype=bool)
    for each, (_, rows) in zip(classifiers, splits, strict=True):
        unseen[rows] = ~np.isin(classes, each.classes_)
    return torch.from_numpy(unseen)


def _unscored(classifier, X, y):
    return 0.0
