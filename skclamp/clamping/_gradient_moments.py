"""Per-sample gradients of a perturbation: what its parameters and log T say of each sample's loss.

One pass over the network gives the gradient of each sample's loss with respect to its input. Contracted with the
perturbation alone, which is cheap, it gives the gradient of each sample's loss with respect to the parameters of *any*
perturbation that agrees with the one the network saw: at the identity, with those of all families at once.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.func import functional_call, vmap
from torch.nn.utils import parameters_to_vector

from .._utils.arrays import absent_among, without
from ..distributed import ALONE, Shard
from ..losses import focal_of_margin, margin_of
from ..perturbations._families import learnable, n_learnable

_PRECISION_JITTER = 1e-3
# Of noise, that tell the prior precision of a parameter of tables; and in all, where only its diagonal is asked for.
_ROWS_PER_PARAMETER, _MOST_ROWS = 8, 4096
# That are measured at a time: 32 MB in float64.
_MOST_GRADIENTS = 2**22


@dataclass
class Moments:
    """Sums of gradients over samples.

    Attributes
    ----------
    weight, weight_squared : float
        Sums of the sample weights and of their squares.
    first : torch.Tensor of shape (n_parameters + 1,), float64
        Weighted mean gradient; the last entry is that of log T.
    second : torch.Tensor of shape (n_parameters + 1, n_parameters + 1), float64
        Weighted mean of their outer products: the empirical Fisher information.
    loss : float, default=0.0
        Weighted mean loss, where it was asked for.
    """

    weight: float
    weight_squared: float
    first: torch.Tensor
    second: torch.Tensor
    loss: float = 0.0

    @classmethod
    def of(cls, gradients, weight, losses=None):
        """From the gradients, and perhaps the losses, of some samples."""
        gradients = gradients.double()
        total = weight.sum().item()
        weighted = gradients * weight[:, None]
        loss = 0.0 if losses is None else (losses.double() @ weight).item() / total
        return cls(total, (weight**2).sum().item(), weighted.sum(0) / total, weighted.T @ gradients / total, loss)

    def vector(self):
        """The means as one vector."""
        loss = self.first.new_tensor([self.loss])
        return torch.cat([loss, self.first, self.second.flatten()])

    @classmethod
    def of_vector(cls, vector, weight, weight_squared):
        """From the means as one vector, and the sums of weights."""
        # Of length 1 + k + k^2.
        k = math.isqrt(len(vector) - 1)
        return cls(weight, weight_squared, vector[1 : k + 1], vector[k + 1 :].view(k, k), vector[0].item())

    def __add__(self, other):
        total = self.weight + other.weight
        if not total:
            return self
        a, b = self.weight / total, other.weight / total
        return Moments(
            total,
            self.weight_squared + other.weight_squared,
            a * self.first + b * other.first,
            a * self.second + b * other.second,
            a * self.loss + b * other.loss,
        )

    @classmethod
    def none(cls, n_parameters, device):
        """Of no samples: what others can be added to."""
        first = torch.zeros(n_parameters, dtype=torch.float64, device=device)
        return cls(0.0, 0.0, first, torch.outer(first, first))

    @property
    def n_effective(self):
        """Number of equally weighted samples that would tell as much."""
        return self.weight**2 / self.weight_squared


@dataclass
class GradientMoments:
    """What one pass over the network says of some samples.

    The logits are those of the perturbed inputs, 0 where a whole batch is without weight. The moments are, for each
    gamma, those of the perturbation's own parameters, then of these with each extension's.
    """

    logits: torch.Tensor
    moments: list


def gradient_moments(problem, perturbation, temperature, gammas, extensions=()):
    """Moments of the gradients of a perturbation alone, and followed by each of some extensions, from one pass.

    Focal losses depend on the margin of the label alone, so that their gradients, one set a gamma, are multiples of
    each other. The extensions are perturbations at the identity, each of which could follow `perturbation`.
    """
    rows, logits = 0, torch.zeros_like(problem.logits)
    n_own, *n_added = (n_learnable(part) for part in (perturbation, *extensions))
    sums = [[Moments.none(n_own + n + 1, logits.device) for n in (0, *n_added)] for _ in gammas]
    for x, others, y_encoded, weight in problem.labelled_batches():
        if weight.any():
            part = pass_back(problem, perturbation, temperature, x, others, y_encoded)
            logits[rows : rows + len(x)] = part.logits
            own = per_sample_gradients(perturbation, x, part.cotangent)
            added = [own[:, :0], *(per_sample_gradients(each, part.perturbed, part.cotangent) for each in extensions)]
            gradients = [torch.cat([own, more, part.temperature_gradient[:, None]], 1) for more in added]
            found = [_moments(part.margin, gradients, weight, gamma) for gamma in gammas]
            sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(sums, found, strict=True)]
        rows += len(x)
    return GradientMoments(logits, [_of_all(part, problem.shard.ranks) for part in sums])


def _of_all(moments, ranks):
    """Moments of the samples of all processes, in one exchange."""
    if ranks is ALONE:
        return moments
    parts = [part.weight * part.vector() for part in moments]
    weights = [torch.tensor([part.weight, part.weight_squared], dtype=torch.float64) for part in moments]
    sums = ranks.sum(torch.cat([*parts, *(pair.to(parts[0]) for pair in weights)]))
    *parts, weights = sums.split([*map(len, parts), 2 * len(moments)])
    pairs = weights.view(-1, 2).tolist()
    return [Moments.of_vector(part / pair[0], *pair) for part, pair in zip(parts, pairs, strict=True)]


class _Pass(NamedTuple):
    """A batch that went through the network and back: gradients of each sample's margin, by inputs and by log T."""

    perturbed: torch.Tensor
    logits: torch.Tensor
    margin: torch.Tensor
    cotangent: torch.Tensor
    temperature_gradient: torch.Tensor


