"""The shared solver of the affine output maps: penalised softmax regression on log-probabilities, from a known start.

The logit of class k of a sample with features x is ``g_k x_k + b_k`` or, where classes mix, ``sum_j W_kj x_j + b_k``.
Its mean negative log-likelihood (NLL) plus a weighted ridge is convex. Newton's method minimises it where Hessians cost
little. Elsewhere scipy's L-BFGS does, in coordinates in which the Hessian at the start is near the identity:
calibration starts close to its optimum, and few evaluations remain.
"""

import copy
from functools import partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch.nn.functional import normalize

from .._utils.arrays import absent_again, absent_among, without
from .._utils.warnings import note_unconverged
from .newton import newton
from .temperature_sums import rows_a_chunk

# A ridge on every parameter, too weak to be seen where data speak, keeps the optimum finite and unique where they
# don't: separable data, what a softmax leaves undetermined.
_RIDGE = 1e-6
# Newton's method serves up to so many products in a Hessian. What it leaves is rounding: equal data shall give equal
# results.
_NEWTON_SIZE = 2**24
_NEWTON_TOLERANCE = 1e-22
# In scaled coordinates the loss is about |gradient|^2 / 2 above its least; the other tolerance is of the loss itself.
_GRADIENT_TOLERANCE = 1e-5
_LOSS_TOLERANCE = 1e-9
_MAX_ITERATIONS = 500
_MEMORY = 20


class Solution(NamedTuple):
    """Where the penalised loss is least, how often it was evaluated, and whether a tolerance was met."""

    parameters: torch.Tensor
    n_evaluations: int
    converged: bool


class SoftmaxRegression:
    """Mean NLL of a softmax of affine logits, with a ridge, and its derivatives.

    Parameters are tensors (n_classes, n_features + 1), offsets last; a class has n_classes features where it mixes, or
    its own.

    Parameters
    ----------
    features : torch.Tensor of shape (n_samples, n_classes), float64
        One feature per class. A class of -inf is none of the sample's: it adds nothing to the others' logits.
    y : torch.Tensor of shape (n_samples,), int64
        Column indices of the labels.
    weight : torch.Tensor of shape (n_samples,), float64
        Non-negative weights with a positive sum.
    mixes : bool
        Whether each class's logit is one of all features.
    """

    def __init__(self, features, y, weight, *, mixes):
        n_classes = features.shape[1]
        self.mixes = mixes
        self.n_samples = len(features)
        self.identity = torch.eye(n_classes, n_classes + 1) if mixes else torch.tensor([1.0, 0.0]).repeat(n_classes, 1)
        self.identity = self.identity.to(features)
        self.ridge = torch.zeros_like(self.identity)
        size = rows_a_chunk(features)
        absent = absent_among(features)
        # Classes first: sums over them run along long rows.
        parts = [part.T.contiguous() for part in without(features, absent).split(size)]
        if mixes:
            parts = [torch.cat([part, torch.ones_like(part[:1])]) for part in parts]
        masks = repeat(None) if absent is None else [part.T for part in absent.split(size)]
        share = (weight / weight.sum()).to(features)
        self.chunks = list(zip(parts, y.to(features.device).split(size), share.split(size), masks, strict=False))

    def __call__(self, theta, hessian=False):
        """A row of the loss, of its gradient and, if wanted, of the Hessian of the flat parameters."""
        n_classes, width = self.identity.shape
        theta = theta.view(n_classes, width)
        offset = theta - self.identity
        gradient = 2 * self.ridge * offset
        loss = (gradient * offset).sum() / 2
        second = torch.diag(2 * self.ridge.flatten()) if hessian else None
        for x, y, w, absent in self.chunks:
            log_proba = absent_again(self._logits(theta, x), absent).log_softmax(0)
            loss -= log_proba.gather(0, y[None])[0] @ w
            proba = log_proba.exp_()
            if hessian:
                design = x if self.mixes else torch.stack([x, torch.ones_like(x)], 1)
                slopes = proba[:, None] * design
                weighted = slopes * w
                second -= weighted.flatten(0, 1) @ slopes.flatten(0, 1).T
                own = second.view(n_classes, width, n_classes, width).diagonal(dim1=0, dim2=2)
                own += (weighted @ design.mT).permute(1, 2, 0)
            gradient += self._sums((proba * w).scatter_add_(0, y[None], -w[None]), x)
        return loss[None], gradient[None], second if second is None else second[None]

    def curvature(self, theta):
        """The diagonal of the loss's Hessian, and the sums of each class's features, weighted as there."""
        squares = torch.zeros_like(theta)
        sums = torch.zeros_like(theta)
        for x, variance in self._variances(theta):
            squares += self._sums(variance, x * x)
            sums += self._sums(variance, x)
        return squares, sums

    def curvature_along(self, theta, direction):
        """Second derivative of the loss along each class's part of a direction."""
        return sum((variance * self._logits(direction, x).square()).sum(1) for x, variance in self._variances(theta))

    def _variances(self, theta):
        """Yield each chunk's features, and the weighted variances of its labels."""
        for x, _, w, absent in self.chunks:
            proba = absent_again(self._logits(theta, x), absent).softmax(0)
            yield x, proba * (1 - proba) * w

    def _logits(self, theta, x):
        return theta @ x if self.mixes else torch.addcmul(theta[:, 1:], theta[:, :1], x)

    def _sums(self, values, x):
        """Sums over samples of each class's values times its features."""
        return values @ x.T if self.mixes else torch.stack([(values * x).sum(1), values.sum(1)], 1)


