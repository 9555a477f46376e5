"""Output layers: what a network's outputs mean. At the door they become rows of logits, and predictions come back."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from torch.nn.functional import logsigmoid

from .arrays import is_missing, to_numpy
from .labels import check_class_names, check_labels
from .least_probability import raised

OUTPUTS = ("softmax", "sigmoid")


class OutputLayer(NamedTuple):
    """One softmax a sample or, of several labels that don't exclude each other, a sigmoid for each.

    Attributes
    ----------
    n_labels : int or None, default=None
        How many labels each have a sigmoid; None is one softmax of all columns.
    """

    n_labels: int | None = None

    @property
    def kind(self):
        """Return "softmax" or "sigmoid"."""
        return "softmax" if self.n_labels is None else "sigmoid"

    def rows(self, logits):
        """Return rows of logits (N, K) of a network's (n, K), or of (n, L): the logarithms of 1 - p and p, (n L, 2)."""
        if self.n_labels is None:
            return logits
        return torch.stack([logsigmoid(-logits), logsigmoid(logits)], -1).view(-1, 2)

    def raised(self, logits, least_probability):
        """Logits of which no probability is below the least one; see `least_probability.raised`."""
        if not least_probability or self.n_labels is None:
            return raised(logits, least_probability)
        return self.logits_of_rows(raised(self.rows(logits), least_probability))

    def of_rows(self, rows):
        """Return what rows (N, K) say in the shape of the outputs: of two columns the second."""
        return rows if self.n_labels is None else rows[:, 1].view(-1, self.n_labels)

    def logits_of_rows(self, rows):
        """Return a network's logits, (n, K) or (n, L), of rows of logits."""
        return rows if self.n_labels is None else self.of_rows(rows - rows[:, :1])

    def targets(self, y, name="y"):
        """Return what scores are computed from: labels, checked, (n,) or (n, L)."""
        if self.n_labels is None:
            return check_labels(y, name)
        matrix = matrix_of(y)
        if matrix is None or matrix.shape[1] != self.n_labels:
            raise ValueError(
                f"{name} must be of shape (n_samples, {self.n_labels}), each 0 or 1; got shape {np.shape(y)}"
            )
        return matrix

    def predict(self, values, classes):
        """Return each sample's class from its log-probabilities or, of labels, 1 where p is at least 0.5."""
        if self.n_labels is None:
            return classes[values.argmax(1)]
        return (values >= np.log(0.5)).astype(np.int64)


SOFTMAX = OutputLayer()


def rows_of(logits, y, weight):
    """Return rows of logits, their column indices and weights, of samples: of several labels one row for each.

    Labels are 0, 1, or -1 where they aren't known, which has no weight.
    """
    if y.ndim == 1:
        return logits, y, weight
    known = (y >= 0).to(weight.device)
    return OutputLayer(y.shape[1]).rows(logits), y.clamp(min=0).reshape(-1), (weight[:, None] * known).reshape(-1)


def numbers_of(y):
    """Return a number for each sample that those of equal labels share."""
    return y if y.ndim == 1 else np.unique(y, axis=0, return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True)
class Labels:
    """Targets of labels that don't exclude each other.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_labels), float64
        0, 1, or NaN where it isn't known.
    names : ndarray of shape (n_labels,) or None
        Columns of the frame that they came in.
    """

    values: np.ndarray
    names: np.ndarray | None

    def __len__(self):
        return len(self.values)

    def encoded(self, logits, classes, weight):
        """Return the labels' names, 0, 1 or -1 for each, as a tensor, and weights, none where nothing is known."""
        n_labels = self.values.shape[1]
        if logits.shape[1] != n_labels:
            raise ValueError(
                f"the logits must have one column per label: got {logits.shape[1]} columns for y of shape "
                f"{self.values.shape}"
            )
        if not torch.isfinite(logits).all():
            raise ValueError("logits of labels that don't exclude each other must be finite; got -inf among them")
        y = torch.from_numpy(self.values).nan_to_num(-1).long()
        weight = weight * (y >= 0).any(1)
        if not weight.any():
            raise ValueError("y must have a label that is known and has weight; got none")
        names = np.arange(n_labels) if self.names is None else self.names
        if classes is not None:
            names = check_class_names(to_numpy(classes), n_labels, "classes")
        return names, y.to(logits.device), weight


def understood(outputs, y, beside=None):
    """Return the output layer that targets and a calibrator's `outputs` ask for, and the targets, checked.

    `beside` is as in `check_labels`.
    """
    matrix = matrix_of(y)
    if matrix is not None and beside is not None and getattr(beside[1], "shape", None) == (len(matrix),):
        # Binary features, swapped with the labels.
        matrix = None
    if outputs == "softmax" or (outputs == "auto" and matrix is None):
        return SOFTMAX, None if y is None else check_labels(y, beside=beside)
    if y is None:
        # Of how many, what brings them says.
        return OutputLayer(-1), None
    if matrix is None:
        raise ValueError(
            "y must be of shape (n_samples, n_labels), two labels or more, each 0, 1 or NaN, where outputs='sigmoid'; "
            f"got shape {np.shape(y)}. One label alone is a problem of two classes, which needs no outputs"
        )
    if outputs == "auto" and (matrix.sum(1) == 1).all():
        raise ValueError(
            "y has exactly one 1 in each row: where classes exclude each other, give y.argmax(1); where labels don't, "
            "outputs='sigmoid'"
        )
    names = to_numpy(y.columns) if hasattr(y, "columns") else None
    if names is not None:
        check_class_names(names, len(names), "the columns of y")
    return OutputLayer(matrix.shape[1]), Labels(matrix, names)


def check_columns(y, names, name="y"):
    """Raise for a frame of labels that has these columns in another order."""
    columns = list(getattr(y, "columns", names))
    if columns != list(names) and set(columns) == set(names):
        raise ValueError(f"{name} must have its columns in the order of fit, {list(names)}; got {columns}")


def matrix_of(y):
    """Targets of two labels or more, in float64; None where y is anything else."""
    if getattr(y, "ndim", None) == 1:
        return None
    y = y.toarray() if issparse(y) else y
    if isinstance(y, np.ma.MaskedArray):
        y = np.ma.filled(y.astype(np.float64), np.nan)
    if isinstance(y, (list, tuple)) and len(y) and isinstance(y[0], (list, tuple, np.ndarray)):
        y = to_numpy(y, "y")
    if getattr(y, "ndim", None) != 2 or y.shape[1] < 2:
        return None
    values = to_numpy(y, "y")
    if values.dtype.kind == "O":
        values = np.array([[np.nan if is_missing(each) else each for each in row] for row in values.tolist()])
    if values.dtype.kind not in "biuf" or not np.isin(values[~np.isnan(values)], (0, 1)).all():
        return None
    return values.astype(np.float64)
