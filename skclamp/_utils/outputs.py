"""Output layers: what a network's outputs mean. At the door they become rows of logits, and predictions come back."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from torch.nn.functional import logsigmoid

from ..losses import share_of_places
from .arrays import as_numbers, n_axes, rows_of_places, to_numpy
from .encoding import register
from .labels import check_class_names, check_labels, check_sample_weight, encode_labels, resolve_classes
from .parameters import check_whole_number

OUTPUTS = ("softmax", "sigmoid")


class Rows(NamedTuple):
    """Rows of logits of which each has one class: all that maps, pools and solvers know of samples.

    Attributes
    ----------
    logits : torch.Tensor of shape (n_rows, n_classes)
    y : torch.Tensor of shape (n_rows,), dtype int64
        Column index of each row's class.
    weight : torch.Tensor of shape (n_rows,), float64
    unit : ndarray of shape (n_rows,), default=None
        Numbers that rows share which depend on each other, such as the places of an image; None where none do.
    """

    logits: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    unit: np.ndarray | None = None

    def take(self, chosen):
        """Some of them, by a mask or by their numbers."""
        unit = None if self.unit is None else self.unit[chosen.cpu().numpy()]
        logits, y, weight = (values[chosen.to(values.device)] for values in self[:3])
        return Rows(logits, y, weight, unit)


@register
class OutputLayer(NamedTuple):
    """One softmax a sample, or a sigmoid for each of labels that don't exclude each other; or these at each place.

    Attributes
    ----------
    n_labels : int or None, default=None
        How many labels each have a sigmoid; None is one softmax of all columns.
    is_dense : bool, default=False
        Whether a sample, such as an image, has these at each of its places: logits (n, K, *places), y (n, *places) or,
        of labels, (n, L, *places).
    """

    n_labels: int | None = None
    is_dense: bool = False

    @classmethod
    def of(cls, logits, y):
        """The output layer of samples, by the shapes of logits (n, K), or (n, K, P) at places, and of labels."""
        return cls(y.shape[1] if y.ndim == logits.ndim else None, logits.ndim == 3)

    @property
    def kind(self):
        """Return "softmax" or "sigmoid"."""
        return "softmax" if self.n_labels is None else "sigmoid"

    def labelled_rows(self, logits, y, weight, unit=None, most_places=None, shares=None):
        """Return `Rows` of samples: of several labels one for each, of places one for each, or for some.

        Labels, and classes of places, are -1 where they aren't known, which has no weight. The places of a sample share
        what it weighs, see `skclamp.losses`; `shares` of y's shape say what each label or place has of that, all where
        it is known by default. Those of one sample are a unit, if samples have none.
        """
        if y.ndim == 1:
            return Rows(logits, y, weight, unit)
        counts = y >= 0 if shares is None else shares.to(y.device)
        if self.is_dense and most_places and most_places < logits.shape[2]:
            kept = some_places(logits.shape[2], most_places).to(y.device)
            logits = logits[:, :, kept]
            y = y[..., kept]
            counts = counts[..., kept]
        if self.is_dense and self.n_labels:
            # The labels of a place are next to each other.
            y, counts = (each.movedim(1, -1).flatten(1) for each in (y, counts))
        elif self.is_dense:
            # A class that the place has: no weight makes the logarithm of a masked one finite.
            y = torch.where(y >= 0, y, logits.argmax(1))
        weight = weight[:, None] * counts.to(weight.device)
        if self.is_dense:
            weight = weight * share_of_places(logits.shape[2])
        if unit is None:
            unit = np.arange(len(y))
        return Rows(self.rows(logits), y.clamp(min=0).ravel(), weight.ravel(), unit.repeat(y.shape[1]))

    def rows(self, logits):
        """Return rows of logits (N, K) of a network's (n, K, *places), or of labels: the logarithms of 1 - p and p."""
        if self.is_dense:
            logits = rows_of_places(logits)
        if self.n_labels is None:
            return logits
        return torch.stack([logsigmoid(-logits), logsigmoid(logits)], -1).view(-1, 2)

    def of_rows(self, rows, logits):
        """Return what rows (N, K) say in the shape of the logits that they come from: of labels the second column."""
        columns = rows if self.n_labels is None else rows[:, 1].view(-1, self.n_labels)
        return columns.view(logits.shape[0], *logits.shape[2:], -1).movedim(-1, 1) if self.is_dense else columns

    def logits_of_rows(self, rows, logits):
        """Return a network's logits of rows of logits, in the shape of those that they come from."""
        return self.of_rows(rows if self.n_labels is None else rows - rows[:, :1], logits)

    def targets(self, y, name="y"):
        """Return what scores are computed from: labels, checked, (n,), (n, L), or these at places."""
        if self.is_dense and y is not None:
            return array_of_places(y, name)
        if self.n_labels is None:
            return check_labels(y, name)
        matrix = matrix_of(y)
        if matrix is None or matrix.shape[1] != self.n_labels:
            raise ValueError(
                f"{name} must be of shape (n_samples, {self.n_labels}), each 0 or 1; got shape {np.shape(y)}"
            )
        return matrix

    def proba(self, logits):
        """Return probabilities of a network's logits, (n, K) or (n, L)."""
        return logits.softmax(1) if self.n_labels is None else logits.sigmoid()

    def predict(self, proba, classes):
        """Return each sample's likeliest class or, of labels, 1 where the probability is at least 0.5."""
        return classes[proba.argmax(1)] if self.n_labels is None else (proba >= 0.5).astype(np.int64)


