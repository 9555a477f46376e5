"""Weights of several logits: the optimum's own conditions, temperature scaling as the case of one."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from skclamp._solvers.temperature import solve_temperature
from skclamp._solvers.weights import solve_weights


def draw(n_views, n_samples=400, n_classes=5, *, scale=1.0, seed=0):
    """Noisy views of the same logits, the last of them useless, and labels drawn from what they have in common."""
    rng = np.random.default_rng(seed)
    truth = 2 * rng.normal(size=(n_samples, n_classes))
    y = (truth + rng.gumbel(size=truth.shape)).argmax(1)
    noise = rng.normal(size=(n_views, n_samples, n_classes)) * np.linspace(0.7, 1.5, n_views)[:, None, None]
    views = truth + noise
    if n_views > 2:
        views[-1] = rng.normal(size=truth.shape) - truth / 4
    return torch.from_numpy(scale * views), torch.from_numpy(y), torch.from_numpy(rng.uniform(0, 2, n_samples))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n_views", [2, 3, 5])
def test_the_optimum_meets_its_conditions(n_views, scale):
    """Smoothed, a label keeps 1 - 1 / (n + 2), and the others share the rest."""
    logits, y, weight = draw(n_views, scale=scale)
    weights = solve_weights(logits, y, sample_weight=weight)
    assert (weights >= 0).all()
    log_proba = log_softmax(np.tensordot(weights, logits.numpy(), 1), axis=1)
    share = float(1 / (weight.sum() ** 2 / (weight**2).sum() + 2))
    target = np.where(np.arange(5) == y.numpy()[:, None], 1 - share, share / 4)
    gradient = np.average(((np.exp(log_proba) - target) * logits.numpy()).sum(2), axis=1, weights=weight) / scale
    used = weights > 0
    assert used.all() == (n_views == 2)
    # Quadratic convergence leaves rounding.
    np.testing.assert_allclose(gradient[used], 0, atol=1e-12)
    assert (gradient[~used] > 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_one_view_is_temperature_scaling(dtype):
    logits, y, weight = draw(1)
    logits = logits.to(dtype)
    weights = solve_weights(logits, y, sample_weight=weight)
    known = solve_temperature(logits[0].double(), y, sample_weight=weight, smooth=True)
    assert 1 / weights[0] == pytest.approx(known.temperature, rel=1e-7)


SAME = {
    "twice": [1, 1],
    "in other units": [1, 2, 1e4, 1e-4],
    "thirty times": np.ones(30),
    "upside down": [1, -1],
    "beside a constant": [1, 0],
    "of nothing else": [-1, 0],
}


@pytest.mark.parametrize("factors", SAME.values(), ids=SAME)
def test_views_that_say_the_same_share_one_weight(factors):
    """The loss is flat along their differences: the search converges, and each adds as much as any other."""
    logits, y, _ = draw(1)
    factors = np.array(factors)
    weights = solve_weights([factor * logits[0] for factor in factors], y)
    np.testing.assert_array_equal(weights[factors <= 0], 0)
    if (factors <= 0).all():
        return
    known = solve_temperature(logits[0], y, smooth=True)
    shares = np.where(factors > 0, weights * factors, 0)
    # The ridge along what the data leave open, 1e-10 of the curvature at 0, is about 1e-9 of that at the optimum.
    assert 1 / shares.sum() == pytest.approx(known.temperature, rel=1e-8)
    np.testing.assert_allclose(shares[factors > 0], shares.max(), rtol=1e-8)


def test_smoothing_keeps_flawless_samples_from_certainty():
    logits, _, _ = draw(2)
    weights = solve_weights(logits, logits.sum(0).argmax(1))
    proba = torch.tensordot(torch.from_numpy(weights), logits, 1).softmax(1)
    assert 0.9 < proba.amax(1).mean() < 0.99
