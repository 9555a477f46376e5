"""One calibration problem: a frozen network, its inputs and labels, and the logits at the identity.

What every strategy of clamping needs and shares: perturbations at their start, exact temperatures, gradients with
respect to the input, and the count of passes over the network.
"""

import copy
import logging
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ._backbone import NetworkBackbone
from ._data import ArrayInputs, DatasetInputs
from ._temperature import log_likelihoods, solve_temperature
from .distributed import Shard
from .losses import focal_loss
from .perturbations import PERTURBATIONS, learnable

logger = logging.getLogger("skclamp")

# What "auto" tries, by the number of axes of X; from three on there are channels and positions.
AUTO_FAMILIES = {2: ("channel", "affine"), 3: ("affine", "curve", "color", "filter", "grid")}
# Up to so many parameters, their empirical Fisher matrix is cheap next to a pass over any network.
MOST_PARAMETERS = 512
SAMPLES_A_PARAMETER = 5


@dataclass
class Passes:
    """How many samples went through the network, forward and back."""

    forward: int = 0
    backward: int = 0


@dataclass
class Problem:
    """The data of one fit, of which this process may hold a part only.

    Its length, its loss and positions in it are those of all the samples; `inputs`, `codes`, `weight` and `logits` are
    of this process's.

    Attributes
    ----------
    backbone : NetworkBackbone
        The frozen network.
    inputs : ArrayInputs or DatasetInputs
        The calibration samples.
    codes : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each label.
    weight : torch.Tensor of shape (n_samples,) or None
        Sample weights.
    logits : torch.Tensor of shape (n_samples, n_classes)
        The network's, at the identity.
    shard : Shard
        Which samples these are of those of all processes.
    passes : Passes
        Shared by all parts of a problem.
    exact : NetworkBackbone, default=None
        The network in its own precision, where `backbone` is a less exact copy.
    """

    backbone: NetworkBackbone
    inputs: ArrayInputs | DatasetInputs
    codes: torch.Tensor
    weight: torch.Tensor | None
    logits: torch.Tensor
    shard: Shard
    passes: Passes = field(default_factory=Passes)
    exact: NetworkBackbone | None = None

    def __len__(self):
        return self.shard.total

    def sample_weights(self):
        """Weights of all the samples, on the CPU; None where there are none."""
        return None if self.weight is None else self.shard.whole(self.weight).cpu()

    def counting(self):
        """Positions of the samples that count: those with weight."""
        weight = self.sample_weights()
        return torch.arange(len(self)) if weight is None else weight.nonzero()[:, 0]

    @property
    def n_weighted(self):
        """Number of samples that count."""
        return len(self) if self.weight is None else len(self.counting())

    def take(self, rows):
        """The same problem on some of its samples."""
        shard, rows = self.shard.take(torch.as_tensor(rows))
        on = rows.to(self.codes.device)
        weight = None if self.weight is None else self.weight[on]
        # A process that has none of them keeps an input for its shape.
        inputs = self.inputs.take(rows if len(rows) else [0])
        return replace(self, shard=shard, inputs=inputs, codes=self.codes[on], weight=weight, logits=self.logits[on])

    def weighted(self):
        """The same problem without samples of weight 0."""
        rows = self.counting()
        return self if len(rows) == len(self) else self.take(rows)

    def logits_under(self, perturbation):
        """Logits of the perturbed inputs."""
        if not self.shard.size:
            return self.logits
        self.passes.forward += self.shard.size
        return self.backbone.logits(self.inputs, perturbation)[0]

    def try_logits_under(self, perturbation):
        """Logits of the perturbed inputs; None where the network's arithmetic overflows on any process."""
        try:
            logits = self.logits_under(perturbation)
        except ValueError:
            logits = None
        n_overflows = self.shard.ranks.sum(torch.tensor(float(logits is None))).item()
        return None if n_overflows else logits

    def logits_of(self, rows, logits):
        """Those of some positions among logits of this process's samples."""
        _, rows = self.shard.take(rows)
        return logits[rows.to(logits.device)]

    def solve(self, logits=None, gamma=0.0, **options):
        """The exact temperature of some logits, and the loss there; of those at the identity by default."""
        logits = self.logits if logits is None else logits
        return solve_temperature(
            logits, self.codes, sample_weight=self.weight, gamma=gamma, shard=self.shard, **options
        )

    def log_likelihoods(self, temperature, logits=None):
        """Log-probability of each label, of all the samples."""
        own = log_likelihoods(self.logits if logits is None else logits, self.codes, temperature)
        return self.shard.whole(own)

    def losses(self, temperature, logits, gamma=0.0):
        """Focal loss of each sample, of all, times its weight over the mean weight."""
        losses = focal_loss(logits.double() / temperature, self.codes, gamma=gamma, reduction="none")
        losses, weight = self.shard.whole(losses), self.sample_weights()
        return losses if weight is None else losses * (weight / weight.mean()).to(losses.device)

    def cost(self):
        """Passes over the network, forward and backward: how often each sample went through it on average."""
        passes = torch.tensor([self.passes.forward, self.passes.backward], dtype=torch.float64)
        forward, backward = (self.shard.ranks.sum(passes) / len(self)).tolist()
        return {"forward": forward, "backward": backward}

    def targets(self):
        """Column indices and, where there are any, weights, on the CPU for a loader."""
        return tuple(part.cpu() for part in (self.codes, self.weight) if part is not None)

    def labelled_batches(self):
        """Yield (inputs, others, column indices, weights) in order, on the network's device; weights are float64.

        The inputs are those that are perturbed, and the others a dict of what the network takes with them by name.
        """
        if not self.shard.size:
            return
        done = 0
        for batch, _ in self.inputs.batches(self.backbone.batch_size):
            x, others = self.backbone.to_device(batch)
            rows = slice(done, done + len(x))
            done += len(x)
            codes = self.codes[rows]
            weight = torch.ones(len(x), dtype=torch.float64) if self.weight is None else self.weight[rows]
            yield x, others, codes, weight.to(codes.device)

    def in_full_precision(self):
        """The same problem on the network in its own precision, for what decides and what is reported."""
        return self if self.exact is None else replace(self, backbone=self.exact, exact=None)

    def input_gradients(self, temperature):
        """Yield each batch with the gradient of its samples' summed logits over T, times weight over mean weight."""
        mean_weight = 1.0 if self.weight is None else self.sample_weights().mean().item()
        for x, others, _, weight in self.labelled_batches():
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = self.backbone.module(x, **others)
                share = (weight / (mean_weight * temperature)).to(logits)
                (gradient,) = torch.autograd.grad(logits.sum(1) @ share, x)
            self.passes.forward += len(x)
            self.passes.backward += len(x)
            yield x.detach(), gradient

    def example(self, n_samples=32):
        """A few of this process's inputs that are perturbed, as the network takes them."""
        return self.example_batch(n_samples)[0]

    def example_batch(self, n_samples=32):
        """A few inputs, and what the network takes with them by name."""
        batch, _ = next(iter(self.inputs.batches(min(n_samples, len(self.inputs)))))
        return self.backbone.to_device(batch)


