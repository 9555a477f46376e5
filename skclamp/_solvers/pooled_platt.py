"""Platt's gain and offset of each of many labels, drawn to a pair that all share, by empirical Bayes."""

import torch

from .._utils.warnings import note_unconverged
from .newton import chunks_of, joined, logistic, newton

# The shared pair is held at (1, 0), the network's own logits, by a prior of these precisions.
_HELD = 4.0, 0.25
# Where the precisions of labels around the shared pair start; and the least variance that they may come to.
_START = (4.0, 1.0)
_LEAST_VARIANCE = 1e-4
_ROUNDS = 8
# In nats of all samples.
_TOLERANCE = 1e-9


def fit_pooled_platt(z, hit, weight, teach, pooling):
    """Return the gain and the offset of each label, the shared pair, and how often the losses were evaluated.

    Parameters
    ----------
    z : torch.Tensor of shape (n_labels, n_samples), float64
        Logits.
    hit, weight : torch.Tensor of shape (n_labels, n_samples)
        Labels, 0 or 1, and non-negative weights, 0 where a label isn't known.
    teach : torch.Tensor of shape (n_labels,), dtype bool
        Whether a label teaches what all share; one that doesn't is drawn to that as at the start.
    pooling : {"partial", "complete"}
        Whether each label has a pair of its own around the shared one.

    Returns
    -------
    pairs : torch.Tensor of shape (n_labels, 2)
    shared : torch.Tensor of shape (2,)
    n_evaluations : int
    """
    held = torch.tensor(_HELD).to(z)
    start = torch.tensor(_START).to(z)
    one = torch.tensor([[1.0, 0.0]]).to(z)
    # All labels as one; where none teaches, these all the same.
    teaching = weight * (teach | ~teach.any())[:, None]
    together = z.reshape(1, -1), hit.reshape(1, -1), teaching.reshape(1, -1)
    shared, _, n_evaluations, converged = _fitted(one, *together, one, held[None], slice(None))
    pairs = shared.expand(len(z), 2)
    variances = torch.zeros_like(pairs)
    precision = start
    for round_ in range(_ROUNDS if pooling == "partial" else 0):
        if round_ and teach.any():
            taught = pairs[teach]
            shared = (precision * taught.sum(0) + held * one) / (precision * len(taught) + held)
            spread = (taught - shared).square() + variances[teach]
            precision = 1 / spread.mean(0).clamp(min=_LEAST_VARIANCE)
        drawn = torch.where(teach[:, None], precision, start)
        fits = [_fitted(pairs, z, hit, weight, shared, drawn, labels) for labels in chunks_of(*z.shape)]
        pairs, variances, evaluations, ends = joined(fits)
        n_evaluations += evaluations
        converged = converged and ends
    note_unconverged(converged)
    return pairs.cpu(), shared[0].cpu(), n_evaluations


def _fitted(start, z, hit, weight, centre, precision, labels):
    """Pairs of the greatest posterior for some labels, their variances, evaluations, and whether all converged."""
    x = torch.stack([z[labels], torch.ones_like(z[labels])], 1)
    losses = logistic(x, hit[labels], weight[labels], centre, precision[labels])
    pairs, n_evaluations, converged = newton(losses, start[labels], _TOLERANCE)
    variances = torch.linalg.inv(losses(pairs)[2]).diagonal(dim1=1, dim2=2)
    return pairs, variances, n_evaluations, converged