def pass_back(problem, seen, temperature, x, others, y_encoded):
    """Take a batch through the network and back."""
    with torch.no_grad():
        perturbed = seen(x).to(x.dtype)
    with torch.enable_grad():
        # Detached anew: the identity returns the batch itself, which must not start to record.
        perturbed = perturbed.detach().requires_grad_()
        logits = problem.backbone.module(perturbed, **others)
        scaled = (logits.detach().to(torch.promote_types(logits.dtype, torch.float32)) / temperature).requires_grad_()
        margin = margin_of(scaled, y_encoded)
        (slope,) = torch.autograd.grad(margin.sum(), scaled)
        # The only class that a sample has is certain, and what log T does to a logit of -inf is nothing.
        absent = absent_among(scaled.detach())
        slope = slope if absent is None else slope.masked_fill(absent | slope.isnan(), 0.0)
        (cotangent,) = torch.autograd.grad(logits, perturbed, (slope / temperature).to(logits.dtype))
    problem.passes.forward += len(x)
    problem.passes.backward += len(x)
    return _Pass(
        perturbed.detach(),
        logits.detach(),
        margin.detach(),
        cotangent.contiguous(),
        -(slope * without(scaled.detach(), absent)).sum(1),
    )


def _moments(margin, gradients, weight, gamma):
    """Of one focal loss, from the gradients of the margin."""
    losses, factor = losses_and_factor(margin, gamma)
    return [Moments.of(factor[:, None] * part, weight, losses) for part in gradients]


def losses_and_factor(margin, gamma):
    """Focal loss of each sample, and what its margin's gradient is to be multiplied by for that of the loss."""
    margin = margin.clone().requires_grad_()
    with torch.enable_grad():
        losses = focal_of_margin(margin, gamma)
        (factor,) = torch.autograd.grad(losses.sum(), margin)
    return losses.detach(), factor


def per_sample_gradients(perturbation, x, cotangent):
    """Gradient of each sample's loss with respect to a perturbation's parameters, shape (n_samples, n_parameters).

    The perturbation treats each sample alike and by itself; `cotangent` holds the gradients of each sample's loss with
    respect to its perturbed input. Columns are in the order of ``parameters_to_vector``.
    """
    # A copy of the parameters for each sample, so that one backward pass gives each sample's own gradient.
    parameters = {
        name: p.detach().expand(len(x), *p.shape).clone().requires_grad_()
        for name, p in perturbation.named_parameters()
        if p.requires_grad
    }
    if not parameters:
        return x.new_empty(len(x), 0)

    def move(parameters, x):
        return functional_call(perturbation, parameters, (x.unsqueeze(0),)).squeeze(0)

    with torch.enable_grad():
        perturbed = vmap(move)(parameters, x)
        per_sample = torch.autograd.grad(
            perturbed,
            list(parameters.values()),
            cotangent.to(perturbed.dtype),
            allow_unused=True,
            materialize_grads=True,
        )
    # Where a process has none of the samples, -1 could be any number.
    return torch.cat([part.reshape(len(x), math.prod(part.shape[1:])) for part in per_sample], 1)


def prior_precision_of(perturbation, x, generator, shard=None):
    """Prior precision of a perturbation's parameters up to a factor: mean squared change of its output per entry.

    The perturbation is at the identity; `x` holds some inputs of this process, from the first on, which `shard` tells
    from those of all. The generator's white noise has gradients with this form for their second moments.
    """
    n_rows = _ROWS_PER_PARAMETER * n_learnable(perturbation)
    prior_precision = _mean_of_noise(lambda part: part.T @ part, n_rows, perturbation, x, generator, shard)
    _steady(prior_precision.diagonal())
    return prior_precision


def prior_diagonal_of(perturbation, x, generator, shard=None):
    """The diagonal of a perturbation's prior precision alone; see `prior_precision_of`."""
    n_rows = min(_ROWS_PER_PARAMETER * n_learnable(perturbation), _MOST_ROWS)
    return _steady(_mean_of_noise(lambda part: part.square().sum(0), n_rows, perturbation, x, generator, shard))


def _mean_of_noise(second, n_rows, perturbation, x, generator, shard):
    """Second moments, as `second` sums them, of the gradients that some rows of noise at the output have."""
    shard = shard or Shard.of(ALONE, len(x))
    # In tables each sample has but one entry for each parameter.
    n_draws = math.ceil(n_rows / shard.total) if x.ndim == 2 else 1
    n_at_a_time = max(1, _MOST_GRADIENTS // n_learnable(perturbation))
    total = 0.0
    for _ in range(n_draws):
        noise = torch.randn((shard.total, *x.shape[1:]), generator=generator, dtype=torch.float32)
        own = noise[shard.start : shard.start + shard.size].to(x)
        # A process without samples has zeros to add.
        for start in range(0, max(1, shard.size), n_at_a_time):
            rows = slice(start, min(start + n_at_a_time, shard.size))
            total = total + second(per_sample_gradients(perturbation, x[rows], own[rows]).double())
    return shard.ranks.sum(total) / (n_draws * noise.numel())


def _steady(diagonal):
    """Give a size, in place, to directions that noise on few samples would leave without any."""
    return diagonal.mul_(1 + _PRECISION_JITTER).add_(_PRECISION_JITTER * diagonal.mean())


def parameters_of(perturbation):
    """A perturbation's learnable parameters as one vector."""
    return parameters_to_vector([p.detach() for p in learnable(perturbation)])