SOFTMAX = OutputLayer()


def some_places(n_places, n_kept):
    """Return numbers of some places, drawn the same way each time: at equal steps they could be one line of pixels."""
    return torch.from_numpy(np.sort(np.random.default_rng(0).choice(n_places, n_kept, replace=False)))


def numbers_of(y):
    """Return a number for each sample that those of equal labels share."""
    return y if y.ndim == 1 else np.unique(y, axis=0, return_inverse=True)[1].ravel()


@dataclass(frozen=True)
class Targets:
    """Several targets a sample: a class at each place, such as a pixel, or labels that don't exclude each other.

    Attributes
    ----------
    values : ndarray of shape (n_samples, *places), (n_samples, n_labels) or (n_samples, n_labels, *places)
        Class labels; or, `of_labels` that don't exclude each other, 0 or 1.
    known : ndarray of the same shape
        Which of them are known, and count; or what each has of its sample's weight, from 0 to 1.
    of_labels : bool, default=False
    names : ndarray of shape (n_labels,) or None
        Columns of the frame that labels came in.
    """

    values: np.ndarray
    known: np.ndarray
    of_labels: bool = False
    names: np.ndarray | None = None

    def __len__(self):
        return len(self.values)

    @property
    def places(self):
        """Shape of the places of a sample; empty where it has none."""
        return tuple(self.values.shape[2 if self.of_labels else 1 :])

    def weighted(self, sample_weight, *, only_masks=True):
        """Return these, and weights of samples, of weights of samples, of places or of the shape of y."""
        if sample_weight is None or n_axes(sample_weight, "sample_weight") < 2:
            return self, sample_weight
        weight = to_numpy(sample_weight, "sample_weight")
        shape = (len(self), *self.places)
        if weight.shape not in (shape, self.values.shape):
            raise ValueError(
                f"sample_weight must have shape ({len(self)},), that of y, {self.values.shape}, or that of places, "
                f"{shape}; got {weight.shape}"
            )
        weight = check_sample_weight(weight.ravel(), weight.size).numpy().reshape(weight.shape)
        of_samples = weight.reshape(len(self), -1).max(1)
        shares = (weight.T / np.where(of_samples > 0, of_samples, 1)).T
        if only_masks and not np.isin(shares, (0, 1)).all():
            raise ValueError(
                "sample_weight of the shape of y must be a mask: 0 where a place doesn't count, and the same weight at "
                "all other places of a sample; got several weights in one sample. Maps of the outputs of a fitted "
                "estimator, such as TemperatureScaling, take any"
            )
        shares = shares if weight.ndim == self.values.ndim else shares[:, None]
        return replace(self, known=self.known * shares), of_samples

    def encoded(self, logits, weight, backbone, classes=None, name="y"):
        """Return names, column indices or 0 and 1, -1 where unknown, weights, none where nothing is known, and shares.

        `logits` (n, K) or, of the places that the backbone has kept, (n, K, P) tell the shape (n, L), (n, P) or
        (n, L, P).
        """
        if logits.ndim == 2 and not self.of_labels:
            check_labels(self.values, name)
        n_classes = logits.shape[1]
        places = self.places

        def in_other_places():
            mended = _moved(backbone, n_classes)
            return ValueError(other_places(name, places, backbone.places, n_classes, mended=mended))

        if self.of_labels:
            self._check_labels(logits, backbone.places, name)
        elif backbone.places != places:
            raise in_other_places()
        values = self.values
        shares = self.known
        if places:
            flat = values.shape[: values.ndim - len(places)]
            values, shares = (each.reshape(*flat, -1)[..., backbone.kept] for each in (values, shares))
        known = shares > 0
        if self.of_labels:
            y = np.full(values.shape, -1)
            y[known] = encode_labels(values[known], np.arange(2), name)
            names = np.arange(n_classes) if self.names is None else self.names
            classes = names if classes is None else check_class_names(to_numpy(classes), n_classes, "classes")
        else:
            classes, y = encode_places(
                values,
                known,
                n_classes,
                name,
                classes=classes,
                known=backbone.classes,
                likely=backbone.likely_classes,
            )
        y_encoded = torch.from_numpy(y)
        if set(places) == {n_classes} and not self.of_labels and isinstance(backbone.kept, slice):
            # Of equal axes labels tell which one is that of classes, beyond three standard errors.
            moved = logits.unflatten(2, (-1, n_classes)).movedim(-1, 1).flatten(2)
            right, along_last = ((each.argmax(1).cpu() == y_encoded).flatten(1).sum(1) for each in (logits, moved))
            more = (along_last - right).double()
            if more.sum() > 3 * more.norm():
                raise in_other_places()
        weight = weight * (y_encoded >= 0).flatten(1).any(1)
        if not weight.any():
            raise ValueError(f"{name} must have a label that is known and has weight; got none")
        return classes, y_encoded.to(logits.device), weight, torch.from_numpy(shares)

    def _check_labels(self, logits, places, name):
        """Raise unless labels are of the shape of the logits, which are finite."""
        n_labels = logits.shape[1]
        if self.values.shape[1:] != (n_labels, *places):
            mend = ". Of classes at each place give outputs='softmax'" if places and not self.places else ""
            shape = ", ".join(map(str, ("n_samples", n_labels, *places)))
            raise ValueError(
                f"{name} must have shape ({shape}), that of the logits, one column per label: got {n_labels} columns "
                f"for {name} of shape {self.values.shape}{mend}"
            )
        if not torch.isfinite(logits).all():
            raise ValueError("logits of labels that don't exclude each other must be finite; got -inf among them")


