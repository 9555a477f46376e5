"""Samples: X is opened once, goes through the estimator once, and brings its labels or gets them beside."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_validate
from sklearn.utils.validation import indexable
from skorch import NeuralNet
from torch.utils.data import Dataset

from .._judging.paired import numbered
from .._judging.splits import check_partition, copies_of, draw_half, joined, likely_labels
from .._utils.arrays import naming_text, tensor_of, to_numpy
from .._utils.labels import (
    check_groups,
    check_labels,
    check_same_length,
    check_sample_weight,
    encode_labels,
    group_keys,
    resolve_classes,
)
from .._utils.least_probability import LOG_UNKNOWN
from .._utils.metadata import NO_METADATA, Metadata, keeping_together, of_rows, routing_enabled
from .._utils.outputs import OutputLayer, Targets, check_columns, matrix_of, understood
from .._utils.sklearn_private import num_samples, take_rows
from .._utils.warnings import silenced
from ..distributed import ALONE, Shard
from ..modules._from_sklearn import flat_steps
from .backbone import ArrayBackbone, Backbone
from .classifier import check_differentiable
from .inputs import UNFITTED, check_items, check_no_dataset, dataset_behind
from .network import skorch_logits
from .opening import check_classifier, open_backbone
from .rows import prints_of, recording, row_prints


@dataclass(eq=False, kw_only=True)
class Samples:
    """Samples that were read once: what the estimator and the user say of them.

    A process of several holds a part of them only.

    Attributes
    ----------
    logits : torch.Tensor of shape (n_samples, n_classes) or (n_samples, n_classes, n_places)
        What the estimator says.
    y_encoded : torch.Tensor of shape (n_samples,), (n_samples, n_labels) or (n_samples, n_places), dtype int64
        Column index of each label, on the logits' device, -1 at a place where it isn't known; of labels that don't
        exclude each other 0, 1, or -1 where one isn't known.
    weight : torch.Tensor of shape (n_samples,), float64
        Sample weights, 1 where the user gave none.
    classes : ndarray of shape (n_classes,) or (n_labels,)
        Names of the estimator's columns.
    shard : Shard
        Which samples these are of those of all processes.
    backbone : Backbone
        What said the logits.
    X : array-like or Dataset
        What `dataset_behind` made of what the user gave.
    inputs : object
        The samples as `backbone` opened them.
    metadata : Metadata
        What the user gave beside them, and where it goes.
    estimator : object
        The clone that was fitted to all of them or, of clamping, to others; None where it was given fitted.
    prints : ndarray of shape (n_samples,), uint32, or None
        Hashes of the rows of X; None where it isn't known what these are.
    near_copies : ndarray of shape (n_samples,) or None
        Labels that only near-copies share, of the samples of all processes; None where none were found.
    groups : ndarray of shape (n_samples,) or None
        Numbers of the samples' groups, from 0 on, or of the stretches of a recording; None where there are none.
    is_recording : bool
        Whether the groups are stretches, which nobody has told.
    shares : torch.Tensor of the shape of y_encoded, or None
        What each of several labels, or places, has of its sample's weight, from 0 to 1, or whether it counts.
    parts : ndarray of shape (n_samples,) or None
        Names of the parts that samples come from, such as scanners; None where nobody told.
    beside : dict of ndarrays of shape (n_samples,)
        Columns that the estimator doesn't take, covariates, by name.
    """

    logits: torch.Tensor
    y_encoded: torch.Tensor
    weight: torch.Tensor
    classes: np.ndarray
    shard: Shard
    backbone: Backbone
    X: Any
    inputs: Any
    metadata: Metadata = NO_METADATA
    estimator: Any = None
    prints: np.ndarray | None = None
    near_copies: np.ndarray | None = None
    groups: np.ndarray | None = None
    is_recording: bool = False
    shares: torch.Tensor | None = None
    parts: np.ndarray | None = None
    beside: dict = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        logits,
        labels,
        backbone,
        *,
        classes=None,
        sample_weight=None,
        metadata=NO_METADATA,
        ranks=ALONE,
        name="y",
        **rest,
    ):
        """The samples of logits and labels.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
        labels : ndarray of shape (n_samples,) or Targets
        backbone : Backbone
        classes, sample_weight : array-like, default=None
            As the user gave them.
        metadata : Metadata, default=NO_METADATA
            What the user gave beside them.
        ranks : Alone or Ranks, default=ALONE
            The processes that hold samples.
        name : str, default="y"
            What the user calls the labels, for messages.
        **rest
            Other attributes.
        """
        seen = labels
        n_classes = logits.shape[1]
        if ranks is not ALONE:
            ranks.check_alike(
                number_of_classes=n_classes,
                network=backbone.fingerprint(),
                dtype_of_the_logits=logits.dtype,
                kind_of_the_labels=labels.dtype.kind,
            )
            seen = np.concatenate(ranks.all_gather_object(np.unique(labels)))
        weight = check_sample_weight(sample_weight, len(logits), some=ranks is ALONE)
        shares = None
        if isinstance(labels, Targets):
            if backbone.likely_classes is not None:
                check_columns(labels, backbone.likely_classes.tolist(), name, "X")
            classes, y_encoded, weight, shares = labels.encoded(logits, weight, backbone, classes, name)
        elif logits.ndim > 2:
            raise ValueError(
                f"{name} must have a class at each place of the logits, shape {(len(logits), *backbone.places)}; got "
                f"shape {labels.shape}. If X are a network's inputs, give the network as estimator"
            )
        else:
            classes = resolve_classes(
                seen, n_classes, classes=classes, known=backbone.classes, likely=backbone.likely_classes
            )
            y_encoded = tensor_of(encode_labels(labels, classes, name), name).to(logits.device)
        if ranks is not ALONE and not ranks.sum(weight.sum()):
            raise ValueError("sample_weight must not be zero everywhere; got zeros on all ranks")
        return cls(
            logits=logits,
            y_encoded=y_encoded,
            weight=weight,
            shares=shares,
            classes=classes,
            shard=Shard.of(ranks, len(logits)),
            backbone=backbone,
            metadata=metadata,
            groups=_numbers_of_groups(metadata, len(logits)),
            parts=None if metadata.by is None else check_groups(metadata.by, len(logits), "by"),
            **rest,
        )

    @property
    def deployed(self):
        """The `Backbone` that new samples go through."""
        return self.backbone.whole()

    @property
    def outputs(self):
        """The output layer that the shapes tell."""
        return OutputLayer.of(self.logits, self.y_encoded)

    @cached_property
    def unit(self):
        """Numbers that samples share which depend on each other, copies and those of a group; None without any."""
        return joined(self.copies(), self.groups)

    def rows(self, most_places=None, *, in_units=False):
        """`Rows` of the samples of all processes, at all or some places; with what depends on each other `in_units`."""
        logits, y, weight = map(self.shard.all_gather, (self.logits, self.y_encoded, self.weight))
        unit = self.unit if in_units or self.parts is not None else None
        return self.outputs.labelled_rows(logits, y, weight, unit, most_places, self.shares)

    def prints_of_all(self):
        """Hashes of the rows of the samples of all processes; None if unknown."""
        parts = self.shard.ranks.all_gather_object(self.prints)
        return None if any(part is None for part in parts) else np.concatenate(parts)

    def rows_seen(self):
        """Hashes of the rows with weight of the samples of all processes; None if unknown."""
        prints = self.prints_of_all()
        return None if prints is None else prints[self.shard.all_gather(self.weight).numpy() > 0]

    def among(self, X, columns):
        """The same samples, as rows of an X that has columns beside what the estimator takes."""
        X = dataset_behind(X)
        return replace(self, X=X, prints=prints_of(X, [self.prints], len(self.logits)), beside=columns)

    def copies(self):
        """Labels that only samples of equal inputs, or near-copies, share, of all processes; see `copies_of`."""
        X = self.X if self.shard.ranks is ALONE else None
        labels = None
        if isinstance(self.backbone, ArrayBackbone) and not self.outputs.is_dense:
            logits, y_encoded = map(self.shard.all_gather, (self.logits, self.y_encoded))
            labels = likely_labels(self.outputs.rows(logits.double()).log_softmax(1), y_encoded)
        weight = self.shard.all_gather(self.weight)
        return joined(copies_of(self.prints_of_all(), weight, X, labels), self.near_copies)


def read(backbone, X, y=None, *, any_order=False, again=False, names=("X", "y"), ignore_index=-100):
    """Logits, labels and what else `Samples.of` takes of a frozen estimator's inputs; raises unless labels fit X.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or Targets, default=None
        Labels, as `understood` returns them; None where a Dataset is to bring them.
    any_order : bool, default=False
        See `dataset_behind`.
    again : bool, default=False
        Whether the samples will be read again, by their numbers.
    names : tuple of two strs, default=("X", "y")
        What the user calls `X` and `y`, for messages.
    ignore_index : int, default=-100
        What stands for no class among the labels of places that X brings.
    """
    X = dataset_behind(X, any_order=any_order)
    if not isinstance(X, Dataset):
        # A classifier may well take dicts, in a pipeline that makes numbers of them.
        if backbone.classifier is None and isinstance(X, (list, tuple)):
            check_items(X, y)
        y = check_labels_of(X, y, names[1])
    inputs = backbone.open(X)
    backbone.fits = True
    if again and getattr(inputs, "is_stream", False):
        raise TypeError(
            f"{names[0]} must be an array, a dict or a map-style Dataset: clamping reads samples several times, by "
            f"their numbers; got {type(inputs.dataset).__name__}, a stream. Collect its samples first, or use a "
            "calibrator of the outputs alone, such as TemperatureScaling"
        )
    with recording() as recorded:
        logits, brought = backbone.logits(inputs, labelled=True)
    if y is None and brought is not None and (backbone.outputs == "sigmoid" or logits.ndim > 2):
        _, y = understood(backbone.outputs, brought, ignore_index=ignore_index)
    return {
        "logits": logits,
        "labels": labels_beside(brought, y, len(logits), names[1]),
        "backbone": backbone,
        "X": X,
        "inputs": inputs,
        "prints": prints_of(X, recorded, len(logits)),
    }


def cross_fit(classifier, opening, X, y, metadata, *, cv, names=("X", "y")):
    """Fit an unfitted classifier on all the data; return what `Samples.of` takes, of clones that haven't seen them.

    The classifier is cloned, and its clones opened as `opening` says; `cv` is that of
    `sklearn.model_selection.cross_val_predict`.
    The samples' logits are out of fold; new ones go through the classifier fitted on all the data.
    """
    # A net that was forgotten to be initialised: to train several takes time, and has to be asked for.
    if cv is None and isinstance(net := flat_steps(classifier)[-1], NeuralNet):
        skorch_logits(net, opening)
    X, targets = _to_fit(classifier, X, y, names)
    with naming_text(X, classifier):
        whole = clone(classifier).fit(X, targets, **metadata.fit)
    deployed = open_backbone(whole, opening)
    cv = keeping_together(cv, metadata.groups, stratified=targets is y)
    classifiers, splits = fit_folds(classifier, X, targets, cv, metadata)
    # A net has an output for each class, whether it has seen any sample of it or not; and so have labels.
    all_know = deployed.in_batches or targets is not y
    parts = []
    for fitted, (_, rows) in zip(classifiers, splits, strict=True):
        backbone = open_backbone(fitted, opening)
        held_out = take_rows(X, rows)
        if all_know:
            parts.append(backbone.logits(backbone.open(held_out))[0])
            continue
        # A single column would be taken for the second of two classes.
        alone = len(backbone.classes) == 1
        logits = torch.zeros(len(rows), 1, dtype=torch.float64) if alone else backbone.logits(held_out)[0]
        # Classes that a clone doesn't know have next to no probability.
        least = logits.logsumexp(1, keepdim=True) + LOG_UNKNOWN
        columns = torch.from_numpy(np.searchsorted(deployed.classes, backbone.classes))
        parts.append(least.expand(-1, len(deployed.classes)).index_copy(1, columns.to(logits.device), logits))
    logits = torch.cat(parts)[np.concatenate([rows for _, rows in splits]).argsort()]
    return {
        "logits": logits,
        "labels": y,
        "backbone": deployed,
        "X": X,
        "inputs": X,
        "prints": row_prints(X),
        "estimator": whole,
    }


def fit_to_half(classifier, opening, X, y, sample_weight, metadata, names, random_state):
    """Fit a clone to one half of the samples; return what `Samples.of` takes of the other half."""
    X, targets = _to_fit(classifier, X, y, names)
    check_differentiable(classifier)
    n_samples = len(y)
    prints = row_prints(X)
    weight = check_sample_weight(sample_weight, len(y))
    groups = _numbers_of_groups(metadata, n_samples)
    strata = numbered(y) if targets is y else np.zeros(n_samples, dtype=np.int64)
    fits = draw_half(strata, weight.numpy(), prints, joined(copies_of(prints, weight, X), groups), random_state)
    own = np.flatnonzero(fits)
    rest = np.flatnonzero(~fits)
    if not weight[rest].any():
        raise ValueError(
            f"{names[1]} must have two samples of a class, or two groups, where the estimator isn't fitted: one half "
            f"fits it, and the other is clamped; got n_samples={n_samples}, none of which is left to clamp"
        )
    with naming_text(X, classifier):
        fitted = clone(classifier).fit(take_rows(X, own), targets[own], **of_rows(metadata.fit, own, n_samples))
    y = replace(y, values=y.values[rest], known=y.known[rest]) if isinstance(y, Targets) else y[rest]
    found = read(open_backbone(fitted, opening), take_rows(X, rest), y, again=True, names=names)
    metadata = metadata._replace(
        guard=of_rows(metadata.guard, rest, n_samples),
        groups=None if groups is None else groups[rest],
        by=None if metadata.by is None else metadata.by[rest],
    )
    return found | {"estimator": fitted, "sample_weight": weight[rest], "metadata": metadata}


def _to_fit(classifier, X, y, names):
    """X and y as a classifier that isn't fitted takes them; raises unless it does."""
    check_classifier(classifier)
    X = dataset_behind(X)
    check_no_dataset(X, UNFITTED, names[0])
    check_labels_of(X, y, names[1])
    if isinstance(y, Targets):
        if not y.known.all():
            got = "NaN" if np.isnan(y.values).any() else "sample_weight of 0 for some"
            raise ValueError(f"{names[1]} must be known everywhere where the classifier isn't fitted; got {got}")
        y = y.values.astype(np.int64)
    return *indexable(to_numpy(X) if hasattr(X, "detach") else X), y


