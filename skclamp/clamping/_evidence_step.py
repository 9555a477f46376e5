"""The natural-gradient step (Amari, 1998), regularised by evidence: a quadratic model meets a Gaussian prior.

One pass over the network gives the gradient of each sample's loss with respect to its input. Contracted with the
perturbation alone, it gives that with respect to the parameters of *any* perturbation that agrees with the one the
network saw: at the identity, of all families at once. The second moments of these gradients, a row for each sample, are
the model's curvature (the empirical Fisher information). Of many parameters and few samples the inner products of the
rows are the smaller matrix, and make the step.

Each block of parameters (one family) has a prior around the identity, whose precision is the one that makes the
gradients most probable (D. MacKay, "Bayesian Interpolation", Neural Computation, 1992).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.func import functional_call, vmap
from torch.nn import functional as F

from .._judging.paired import n_effective
from .._solvers.newton import factored
from .._utils.arrays import absent_among, at_least_single, without
from ..distributed import ALONE, Shard
from ..losses import focal_of_margin, margin_of
from ..modules._norm_layers import features_clamped
from ..perturbations._families import n_learnable
from ..perturbations._norm import norm_part

# Gradients that are kept, 512 MB in float32; and rows and columns of the matrix that a step decomposes, in float64.
MAX_ENTRIES = 2**27
MAX_ORDER = 5000
# Of noise, that tell the prior precision of a parameter of tables; and in all, where only its diagonal is asked for.
_ROWS_PER_PARAMETER = 8
_MOST_ROWS = 4096
# 32 MB in float64.
_BLOCK = 2**22
_PRECISION_JITTER = 1e-3
# The search for the factor of a prior precision, and between which bounds that is.
_ITERATIONS = 30
_SETTLED = 0.02
_STRENGTH_LIMITS = (1e-10, 1e12)


def most_samples(n_parameters):
    """Number of samples whose gradients a step of so many parameters takes, where they are kept."""
    most = MAX_ENTRIES // max(1, n_parameters)
    return most if n_parameters <= MAX_ORDER else min(most, MAX_ORDER)


class Gradients(NamedTuple):
    """Gradients of the losses of the samples of all processes; each tensor has a row for each sample."""

    # Of the margin, float32; what a row is to be multiplied by for the gradient of the loss.
    rows: torch.Tensor
    factor: torch.Tensor
    # Of the loss with respect to log T.
    temperature: torch.Tensor
    losses: torch.Tensor
    weight: torch.Tensor

    @property
    def n_effective(self):
        """Number of equally weighted samples that would tell as much."""
        return n_effective(self.weight).item()

    @property
    def loss(self):
        """The weighted mean loss."""
        return (self.losses @ self.weight / self.weight.sum()).item()

    def followed_by(self, other):
        """Gradients of one perturbation followed by another."""
        return other if not self.rows.shape[1] else self._replace(rows=torch.cat([self.rows, other.rows], 1))


def products_of(gradients) -> tuple[np.ndarray, np.ndarray]:
    """Gradients with parameters of equal size or, where these are more than samples, their products; and weights.

    Weights are square roots, and T's direction is projected out.
    """
    n_columns = gradients.rows.shape[1]
    size = gradients.weight * gradients.factor**2
    step = max(1, _BLOCK // n_columns)
    pieces = zip(gradients.rows.split(step), size.split(step), strict=True)
    squares = sum(rows.double().square().T @ share for rows, share in pieces)
    design = Design(gradients, torch.where(squares > 0, squares, 1.0) * n_columns / gradients.weight.sum())
    return (design.gram if design.dual else design.block()).cpu().numpy(), design.root.cpu().numpy()


class Pass(NamedTuple):
    """Logits and gradients of some samples, from one pass over the network."""

    # Those of the perturbed inputs.
    logits: torch.Tensor
    # Of the perturbation, and of each extension alone.
    own: Gradients
    added: list[Gradients]


def gradients_of(problem, perturbation, temperature, gamma=0.0, extensions=()):
    """The `Pass` of a focal loss at the present parameters: the samples go through the network and back.

    The extensions are perturbations at the identity, each of which could follow `perturbation`.
    """
    norm = norm_part(perturbation)
    device = problem.backbone.device
    shard = problem.shard
    done = 0
    sizes = [n_learnable(part) for part in (norm or perturbation, *extensions)]
    dtype = torch.promote_types(problem.backbone.dtype or torch.float32, torch.float32)
    gradients = torch.zeros(shard.size, sum(sizes), dtype=dtype, device=device)
    logits = problem.logits.new_zeros(shard.size, *problem.logits.shape[1:], device=device)
    margins, slopes = sides = torch.zeros(2, shard.size, dtype=torch.float64, device=device)
    for x, others, y_encoded, _ in problem.labelled_batches():
        rows = slice(done, done + len(y_encoded))
        done = rows.stop
        with torch.no_grad():
            # Detached anew: the identity returns the batch itself, which must not start to record.
            perturbed: Any = None if x is None else perturbation(x).to(x.dtype).detach()
        if norm is None or extensions:
            perturbed.requires_grad_()
        by_features: Any = (
            None if norm is None else torch.zeros(len(y_encoded), sizes[0], device=device, requires_grad=True)
        )
        with torch.enable_grad(), features_clamped(problem.backbone.module, norm, by_features):
            output = problem.backbone.module(perturbed, **others)
            precise = output.detach().to(at_least_single(output))
            scaled = (precise / temperature).requires_grad_()
            margin = margin_of(scaled, y_encoded)
            (slope,) = torch.autograd.grad(margin.sum(), scaled)
            # The only class that a sample has is certain, and what log T does to a logit of -inf is nothing.
            absent = absent_among(scaled.detach())
            slope = slope if absent is None else slope.masked_fill(absent | slope.isnan(), 0.0)
            output.backward((slope / temperature).to(output.dtype))
        logits[rows] = output.detach()
        margins[rows] = margin.detach()
        slopes[rows] = -(slope * without(scaled.detach(), absent)).flatten(1).sum(1)
        parts = [per_sample_gradients(perturbation, x, perturbed.grad) if norm is None else by_features.grad]
        parts += [per_sample_gradients(extension, perturbed.detach(), perturbed.grad) for extension in extensions]
        gradients[rows] = torch.cat(parts, 1)
    problem.passes.forward += done
    problem.passes.backward += done
    # To where the logits are treated, in few pieces.
    logits, sides, gradients = (part.to(problem.logits.device) for part in (logits, sides, gradients))
    logits, margins, slopes, gradients = map(shard.all_gather, (logits, *sides, gradients))
    margins.requires_grad_()
    with torch.enable_grad():
        losses = focal_of_margin(margins, gamma)
        (factor,) = torch.autograd.grad(losses.sum(), margins)
    of_loss = factor, factor * slopes, losses.detach().double(), problem.weight.to(logits.device)
    own, *added = (Gradients(part.contiguous(), *of_loss) for part in gradients.split(sizes, 1))
    return Pass(logits, own, added)


def per_sample_gradients(perturbation, x, cotangent):
    """Gradient of each sample's loss with respect to a perturbation's parameters, shape (n_samples, n_parameters).

    The perturbation treats each sample alike and by itself; `cotangent` holds the gradients of each sample's loss with
    respect to its perturbed input. Columns are in the order of ``parameters_to_vector``.
    """
    # A copy of the parameters for each sample, so that one backward pass gives each sample's own gradient: faster than
    # a map of the backward pass where parameters are few.
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
            cotangent.to(perturbed.dtype).contiguous(),
            allow_unused=True,
            materialize_grads=True,
        )
    # Where a process has none of the samples, -1 could be any number.
    return torch.cat([part.reshape(len(x), math.prod(part.shape[1:])) for part in per_sample], 1)


def prior_precision_of(perturbation, x, generator, shard=None, *, diagonal=False):
    """Prior precision of a perturbation's parameters up to a factor: mean squared change of its output per entry.

    The perturbation is at the identity; `x` holds some inputs of this process, from the first on, which `shard` tells
    from those of all. The generator's white noise has gradients with this form for their second moments. The `diagonal`
    alone is a vector.
    """
    shard = shard or Shard.of(ALONE, len(x))
    n_parameters = n_learnable(perturbation)
    n_rows = _ROWS_PER_PARAMETER * n_parameters
    if diagonal:
        n_rows = min(n_rows, _MOST_ROWS)
    # In tables each sample has but one entry for each parameter.
    n_draws = math.ceil(n_rows / shard.total) if x.ndim == 2 else 1
    n_at_a_time = max(1, _BLOCK // max(n_parameters, x[0].numel()))
    total = 0.0
    for _ in range(n_draws):
        noise = torch.randn((shard.total, *x.shape[1:]), generator=generator, dtype=torch.float32)
        own = noise[shard.own].to(x)
        # A process without samples has zeros to add.
        for start in range(0, max(1, shard.size), n_at_a_time):
            rows = slice(start, min(start + n_at_a_time, shard.size))
            part = per_sample_gradients(perturbation, x[rows], own[rows]).double()
            total = total + (part.square().sum(0) if diagonal else part.T @ part)
    precision = shard.ranks.sum(total) / (n_draws * noise.numel())
    # A size for directions that noise on few samples would leave without any.
    sizes = precision if diagonal else precision.diagonal()
    sizes.mul_(1 + _PRECISION_JITTER).add_(_PRECISION_JITTER * sizes.mean())
    return precision.cpu()


def _first_strength(curvature, size):
    """Return where the search for the factor of a block's prior precision starts, from the traces of both."""
    return 0.1 * (curvature / size).item() + _STRENGTH_LIMITS[0]


