"""Weights of views: the optimum's own conditions, scipy's answer, and temperature scaling as the case of one view."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from skclamp._solvers.temperature import solve_temperature
from skclamp._solvers.view_weights import solve_view_weights


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


def mean_loss(weights, logits, y, sample_weight, smoothing=0.0):
    """The NLL by scipy alone; smoothed, a label keeps 1 - smoothing, and the others share the rest."""
    log_proba = log_softmax(np.tensordot(weights, logits.numpy(), 1), axis=1)
    own = log_proba[np.arange(len(y)), y.numpy()]
    others = (log_proba.sum(1) - own) / (log_proba.shape[1] - 1)
    return -np.average((1 - smoothing) * own + smoothing * others, weights=sample_weight.numpy())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n_views", [2, 3, 5])
def test_the_optimum_meets_its_conditions(n_views, scale):
    logits, y, weight = draw(n_views, scale=scale)
    found = solve_view_weights(logits, y, sample_weight=weight)
    assert found.converged
    assert (found.weights >= 0).all()
    p = np.exp(log_softmax(np.tensordot(found.weights, logits.numpy(), 1), axis=1))
    own = logits.numpy()[:, np.arange(len(y)), y.numpy()]
    gradient = np.average((p * logits.numpy()).sum(2) - own, axis=1, weights=weight.numpy()) / scale
    used = found.weights > 0
    assert used.all() == (n_views == 2)
    np.testing.assert_allclose(gradient[used], 0, atol=1e-9)
    assert (gradient[~used] > 1e-3).all()


@pytest.mark.parametrize("smooth", [False, True])
def test_scipy_finds_the_same(smooth):
    logits, y, weight = draw(4)
    found = solve_view_weights(logits, y, sample_weight=weight, smooth=smooth)
    n_effective = float(weight.sum() ** 2 / (weight**2).sum())
    arguments = logits, y, weight, 1 / (n_effective + 2) if smooth else 0.0
    reference = minimize(mean_loss, np.full(4, 0.2), arguments, method="L-BFGS-B", bounds=[(0, None)] * 4, tol=1e-14)
    np.testing.assert_allclose(found.weights, reference.x, atol=1e-4)
    assert found.loss == pytest.approx(mean_loss(found.weights, *arguments), abs=1e-12)
    assert found.loss <= reference.fun + 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smooth", [False, True])
def test_one_view_is_temperature_scaling(smooth, dtype):
    logits, y, weight = draw(1)
    logits = logits.to(dtype)
    found = solve_view_weights(logits, y, sample_weight=weight, smooth=smooth)
    known = solve_temperature(logits[0].double(), y, sample_weight=weight, smooth=smooth)
    assert 1 / found.weights[0] == pytest.approx(known.temperature, rel=1e-7)
    assert found.loss == pytest.approx(known.loss, abs=1e-10)


def test_views_that_say_the_same_share_one_weight():
    logits, y, _ = draw(1)
    found = solve_view_weights([logits[0], logits[0]], y)
    assert found.converged
    assert 1 / found.weights.sum() == pytest.approx(solve_temperature(logits[0], y).temperature, rel=1e-7)


def test_views_that_say_nothing_have_no_weight():
    logits, y, _ = draw(1)
    found = solve_view_weights([-logits[0], torch.zeros_like(logits[0])], y)
    np.testing.assert_array_equal(found.weights, 0)
    assert found.loss == pytest.approx(np.log(5))


def test_smoothing_keeps_flawless_samples_from_certainty():
    logits, _, _ = draw(2)
    y = logits.sum(0).argmax(1)
    assert not solve_view_weights(logits, y).converged
    smoothed = solve_view_weights(logits, y, smooth=True)
    assert smoothed.converged
    assert smoothed.loss > 0