def encode_places(values, there, n_classes, name, **told):
    """Return names of classes, and the column index of each place's label, -1 where it isn't `there`.

    `told` is what is known of the names, as `resolve_classes` takes it.
    """
    found = np.unique(values[there])
    if not len(found):
        raise ValueError(f"{name} must have a place whose class is known and has weight; got none")
    found = check_labels(found, name)
    labels = set(found.tolist())
    beyond = labels - set(range(n_classes))
    if n_classes == 2 and labels == {0, 255} and told.get("classes") is None:
        raise ValueError(
            f"{name} must hold labels among the 2 classes; got 0 and 255, as files of images keep masks: give {name} "
            "// 255 or, if 255 says that a place isn't known, ignore_index=255"
        )
    # Where 0 is a class too, -1 is hardly the first one, nor is their number the last.
    is_void = beyond == {255} or (0 in labels and beyond in ({-1}, {n_classes}))
    if is_void and not any(told.get(names) is not None for names in ("classes", "known", "likely")):
        number = int(beyond.pop())
        raise ValueError(
            f"{name} must hold labels among the {n_classes} classes; got {number}, by which many masks say that a "
            f"place isn't known: if it does, give ignore_index={number}; if it is a class, give classes, or "
            "ignore_index=0 where they count from 1 and 0 is no class"
        )
    # Where 0 doesn't count it would be missed among column indices.
    are_columns = labels == set(range(1, n_classes)) and (values == 0).any()
    names = resolve_classes(np.arange(n_classes) if are_columns else found, n_classes, **told)
    y = np.full(values.shape, -1)
    y[there] = encode_labels(values[there], names, name)
    return names, y