def strengths_by_role(n_classes, off_diagonal, *, diagonal=0.0, intercept):
    """Strengths of a penalty on the parameters of mixed classes."""
    strengths = np.full((n_classes, n_classes + 1), float(off_diagonal))
    np.fill_diagonal(strengths, diagonal)
    strengths[:, -1] = intercept
    return strengths


def minimise(regression, penalty=0.0, *, start=None, tolerance=_LOSS_TOLERANCE):
    """Least mean NLL plus ``sum(penalty * (parameters - identity)^2)``.

    Parameters
    ----------
    regression : SoftmaxRegression
    penalty : array-like of shape (n_classes, n_features + 1) or what broadcasts to it, default=0.0
        Non-negative strengths.
    start : torch.Tensor, default=None
        Where the search starts; None is the identity.
    tolerance : float, default=1e-9
        Relative decrease of the loss in one step of L-BFGS that ends the search.
    """
    start = regression.identity if start is None else start
    regression = copy.copy(regression)
    regression.ridge = start.new_tensor(penalty).expand(start.shape) + _RIDGE
    if regression.n_samples * start.numel() ** 2 <= _NEWTON_SIZE:
        theta, n_evaluations, converged = newton(partial(regression, hessian=True), start[None], _NEWTON_TOLERANCE)
        solution = Solution(theta[0], n_evaluations, converged)
    else:
        solution = _search(regression, start, tolerance)
    note_unconverged(solution.converged)
    return solution


def _search(regression, start, tolerance):
    """L-BFGS in coordinates that scale the Hessian's diagonal to ones, and shrink a direction of each class.

    All log-probabilities are negative: along their mean, a class's coefficients act as one.
    """
    squares, sums = regression.curvature(start)
    scale = (squares + 2 * regression.ridge).rsqrt()
    common = normalize(sums * scale, dim=1)
    along = regression.curvature_along(start, common * scale)
    along += (2 * regression.ridge * (common * scale).square()).sum(1)
    shrink = (along.clamp(min=1).rsqrt() - 1)[:, None] * common

    def stretched(u):
        return u + shrink * (u * common).sum(1, keepdim=True)

    def moved(u):
        return start + scale * stretched(torch.from_numpy(u).to(start).view(start.shape))

    def objective(u):
        loss, gradient, _ = regression(moved(u))
        return loss.item(), stretched(scale * gradient[0]).flatten().cpu().numpy()

    options = {"maxiter": _MAX_ITERATIONS, "maxcor": _MEMORY, "gtol": _GRADIENT_TOLERANCE, "ftol": tolerance}
    found = minimize(objective, np.zeros(start.numel()), jac=True, method="L-BFGS-B", options=options)
    return Solution(moved(found.x), found.nfev, found.success)
