"""Stacked log scores: non-negative weights on the log-probabilities that several output maps give."""

import numpy as np
import torch
from scipy.optimize import minimize

# A chunk of all the maps' log-probabilities holds about this many entries.
_CHUNK_SIZE = 2**18
_OPTIONS = {"ftol": 1e-10, "gtol": 1e-7, "maxiter": 500}


def stacking_weights(log_proba, y, weight, start, strength=0.0):
    """Weights at which ``softmax(sum_j weights[j] * log_proba[j])`` has the least negative log-likelihood.

    To its sum over the samples, ``strength / 2 * sum((weights - 1 / n_maps)^2)`` is added. This is convex, and weights
    at the bound are 0 exactly. `log_proba` has shape (n_maps, n_samples, n_classes); weights of the samples count as
    repetitions; `start`, one weight a map, is at least 0.
    """
    total = weight.sum()
    share, ridge = weight / total, strength / total.item()

    def objective(weights):
        off = weights - 1 / len(weights)
        loss, gradient = _loss_and_gradient(log_proba, y, share, weights)
        return loss + ridge / 2 * off @ off, gradient + ridge * off

    bounds = [(0, None)] * len(log_proba)
    return minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=_OPTIONS).x


def stacked(log_proba, weights):
    """Weighted sum of some maps' log-probabilities, of shape (n_maps, ...), in float64 and not normalised."""
    return torch.tensordot(torch.as_tensor(weights).to(log_proba.device), log_proba.double(), 1)


def _loss_and_gradient(log_proba, y, share, weights):
    n_maps, _, n_classes = log_proba.shape
    rows = max(1, _CHUNK_SIZE // (n_maps * n_classes))
    loss, gradient = 0.0, np.zeros(n_maps)
    for scores, y_encoded, part in zip(log_proba.split(rows, 1), y.split(rows), share.split(rows), strict=True):
        total = torch.log_softmax(stacked(scores, weights), 1)
        own = scores.gather(2, y_encoded.expand(n_maps, -1)[:, :, None])[:, :, 0]
        mean = (scores * total.exp()).sum(2)
        loss -= (total.gather(1, y_encoded[:, None])[:, 0] @ part).item()
        gradient += ((mean - own) @ part).cpu().numpy()
    return loss, gradient
