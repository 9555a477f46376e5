"""Stacked log scores: non-negative weights on the log-probabilities that several output maps give."""

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

# A chunk of all the maps' log-probabilities holds about this many entries.
_CHUNK_SIZE = 2**18
# Expected fall of the mean loss, in nats, below which the search ends.
_TOLERANCE = 1e-8
_MAX_STEPS = 50
_MAX_HALVINGS = 30
# Part of the mean curvature that is added to each: maps may agree with each other, exactly.
_JITTER = 1e-8


def stacking_weights(log_proba, y, weight, start, strength=0.0):
    """Weights at which ``softmax(sum_j weights[j] * log_proba[j])`` has the least negative log-likelihood.

    To its sum over the samples, ``strength / 2 * sum((weights - 1 / n_maps)^2)`` is added. This is convex. Each Newton
    step is a non-negative least squares problem, so that weights at the bound are 0 exactly.

    Parameters
    ----------
    log_proba : torch.Tensor of shape (n_maps, n_samples, n_classes)
        Finite log-probabilities.
    y : torch.Tensor of shape (n_samples,), int64
        Column indices of the labels.
    weight : torch.Tensor of shape (n_samples,), float64
        Weights of the samples, which count as repetitions.
    start : ndarray of shape (n_maps,)
        Where to start, at least 0.
    strength : float, default=0.0
        Of the pull towards equal weights.

    Returns
    -------
    ndarray of shape (n_maps,)
    """
    total = weight.sum()
    data, ridge = (log_proba, y, weight / total), strength / total.item()
    weights = np.array(start, dtype=np.float64)
    loss, gradient, hessian = _derivatives(*data, weights, ridge)
    for _ in range(_MAX_STEPS):
        step = _newton_step(weights, gradient, hessian)
        # The quadratic model falls by half of this.
        promise = -gradient @ step
        if promise <= _TOLERANCE:
            break
        size, before = 1.0, loss
        for _ in range(_MAX_HALVINGS):
            found = _derivatives(*data, weights + size * step, ridge)
            if found[0] <= before - 1e-4 * size * promise:
                break
            size /= 2
        else:
            break
        weights = weights + size * step
        loss, gradient, hessian = found
    return weights


def stacked(log_proba, weights):
    """Weighted sum of some maps' log-probabilities, of shape (n_maps, ...), in float64 and not normalised."""
    return torch.tensordot(torch.as_tensor(weights).to(log_proba.device), log_proba.double(), 1)


def _newton_step(weights, gradient, hessian):
    """To where the quadratic model of the loss is least among weights that aren't negative."""
    jitter = _JITTER * np.trace(hessian) / len(weights) + np.finfo(float).tiny
    root = cholesky(hessian + jitter * np.eye(len(weights)))
    target = root @ weights - solve_triangular(root, gradient, trans="T")
    return nnls(root, target)[0] - weights


def _derivatives(log_proba, y, share, weights, ridge):
    """Mean loss and penalty, with their gradient and Hessian."""
    n_maps, _, n_classes = log_proba.shape
    rows = max(1, _CHUNK_SIZE // (n_maps * n_classes))
    off = weights - 1 / n_maps
    loss, gradient, hessian = ridge / 2 * off @ off, ridge * off, ridge * np.eye(n_maps)
    for scores, codes, part in zip(log_proba.split(rows, 1), y.split(rows), share.split(rows), strict=True):
        terms = _chunk_derivatives(scores.double(), codes, part, torch.from_numpy(weights).to(part))
        loss += terms[0].item()
        gradient += terms[1].cpu().numpy()
        hessian += terms[2].cpu().numpy()
    return loss, gradient, hessian


def _chunk_derivatives(scores, codes, share, weights):
    total = torch.log_softmax(torch.tensordot(weights, scores, 1), 1)
    own = scores.gather(2, codes.expand(len(scores), -1)[:, :, None])[:, :, 0]
    proba = total.exp()
    mean = (scores * proba).sum(2)
    spread = (scores - mean[:, :, None]).mul_((proba * share[:, None]).sqrt_()).flatten(1)
    loss = -(total.gather(1, codes[:, None])[:, 0] @ share)
    return loss, (mean - own) @ share, spread @ spread.T
