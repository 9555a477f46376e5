"""The shared solver of the affine output maps: penalised softmax regression on log-probabilities, from a known start.

The logit of class k of a sample with features x is ``g_k x_k + b_k`` or, where classes mix, ``sum_j W_kj x_j + b_k``.
Its mean negative log-likelihood (NLL) plus a weighted ridge is convex. Newton's method minimises it where Hessians cost
little, for several weightings of the samples at once. Elsewhere scipy's L-BFGS does, in coordinates in which the
Hessian at the start is the identity or, where that is too large to be factored, near it: calibration starts close to
its optimum, and few evaluations remain.
"""

import copy
from functools import partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize

from .._utils.arrays import absent_among, without
from .._utils.warnings import note_unconverged
from .newton import factored, newton
from .temperature_sums import rows_a_chunk

# A ridge on every parameter, too weak to be seen where data speak, keeps the optimum finite and unique where they
# don't: separable data, what a softmax leaves undetermined.
_RIDGE = 1e-6
# Newton's method serves up to so many features. What it leaves is rounding: equal data shall give equal results.
_NEWTON_SIZE = 2**13
_NEWTON_TOLERANCE = 1e-22
# Hessians are factored for up to this many parameters.
_MAX_FACTORED = 460
# In whitened coordinates the loss is about |gradient|^2 / 2 above its least; the other tolerance is of the loss itself.
_GRADIENT_TOLERANCE = 1e-5
_LOSS_TOLERANCE = 1e-8
_MAX_ITERATIONS = 500
_MEMORY = 20


class Solution(NamedTuple):
    """Where the penalised loss is least, how often it was evaluated, and whether a tolerance was met."""

    parameters: torch.Tensor
    n_evaluations: int
    converged: bool


class SoftmaxRegression:
    """Mean NLL of a softmax of affine logits for each of several weightings, with a ridge, and its derivatives.

    Parameters are tensors (n_weightings, n_classes, n_features + 1), offsets last; a class has n_classes features where
    it mixes, or its own.

    Parameters
    ----------
    features : torch.Tensor of shape (n_samples, n_classes), float64
        One feature per class. A class of -inf is none of the sample's: it adds nothing to the others' logits.
    y : torch.Tensor of shape (n_samples,), int64
        Column indices of the labels.
    weight : torch.Tensor of shape (n_samples,) or (n_weightings, n_samples), float64
        Non-negative weights with positive sums.
    mixes : bool
        Whether each class's logit is one of all features.
    """

    def __init__(self, features, y, weight, *, mixes):
        n_classes = features.shape[1]
        self.mixes = mixes
        self.n_samples = len(features)
        self.identity = torch.eye(n_classes, n_classes + 1) if mixes else torch.tensor([1.0, 0.0]).repeat(n_classes, 1)
        self.identity = self.identity.to(features)
        self.rows = rows_a_chunk(features)
        absent = absent_among(features)
        # Classes first: sums over them run along long rows.
        parts = [part.T.contiguous() for part in without(features, absent).split(self.rows)]
        if mixes:
            parts = [torch.cat([part, torch.ones_like(part[:1])]) for part in parts]
        masks = repeat(None) if absent is None else [part.T for part in absent.split(self.rows)]
        self.chunks = list(zip(parts, y.to(features.device).split(self.rows), masks, strict=False))
        self.ridge = torch.zeros_like(self.identity)
        self._weigh(weight)

    def _weigh(self, weight):
        weight = torch.atleast_2d(weight.to(self.identity))
        self.weights = (weight / weight.sum(1, keepdim=True)).split(self.rows, 1)

    def weighted(self, weight):
        """Return the regression of the same samples at other weights."""
        other = copy.copy(self)
        other._weigh(weight)
        return other

    def __call__(self, theta, hessian=False):
        """Losses of each weighting, gradients of the parameters' shape and, if wanted, Hessians of the flat ones."""
        offset, (n_weightings, n_classes, width) = theta - self.identity, theta.shape
        gradient = 2 * self.ridge * offset
        loss = (gradient * offset).sum((1, 2)) / 2
        second = torch.diag(2 * self.ridge.flatten()).repeat(n_weightings, 1, 1) if hessian else None
        for x, y, w, proba, log_sum, label in self._softmaxes(theta):
            loss += ((log_sum - label) * w).sum(1)
            if hessian:
                design = x if self.mixes else torch.stack([x, torch.ones_like(x)], 1)
                slopes = proba[:, :, None] * design
                weighted = slopes * w[:, None, None]
                second -= weighted.flatten(1, 2) @ slopes.flatten(1, 2).mT
                own = second.view(-1, n_classes, width, n_classes, width).diagonal(dim1=1, dim2=3)
                own += (weighted @ design.mT).permute(0, 2, 3, 1)
            residual = proba.mul_(w[:, None]).scatter_add_(1, y.expand(len(w), 1, -1), -w[:, None])
            gradient += self._sums(residual, x)
        return loss, gradient, second

    def curvature(self, theta):
        """The diagonal of the Hessian, and the mean features of each class, weighted as there; of the shape."""
        squares = torch.zeros_like(theta)
        means = torch.zeros_like(theta)
        for x, _, w, proba, *_ in self._softmaxes(theta):
            variance = proba.mul_(1 - proba).mul_(w[:, None])
            squares += self._sums(variance, x * x)
            means += self._sums(variance, x)
        return squares, means

    def curvature_along(self, theta, direction):
        """Second derivative along each class's part of a direction."""
        along = torch.zeros_like(theta[:, :, 0])
        for x, _, w, proba, *_ in self._softmaxes(theta):
            slope = direction @ x if self.mixes else torch.addcmul(direction[:, :, 1:], direction[:, :, :1], x)
            along += (proba.mul_(1 - proba).mul_(w[:, None]) * slope.square_()).sum(2)
        return along

    def _softmaxes(self, theta):
        """Yield each chunk and its weights, the probabilities, what normalised them, and the labels' logits."""
        for (x, y, absent), w in zip(self.chunks, self.weights, strict=True):
            logits = theta @ x if self.mixes else torch.addcmul(theta[:, :, 1:], theta[:, :, :1], x)
            if absent is not None:
                logits.masked_fill_(absent, -torch.inf)
            label = logits.gather(1, y.expand(len(logits), 1, -1))[:, 0]
            top = logits.amax(1)
            logits.sub_(top[:, None]).exp_()
            total = logits.sum(1)
            yield x, y, w, logits.div_(total[:, None]), total.log_().add_(top), label

    def _sums(self, values, x):
        """Sums over samples of each class's values times its features."""
        return values @ x.T if self.mixes else torch.stack([(values * x).sum(2), values.sum(2)], 2)