def _strength(n_effective_parameters, distance):
    """Return that factor: well-determined parameters over squared distance from the identity, within bounds."""
    return float(np.clip(max(n_effective_parameters, 1e-3) / max(distance, 1e-300), *_STRENGTH_LIMITS))


@dataclass
class Step:
    """A step and what speaks for it."""

    # From the present parameters to the mode of the posterior, of shape (n_parameters,).
    direction: torch.Tensor
    # By how much the step should lower the penalised loss, summed over samples, in nats.
    gain: float
    # Log Bayes factor of these parameters against the identity, in nats.
    evidence: float
    # Of the prior, for the sum over samples; a vector is the diagonal of one that has no other entries.
    precision: torch.Tensor
    # Number of samples.
    n_effective: float

    def prior(self, displacement):
        """Penalty on the mean loss for parameters this far from the identity."""
        displacement = displacement.to(self.precision)
        force = self.precision * displacement if self.precision.ndim == 1 else self.precision @ displacement
        return 0.5 * (displacement @ force).item() / self.n_effective


def natural_step(gradients, displacement, prior_precisions, *, penalty=0.0, fitted=True):
    """Return the step to the mode of the posterior of the quadratic model that the moments of the gradients make.

    The gradients are those at the present parameters, which are so far from the identity as `displacement` says; those
    of an extension, which come behind, are there. Each block of parameters has a quadratic form, its prior precision up
    to a factor, see `prior_precision_of`; one vector alone is a diagonal, and the step that of `_wide_step`. The
    penalty, on the norm of the displacement, has a slope and a curvature away from the identity. The prior is the most
    probable one where `fitted`, else the weak one that the search for it starts from.
    """
    prior_precisions = [form.to(gradients.rows.device) for form in prior_precisions]
    if prior_precisions[0].ndim == 1:
        return _wide_step(gradients, displacement, prior_precisions[0], penalty)
    n = gradients.n_effective
    n_own = len(displacement)
    design = Design(gradients, torch.ones_like(gradients.rows[0]), dual=False)
    slope = design.transposed_times(design.slope)
    curvature = design.gram
    displacement = displacement.to(slope)
    if penalty and displacement.any():
        norm = displacement.norm().item()
        slope[:n_own] += n * penalty * displacement / norm
        curvature.diagonal()[:n_own] += n * penalty / norm
    displacement = F.pad(displacement, (0, len(slope) - n_own))
    linear_term = curvature @ displacement - slope
    n_iterations = _ITERATIONS if fitted else 1
    prior, posterior, mode = _fit_strengths(curvature, linear_term, prior_precisions, n_iterations)
    direction = mode - displacement
    log_determinants = [torch.linalg.slogdet(precision).logabsdet for precision in (prior, posterior)]
    evidence = 0.5 * (linear_term @ mode + log_determinants[0] - log_determinants[1]).item()
    gain = 0.5 * (direction @ posterior @ direction).item()
    return Step(direction, gain, evidence, prior, n)


