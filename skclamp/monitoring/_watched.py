"""Watched samples: logits and the labels that are there."""

import math

import numpy as np
from torch.utils.data import Dataset

from .._backbones.samples import labels_beside
from .._utils.labels import check_labels, check_same_length, split_missing
from .._utils.outputs import SOFTMAX, OutputLayer, Targets, are_known, array_of_places, other_places, some_places

# Of each sample's places: neighbours agree.
_MOST_PLACES = 1024


def read_watched(backbone, X, y, outputs, ignore_index):
    """Logits of X, the labels that are known, one after another, and which are; X as `dataset_behind` returns it.

    Which are known, (n, R), is of the class of each sample, of its labels, or of some places, of which logits are, too.
    """
    given = None if y is None or outputs != SOFTMAX else split_missing(y)
    logits, brought = backbone.logits(backbone.open(X), labelled=True)
    if isinstance(X, Dataset) and brought is None and y is None:
        raise ValueError(
            "requires y to be passed: X brings no labels. None stands for a missing label in y alone, not in a "
            "Dataset: give its labels as y"
        )
    if outputs.is_dense:
        y = array_of_places(brought if y is None else y)
        check_same_length(y, len(logits), "y")
        places = y.shape[1:]
        if logits.ndim < 3 or places != logits.shape[2:]:
            raise ValueError(other_places("y", places, tuple(logits.shape[2:]), logits.shape[1]))
        n_places = math.prod(places)
        kept = some_places(n_places, min(_MOST_PLACES, n_places))
        y = y.reshape(len(y), -1)[:, kept.numpy()]
        known = are_known(y, ignore_index)
        return logits.flatten(2)[:, :, kept], y[known], known
    if outputs.n_labels:
        labels = OutputLayer(logits.shape[1]).targets(check_labels(y) if y is brought else brought if y is None else y)
        known = ~np.isnan(labels)
        labels_beside(None if y is None else brought, Targets(labels, known, of_labels=True), len(logits))
        return logits, labels[known].astype(np.int64), known
    labels, missing = split_missing(brought) if given is None else given
    check_same_length(missing, len(logits), "y")
    if y is not None and brought is not None:
        labels_beside(brought[~missing], labels, len(labels))
    return logits, labels, ~missing[:, None]
