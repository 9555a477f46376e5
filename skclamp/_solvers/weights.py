"""Solves for weights of several logits, none below 0, exactly: Newton's method with an active set.

Averaged views ask: at which w >= 0 has ``softmax(sum_j w_j z_j)`` the least mean negative
log-likelihood (NLL)? It is convex in w. A pass over the logits sums its gradient and its Hessian, the mean covariance
of the inputs z_j under the probabilities; non-negative least squares, which has an active set of its own, gives the
minimum of the quadratic model.

The optimum is one point on every processor. Inputs are measured in units of their spread over classes. Combinations of
them that spread by less than 1e-5 of one input (such as the difference of two that say the same, but for rounding) are
taken for constant, and a ridge draws what the data leave open there to 0: of all optimal weights, those of the least
norm. Everywhere else, that ridge is 0.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from .._utils.arrays import absent_again, absent_among
from .._utils.warnings import note_unconverged
from .temperature import DEFAULT_BOUNDS
from .temperature_sums import rows_a_chunk

# Variance of a combination of inputs, of which each has 1, that is none: that of differences of 1e-5. Rounding leaves
# about 1e-12 where a network computes the same in float32, and 1e-15 in these sums.
_FLAT = 1e-10
_MAX_STEPS = 100
# A step that promises no more than this share of the loss is the last: as steps are of second order, what it leaves is
# about the square of that. The slope along a step, unlike the weights, doesn't move where the loss is flat.
_TOLERANCE = 1e-14
# Armijo's: how much of what the slope promises a step has to keep; and how far a loss may be rounded.
_ENOUGH, _ROUNDING = 1e-4, 1e-13
_MAX_HALVINGS = 40


class WeightsSolution(NamedTuple):
    """Where the loss is least.

    Attributes
    ----------
    weights : ndarray of shape (n_inputs,)
        w, none below 0.
    loss : float
        Mean loss there, smoothed if the labels are, without a penalty.
    converged : bool
        Whether the last step promised no more than rounding.
    """

    weights: np.ndarray
    loss: float
    converged: bool


def solve_weights(logits, y, *, sample_weight=None, smooth=False):
    """Weights w >= 0 at which ``softmax(sum_j w_j logits[j])`` has the least mean NLL.

    Sums are in float64, a chunk of rows at a time. Of inputs that say the same, all weigh the same.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_inputs, n_samples, n_classes), or a sequence of such for each input
        Of any float dtype, on any device. Finite, or -inf for classes that a sample doesn't have.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    sample_weight : torch.Tensor of shape (n_samples,), default=None
        Non-negative weights with a positive sum; they count as repetitions.
    smooth : bool, default=False
        Whether labels are smoothed as `solve_temperature` does.

    Returns
    -------
    WeightsSolution
        The global optimum. Where no label has a lower logit than another class, and no label is smoothed, the loss
        falls without end, and so does the search, unconverged.
    """
    weight = torch.ones(len(y), dtype=torch.float64) if sample_weight is None else sample_weight
    return _descend(Sums(logits, y, weight), smooth)


class Sums:
    """Rows of several inputs' logits, and the means over them that the search asks for."""

    def __init__(self, logits, y, weight):
        self.logits = logits
        self.y = y.to(logits[0].device)
        self.weight = weight.to(self.y.device, torch.float64)
        self.total_weight = self.weight.sum().item()
        self.n_effective = self.total_weight**2 / self.weight.square().sum().item()

    def __call__(self, weights):
        """Mean NLL at some weights, its gradient and its Hessian."""
        n = len(weights)
        total = torch.zeros(n * (n + 1) + 1, dtype=torch.float64, device=self.y.device)
        on_device = torch.from_numpy(weights).to(total)
        size = max(1, rows_a_chunk(self.logits[0]) // n)
        for *parts, y_encoded, weight in zip(
            *(one.split(size) for one in self.logits), self.y.split(size), self.weight.split(size), strict=True
        ):
            total += _totals(torch.stack([part.double() for part in parts]), y_encoded, weight, on_device)
        loss, *others = (total / self.total_weight).tolist()
        return loss, np.array(others[:n]), np.array(others[n:]).reshape(n, n)


def _totals(logits, y_encoded, weight, weights):
    """Weighted sums of a chunk: the loss, its gradient and its Hessian, in one vector."""
    leads = logits - logits.gather(2, y_encoded.expand(len(logits), -1)[..., None])
    absent = absent_among(leads)
    if absent is not None:
        # What is absent for one input is absent from their sum.
        absent = absent.any(0)
        leads = leads.masked_fill(absent, 0.0)
    combined = absent_again(torch.tensordot(weights, leads, 1), absent)
    losses = combined.logsumexp(1)
    weighted = (combined - losses[:, None]).exp_().mul_(weight[:, None]) * leads
    sums = weighted.sum(2)
    # Samples without weight have sums of 0.
    means = sums / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    second = weighted.flatten(1) @ leads.flatten(1).T - sums @ means.T
    return torch.cat([(losses @ weight)[None], sums.sum(1), second.flatten()])


def _descend(sums, smooth):
    """Newton steps from weights of 0, where the quadratic model is a good one whatever the logits' size.

    Places are weights times their inputs' spread, in which the curvature at 0 is about 1. ``basis`` spans the
    combinations of inputs that say something; the penalty is ``|rows @ place|^2 / 2``.
    """
    place = np.zeros(len(sums.logits))
    n_classes = sums.logits[0].shape[1]
    _, slopes, covariance = sums(place)
    # At weights of 0 the slopes are those of labels spread evenly over classes: what smoothing mixes in.
    linear = -slopes * (n_classes / max(1, n_classes - 1) / (sums.n_effective + 2) if smooth else 0.0)
    spread = np.sqrt(covariance.diagonal())
    scale = np.where(spread > 0, spread, 1.0)
    values, vectors = np.linalg.eigh(covariance / scale / scale[:, None])
    basis = vectors[:, values > _FLAT]
    rows = np.sqrt(_FLAT) * vectors[:, values <= _FLAT].T

    def point(place):
        """Return the loss, the penalised loss, and the loss's gradient and Hessian over the basis."""
        weights = basis @ (place @ basis) / scale
        loss, gradient, hessian = sums(weights)
        loss += weights @ linear
        hessian = basis.T @ (hessian / scale / scale[:, None]) @ basis
        return loss, loss + np.square(rows @ place).sum() / 2, (gradient + linear) / scale @ basis, hessian

    (loss, penalised, gradient, hessian), converged = point(place), False
    for _ in range(_MAX_STEPS):
        # As least squares, whose rows' squares are the Hessian, with an active set of their own.
        values, vectors = np.linalg.eigh(hessian)
        root = np.sqrt(np.maximum(values, np.finfo(float).eps * values.max(initial=np.finfo(float).tiny)))
        model = root[:, None] * (basis @ vectors).T
        targets = np.concatenate([model @ place - gradient @ vectors / root, np.zeros(len(rows))])
        step = nnls(np.vstack([model, rows]), targets)[0] - place
        promised = -(basis @ gradient + (rows @ place) @ rows) @ step
        converged = promised <= _TOLERANCE * loss
        for _ in range(_MAX_HALVINGS):
            reached = point(place + step)
            if reached[1] <= penalised - _ENOUGH * promised + _ROUNDING * (1 + abs(penalised)):
                place, (loss, penalised, gradient, hessian) = place + step, reached
                break
            step = step / 2
            promised = promised / 2
        if converged or place.sum() > 1 / DEFAULT_BOUNDS[0]:
            break
    note_unconverged(converged)
    return WeightsSolution(place / scale, float(loss), bool(converged))