def _fit_strengths(curvature, linear_term, prior_precisions, n_iterations):
    """MacKay's fixed point: prior and posterior precisions, and the posterior's mode."""
    blocks = torch.arange(len(linear_term)).split([len(form) for form in prior_precisions])
    strengths = [
        _first_strength(curvature.diagonal()[block].sum(), form.diagonal().sum())
        for block, form in zip(blocks, prior_precisions, strict=True)
    ]
    for _ in range(n_iterations):
        before = strengths
        strengths = []
        prior = torch.block_diag(*[p * form for p, form in zip(before, prior_precisions, strict=True)])
        posterior = curvature + prior
        scale, factor = factored(posterior[None])
        covariance = torch.cholesky_inverse(factor[0]) * scale.T * scale
        mode = covariance @ linear_term
        for form, block, p in zip(prior_precisions, blocks, before, strict=True):
            n_effective_parameters = len(block) - p * (covariance[block][:, block] * form).sum().item()
            strengths.append(_strength(n_effective_parameters, (mode[block] @ form @ mode[block]).item()))
        if all(abs(new / old - 1) < _SETTLED for new, old in zip(strengths, before, strict=True)):
            break
    return prior, posterior, mode


def _wide_step(gradients, displacement, prior_precision, penalty):
    """Return the step of a single block with a diagonal prior, a ridge regression on whitened gradients.

    One eigendecomposition, of their smaller Gram matrix, tells the strength of the prior, the evidence and the
    direction. A penalty, of a prior whose diagonal is all ones, is away from the identity as good as a prior.
    """
    design = Design(gradients, prior_precision)
    displacement = F.pad(displacement, (0, len(prior_precision) - len(displacement)))
    norm = displacement.norm().item()
    extra = penalty * gradients.n_effective / norm if norm else 0.0
    displacement = design.width * displacement.double().to(design.width.device)
    target = design.times(displacement) - design.slope
    values, vectors = torch.linalg.eigh(design.gram)
    # Without those that are rounding errors.
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    values = values[kept]
    vectors = vectors[:, kept]
    # Along the eigenvectors of the curvature.
    coordinates = values.sqrt() * (target @ vectors) if design.dual else design.transposed_times(target) @ vectors
    # In the units of the parameters.
    trace = sum((design.block(rows=piece) * design.width).square().sum() for piece in design.pieces(0))
    strength = _first_strength(trace, prior_precision.sum())
    for _ in range(_ITERATIONS):
        before = strength + extra
        n_effective_parameters = (values / (values + before)).sum().item()
        strength = _strength(n_effective_parameters, (coordinates / (values + before)).square().sum().item())
        if abs((strength + extra) / before - 1) < _SETTLED:
            break
    mode = coordinates / (values + before)
    evidence = 0.5 * (coordinates @ mode - torch.log1p(values / before).sum()).item()
    there = design.transposed_times(vectors @ (mode / values.sqrt())) if design.dual else vectors @ mode
    way = there - displacement
    gain = 0.5 * (design.times(way).square().sum() + before * way.square().sum()).item()
    precision = before * prior_precision
    return Step(way / design.width, gain, evidence, precision, gradients.n_effective)


