"""The natural-gradient step, regularised by evidence: where a quadratic model of the loss and a Gaussian prior meet.

Each block of parameters (one family) has a prior around the identity, whose precision is the one that makes the
gradients most probable. A block that the data don't speak for is held at the identity; one that they do is hardly held
at all.
"""

from dataclasses import dataclass

import torch

ITERATIONS = 30
SETTLED = 0.02
_STRENGTH_LIMITS = (1e-10, 1e12)
# What is added, one after another, to the unit diagonal of a precision that rounding errors leave singular.
_JITTERS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)


@dataclass
class Step:
    """A step and what speaks for it.

    Attributes
    ----------
    direction : torch.Tensor of shape (n_parameters,), float64
        From the present parameters to the mode of the posterior.
    gain : float
        By how much the step should lower the penalised loss, summed over samples, in nats.
    evidence : float
        Log Bayes factor of these parameters against the identity, in nats.
    precision : torch.Tensor of shape (n_parameters, n_parameters) or (n_parameters,), float64
        Of the prior, for the sum over samples; a vector is the diagonal of one that has no other entries.
    n_effective_parameters : float
        Number of parameters that the data determine, the others being held by the prior.
    n_effective : float
        Number of samples.
    """

    direction: torch.Tensor
    gain: float
    evidence: float
    precision: torch.Tensor
    n_effective_parameters: float
    n_effective: float

    def prior(self, displacement):
        """Penalty on the mean loss for parameters this far from the identity."""
        displacement = displacement.double()
        diagonal = self.precision.ndim == 1
        force = self.precision * displacement if diagonal else self.precision @ displacement
        return 0.5 * (displacement @ force).item() / self.n_effective


def natural_step(moments, displacement, prior_precisions, fitted=True):
    """Step to the mode of the posterior of the quadratic model that the moments of the gradients make.

    Parameters
    ----------
    moments : Moments
        Of the gradients at the present parameters, log T last.
    displacement : torch.Tensor of shape (n_parameters,)
        The present parameters minus the identity.
    prior_precisions : list of torch.Tensor
        One quadratic form for each block of parameters, its prior precision up to a factor, in order; see
        `prior_precision_of`.
    fitted : bool
        Whether the prior is the most probable one, or the weak one that the search for it starts from.

    References
    ----------
    S. Amari, "Natural Gradient Works Efficiently in Learning", Neural Computation, 1998. D. MacKay, "Bayesian
    Interpolation", Neural Computation, 1992, for the precision of the prior.
    """
    slope, curvature = _without_temperature(moments)
    n = moments.n_effective
    displacement = displacement.double().to(slope.device)
    linear_term = n * (curvature @ displacement - slope)
    blocks = list(torch.arange(len(displacement)).split(list(map(len, prior_precisions))))
    prior, posterior, covariance, mode = _fit_precisions(
        n * curvature, linear_term, prior_precisions, blocks, ITERATIONS if fitted else 1
    )
    direction = mode - displacement
    evidence = 0.5 * (linear_term @ mode + _log_determinant(prior) - _log_determinant(posterior)).item()
    gain = 0.5 * (direction @ posterior @ direction).item()
    n_effective_parameters = len(displacement) - (covariance * prior).sum().item()
    return Step(direction, gain, evidence, prior, n_effective_parameters, n)


def _without_temperature(moments):
    """Slope and curvature of the mean loss with T at its optimum for any parameters."""
    own, cross, last = moments.second[:-1, :-1], moments.second[:-1, -1], moments.second[-1, -1]
    if last <= 0:
        return moments.first[:-1], own
    slope = moments.first[:-1] - cross * (moments.first[-1] / last)
    return slope, _without_negative_part(own - cross.outer(cross) / last, own.diagonal())


def _without_negative_part(curvature, sizes):
    """A curvature with its negative eigenvalues, which are rounding errors of parameters of these sizes, at 0.

    A perturbation may do what T does, such as a gain before a network without offsets: nothing else is left of it.
    """
    if not curvature.isfinite().all():
        raise infinite_curvature(curvature)
    # In units in which no parameter's rounding errors hide what another one tells.
    scale = torch.where(sizes > 0, torch.exp2((sizes.log2() / 2).round()), 1.0)
    values, vectors = torch.linalg.eigh(curvature / scale[:, None] / scale)
    if (values >= 0).all():
        return curvature
    return (vectors * values.clamp_min(0)) @ vectors.T * scale[:, None] * scale


def _fit_precisions(curvature, linear_term, prior_precisions, blocks, n_iterations):
    """MacKay's fixed point: prior and posterior precisions, the posterior's covariance and its mode."""
    sizes = [form.diagonal().sum() for form in prior_precisions]
    strengths = [
        first_strength(curvature.diagonal()[block].sum(), size) for block, size in zip(blocks, sizes, strict=True)
    ]
    for _ in range(n_iterations):
        prior = torch.block_diag(*[p * form for p, form in zip(strengths, prior_precisions, strict=True)])
        posterior = curvature + prior
        covariance = _inverse(posterior)
        mode = covariance @ linear_term
        before = strengths
        strengths = [
            _strength(form, mode[block], covariance[block][:, block], p)
            for form, block, p in zip(prior_precisions, blocks, strengths, strict=True)
        ]
        if all(abs(new / old - 1) < SETTLED for new, old in zip(strengths, before, strict=True)):
            break
    return prior, posterior, covariance, mode


def _inverse(precision):
    """Inverse of a positive definite matrix, whose diagonal powers of two bring near 1 first."""
    scale = torch.exp2(-(precision.diagonal().log2() / 2).round())
    scaled = precision * scale[:, None] * scale
    for jitter in _JITTERS:
        factor, failed = torch.linalg.cholesky_ex(scaled + jitter * torch.eye(len(scaled)).to(scaled))
        if not failed:
            return torch.cholesky_inverse(factor) * scale[:, None] * scale
    raise infinite_curvature(precision)


def infinite_curvature(curvature):
    """The error of gradients that are too large to compute with."""
    return ValueError(
        "X must hold inputs, and the network yield logits, small enough for finite gradients of a perturbation "
        f"in the network's dtype; got a curvature with entries up to {curvature.abs().max().item():g}"
    )


def first_strength(curvature, size):
    """Where the search for the factor of a block's prior precision starts, from the traces of both."""
    return 0.1 * (curvature / size).item() + _STRENGTH_LIMITS[0]


def _strength(prior_precision, mode, covariance, strength):
    """Factor of a block's prior precision: well-determined parameters over squared distance from the identity."""
    n_effective_parameters = len(mode) - strength * (covariance * prior_precision).sum().item()
    return strength_of(n_effective_parameters, (mode @ prior_precision @ mode).item())


def strength_of(n_effective_parameters, distance):
    """That factor, within bounds."""
    low, high = _STRENGTH_LIMITS
    return min(max(max(n_effective_parameters, 1e-3) / max(distance, 1e-300), low), high)


def _log_determinant(matrix):
    return torch.linalg.slogdet(matrix).logabsdet
