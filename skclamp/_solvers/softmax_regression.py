"""The shared solver of the affine output maps: penalised softmax regression on log-probabilities, from a known start.

The logit of class k of a sample with features x is ``g_k x_k + b_k`` (vector) or ``sum_j W_kj x_j + b_k`` (matrix). Its
mean negative log-likelihood (NLL) plus a weighted ridge is convex. scipy's L-BFGS minimises it in coordinates in which
the Hessian at the start is the identity or, where that is too large to be factored, near it: calibration starts close
to its optimum, and few evaluations remain. The label terms of the NLL are linear in the parameters and summed once.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from .._utils.arrays import absent_among, without
from .._utils.warnings import note_unconverged

# A ridge on every parameter, too weak to be seen where data speak, keeps the optimum finite and unique where they
# don't: separable data, what a softmax leaves undetermined.
RIDGE = 1e-6
# So many columns make products of matrices quick, and what is done to each logit stays in a cache.
_CHUNK_SIZE = 2**18
_GPU_CHUNK_SIZE = 2**22
# The Hessian at the start is factored for up to this many parameters.
_MAX_FACTORED = 460
# In whitened coordinates the loss is about |gradient|^2 / 2 above its least; the other tolerance is of the loss itself.
_GRADIENT_TOLERANCE = 1e-5
_LOSS_TOLERANCE = 1e-8
_MAX_ITERATIONS = 500
# On up to this many features nothing is saved by stopping early, and equal data shall give equal results: Newton steps
# end only with changes of the parameters, or rises of the loss, that are no more than rounding.
_SMALL_SIZE = 2**13
_MAX_NEWTON_STEPS = 50
_PARAMETER_TOLERANCE = 1e-9
_ROUNDING = 1e-14
_MEMORY = 20
# What is added, one after another, to the unit diagonal of a Hessian that rounding errors leave singular.
JITTERS = 10.0 ** np.arange(-14, 1, 2)


class Solution(NamedTuple):
    """Where the penalised loss is least, how often it was evaluated, and whether a tolerance was met."""

    parameters: np.ndarray
    n_evaluations: int
    converged: bool


class SoftmaxRegression(ABC):
    """Mean NLL of a softmax of affine logits, and its derivatives; subclasses say which logits.

    Parameters
    ----------
    features : torch.Tensor of shape (n_samples, n_classes), float64
        One feature per class. A class of -inf is none of the sample's: it adds nothing to the others' logits.
    y : torch.Tensor of shape (n_samples,), int64
        Column indices of the labels.
    weight : torch.Tensor of shape (n_samples,), float64
        Non-negative weights with a positive sum.
    chunk_size : int, default=None
        How many features are treated at a time; None takes what suits the device.
    """

    def __init__(self, features, y, weight, chunk_size=None):
        n_samples, self.n_classes = features.shape
        self.device = features.device
        self.is_small = features.numel() <= _SMALL_SIZE
        weight = weight.to(self.device)
        size = chunk_size or (_CHUNK_SIZE if self.device.type == "cpu" else _GPU_CHUNK_SIZE)
        rows = min(max(1, size // self.n_classes), n_samples)
        self.buffer = features.new_empty(self.n_classes * rows)
        self.label_sums = features.new_zeros(self.shape)
        self.chunks = []
        absent = absent_among(features)
        parts = [values.split(rows) for values in (without(features, absent), y.to(self.device), weight / weight.sum())]
        self.absent = [None] * len(parts[0]) if absent is None else [part.T for part in absent.split(rows)]
        for x, y_encoded, w in zip(*parts, strict=True):
            # Classes first: sums over them run along long rows.
            x = self._arrange(x.T)
            self.chunks.append((x, w))
            self._add_label_sums(x, y_encoded, w)

    def loss_and_gradient(self, parameters):
        """Mean NLL and its gradient at an array of the regression's shape."""
        theta = torch.from_numpy(parameters).to(self.device)
        gradient = -self.label_sums
        loss = (theta * gradient).sum()
        for x, w, proba, log_sum in self._softmaxes(theta):
            loss += log_sum @ w
            self._add_gradient(gradient, proba.mul_(w), x)
        return loss.item(), gradient.cpu().numpy()

    def curvature(self, parameters):
        """The diagonal of the Hessian, and the mean features of each class, weighted as there; of the shape."""
        squares, means = torch.zeros_like(self.label_sums), torch.zeros_like(self.label_sums)
        for x, w, proba, _ in self._softmaxes(torch.from_numpy(parameters).to(self.device)):
            variance = proba.mul_(1 - proba).mul_(w)
            self._add_gradient(squares, variance.clone(), x * x)
            self._add_gradient(means, variance, x)
        return squares.cpu().numpy(), means.cpu().numpy()

    def curvature_along(self, parameters, direction):
        """Second derivative along each class's part of a direction."""
        direction = torch.from_numpy(direction).to(self.device)
        total = direction.new_zeros(self.n_classes)
        for x, w, proba, _ in self._softmaxes(torch.from_numpy(parameters).to(self.device)):
            slope = self._logits(direction, x, torch.empty_like(proba))
            total += (proba.mul_(1 - proba).mul_(w) * slope.square_()).sum(1)
        return total.cpu().numpy()

    def hessian(self, parameters):
        """Second derivatives, a matrix over the flat parameters."""
        return self._hessian(torch.from_numpy(parameters).to(self.device)).cpu().numpy()

    def _softmaxes(self, theta):
        """Yield each chunk with its weights, probabilities, and the logarithms of what normalised them.

        The probabilities lie in one buffer: fresh memory for each chunk would cost more than the arithmetic.
        """
        for (x, w), absent in zip(self.chunks, self.absent, strict=True):
            logits = self._logits(theta, x, self.buffer[: self.n_classes * len(w)].view(self.n_classes, -1))
            if absent is not None:
                logits.masked_fill_(absent, -torch.inf)
            top = logits.amax(0)
            logits.sub_(top).exp_()
            total = logits.sum(0)
            yield x, w, logits.div_(total), total.log_().add_(top)

    @staticmethod
    @abstractmethod
    def identity(n_classes):
        """Parameters that leave the features as they are, towards which penalties draw."""

    @property
    @abstractmethod
    def shape(self):
        """Shape of the parameters."""

    @staticmethod
    @abstractmethod
    def _arrange(x):
        """Features, classes first, as the other hooks want them."""

    @abstractmethod
    def _add_label_sums(self, x, y_encoded, w):
        """Add the derivatives of the labels' mean logit."""

    @staticmethod
    @abstractmethod
    def _logits(theta, x, out):
        """Affine logits, into `out`."""

    @staticmethod
    @abstractmethod
    def _add_gradient(gradient, proba, x):
        """Add each class's features times its weights, such as probabilities; these may be overwritten."""

    @abstractmethod
    def _hessian(self, theta):
        """The Hessian as a tensor."""


