"""Backbone: the way from an estimator's inputs to logits, and the shortest one, of inputs that are logits."""

import copy
import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .._utils.arrays import (
    check_probability_rows,
    check_scores,
    check_unit_interval,
    row_sum_tolerance,
)
from .._utils.labels import names_of_columns
from ..modules import LogitsModule, logits_from
from .inputs import check_no_dataset
from .scale import finite_rows, look_at_scale, scale_of, sizes_of

# Rows of logits by which their scale is told; so few rows of labels' probabilities may each sum to 1 by chance.
_FEWEST_ROWS = 20
# Of dense outputs, places of all samples that a fit looks at, so many samples of a stream being expected; and those
# that tell the scale.
_MOST_PLACES = 1 << 20
_EXPECTED = 1000
_MOST_SEEN = 1 << 20


class Opening(NamedTuple):
    """Options of opening an estimator.

    Attributes
    ----------
    response, device
        As of every calibrator.
    outputs : {"softmax", "sigmoid"}
        Whether a row is one softmax or a sigmoid for each label.
    perturbs : bool
        Whether inputs are to be perturbed, so that the backbone must be a `NetworkBackbone`, and a dict of several
        inputs needs an `input_key`.
    inputs_stay : bool
        Whether a network is to be perturbed, and its inputs aren't.
    input_key : str or None
        The entry of a dict of inputs that is perturbed; and the name under which a network takes an array. None is the
        only entry.
    exact : bool
        Whether a calibrator's log-probabilities are taken as they are, and not as any classifier's probabilities.
    takes_places : bool
        Whether a calibrator may say a class at each place of a sample.
    batch_size, integer_scale, verbose
        How a network's inputs are read, see `NetworkBackbone`.
    """

    response: str = "auto"
    outputs: str = "softmax"
    device: Any = None
    perturbs: bool = False
    inputs_stay: bool = False
    input_key: str | None = None
    exact: bool = False
    takes_places: bool = False
    batch_size: int | str = "auto"
    integer_scale: float | dict | None = None
    verbose: int | str = 0


