"""The natural-gradient step, regularised by evidence: where a quadratic model of the loss and a Gaussian prior meet.

Each block of parameters (one family) has a prior around the identity, whose precision is the one that makes the scores
most probable. A block that the data don't speak for is held at the identity; one that they do is hardly held at all.
"""

from dataclasses import dataclass

import torch

_ITERATIONS = 30
_SETTLED = 0.02
_PRECISION_LIMITS = (1e-10, 1e12)
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
    precision : torch.Tensor of shape (n_parameters, n_parameters), float64
        Of the prior, for the sum over samples.
    freedom : float
        Number of parameters that the data determine, the others being held by the prior.
    n_effective : float
        Number of samples.
    """

    direction: torch.Tensor
    gain: float
    evidence: float
    precision: torch.Tensor
    freedom: float
    n_effective: float

    def prior(self, moved):
        """Penalty on the mean loss for parameters this far from the identity."""
        moved = moved.double()
        return 0.5 * (moved @ self.precision @ moved).item() / self.n_effective


def natural_step(moments, moved, metrics):
    """Step to the mode of the posterior of the quadratic model that the moments of the scores make.

    Parameters
    ----------
    moments : Moments
        Of the scores at the present parameters, log T last.
    moved : torch.Tensor of shape (n_parameters,)
        The present parameters minus the identity.
    metrics : list of torch.Tensor
        One quadratic form for each block of parameters, in order; see `perturbation_metric`.

    References
    ----------
    S. Amari, "Natural Gradient Works Efficiently in Learning", Neural Computation, 1998. D. MacKay, "Bayesian
    Interpolation", Neural Computation, 1992, for the precision of the prior.
    """
    slope, curvature = _without_temperature(moments)
    n = moments.n_effective
    moved = moved.double().to(slope.device)
    pull = n * (curvature @ moved - slope)
    blocks = list(torch.arange(len(moved)).split([len(metric) for metric in metrics]))
    prior, posterior, covariance, mode = _fit_precisions(n * curvature, pull, metrics, blocks)
    direction = mode - moved
    evidence = 0.5 * (pull @ mode + _log_determinant(prior) - _log_determinant(posterior)).item()
    gain = 0.5 * (direction @ posterior @ direction).item()
    freedom = len(moved) - (covariance * prior).sum().item()
    return Step(direction, gain, evidence, prior, freedom, n)


def _without_temperature(moments):
    """Slope and curvature of the mean loss with T at its optimum for any parameters."""
    own, cross, last = moments.second[:-1, :-1], moments.second[:-1, -1], moments.second[-1, -1]
    if last <= 0:
        return moments.first[:-1], own
    return moments.first[:-1] - cross * (moments.first[-1] / last), own - cross.outer(cross) / last


def _fit_precisions(curvature, pull, metrics, blocks):
    """MacKay's fixed point: prior and posterior precisions, the posterior's covariance and its mode."""
    sizes = [metric.diagonal().sum() for metric in metrics]
    precisions = [
        0.1 * (curvature.diagonal()[block].sum() / size).item() + _PRECISION_LIMITS[0]
        for block, size in zip(blocks, sizes, strict=True)
    ]
    for _ in range(_ITERATIONS):
        prior = torch.block_diag(*[p * metric for p, metric in zip(precisions, metrics, strict=True)])
        posterior = curvature + prior
        covariance = _inverse(posterior)
        mode = covariance @ pull
        before = precisions
        precisions = [
            _precision(metric, mode[block], covariance[block][:, block], p)
            for metric, block, p in zip(metrics, blocks, precisions, strict=True)
        ]
        if all(abs(new / old - 1) < _SETTLED for new, old in zip(precisions, before, strict=True)):
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
    raise ValueError(
        "X must hold inputs, and the network yield logits, small enough that the scores of a perturbation are finite "
        f"in the network's dtype; got a curvature with entries up to {precision.abs().max().item():g}"
    )


def _precision(metric, mode, covariance, precision):
    """Well-determined parameters of a block over its squared distance from the identity."""
    freedom = len(mode) - precision * (covariance * metric).sum().item()
    distance = (mode @ metric @ mode).item()
    low, high = _PRECISION_LIMITS
    return min(max(max(freedom, 1e-3) / max(distance, 1e-300), low), high)


def _log_determinant(matrix):
    return torch.linalg.slogdet(matrix).logabsdet
