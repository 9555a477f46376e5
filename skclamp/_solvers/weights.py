"""Solves for weights of several logits, none below 0: Newton's method, which leaves out inputs of negative weight.

Averaged views ask: at which w >= 0 has ``softmax(sum_j w_j z_j)`` the least mean negative log-likelihood (NLL)? It is
convex in w. A pass over the logits sums its gradient and its Hessian, the mean covariance of the inputs z_j under the
probabilities.

The optimum is one point on every processor. Inputs are measured in units of their spread over classes. Combinations of
them that spread by less than 1e-5 of one input (such as the difference of two that say the same, but for rounding) are
taken for constant, and a ridge draws what the data leave open there to 0: of all optimal weights, those of the least
norm. Everywhere else, that ridge is 0.
"""

import torch

from .._utils.arrays import absent_again, absent_among
from .._utils.warnings import note_unconverged
from .newton import newton
from .temperature_sums import rows_a_chunk

# Variance of a combination of inputs, of which each has 1, that is none: that of differences of 1e-5. Rounding leaves
# about 1e-12 where a network computes the same in float32, and 1e-15 in these sums.
_FLAT = 1e-10
# What Newton's method leaves is rounding.
_TOLERANCE = 1e-22


def solve_weights(logits, y, *, sample_weight=None):
    """Weights w >= 0 at which ``softmax(sum_j w_j logits[j])`` has the least mean NLL of smoothed labels.

    Sums are in float64, a chunk of rows at a time. Of inputs that say the same, all weigh the same.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_inputs, n_samples, n_classes), or a sequence of such for each input
        Of any float dtype, on any device. Finite, or -inf for classes that a sample doesn't have.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    sample_weight : torch.Tensor of shape (n_samples,), default=None
        Non-negative weights with a positive sum; they count as repetitions.

    Returns
    -------
    ndarray of shape (n_inputs,)
        w. Labels are smoothed as `solve_temperature` does.
    """
    weight = torch.ones(len(y), dtype=torch.float64) if sample_weight is None else sample_weight
    sums = Sums(logits, y, weight)
    n_classes = logits[0].shape[1]
    n_effective = (weight.sum() ** 2 / weight.square().sum()).item()
    _, slopes, covariance = sums(torch.zeros(len(logits), dtype=torch.float64))
    # At weights of 0 the slopes are those of labels spread evenly over classes: what smoothing mixes in.
    linear = -slopes * n_classes / max(1, n_classes - 1) / (n_effective + 2)
    # Places are weights times their inputs' spread, in which the curvature at 0 is about 1.
    spread = covariance.diagonal().sqrt()
    scale = torch.where(spread > 0, spread, 1.0)
    values, vectors = torch.linalg.eigh(covariance / scale / scale[:, None])
    # Projections on the combinations of inputs that say something, and on the others.
    telling = vectors[:, values > _FLAT]
    telling = telling @ telling.T
    flat = vectors[:, values <= _FLAT]
    flat = _FLAT * flat @ flat.T
    free = torch.ones_like(scale)

    def objective(places):
        place = places[0] * free
        weights = telling @ place / scale
        loss, gradient, hessian = sums(weights)
        gradient = telling @ ((gradient + linear) / scale) + flat @ place
        hessian = telling @ (hessian / scale / scale[:, None]) @ telling + flat
        hessian = hessian * free * free[:, None] + torch.diag(1 - free)
        loss = loss + weights @ linear + place @ flat @ place / 2
        return loss[None], (gradient * free)[None], hessian[None]

    while True:
        places, _, converged = newton(objective, torch.zeros_like(scale)[None], _TOLERANCE)
        place = places[0]
        if place.min() >= 0:
            note_unconverged(converged)
            return (place / scale).numpy()
        free[place.argmin()] = 0


class Sums:
    """Rows of several inputs' logits, and the means over them that searches ask for."""

    def __init__(self, logits, y, weight):
        self.logits = logits
        self.y = y.to(logits[0].device)
        self.share = (weight / weight.sum()).to(self.y.device, torch.float64)

    def __call__(self, weights):
        """Mean NLL at some weights, its gradient and its Hessian, on the CPU."""
        n = len(weights)
        size = max(1, rows_a_chunk(self.logits[0]) // n)
        chunks = zip(*(values.split(size) for values in (*self.logits, self.y, self.share)), strict=True)
        parts = [_sums(torch.stack(parts).double(), y, share, weights.to(share)) for *parts, y, share in chunks]
        return [sum(of_chunks).cpu() for of_chunks in zip(*parts, strict=True)]


def _sums(logits, y, share, weights):
    """Weighted sums of a chunk: the loss, its gradient and its Hessian."""
    leads = logits - logits.gather(2, y.expand(len(logits), -1)[..., None])
    absent = absent_among(leads)
    if absent is not None:
        # What is absent for one input is absent from their sum.
        absent = absent.any(0)
        leads = leads.masked_fill(absent, 0.0)
    log_proba = absent_again(torch.tensordot(weights, leads, 1), absent)
    losses = log_proba.logsumexp(1)
    weighted = (log_proba - losses[:, None]).exp() * share[:, None] * leads
    sums = weighted.sum(2)
    # Samples without weight have sums of 0.
    means = sums / share.clamp(min=torch.finfo(share.dtype).tiny)
    hessian = weighted.flatten(1) @ leads.flatten(1).T - sums @ means.T
    return losses @ share, sums.sum(1), hessian
