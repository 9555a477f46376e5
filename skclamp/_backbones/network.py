"""A frozen torch network as a backbone: batches, eval mode and its logits."""

from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from .._utils.arrays import (
    absent_among,
    check_logit_range,
    check_probability_rows,
    first_not_finite,
    has_absent,
    without,
)
from .._utils.progress import progress_bar
from .._utils.warnings import warn_caller
from ..exceptions import CalibrationSetWarning, ForwardError
from ..modules import LogitsModule, frozen
from ..modules._clamped import weighted_sum
from ..modules._failure import names_taken
from ..modules._unwrap import unwrapped
from .device import Destination, place_of
from .inputs import joined_labels, open_inputs

# Inputs on the same scale hardly differ by this factor, bytes and fractions do.
_FAR_BEYOND = 10
# How many inputs are given to a network twice, and how far apart their logits may be, of the largest.
_N_REPEATED = 4
_SAME = 0.01


class NetworkBackbone:
    """A frozen torch network, run in batches on its device.

    Parameters
    ----------
    module : LogitsModule
        The network; its response is known.
    classes : ndarray of shape (K,), default=None
        Names of its columns, where they are known.
    perturbs : bool, default=False
        See `open_backbone`.
    batch_size : int, default=64
        Samples a forward pass, unless a DataLoader says otherwise.
    integer_scale
        See `Destination`.
    verbose : int or "auto", default=0
        See `progress_bar`.
    dtype : torch.dtype, default=None
        What floating-point inputs become. None is the dtype of the network's first floating-point weight.

    Attributes
    ----------
    device, dtype
        Where inputs go, the place of the network's first floating-point weight, and what floating-point inputs become.
        A network without one takes inputs as they are.
    range_of_inputs : tuple of two floats or None
        Of the first batch of floating-point inputs that it was given.
    scaled : bool or None
        Whether `integer_scale` was for anything in the first batch.
    """

    range_of_inputs = None
    scaled = None
    # A few of the first inputs, and their logits, until they are compared with a second look.
    _first = None
    # Its softmax may underflow, which is no vote.
    votes = False

    def __init__(
        self,
        module,
        *,
        classes=None,
        perturbs=False,
        batch_size=64,
        integer_scale=None,
        verbose=0,
        dtype=None,
    ):
        self.module = module
        self.classes = classes
        self.perturbs = perturbs
        self.batch_size = batch_size
        self.verbose = verbose
        self.device, own_dtype = place_of(module)
        self.dtype = dtype or own_dtype
        self._destination = Destination(self.device, self.dtype, integer_scale)

    @property
    def likely_classes(self):
        """What a Hugging Face model's config calls the columns, in their order; None without one."""
        names = getattr(getattr(self._network, "config", None), "id2label", None)
        return None if not isinstance(names, Mapping) else np.array([str(names[k]) for k in sorted(names, key=int)])

    @property
    def names_taken(self):
        """Under which names the network takes its inputs; None where it can't tell."""
        return names_taken(self._network)

    @property
    def _network(self):
        """The user's own."""
        network = unwrapped(self.module.module)
        return unwrapped(network.module) if isinstance(network, LogitsModule) else network

    @property
    def guessed_item(self):
        """What is taken of what the network returns, where others could be meant."""
        heads = (part for part in self.module.modules() if isinstance(part, LogitsModule))
        return next((head.guessed for head in heads if head.guessed is not None), None)

    def open(self, X):
        """The inputs behind one interface, see `open_inputs`."""
        # torch warns of pinned memory where there is nowhere to copy it to.
        may_pin = self.device is not None and self.device.type != "cpu"
        return open_inputs(X, batch_size=self.batch_size, may_pin=may_pin, of_one_size=self.perturbs)

    def to_device(self, batch):
        """A batch of inputs as the network takes it: the input that is perturbed, and a dict of those it takes by name.

        The first is None where all have names, and none is to be perturbed.
        """
        if isinstance(batch, torch.Tensor):
            return self._destination.convert(batch), {}
        key = self.module.input_key
        if key is None and self.perturbs and len(batch) == 1:
            (key,) = batch
            self.module.input_key = key
        destination = self._destination.among(batch, key)
        others = {name: destination.convert(entry, name) for name, entry in batch.items()}
        if key is None and not self.perturbs:
            return None, others
        if key not in others:
            raise ValueError(
                f"input_key must name the entry of X that is perturbed, one of {', '.join(map(repr, others))}; got "
                f"{key!r}"
            )
        return others.pop(key), others

    @contextmanager
    def evaluating(self):
        """The network in eval mode and without gradients; its flags are restored."""
        with frozen(self.module), torch.no_grad():
            yield

    def logits(self, inputs, transform=None, *, views=(), labelled=True):
        """Logits of shape (n, K) on the network's device, and the labels where the inputs bring them, if wanted.

        `transform` is applied on the device to each batch of the inputs that are perturbed. `views` are pairs of a
        module and a weight: the logits are then the weighted sum of those of each module's outputs, in turn.
        """
        with self.evaluating():
            return self._run(inputs, transform, views, labelled)

    def _run(self, inputs, transform, views, labelled):
        out, labels, done = None, [], 0
        for batch, y in self._batches(inputs):
            x, others = self.to_device(batch)
            if not done:
                self._look_at_scale(batch, x)
            if self.range_of_inputs is None and x is not None and x.is_floating_point() and x.numel():
                self.range_of_inputs = x.min().item(), x.max().item()
            z = self._viewed(x if transform is None else transform(x).to(x.dtype), others, views)
            # Only of the inputs as given: what a perturbation does to them says nothing of the user's declaration.
            if transform is None and self.module.response == "probabilities":
                name = f"the network's output for samples {done}, {done + 1}, ..."
                check_probability_rows(z.exp(), name, self.dtype)
            if out is None:
                if self._first is None and transform is None and not views:
                    self._first = self._few(x, others, z)
                out = z.new_empty(len(inputs) if hasattr(inputs, "__len__") else len(z), z.shape[1])
            out = _with_room(out, done + len(z))
            out[done : done + len(z)] = z
            done += len(z)
            labels.append(y)
        if out is None:
            raise ValueError("X must not be empty; got a stream without samples")
        check_logits(out[:done])
        return out[:done], joined_labels(labels) if labelled else None

    def _batches(self, inputs):
        """Yield the batches of some inputs, and count them in a bar where there are several."""
        total = -(-len(inputs) // inputs.batch_size) if hasattr(inputs, "__len__") else None
        verbose = 0 if total == 1 else self.verbose
        with progress_bar(verbose=verbose, total=total, desc="network", unit="batch") as bar:
            for batch in inputs.batches():
                yield batch
                bar.update()

    def _few(self, x, others, z):
        # What is compiled for batches of one size would be compiled anew for another.
        n = len(z) if unwrapped(self.module.module) is not self.module.module else _N_REPEATED
        return None if x is None else x[:n].clone(), {name: entry[:n] for name, entry in others.items()}, z[:n].clone()

    def is_random(self):
        """Whether the network's logits of its first inputs were others now; asked once, later it is False."""
        if not self._first:
            return False
        x, others, first = self._first
        self._first = ()
        devices = [self.device] if self.device is not None and self.device.type == "cuda" else []
        with self.evaluating(), torch.random.fork_rng(devices=devices):
            try:
                second = self._forward(x, others)
                # A batch of another size may well be computed otherwise, but twice the same.
                return _differ(first, second) and _differ(second, self._forward(x, others))
            except (ForwardError, TypeError):
                # Some take batches of one size alone.
                return False

    def _look_at_scale(self, batch, x):
        """Warn of floating-point inputs that look unscaled, where the first ones were integers that were scaled."""
        scaled = self._destination.scales(batch, self.module.input_key)
        if self.scaled is None:
            self.scaled = scaled
        if scaled or not self.scaled or self.range_of_inputs is None or x is None or not x.numel():
            return
        low, high = x.min().item(), x.max().item()
        if max(-low, high) > _FAR_BEYOND * max(map(abs, self.range_of_inputs)):
            first = " to ".join(f"{bound:.4g}" for bound in self.range_of_inputs)
            warn_caller(
                f"X holds floating-point inputs from {low:.4g} to {high:.4g}, which integer_scale isn't applied to; "
                f"the integers of fit, scaled, ranged from {first}. Give integers, or scale the inputs",
                CalibrationSetWarning,
            )

    def _viewed(self, x, others, views):
        if not views:
            return self._forward(x, others)
        return weighted_sum((self._forward(view(x), others) for view, _ in views), [weight for _, weight in views])

    def _forward(self, x, others):
        try:
            return self.module(x, **others)
        except ForwardError as error:
            if x is not None and x.is_floating_point() and self.dtype is None and not others:
                raise TypeError(
                    "X must have the dtype that the network computes in, which has no weights that would tell; got "
                    f"{x.dtype}: {error.__cause__}"
                ) from error.__cause__
            if others or x.is_floating_point():
                raise
            raise TypeError(
                "X must hold floating-point inputs, unless the network embeds integers such as tokens; got integers "
                f"that the network can't take: {error.__cause__}"
            ) from error.__cause__


def _differ(first, second):
    """Whether logits differ by more than the arithmetic of any device does."""
    scale = (first - first.mean(1, keepdim=True)).abs().max()
    return bool((first - second).abs().max() > _SAME * scale)


def _with_room(rows, n_rows):
    """These rows, with room for so many: streams don't say how many are to come."""
    if n_rows <= len(rows):
        return rows
    larger = rows.new_empty(max(n_rows, 2 * len(rows)), rows.shape[1])
    larger[: len(rows)] = rows
    return larger


class ScoresBackbone(NetworkBackbone):
    """Logits or probabilities as the inputs of a network that hands logits on: what perturbs them perturbs logits."""

    votes = True

    def __init__(self, scores, *, batch_size=64, verbose=0):
        super().__init__(LogitsModule(nn.Identity()), batch_size=batch_size, verbose=verbose)
        self.scores = scores

    def open(self, X):
        """The logits behind one interface, see `open_inputs`."""
        logits = self.scores.logits(self.scores.open(X))[0]
        if has_absent(logits):
            raise ValueError(
                "clamping without an estimator takes no logits of -inf, as those of classes that a sample doesn't "
                "have: they can't be perturbed. NeuralClampingCalibrator around the network takes them, and so does "
                "TemperatureScaling"
            )
        return super().open(logits)


class OverflowedLogits(ValueError):
    """A network's outputs are NaN, infinite, or too large to be computed with."""


def check_logits(logits):
    """Raise unless a network's outputs are finite, and small enough to be computed with."""
    if not torch.isfinite(logits.sum()):
        # Those of classes that a sample doesn't have may be -inf.
        finite = without(logits, absent_among(logits))
        if not torch.isfinite(finite).all():
            raise OverflowedLogits(f"the network must yield finite logits; got {first_not_finite(finite)}")
    try:
        check_logit_range(logits, "the network's output")
    except ValueError as error:
        raise OverflowedLogits(*error.args) from None