class Backbone(ABC):
    """The way from an estimator's inputs to logits, and what is known of both.

    A new one implements the methods here and sets those of the facts that differ; `open_backbone` says of which
    estimators it is.
    """

    # Names of the columns that the estimator knows, and those that its makers call them.
    classes: Any = None
    likely_classes: Any = None
    # What a classifier of scikit-learn's kind is asked by, and whether it may take what no network does.
    classifier: Any = None
    # Whether a row is one softmax, or each column a label that excludes no other.
    outputs = "softmax"
    # Whether probabilities of 0 may be votes.
    votes = False
    # Whether scores are a network's, or bare: what other classifiers call scores needn't be logits.
    yields_logits = False
    # Whether nobody said that what is taken for logits is.
    guesses_response = False
    # Whether inputs come in batches that `to_device` brings to a network.
    in_batches = False
    # What is taken of several things that the network returns.
    guessed_item: Any = None
    # Scale of the first inputs; that of the fit's, which new ones are compared with; and whether `integer_scale` was
    # for anything in them.
    scale: Any = None
    scale_of_fit: Any = None
    scaled = False
    # Shape of the places of dense outputs; whether a fit looks at some; and which these are.
    places: tuple = ()
    fits = False
    kept: Any = None

    @abstractmethod
    def open(self, X):
        """The inputs as `logits` takes them; X as `dataset_behind` returns it."""

    @abstractmethod
    def logits(self, inputs, *, labelled=False):
        """Logits of shape (n, K), and the labels that the inputs bring, if wanted, or None."""

    @abstractmethod
    def as_module(self, owner):
        """The same as a LogitsModule; AttributeError of a calibrator `owner` where torch can't do it."""

    @abstractmethod
    def fingerprint(self):
        """Identity of the network or classifier, which tells it from another; None where there is neither."""

    def at_places(self, logits, n_samples):
        """Return the first dense logits at the places that a fit looks at, (n, K, P); any others as they are.

        The places are the same of all samples, drawn the same way each time, where all are too many for the memory.
        """
        if self.kept is not None:
            return logits
        self.places = tuple(logits.shape[2:])
        if not self.fits:
            return logits
        n_places = math.prod(self.places)
        most = max(1, _MOST_PLACES // (n_samples or _EXPECTED))
        drawn = np.random.default_rng(0).choice(n_places, min(most, n_places), replace=False)
        self.kept = slice(None) if most >= n_places else np.sort(drawn)
        return logits.flatten(2)[:, :, self.kept]

    def whole(self):
        """Return the same for predictions: at all places."""
        if self.kept is None:
            return self
        whole = copy.copy(self)
        whole.kept = None
        whole.fits = False
        return whole

    def handed_on(self, logits):
        """Return what becomes of a network's logits, computed elsewhere, on their way."""
        return logits

    def look_at_scale(self, x):
        """Measure floating-point inputs or, once fitted, tell that they are on another scale than those of the fit."""
        if self.scale_of_fit is not None:
            look_at_scale(x, self.scale_of_fit)
        elif self.scale is None:
            self.scale = scale_of([sizes_of(x)])


class ArrayBackbone(Backbone):
    """No network: the inputs are logits, as "auto" has it, or probabilities, brought to `device` where one is given."""

    votes = True
    yields_logits = True

    def __init__(self, response, outputs, device=None):
        self.outputs = outputs
        self.guesses_response = response == "auto"
        self.response = "logits" if response == "auto" else response
        self.device = None if device is None else check_device(device)

    def open(self, X):
        check_no_dataset(X, "where there is no estimator")
        self.likely_classes = names_of_columns(X)
        return check_scores(X).to(self.device)

    def logits(self, scores, *, labelled=False):
        some = scores
        if scores.ndim > 2:
            scores = self.at_places(scores, len(scores))
            flat = scores.flatten(2)
            some = flat[:, :, :: 1 + flat[:, 0].numel() // _MOST_SEEN].movedim(1, 2).flatten(0, 1)
        if self.response == "probabilities":
            check_probabilities(some, outputs=self.outputs)
        else:
            rows = finite_rows(some)
            # New rows, where they are few, may be anything.
            if self.scale_of_fit is None or len(rows) >= _FEWEST_ROWS:
                # Constants added to rows say nothing of the scale of logits.
                several = rows.ndim == 2 and rows.shape[1] > 1 and self.outputs == "softmax"
                self.look_at_scale(rows - rows.mean(1, keepdim=True) if several else rows)
            if scores.ndim > 1 and scores.shape[1] > 1:
                return scores, None
        return logits_from(scores, self.response, n_samples=len(scores), outputs=self.outputs), None

    def as_module(self, owner):
        return LogitsModule(nn.Identity(), response=self.response, outputs=self.outputs)

    def fingerprint(self):
        """None: there is no network."""


def check_probabilities(scores, name="X", dtype=None, outputs="softmax"):
    """Raise unless the rows of (n, K) are distributions, or the entries of (n, 1), (n,) or labels probabilities.

    `dtype` is that of the sums of rows, where it is another.
    """
    several = scores.ndim == 2 and scores.shape[1] > 1
    if several and outputs == "sigmoid" and len(scores) >= _FEWEST_ROWS and ((scores.sum(1) - 1).abs() < 1e-3).all():
        raise ValueError(
            f"{name} must hold probabilities of labels that don't exclude each other where y has several a sample; got "
            "rows that each sum to 1, as those of classes do"
        )
    if several and outputs == "softmax":
        check_probability_rows(scores, name, row_sum_tolerance(dtype or scores.dtype))
    else:
        check_unit_interval(scores, name)


def check_device(device):
    """A torch.device that exists, or ValueError."""
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError, TypeError) as error:
        # Torch goes on to list all that it knows.
        why = str(error).partition(". ")[0]
        raise ValueError(
            f"device must name a device that is there, such as 'cpu' or 'cuda:0'; got {device!r}: {why}"
        ) from error
    return checked
