"""Newton's method for several small convex functions at once: a row of parameters each."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

_MAX_STEPS = 50
_MAX_HALVINGS = 40
# What a step has to keep of what it promises, beside rounding.
_ENOUGH = 0.1
_ROUNDING = 1e-14
# A Newton decrement, twice what is still to be gained, that is small enough whatever the tolerance.
_CONVERGED = 1e-9
# What is added, one after another, to the unit diagonal of a Hessian that rounding errors leave singular.
_JITTERS = 0.0, *(10.0**exponent for exponent in range(-14, 1, 2))
# Entries of several functions' terms at a time stay near the processor.
_CHUNK_SIZE = 2**17


def newton(objective, theta, tolerance):
    """Return where functions are least, after how many evaluations, and whether the search has converged.

    Parameters
    ----------
    objective : callable
        Takes parameters to values (n_rows,), gradients of their shape, and Hessians of the flat ones.
    theta : torch.Tensor of shape (n_rows, ...)
        Where the search starts.
    tolerance : float
        The largest Newton decrement that ends it.
    """
    point = objective(theta)
    n_evaluations = 1
    for _ in range(_MAX_STEPS):
        value, gradient, hessian = point
        scale, factor = factored(hessian)
        gradient = gradient.flatten(1)
        step = scale * torch.cholesky_solve((scale * gradient)[:, :, None], factor)[:, :, 0]
        decrement = (step * gradient).sum(1)
        step = step.view(theta.shape)
        if decrement.max() <= tolerance:
            break
        promised = decrement.clone()
        for _ in range(_MAX_HALVINGS):
            point = objective(theta - step)
            n_evaluations = n_evaluations + 1
            too_far = point[0] > value - _ENOUGH * promised + _ROUNDING * (1 + value)
            if not too_far.any():
                break
            step[too_far] /= 2
            promised[too_far] /= 2
        theta = theta - step
    return theta, n_evaluations, bool(decrement.max() <= _CONVERGED)


def factored(hessian):
    """Return powers of two that bring each Hessian's diagonal near 1, and lower Cholesky factors of what they make.

    Features of very different sizes are no reason for it to be singular, and the factor of any other is the same.
    """
    scale = torch.exp2(-torch.round(torch.log2(hessian.diagonal(dim1=1, dim2=2)) / 2))
    scaled = hessian * scale[:, :, None] * scale[:, None]
    for jitter in _JITTERS:
        scaled.diagonal(dim1=1, dim2=2).add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if not failed.any():
            return scale, factor
    raise ValueError("X must hold logits that float64 can multiply; the Hessian of the loss isn't positive definite")


def logistic(x, target, weight, centre, precision):
    """Return the objective of several logistic regressions for `newton`: log losses, drawn to a centre.

    Parameters
    ----------
    x : torch.Tensor of shape (n_rows, n_terms, n_samples)
    target, weight : torch.Tensor of shape (n_rows, n_samples), or what broadcasts to it
        Targets between 0 and 1, and non-negative weights.
    centre, precision : torch.Tensor of shape (n_rows, n_terms), or what broadcasts to it
        The penalty is ``precision / 2`` times the square of the distance to the centre.
    """

    def losses(theta):
        score = (theta[:, None] @ x)[:, 0]
        proba = torch.sigmoid(score)
        offset = theta - centre
        loss = (binary_cross_entropy_with_logits(score, target, reduction="none") * weight).sum(1)
        gradient = (x @ ((proba - target) * weight)[:, :, None])[:, :, 0]
        hessian = (x * (proba * (1 - proba) * weight)[:, None]) @ x.mT
        hessian.diagonal(dim1=1, dim2=2).add_(precision)
        return loss + (precision * offset.square()).sum(1) / 2, gradient + precision * offset, hessian

    return losses


def chunks_of(n_rows, n_samples):
    """Return numbers of rows, as many at a time as are fitted together."""
    return torch.arange(n_rows).split(max(1, _CHUNK_SIZE // n_samples))


def joined(fits):
    """Return the tensors of several fits as those of one, the most evaluations, and whether all converged."""
    *tensors, n_evaluations, converged = zip(*fits, strict=True)
    return *map(torch.cat, tensors), max(n_evaluations), all(converged)