def are_known(values, ignore_index):
    """Return which labels aren't the number, or NaN, that stands for no class."""
    known = values != ignore_index
    return known & ~np.isnan(values) if values.dtype.kind == "f" else known


def _moved(backbone, n_classes):
    """What moves the classes of logits, an array's or a network's, to axis 1."""
    if not backbone.in_batches:
        return "logits.movedim(-1, 1)"
    if backbone.puts_second(n_classes):
        return (
            "LogitsModule(network, nonlinearity=torch.nn.Identity()), which leaves the axes as they are: the last one, "
            "as long as config.num_labels, was put second"
        )
    return "LogitsModule(network, nonlinearity=functools.partial(torch.movedim, source=-1, destination=1))"


def other_places(name, places, others, n_classes, scores="the logits", mended="logits.movedim(-1, 1)"):
    """The message where labels and logits, or probabilities, aren't of the same places."""
    if (n_classes, *others[:-1]) == places:
        return (
            f"{scores} must have their classes along axis 1, (n, K, *places), as torch has them; got {others[-1]} "
            f"classes last for {name} of places {places}: give {mended}"
        )
    mends = {
        (1, *others): "[:, 0]",
        (*others, 1): "[..., 0]",
        (*others, n_classes): ".argmax(-1) of one-hot ones",
        (n_classes, *others): ".argmax(1) of one-hot ones; or outputs='sigmoid' if labels don't exclude each other",
    }
    mend = ""
    if places in mends:
        mend = f": give {name}{mends[places]}"
    elif len(places) == len(others) and all(a >= b for a, b in zip(places, others, strict=True)):
        mend = f". skclamp.modules.LogitsModule(network, size={places}) upsamples the logits"
    shape = ", ".join(map(str, ("n_samples", *others)))
    return f"{name} must have shape ({shape}), a class at each place of {scores}; got places {places}{mend}"


def understood(outputs, y, ignore_index=-100, name="y"):
    """Return the output layer that targets and a calibrator's `outputs` ask for, and the targets, checked.

    `ignore_index` stands for no class where y has one at each place, and `name` is what the user calls y.
    """
    check_whole_number(ignore_index, "ignore_index", low=None)
    if y is None:
        # Of how many labels, what brings them says.
        return OutputLayer(-1) if outputs == "sigmoid" else SOFTMAX, None
    matrix = matrix_of(y)
    if outputs == "sigmoid" or (outputs == "auto" and matrix is not None):
        return _understood_labels(outputs, y, matrix, ignore_index, name)
    places = _places_of(y, given=outputs == "softmax")
    if places is not None:
        return OutputLayer(is_dense=True), Targets(places, are_known(places, ignore_index))
    labels = check_labels(y, name)
    if labels.dtype.kind in "iuf" and ignore_index in labels:
        raise ValueError(
            f"{name} must have a class for each sample; got ignore_index={ignore_index}, which is for places of "
            "samples: leave these samples out"
        )
    return SOFTMAX, labels


