"""Settings of a training, and the state that it starts from and leaves."""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from skorch.history import History
from torch import nn

from ..perturbations._families import learnable
from ._gradient_moments import GradientMoments, parameters_of

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class Settings:
    """Parameters of `skclamp.NeuralClampingCalibrator` that say what to learn and how; see there."""

    perturbation: str | nn.Module | None
    init: object
    init_scale: float
    init_temperature: str | float
    refit_temperature: bool
    gamma: float
    loss_eps: float
    penalty: float
    optimizer: str | type | partial
    lr: str | float
    max_epochs: int
    shuffle: bool
    precision: str
    callbacks: list | None
    verbose: int | str
    # Whether the result is judged on held-out samples, and whether training then stops as soon as the verdict is clear.
    judged: bool = False
    early_stopped: bool = False
    # Whether an interrupt ends the training and keeps what was learned, or is the caller's.
    interruptible: bool = True


class Untried(NamedTuple):
    """Why a family wasn't tried: by how much it missed what is asked for, the same in words, whether data spoke."""

    lack: float
    words: str
    weighed: bool = False


def in_nats(evidence):
    """Evidence in words."""
    # Without the zero, what rounds to zero from below would have its sign.
    return f"{round(evidence, 2) + 0.0:.2f} nats"


class InSample(NamedTuple):
    """Some parameters of a perturbation, and the T of least smoothed loss there of the samples it learned from."""

    parameters: torch.Tensor
    temperature: float


@dataclass
class State:
    """Where training stands: what it starts from, and what it leaves.

    Attributes
    ----------
    perturbation : torch.nn.Module
        Changed in place by training.
    identity : list of torch.Tensor
        Its parameters at the identity.
    temperature : float
        T.
    extensions : dict
        Perturbations at the identity that the natural gradient may append, by name, and their prior precisions once
        measured.
    wide : bool
        Whether natural steps are made from the samples' own gradients, for a single block of many parameters.
    prior_precisions : list of torch.Tensor
        Of the perturbation's blocks; see `prior_precision_of`, or `prior_diagonal_of` where it is wide. Empty until the
        natural gradient has measured them.
    history : skorch.history.History
        Of the training.
    diverged : bool
        Whether training has raised the loss.
    gradients : GradientMoments, default=None
        At these parameters, of all the samples, where a pass told them already.
    untried : dict of str to Untried
        Families that were not tried, by name.
    in_sample : InSample, default=None
        Where natural steps have ended.
    """

    perturbation: nn.Module
    identity: list
    temperature: float
    extensions: dict = field(default_factory=dict)
    wide: bool = False
    prior_precisions: list = field(default_factory=list)
    history: History = field(default_factory=History)
    diverged: bool = False
    gradients: GradientMoments | None = None
    untried: dict[str, Untried] = field(default_factory=dict)
    in_sample: InSample | None = None

    @property
    def perturbs(self):
        """Whether the perturbation is another than the identity."""
        parameters = learnable(self.perturbation)
        return any(not torch.equal(p, at) for p, at in zip(parameters, self.identity, strict=True))

    def temperature_in_sample(self):
        """T of least smoothed loss of the samples, as far as natural steps told it of these parameters; else None."""
        known = self.in_sample
        if known is None or not torch.equal(known.parameters, parameters_of(self.perturbation)):
            return None
        return known.temperature