class VectorRegression(SoftmaxRegression):
    """Logits ``g_k x_k + b_k``; parameters of shape (2, n_classes): g, then b."""

    feature_axis = 0

    @staticmethod
    def identity(n_classes):
        return np.stack([np.ones(n_classes), np.zeros(n_classes)])

    @property
    def shape(self):
        return 2, self.n_classes

    @staticmethod
    def _arrange(x):
        return x.contiguous()

    def _add_label_sums(self, x, y_encoded, w):
        self.label_sums[0].index_add_(0, y_encoded, w * x.gather(0, y_encoded[None])[0])
        self.label_sums[1].index_add_(0, y_encoded, w)

    @staticmethod
    def _logits(theta, x, out):
        return torch.addcmul(theta[1][:, None], theta[0][:, None], x, out=out)

    @staticmethod
    def _add_gradient(gradient, proba, x):
        gradient[1] += proba.sum(1)
        gradient[0] += proba.mul_(x).sum(1)

    def _hessian(self, theta):
        total = theta.new_zeros(2 * self.n_classes, 2 * self.n_classes)
        own = theta.new_zeros(3, self.n_classes)
        for x, w, proba, _ in self._softmaxes(theta):
            slopes = torch.cat([proba * x, proba])
            weighted = slopes * w
            total.addmm_(weighted, slopes.T, alpha=-1)
            linear, constant = weighted.split(self.n_classes)
            own += torch.stack([(linear * x).sum(1), linear.sum(1), constant.sum(1)])
        for offset, values in ((0, own[[0, 2]].flatten()), (self.n_classes, own[1]), (-self.n_classes, own[1])):
            total.diagonal(offset).add_(values)
        return total


