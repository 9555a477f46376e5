"""Settings of a training, and the state that it starts from and leaves."""

from dataclasses import dataclass, field, fields

import torch
from skorch.history import History
from torch import nn
from torch.nn.utils import parameters_to_vector

from .._judging.verdict import Objection
from ..perturbations._families import learnable
from ._torch_training import TorchTraining


@dataclass(frozen=True)
class Settings:
    """Parameters of `skclamp.NeuralClampingCalibrator` that say what to learn and how; see there."""

    perturbation: str | nn.Module
    gamma: float
    penalty: float
    lr: str | float
    max_epochs: int
    training: str | TorchTraining
    # Whether a gain and an offset after each normalisation layer follow what else is learned.
    features: bool = False
    # Whether the result is judged on held-out samples, and whether training then stops as soon as the verdict is clear.
    for_guard: bool = False
    early_stopped: bool = False
    # Whether gradients of all the samples were looked at before, so that a fold looks for what they promise.
    looked: bool = False
    # Whether natural steps are made under a weak prior, whatever their evidence: something else speaks for them.
    weak_prior: bool = False

    @property
    def torch_training(self):
        """How a torch optimiser trains, where "auto" comes to one."""
        return TorchTraining() if isinstance(self.training, str) else self.training

    @classmethod
    def of(cls, calibrator, **varied):
        """The settings of one candidate: parameters of a calibrator, but for what is varied."""
        own = {field.name: getattr(calibrator, field.name) for field in fields(cls) if hasattr(calibrator, field.name)}
        return cls(**{**own, **varied})


@dataclass
class State:
    """Where training stands: what it starts from, and what it leaves."""

    perturbation: nn.Module
    identity: list
    temperature: float
    # Whether training takes natural-gradient steps, and whether these are made from the samples' own gradients, for a
    # single block of many parameters.
    natural: bool = False
    wide: bool = False
    # Perturbations at the identity that the natural gradient may append, by name, and their prior precisions once
    # measured; those of the perturbation's own blocks; see `prior_precision_of`.
    extensions: dict = field(default_factory=dict)
    prior_precisions: list = field(default_factory=list)
    history: History = field(default_factory=History)
    diverged: bool = False
    untried: dict[str, Objection] = field(default_factory=dict)

    def displacement_to(self, parameters):
        """Some parameters, as `parameters_of` has them, minus the identity."""
        return parameters - parameters_to_vector(self.identity) if self.identity else torch.empty(0)

    @property
    def perturbs(self):
        """Return whether the perturbation is another than the identity."""
        return bool(self.displacement_to(parameters_of(self.perturbation)).any())


def parameters_of(perturbation):
    """A perturbation's learnable parameters as one vector on the CPU."""
    parameters = [p.detach() for p in learnable(perturbation)]
    return parameters_to_vector(parameters).cpu() if parameters else torch.empty(0)


def identity_of(perturbation):
    """The learnable parameters of a perturbation that is the identity, on the CPU."""
    return [p.detach().clone().cpu() for p in learnable(perturbation)]