def check_differentiable(problem):
    """Raise unless the network's logits depend on its inputs through operations that have a gradient."""
    x, others = problem.example_batch()
    if not x.is_floating_point():
        raise TypeError(
            f"X must hold floating-point inputs: a perturbation can't be added to {x.dtype}. Give the network's "
            "embeddings, or use TemperatureScaling"
        )
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = problem.backbone.module(x, **others)
        # Distinct weights: the plain sum of logits may be constant by design.
        value = (logits * torch.arange(1, logits.shape[1] + 1, device=logits.device)).sum()
        gradient = torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None or not gradient.any():
        raise ValueError(
            "the network's output must depend on its input through differentiable operations: the gradient of the "
            f"logits with respect to X is {'missing' if gradient is None else 'zero'}. Use TemperatureScaling; or "
            "clamp the network as it was before it was quantised or optimised for inference"
        )


def make_perturbation(perturbation, problem):
    """A perturbation at the identity, in the place and precision of the network's inputs.

    Parameters
    ----------
    perturbation : str, torch.nn.Module or None
        A name of `PERTURBATIONS`, a module to copy, or nothing.
    problem : Problem
        Whose inputs it is for.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If the name is unknown, or a module isn't the identity, changes the shape or has no parameters.
    """
    x = problem.example()
    dtype = torch.promote_types(x.dtype, torch.float32)
    if perturbation is None:
        return nn.Sequential()
    if isinstance(perturbation, str):
        return PERTURBATIONS[perturbation](tuple(x.shape[1:])).to(x.device, dtype)
    made = copy.deepcopy(perturbation).to(x.device, dtype)
    _check_identity(made, x)
    return made