class MatrixRegression(SoftmaxRegression):
    """Logits ``sum_j W_kj x_j + b_k``; parameters of shape (n_classes, n_classes + 1): W, and b as its last column."""

    feature_axis = 1

    @staticmethod
    def identity(n_classes):
        return np.eye(n_classes, n_classes + 1)

    @staticmethod
    def of_vector(parameters):
        """Return the parameters that do what a `VectorRegression` does with its own."""
        gain, intercept = parameters
        return np.column_stack([np.diag(gain), intercept])

    @staticmethod
    def strengths(n_classes, off_diagonal, *, diagonal=0.0, intercept):
        """Strengths of a penalty by the role of each parameter."""
        strengths = np.full((n_classes, n_classes + 1), float(off_diagonal))
        np.fill_diagonal(strengths, diagonal)
        strengths[:, -1] = intercept
        return strengths

    @property
    def shape(self):
        return self.n_classes, self.n_classes + 1

    @staticmethod
    def _arrange(x):
        return torch.cat([x, torch.ones_like(x[:1])])

    def _add_label_sums(self, x, y_encoded, w):
        self.label_sums.index_add_(0, y_encoded, (x * w).T)

    @staticmethod
    def _logits(theta, x, out):
        return torch.mm(theta, x, out=out)

    @staticmethod
    def _add_gradient(gradient, proba, x):
        gradient.addmm_(proba, x.T)

    def _hessian(self, theta):
        # Sums over samples for each pair of classes and each pair of features.
        j, k = torch.tril_indices(self.n_classes, self.n_classes, device=self.device)
        a, c = torch.tril_indices(self.n_classes + 1, self.n_classes + 1, device=self.device)
        total = theta.new_zeros(len(j), len(a))
        for x, w, proba, _ in self._softmaxes(theta):
            covariance = -proba[j] * proba[k]
            covariance[j == k] += proba
            total.addmm_(covariance.mul_(w), (x[a] * x[c]).T)
        by_class, by_feature = _pair_numbers(self.n_classes), _pair_numbers(self.n_classes + 1)
        size = self.n_classes * (self.n_classes + 1)
        return total[by_class[:, None, :, None], by_feature[None, :, None, :]].reshape(size, size)


def _pair_numbers(n):
    """Where each pair, in either order, stands among `torch.tril_indices`."""
    numbers = torch.arange(n)
    first, second = torch.maximum(numbers[:, None], numbers), torch.minimum(numbers[:, None], numbers)
    return first * (first + 1) // 2 + second


def minimise(regression, penalty=0.0, *, start=None, tolerance=_LOSS_TOLERANCE, most_factored=_MAX_FACTORED):
    """Least mean NLL plus ``sum(penalty * (parameters - identity)^2)``.

    Parameters
    ----------
    regression : VectorRegression or MatrixRegression
    penalty : ndarray of its shape or what broadcasts to it, default=0.0
        Non-negative strengths.
    start : ndarray of its shape, default=None
        Where the search starts; None is the identity.
    tolerance : float, default=1e-8
        Relative decrease of the loss in one step that ends the search.
    most_factored : int, default=460
        The Hessian at the start is factored for up to this many parameters.
    """
    identity = regression.identity(regression.n_classes)
    start = identity if start is None else start
    penalised = _Penalised(regression, np.broadcast_to(penalty, start.shape) + RIDGE, identity)
    factored = start.size <= most_factored
    unwhiten, whiten = (_whitening if factored else _near_whitening)(penalised, start)

    def objective(u):
        loss, gradient = penalised(start + unwhiten(u).reshape(start.shape))
        return loss, whiten(gradient.ravel())

    options = {
        "maxiter": _MAX_ITERATIONS,
        "maxfun": 2 * _MAX_ITERATIONS,
        "maxcor": _MEMORY,
        "gtol": _GRADIENT_TOLERANCE,
        "ftol": tolerance,
    }
    found = minimize(objective, np.zeros(start.size), jac=True, method="L-BFGS-B", options=options)
    parameters = start + unwhiten(found.x).reshape(start.shape)
    if regression.is_small and factored:
        parameters = _polished(penalised, parameters)
    note_unconverged(found.success)
    return Solution(parameters, found.nfev, found.success)


