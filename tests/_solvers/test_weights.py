"""Weights of several logits: the optimum's own conditions, temperature scaling as the case of one."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from skclamp._solvers.temperature import solve_temperature
from skclamp._solvers.weights import solve_weights
from skclamp.exceptions import NotConvergedWarning


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


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n_views", [2, 3, 5])
def test_the_optimum_meets_its_conditions(n_views, scale, smooth):
    """Smoothed, a label keeps 1 - 1 / (n + 2), and the others share the rest."""
    logits, y, weight = draw(n_views, scale=scale)
    found = solve_weights(logits, y, sample_weight=weight, smooth=smooth)
    assert found.converged
    assert (found.weights >= 0).all()
    log_proba = log_softmax(np.tensordot(found.weights, logits.numpy(), 1), axis=1)
    share = float(smooth / (weight.sum() ** 2 / (weight**2).sum() + 2))
    target = np.where(np.arange(5) == y.numpy()[:, None], 1 - share, share / 4)
    gradient = np.average(((np.exp(log_proba) - target) * logits.numpy()).sum(2), axis=1, weights=weight) / scale
    assert found.loss == pytest.approx(-np.average((target * log_proba).sum(1), weights=weight), abs=1e-12)
    used = found.weights > 0
    assert used.all() == (n_views == 2)
    # Quadratic convergence from a step that promised 1e-14 of the loss leaves rounding.
    np.testing.assert_allclose(gradient[used], 0, atol=1e-12)
    assert (gradient[~used] > 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smooth", [False, True])
def test_one_view_is_temperature_scaling(smooth, dtype):
    logits, y, weight = draw(1)
    logits = logits.to(dtype)
    found = solve_weights(logits, y, sample_weight=weight, smooth=smooth)
    known = solve_temperature(logits[0].double(), y, sample_weight=weight, smooth=smooth)
    assert 1 / found.weights[0] == pytest.approx(known.temperature, rel=1e-7)
    assert found.loss == pytest.approx(known.loss, abs=1e-10)


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
    """The loss is flat along their differences: it has converged, and each adds as much as any other."""
    logits, y, _ = draw(1)
    factors = np.array(factors)
    found = solve_weights([factor * logits[0] for factor in factors], y)
    assert found.converged
    np.testing.assert_array_equal(found.weights[factors <= 0], 0)
    if (factors <= 0).all():
        assert found.loss == pytest.approx(np.log(5))
        return
    known = solve_temperature(logits[0], y)
    shares = np.where(factors > 0, found.weights * factors, 0)
    # The ridge along what the data leave open, 1e-10 of the curvature at 0, is about 1e-9 of that at the optimum.
    assert 1 / shares.sum() == pytest.approx(known.temperature, rel=1e-8)
    np.testing.assert_allclose(shares[factors > 0], shares.max(), rtol=1e-8)
    assert found.loss == pytest.approx(known.loss, abs=1e-12)


def test_smoothing_keeps_flawless_samples_from_certainty():
    logits, _, _ = draw(2)
    y = logits.sum(0).argmax(1)
    with pytest.warns(NotConvergedWarning, match="the loss hadn't converged"):
        assert not solve_weights(logits, y).converged
    smoothed = solve_weights(logits, y, smooth=True)
    assert smoothed.converged
    assert smoothed.loss > 0