def _numbers_of_groups(metadata, n_samples):
    """Numbers of the samples' groups, from 0 on; None where none were given."""
    groups = metadata.groups
    return None if groups is None else numbered(group_keys(groups, n_samples))


def fit_folds(classifier, X, y, cv, metadata):
    """A clone fitted without each fold, and training and held-out rows of each; each row is held out once."""
    # Without metadata routing groups have an argument of their own.
    told = {"params": metadata.given} if routing_enabled() else {"params": metadata.fit, **metadata.split}
    # Of weak fits to a part of the samples; that to all of them warns by itself.
    with silenced():
        results = cross_validate(
            clone(classifier),
            X,
            y,
            cv=cv,
            scoring=lambda *_: 0.0,
            return_estimator=True,
            return_indices=True,
            error_score="raise",
            **told,
        )
    splits = list(zip(results["indices"]["train"], results["indices"]["test"], strict=True))
    check_partition([rows for _, rows in splits], len(y))
    return results["estimator"], splits


def labels_beside(brought, y, n_samples, name="y"):
    """Labels of samples: `y`, as `check_labels` returns them, or those `brought` with the samples, or None.

    Both must say the same. Where y is given, what can't be labels is left aside, and so is the one number that data
    sets without labels have in their place.
    """
    labels = check_labels(brought, name) if y is None else y
    check_same_length(labels, n_samples, name)
    if y is None or brought is None:
        return labels
    if isinstance(y, Targets):
        other = matrix_of(brought) if y.of_labels else None
        if other is not None and other.shape == y.values.shape and (abs(other - y.values) > 0).any():
            raise ValueError(f"{name} must be the labels that X brings, or be left out; got others")
        return labels
    try:
        brought = check_labels(brought)
    except ValueError:
        return labels
    kin = (y.dtype.kind in "biuf") == (brought.dtype.kind in "biuf")
    if kin and (brought != brought[0]).any() and (differing := np.flatnonzero(y != brought)).size:
        where = differing[0]
        raise ValueError(
            f"{name} must be the labels that X brings, or be left out; got {y[where]} for sample {where}, where X has "
            f"{brought[where]}. If X's aren't meant, give its inputs alone, as skorch's SliceDataset(X) does"
        )
    return labels


def check_labels_of(X, y, name):
    """Labels of an array's rows; raises unless there is one for each, before anyone spends time on them."""
    if y is None:
        y = check_labels(y, name)
    check_same_length(y, num_samples(X), name)
    return y
