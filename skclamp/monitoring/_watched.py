"""Watched samples: logits and the labels that are there."""

import math

import numpy as np

from .._backbones.samples import labels_beside
from .._utils.labels import check_labels, check_same_length, split_missing
from .._utils.outputs import SOFTMAX, OutputLayer, Targets, are_known, array_of_places, other_places, some_places

# Of each sample's places: neighbours agree.
_MOST_PLACES = 1024


def read_watched(backbone, X, y, outputs, ignore_index):
    """Logits of X, the labels that are known, one after another, and which are; X as `dataset_behind` returns it.

    Which are known, (n, R), is of the class of each sample, of its labels, or of some places, of which logits are, too.
    """
    is_single = outputs == SOFTMAX
    given = split_missing(y) if is_single and y is not None else None
    logits, brought = backbone.logits(backbone.open(X), labelled=True)
    found = brought if y is None else y
    beside = None if y is None else brought
    if found is None:
        check_labels(found)
    if is_single:
        labels, missing = given or split_missing(brought)
        check_same_length(missing, len(logits), "y")
        if beside is not None:
            labels_beside(beside[~missing], labels, len(labels))
        return logits, labels, ~missing[:, None]
    if outputs.n_labels:
        labels = OutputLayer(logits.shape[1]).targets(found)
        known = ~np.isnan(labels)
        labels_beside(beside, Targets(labels, known, of_labels=True), len(logits))
        return logits, labels[known].astype(np.int64), known
    labels = array_of_places(found)
    check_same_length(labels, len(logits), "y")
    places = labels.shape[1:]
    if logits.ndim < 3 or places != logits.shape[2:]:
        raise ValueError(other_places("y", places, tuple(logits.shape[2:]), logits.shape[1]))
    n_places = math.prod(places)
    kept = some_places(n_places, min(_MOST_PLACES, n_places))
    labels = labels.reshape(len(labels), -1)[:, kept.numpy()]
    known = are_known(labels, ignore_index)
    return logits.flatten(2)[:, :, kept], labels[known], known