def check_not_swapped(X, y, name_of_X="X", name="y"):
    """Raise where X has one value a sample, as labels do, and y more than labels may have."""
    shape: tuple = getattr(y, "shape", ())
    if getattr(X, "shape", None) == shape[:1] and shape[1:] not in ((), (1,)) and matrix_of(y) is None:
        raise ValueError(
            f"{name} must have shape (n_samples,), one class label a sample. {name_of_X} has shape ({shape[0]},): "
            f"{name_of_X} and {name} look swapped"
        )


def _understood_labels(outputs, y, matrix, ignore_index, name):
    """The same of labels that don't exclude each other, of samples, whose `matrix` there is, or at places."""
    places = None if matrix is not None else _places_of(y, given=True)
    if places is not None and places.ndim > 2 and places.shape[1] > 1:
        targets = Targets(places, are_known(places, ignore_index), of_labels=True)
        return OutputLayer(places.shape[1], is_dense=True), targets
    if matrix is None:
        raise ValueError(
            f"{name} must be of shape (n_samples, n_labels), or (n_samples, n_labels, ...) at places, two labels or "
            f"more, each 0, 1 or NaN, where outputs='sigmoid'; got shape {np.shape(y)}. One label alone is a problem "
            "of two classes, which needs no outputs"
        )
    if outputs == "auto" and (matrix.sum(1) == 1).all():
        raise ValueError(
            f"{name} has exactly one 1 in each row: where classes exclude each other, give {name}.argmax(1); where "
            "labels don't, outputs='sigmoid'"
        )
    names = to_numpy(y.columns) if hasattr(y, "columns") else None
    if names is not None:
        check_class_names(names, len(names), f"the columns of {name}")
    return OutputLayer(matrix.shape[1]), Targets(matrix, ~np.isnan(matrix), of_labels=True, names=names)


def check_columns(y, names, name="y", owner="fit"):
    """Raise for a frame of labels, or `Targets` of one, that has these columns in another order, or beside others.

    `owner` has the columns, for the message.
    """
    columns = getattr(y, "columns", getattr(y, "names", None))
    columns = list(names if columns is None else columns)
    # Of entirely other names the user may have renamed all.
    if columns != list(names) and set(columns) & set(names):
        raise ValueError(f"{name} must have its columns in the order of {owner}, {list(names)}; got {columns}")


def matrix_of(y):
    """Targets of two labels or more, in float64; None where y is anything else."""
    if isinstance(y, np.ma.MaskedArray) and y.ndim == 2:
        y = np.ma.filled(y.astype(float), np.nan)
    values = to_numpy(y.toarray() if issparse(y) else y, "y")
    if values.ndim != 2 or values.shape[1] < 2:
        return None
    values = as_numbers(values)
    if values.dtype.kind not in "biuf" or not np.isin(values[~np.isnan(values)], (0, 1)).all():
        return None
    return values.astype(float)


def array_of_places(y, name="y"):
    """Return an array of labels; of objects, such as a nullable frame or a column of masks, of what these hold."""
    values = to_numpy(y, name)
    if values.dtype.kind == "O" and values.ndim == 1 and getattr(next(iter(values), None), "ndim", 0):
        values = to_numpy(values.tolist(), name)
    if values.dtype.kind != "O" or values.ndim < 2:
        return values
    values = as_numbers(values)
    return values.astype(str) if all(isinstance(each, str) for each in values.flat) else values


def _places_of(y, *, given):
    """Labels at each place of a sample; None where y is anything else."""
    if issparse(y):
        return None
    values = array_of_places(y)
    # Of two axes, real numbers are more likely to be anything else.
    likely = values.ndim > 2 or given or values.dtype.kind in "iu"
    there = values.ndim > 1 and values.size and max(values.shape[1:]) > 1
    return values if there and likely and values.dtype.kind in "biufU" else None
