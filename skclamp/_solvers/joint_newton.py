"""Newton's method for small softmax regressions that differ in the samples they see: all of them in one array.

A few hundred samples of few classes are summed over in less time than torch and scipy take to be called: regressions
that are fitted one after another, a path of them a fold, spend nearly all of it there.
"""

import numpy as np
import torch

from .softmax_regression import JITTERS, MatrixRegression

# Of samples times squares of classes times regressions: a step's largest array has about as many entries.
_MAX_SIZE = 2**17
_MAX_CLASSES = 6
# Of features: the others of a row are rounded off beside larger ones, which only whitened coordinates bear.
_LARGEST = 1e6
# In nats: a step that promises to save less is the last, and what it leaves is far less than that.
_LEAST_DECREMENT = 1e-9
_MAX_STEPS = 50
_ROUNDING = 1e-14


def are_small(features, n_regressions):
    """Whether regressions are small enough to be solved at once."""
    n_samples, n_classes = features.shape
    if n_classes > _MAX_CLASSES or n_samples * n_classes**2 * n_regressions > _MAX_SIZE:
        return False
    # Nor where some are -inf.
    return features.abs().max().item() <= _LARGEST


class JointRegressions:
    """Regressions of one form on the same samples, each with weights of its own.

    Parameters
    ----------
    regression : type
        MatrixRegression or VectorRegression, whose parameters these have, one flat row for each.
    features : torch.Tensor of shape (n_samples, n_classes), float64
    y : torch.Tensor of shape (n_samples,), int64
    shares : torch.Tensor of shape (n_regressions, n_samples), float64
        Weights of sum 1.
    """

    def __init__(self, regression, features, y, shares):
        n_classes = features.shape[1]
        # Where the parameters are in a matrix of coefficients and offsets; others are 0.
        grid = np.arange(n_classes * (n_classes + 1)).reshape(n_classes, -1)
        places = grid if regression is MatrixRegression else np.stack([grid.diagonal(), grid[:, -1]])
        self.places = torch.from_numpy(places.ravel()).to(features.device)
        self.x = torch.cat([features.T, torch.ones_like(features[:, :1]).T])
        self.products = (self.x[:, None] * self.x).flatten(0, 1).T.contiguous()
        self.labels = torch.nn.functional.one_hot(y, n_classes).T.to(features)
        self.shares = shares
        self.shape = len(shares), *grid.shape

    def losses(self, theta, shares):
        """Mean NLL under each row of parameters."""
        logits = self._logits(theta)
        return ((logits.logsumexp(1) - (logits * self.labels).sum(1)) * shares).sum(1)

    def minimise(self, theta, ridge, centre):
        """Rows of parameters of least mean NLL plus ``sum(ridge * (parameters - centre)^2)``, from some."""

        def penalised(theta):
            return self.losses(theta, self.shares) + ((theta - centre).square() * ridge).sum(1)

        loss = penalised(theta)
        for _ in range(_MAX_STEPS):
            step, decrement = self._newton_step(theta, ridge, centre)
            trial = penalised(theta - step)
            while (rises := (trial > loss + _ROUNDING) & (decrement > _LEAST_DECREMENT)).any():
                step[rises], decrement[rises] = step[rises] / 2, decrement[rises] / 2
                trial = penalised(theta - step)
            theta, loss = theta - step, trial
            if (decrement <= _LEAST_DECREMENT).all():
                break
        return theta

    def _logits(self, theta):
        full = theta.new_zeros(len(theta), self.shape[1] * self.shape[2])
        full[:, self.places] = theta
        return full.view(self.shape) @ self.x

    def _newton_step(self, theta, ridge, centre):
        """Of each row, and twice what it saves."""
        proba = self._logits(theta).softmax(1)
        weighted = proba * self.shares[:, None]
        gradient = ((weighted - self.labels * self.shares[:, None]) @ self.x.T).flatten(1)[:, self.places]
        gradient += 2 * ridge * (theta - centre)
        covariance = torch.diag_embed(weighted.mT).permute(0, 2, 3, 1) - weighted[:, :, None] * proba[:, None]
        n_rows, n_classes, n_features = self.shape
        hessian = (covariance.flatten(1, 2) @ self.products).view(n_rows, n_classes, n_classes, n_features, -1)
        hessian = hessian.transpose(2, 3).reshape(n_rows, n_classes * n_features, -1)[:, self.places][..., self.places]
        hessian.diagonal(dim1=1, dim2=2).add_(2 * ridge)
        step = _solved(hessian, gradient)
        return step, (gradient * step).sum(1)


def _solved(hessian, gradient):
    """Each row's inverse Hessian times its gradient."""
    scale = hessian.diagonal(dim1=1, dim2=2).rsqrt()
    scaled = hessian * scale[:, :, None] * scale[:, None]
    for jitter in (0.0, *JITTERS):
        scaled.diagonal(dim1=1, dim2=2).add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if not failed.any():
            break
    return scale * torch.cholesky_solve((scale * gradient)[:, :, None], factor)[:, :, 0]