class _Penalised:
    """A regression's loss with a ridge, and its gradient."""

    def __init__(self, regression, ridge, centre):
        self.regression, self.ridge, self.centre = regression, ridge, centre

    def __call__(self, parameters):
        loss, gradient = self.regression.loss_and_gradient(parameters)
        shrinkage = self.ridge * (parameters - self.centre)
        return loss + (shrinkage * (parameters - self.centre)).sum(), gradient + 2 * shrinkage

    def hessian(self, parameters):
        """Second derivatives, a matrix over the flat parameters."""
        return self.regression.hessian(parameters) + 2 * np.diag(self.ridge.ravel())


def _polished(penalised, parameters):
    """Newton steps to rounding error."""
    loss, gradient = penalised(parameters)
    for _ in range(_MAX_NEWTON_STEPS):
        scale, factor = _factored(penalised.hessian(parameters))
        step = (scale * cho_solve((factor, True), scale * gradient.ravel())).reshape(parameters.shape)
        trial = penalised(parameters - step)
        while trial[0] > loss + _ROUNDING and np.abs(step).max() > _PARAMETER_TOLERANCE:
            step /= 2
            trial = penalised(parameters - step)
        parameters, (loss, gradient) = parameters - step, trial
        if np.abs(step).max() <= _PARAMETER_TOLERANCE:
            break
    return parameters


def _whitening(penalised, start):
    """The map from whitened coordinates to steps from the start, and its transpose for gradients."""
    scale, factor = _factored(penalised.hessian(start))
    return (
        lambda u: scale * solve_triangular(factor, u, lower=True, trans="T", check_finite=False),
        lambda gradient: solve_triangular(factor, scale * gradient, lower=True, check_finite=False),
    )


def _factored(hessian):
    """Powers of two that bring a Hessian's diagonal near 1, and the lower Cholesky factor of what they make of it.

    Features of very different sizes are no reason for it to be singular, and the factor of any other is the same.
    """
    scale = np.exp2(-np.rint(np.log2(hessian.diagonal()) / 2))
    scaled = hessian * scale[:, None] * scale
    for jitter in (0.0, *JITTERS):
        try:
            return scale, cholesky(scaled + jitter * np.eye(len(scaled)), lower=True)
        except LinAlgError:
            continue
    raise ValueError("X must hold logits that float64 can multiply; the Hessian of the loss isn't positive definite")


def _near_whitening(penalised, start):
    """Scale the Hessian's diagonal to ones, and shrink the one direction in which each class's features add up.

    All log-probabilities are negative: along their mean, a class's coefficients act as one.
    """
    regression, ridge = penalised.regression, penalised.ridge
    axis = regression.feature_axis
    squares, means = regression.curvature(start)
    scale = 1 / np.sqrt(squares + 2 * ridge)
    common = means * scale
    common /= np.maximum(np.linalg.norm(common, axis=axis, keepdims=True), np.finfo(float).tiny)
    along = regression.curvature_along(start, common * scale) + (2 * ridge * (common * scale) ** 2).sum(axis)
    shrink = np.expand_dims(1 / np.sqrt(np.maximum(along, 1)) - 1, axis) * common

    def stretched(u):
        return u + shrink * (u * common).sum(axis, keepdims=True)

    return (
        lambda u: (scale * stretched(u.reshape(start.shape))).ravel(),
        lambda gradient: stretched(scale * gradient.reshape(start.shape)).ravel(),
    )