class Design:
    """Gradients as a regression has its inputs: weighted, log T projected out, whitened by the prior.

    Their inner products are the curvature of the loss summed over samples, with T at its optimum for any parameters.
    """

    def __init__(self, gradients, prior_precision, dual=None):
        weight = gradients.weight
        self.root = root = (weight * (gradients.n_effective / weight.sum())).sqrt()
        slope = root * gradients.temperature
        self.rows = gradients.rows
        self.dual = len(self.rows) <= self.rows.shape[1] if dual is None else dual
        self.width = prior_precision.sqrt()
        self.scale = root * gradients.factor
        size = slope.norm()
        self.along = slope / size if size > 0 else slope
        self.slope = root - self.along * (self.along @ root)
        self.projected = torch.zeros_like(self.width)
        self.projected = self.transposed_times(self.along)
        # Inner products of the rows, or of the columns, where these are fewer.
        self.gram: Any = 0.0
        for piece in self.pieces(1 if self.dual else 0):
            block = self.block(columns=piece) if self.dual else self.block(rows=piece).T
            self.gram = self.gram + block @ block.T
        if not self.gram.isfinite().all():
            raise ValueError(
                "X must hold inputs, and the network yield logits, small enough for finite gradients of a perturbation "
                f"in the network's dtype; got a curvature with entries up to {self.gram.abs().max().item():g}"
            )

    def block(self, rows=slice(None), columns=slice(None)):
        """Some rows and columns of it."""
        own = self.rows[rows, columns].double() * self.scale[rows, None] / self.width[columns]
        return own.addr_(self.along[rows], self.projected[columns], alpha=-1)

    def pieces(self, axis):
        """Return slices of the rows or columns, such that a block of these and all of the others is small."""
        size = self.rows.shape[axis]
        others = self.rows.shape[1 - axis]
        step = max(1, _BLOCK // max(1, others))
        return [slice(start, start + step) for start in range(0, size, step)]

    def times(self, vector):
        """Product with a vector."""
        return torch.cat([self.block(rows=piece) @ vector for piece in self.pieces(0)])

    def transposed_times(self, vector):
        """Product of the transpose with a vector."""
        return sum(vector[piece] @ self.block(rows=piece) for piece in self.pieces(0))
