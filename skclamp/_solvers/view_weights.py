"""Solves for the weights of several views' logits, none below 0: Newton's method with an active set.

The mean negative log-likelihood (NLL) of ``softmax(sum_v w_v z_v)`` is convex in the weights. A pass over the logits
sums its gradient and its Hessian, the mean covariance of the views' logits under the probabilities; a non-negative
least-squares problem, which has an active set of its own, then gives the minimum of the quadratic model.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from ..distributed import ALONE
from .temperature import DEFAULT_BOUNDS, GATHERED_SIZE
from .temperature_sums import LogitRows, rows_a_chunk

_MAX_STEPS = 100
# Largest change of a weight, relative to the largest, that ends the search.
_TOLERANCE = 1e-10
# Armijo's: how much of what the gradient promises a step has to keep; and how far a loss may be rounded.
_ENOUGH, _ROUNDING = 1e-4, 1e-13
_MAX_HALVINGS = 40
# Curvature below this share of the largest is no more than rounding.
_FLAT = 1e-12


class ViewWeightsSolution(NamedTuple):
    """Where the loss is least.

    Attributes
    ----------
    weights : ndarray of shape (n_views,)
        w, none below 0; one over their sum is the temperature of the logits averaged by their shares.
    loss : float
        Mean loss there.
    converged : bool
        Whether the last step was no more than rounding.
    """

    weights: np.ndarray
    loss: float
    converged: bool


def solve_view_weights(logits, y, *, sample_weight=None, shard=None, smooth=False):
    """Weights w >= 0 at which ``softmax(sum_v w_v logits[v])`` has the least mean NLL.

    Sums are in float64, a chunk of rows at a time. Of views that say the same, any weights of the same sum are optimal.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_views, n_samples, n_classes), or a sequence of such for each view
        Finite, of any float dtype, on any device.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    sample_weight : torch.Tensor of shape (n_samples,), default=None
        Non-negative weights with a positive sum.
    shard : Shard, default=None
        Which rows these are of those of all processes, of which w is; by default all.
    smooth : bool, default=False
        Whether labels are smoothed as `solve_temperature` does.

    Returns
    -------
    ViewWeightsSolution
        The global optimum. Where no label has a lower logit than another class the loss falls without end, and so does
        the search, unconverged.
    """
    weight = torch.ones(len(y), dtype=torch.float64) if sample_weight is None else sample_weight
    ranks = ALONE if shard is None else shard.ranks
    if ranks is not ALONE and shard.total * logits[0].shape[1] * len(logits) <= GATHERED_SIZE:
        logits, ranks = [shard.all_gather(view.double()) for view in logits], ALONE
        y, weight = shard.all_gather(y), shard.all_gather(weight)
    return _descend(_Sums(logits, y, weight, ranks, smooth))


class _Point(NamedTuple):
    """Mean loss at some weights, and its derivatives with respect to them."""

    weights: np.ndarray
    loss: float
    gradient: np.ndarray
    hessian: np.ndarray


class _Sums:
    """Rows of several views' logits, and the means over them that the search asks for."""

    def __init__(self, logits, y, weight, ranks, smooth):
        self.logits, self.y, self.ranks = logits, y.to(logits[0].device), ranks
        self.weight = weight.to(self.y.device, torch.float64)
        self.total_weight = ranks.sum(self.weight.sum()).item()
        smoothed = (LogitRows(view, y, weight, ranks, smooth=smooth).linear_term for view in logits)
        self.linear = np.array([*smoothed]) if smooth else np.zeros(len(logits))

    def __call__(self, weights):
        """The point at some weights."""
        n = len(weights)
        total = torch.zeros(n * (n + 1) + 1, dtype=torch.float64, device=self.y.device)
        on_device = torch.from_numpy(weights).to(total)
        size = rows_a_chunk(self.logits[0])
        for *views, y_encoded, weight in zip(
            *(view.split(size) for view in self.logits), self.y.split(size), self.weight.split(size), strict=True
        ):
            total += _totals(torch.stack([view.double() for view in views]), y_encoded, weight, on_device)
        loss, *others = (self.ranks.sum(total) / self.total_weight).tolist()
        gradient, hessian = np.array(others[:n]) + self.linear, np.array(others[n:]).reshape(n, n)
        return _Point(weights, loss + float(weights @ self.linear), gradient, hessian)


def _totals(views, y_encoded, weight, weights):
    """Weighted sums of a chunk: the loss, its gradient and its Hessian, in one vector."""
    leads = views - views.gather(2, y_encoded.expand(len(views), -1)[..., None])
    combined = torch.tensordot(weights, leads, 1)
    losses = combined.logsumexp(1)
    expected = (combined - losses[:, None]).exp_() * leads
    means = expected.sum(2)
    second = (expected * weight[:, None]).flatten(1) @ leads.flatten(1).T
    return torch.cat([(losses @ weight)[None], means @ weight, (second - (means * weight) @ means.T).flatten()])


def _descend(point_at, largest=1 / DEFAULT_BOUNDS[0]):
    """Newton steps from weights of 0, where the model is a good one whatever the logits' size."""
    point = point_at(np.zeros(len(point_at.linear)))
    for _ in range(_MAX_STEPS):
        step = _model_minimum(point) - point.weights
        reached = _search_line(point_at, point, step)
        moved = np.abs(reached.weights - point.weights).max()
        point = reached
        if moved <= _TOLERANCE * point.weights.max():
            return ViewWeightsSolution(point.weights, point.loss, True)
        if point.weights.sum() > largest:
            break
    return ViewWeightsSolution(point.weights, point.loss, False)


def _model_minimum(point):
    """Where the quadratic model is least among weights that aren't below 0."""
    values, vectors = np.linalg.eigh(point.hessian)
    if values[-1] <= 0:
        return point.weights
    values = np.maximum(values, _FLAT * values[-1])
    target = vectors.T @ (point.hessian @ point.weights - point.gradient)
    # As least squares: A'A is the Hessian and A'b what the gradient is to be there.
    return nnls(np.sqrt(values)[:, None] * vectors.T, target / np.sqrt(values))[0]


def _search_line(point_at, point, step):
    """The point at the end of a step, which is halved until the loss falls."""
    promised = point.gradient @ step
    for _ in range(_MAX_HALVINGS):
        reached = point_at(point.weights + step)
        if reached.loss <= point.loss + _ENOUGH * promised + _ROUNDING * abs(point.loss):
            return reached
        step, promised = step / 2, promised / 2
    return point