def candidates(problem):
    """The families that "auto" chooses from, at the identity, by name.

    A family competes where the shape of an input allows it and its parameters aren't too many for the samples.
    """
    x = problem.example(1)
    most = min(MOST_PARAMETERS, len(problem) // SAMPLES_A_PARAMETER)
    made = {}
    for name in AUTO_FAMILIES[min(x.ndim, 3)]:
        try:
            family = make_perturbation(name, problem)
        except ValueError:
            continue
        if sum(p.numel() for p in family.parameters()) <= most:
            made[name] = family
    if not made:
        logger.info(
            "temperature scaling: each family that suits inputs of shape %s has more than %d parameters, too many "
            "for %d samples",
            tuple(x.shape[1:]),
            most,
            len(problem),
        )
    return made


def _check_identity(perturbation, x):
    name = type(perturbation).__name__
    if not learnable(perturbation):
        raise ValueError(f"perturbation must have parameters to learn; got {name}, which has none")
    with torch.no_grad():
        moved = perturbation(x)
    if moved.shape != x.shape:
        raise ValueError(
            f"perturbation must keep the shape of its input {tuple(x.shape)}; {name} gave {tuple(moved.shape)}"
        )
    distance = (moved - x).abs().max().item()
    if not distance <= 1e-5 * max(1.0, x.abs().max().item()):
        raise ValueError(f"perturbation must start as the identity; {name} moves an input by {distance:.3g}")


def is_zeros(init):
    """Whether training starts at the identity."""
    return isinstance(init, str) and init == "zeros"


def check_init(perturbation, init):
    """Raise unless training of a perturbation can start there.

    Parameters
    ----------
    perturbation : torch.nn.Module
        At the identity.
    init : {"zeros", "normal", "gradient"} or array-like
        See `initialise`.

    Raises
    ------
    ValueError
        If an array isn't finite numbers of the parameter's shape, or "gradient" or an array is asked of a perturbation
        with several.
    """
    parameters = learnable(perturbation)
    if not parameters or (isinstance(init, str) and init in ("zeros", "normal")):
        return
    if len(parameters) > 1:
        what = repr(init) if isinstance(init, str) else "an array"
        raise ValueError(
            f"init must be 'zeros' or 'normal' for a perturbation with several parameters; got {what} for "
            f"{type(perturbation).__name__}"
        )
    if not isinstance(init, str):
        _as_value_of(parameters[0], init)


def initialise(perturbation, init, *, scale, generator, problem, temperature):
    """Move a perturbation from the identity to where training starts.

    Parameters
    ----------
    perturbation : torch.nn.Module
        At the identity; changed in place.
    init : {"zeros", "normal", "gradient"} or array-like
        Nothing; normal noise on every parameter; the mean gradient of the summed logits over T with respect to the
        only parameter; or the value of the only parameter, such as delta.
    scale : float
        Standard deviation of the noise.
    generator : torch.Generator
        Its source.
    problem : Problem
        Where the gradient comes from.
    temperature : float
        T of the gradient.
    """
    parameters = learnable(perturbation)
    if is_zeros(init) or not parameters:
        return
    with torch.no_grad():
        if isinstance(init, str) and init == "normal":
            for parameter in parameters:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.add_(noise.to(parameter), alpha=scale)
        elif isinstance(init, str):
            parameters[0].add_(mean_gradient(perturbation, problem, temperature))
        else:
            parameters[0].copy_(_as_value_of(parameters[0], init))


def _as_value_of(parameter, init):
    try:
        value = torch.as_tensor(init if isinstance(init, torch.Tensor) else np.asarray(init, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"init must be an array of numbers: {error}") from error
    if value.shape != parameter.shape:
        raise ValueError(
            f"init must have the shape of the perturbation's parameter, {tuple(parameter.shape)}; got "
            f"{tuple(value.shape)}"
        )
    value = value.to(parameter)
    if not value.isfinite().all():
        raise ValueError(f"init must be finite; got NaN or infinity in {value.dtype}")
    return value


def mean_gradient(perturbation, problem, temperature):
    """The thesis's "gradient" initialisation: the mean gradient of sum_k f_k / T with respect to the only parameter."""
    # In float64 the order of the samples is of no account, nor which process has them.
    exact = copy.deepcopy(perturbation).double()
    (parameter,) = learnable(exact)
    total = torch.zeros_like(parameter)
    for x, gradient in problem.input_gradients(temperature):
        with torch.enable_grad():
            moved = exact(x.double())
        total += torch.autograd.grad(moved, parameter, gradient.to(moved.dtype))[0]
    return problem.shard.ranks.sum(total) / len(problem)


def identity_of(perturbation):
    """A copy of a perturbation's learnable parameters, taken while it is the identity."""
    return [parameter.detach().clone() for parameter in learnable(perturbation)]