def of_gains(parameters):
    """Return the parameters with which mixed classes do what others do with theirs."""
    return torch.cat([torch.diag_embed(parameters[:, :, 0]), parameters[:, :, 1:]], 2)


def strengths_by_role(n_classes, off_diagonal, *, diagonal=0.0, intercept):
    """Strengths of a penalty on the parameters of mixed classes."""
    strengths = np.full((n_classes, n_classes + 1), float(off_diagonal))
    np.fill_diagonal(strengths, diagonal)
    strengths[:, -1] = intercept
    return strengths


def minimise(regression, penalty=0.0, *, start=None, tolerance=_LOSS_TOLERANCE):
    """Least mean NLL plus ``sum(penalty * (parameters - identity)^2)``, of each weighting.

    Parameters
    ----------
    regression : SoftmaxRegression
    penalty : array-like of shape (n_classes, n_features + 1) or what broadcasts to it, default=0.0
        Non-negative strengths.
    start : torch.Tensor, default=None
        Where the search starts; None is the identity.
    tolerance : float, default=1e-8
        Relative decrease of the loss in one step of L-BFGS that ends the search.
    """
    start = regression.identity.expand(len(regression.weights[0]), -1, -1) if start is None else start
    regression = copy.copy(regression)
    regression.ridge = start.new_tensor(penalty).expand(start.shape[1:]) + _RIDGE
    is_factored = start[0].numel() <= _MAX_FACTORED
    if is_factored and regression.n_samples * start.shape[1] <= _NEWTON_SIZE:
        solution = Solution(*newton(partial(regression, hessian=True), start, _NEWTON_TOLERANCE))
    else:
        rows = [regression.weighted(weight) for weight in torch.cat(regression.weights, 1)]
        # Of several weightings the Hessians are much alike.
        coordinates = (_whitening if is_factored else _near_whitening)(rows[0], start[:1])
        pairs = zip(rows, start.split(1), strict=True)
        found = (_search(one, theta, coordinates, tolerance) for one, theta in pairs)
        theta, n_evaluations, converged = zip(*found, strict=True)
        solution = Solution(torch.cat(theta), max(n_evaluations), all(converged))
    note_unconverged(solution.converged)
    return solution


def _search(regression, start, coordinates, tolerance):
    """Return the fields of a `Solution` that L-BFGS finds in whitened coordinates."""
    unwhiten, whiten = coordinates

    def moved(u):
        return start + unwhiten(torch.from_numpy(u).to(start).view(start.shape))

    def objective(u):
        loss, gradient, _ = regression(moved(u))
        return loss.item(), whiten(gradient).flatten().cpu().numpy()

    options = {"maxiter": _MAX_ITERATIONS, "maxcor": _MEMORY, "gtol": _GRADIENT_TOLERANCE, "ftol": tolerance}
    found = minimize(objective, np.zeros(start.numel()), jac=True, method="L-BFGS-B", options=options)
    return moved(found.x), found.nfev, found.success


def _whitening(regression, start):
    """The map from whitened coordinates to steps from the start, and its transpose for gradients."""
    scale, factor = factored(regression(start, hessian=True)[2])

    def solved(factor, values, *, upper):
        return torch.linalg.solve_triangular(factor, values.view(1, -1, 1), upper=upper).flatten(1)

    return (
        lambda u: (scale * solved(factor.mT, u, upper=True)).view(start.shape),
        lambda gradient: solved(factor, scale * gradient.flatten(1), upper=False).view(start.shape),
    )


def _near_whitening(regression, start):
    """Scale the Hessian's diagonal to ones, and shrink the one direction in which each class's features add up.

    All log-probabilities are negative: along their mean, a class's coefficients act as one.
    """
    squares, means = regression.curvature(start)
    scale = (squares + 2 * regression.ridge).rsqrt()
    common = torch.nn.functional.normalize(means * scale, dim=2)
    along = regression.curvature_along(start, common * scale)
    along += (2 * regression.ridge * (common * scale).square()).sum(2)
    shrink = (along.clamp(min=1).rsqrt() - 1)[:, :, None] * common

    def stretched(u):
        return u + shrink * (u * common).sum(2, keepdim=True)

    return lambda u: scale * stretched(u), lambda gradient: stretched(scale * gradient)
