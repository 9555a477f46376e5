"""Weights of stacked log-probabilities: the optimum, however the samples come."""

import numpy as np
import pytest
import torch
from _small_networks import labels_of, logits
from scipy.optimize import minimize

from skclamp._solvers.stacking import stacking_weights


def log_softmax(scores):
    return torch.log_softmax(torch.as_tensor(scores).double(), -1)


@pytest.mark.parametrize("strength", [0.0, 100.0])
def test_stacking_weights_are_the_optimum(strength):
    rng = np.random.default_rng(0)
    Z = logits(600)
    y, weight = labels_of(Z, temperature=2.0), rng.uniform(0.5, 2, 600)
    parts = log_softmax(
        np.stack([Z, Z * rng.uniform(0.2, 1, 4), Z + rng.normal(size=Z.shape), rng.normal(size=Z.shape)])
    )

    def loss(weights):
        log_proba = log_softmax(np.tensordot(weights, parts.numpy(), 1)).numpy()
        shrinkage = strength / 2 * ((weights - 1 / 4) ** 2).sum() / weight.sum()
        return shrinkage - np.average(log_proba[np.arange(600), y], weights=weight)

    found = stacking_weights(parts, torch.from_numpy(y), torch.from_numpy(weight), np.eye(4)[0], strength)
    expected = minimize(loss, np.full(4, 0.25), bounds=[(0, None)] * 4, method="L-BFGS-B", options={"ftol": 1e-14})
    assert loss(found) <= expected.fun + 1e-7
    assert (found >= 0).all()
    assert loss(np.array([0.25] * 4)) > loss(found) + 0.01


def test_repeated_samples_are_stacked_alike():
    """So many that they come in chunks, the hard ones last."""
    parts, y = (
        log_softmax(np.stack([logits(600), logits(600, seed=1)])),
        torch.from_numpy(labels_of(logits(600), temperature=1.0)),
    )
    few = stacking_weights(parts, y, torch.ones(600).double(), np.ones(2))
    rows = parts[0].gather(1, y[:, None])[:, 0].argsort(descending=True).repeat_interleave(80)
    many = stacking_weights(parts[:, rows], y[rows], torch.ones(48_000).double(), np.ones(2))
    np.testing.assert_allclose(many, few, atol=1e-6)
