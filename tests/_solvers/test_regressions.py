"""The regressions behind affine maps and maps by class: derivatives, and that every way to the optimum finds it."""

import numpy as np
import pytest
import torch
from _output_maps import draw
from scipy.optimize import check_grad
from scipy.special import log_softmax, logsumexp

from skclamp._solvers.one_vs_rest import fit_one_vs_rest, log_odds_terms
from skclamp._solvers.softmax_regression import MatrixRegression, VectorRegression, minimise
from skclamp.exceptions import NotConvergedWarning

REGRESSIONS = [VectorRegression, MatrixRegression]


def posed(regression, n_samples, n_classes):
    logits, y = draw(n_samples, n_classes)
    x = torch.from_numpy(log_softmax(logits / 2, axis=1))
    return regression(x, torch.from_numpy(y), torch.ones(n_samples).double())


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("regression", REGRESSIONS)
def test_gradients_and_hessians(regression, n_classes):
    """Chunks of a few rows, weights, and parameters away from the identity."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(50, n_classes))), torch.from_numpy(rng.integers(n_classes, size=50))
    loss = regression(x, y, torch.from_numpy(rng.uniform(size=50)), chunk_size=13 * n_classes)
    assert len(loss.chunks) > 3
    theta = rng.normal(size=loss.shape)

    def value(flat):
        return loss.loss_and_gradient(flat.reshape(theta.shape))[0]

    def gradient(flat):
        return loss.loss_and_gradient(flat.reshape(theta.shape))[1].ravel()

    assert check_grad(value, gradient, theta.ravel()) < 1e-6
    hessian = loss.hessian(theta)
    steps = 1e-5 * np.eye(theta.size)
    numerical = [(gradient(theta.ravel() + step) - gradient(theta.ravel() - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(hessian, numerical, atol=1e-8)
    squares, _ = loss.curvature(theta)
    np.testing.assert_allclose(squares.ravel(), hessian.diagonal(), atol=1e-12)
    direction = rng.normal(size=theta.shape)
    along = loss.curvature_along(theta, direction)
    for k in range(n_classes):
        own = np.zeros_like(theta)
        part = (slice(None), k) if regression is VectorRegression else k
        own[part] = direction[part]
        assert along[k] == pytest.approx(own.ravel() @ hessian @ own.ravel())


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_the_scaled_search_finds_what_the_whitened_one_finds(regression):
    loss = posed(regression, 2000, 6)
    whitened, scaled = (minimise(loss, 0.01, **options) for options in ({}, {"most_factored": 0}))
    assert whitened.converged
    assert scaled.converged
    np.testing.assert_allclose(scaled.parameters, whitened.parameters, atol=3e-3)
    losses = (loss.loss_and_gradient(solution.parameters)[0] for solution in (scaled, whitened))
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_scaled_coordinates_know_of_the_ridge_along_the_common_direction():
    """It makes the loss nearly quadratic: the search needs 6 evaluations, and 8 with a wrong curvature."""
    assert minimise(posed(MatrixRegression, 2000, 30), 10.0, most_factored=0).n_evaluations <= 7


def test_classes_in_chunks_give_the_same():
    logits, y = draw(1500, 7)
    log_p, log_rest = log_odds_terms(torch.from_numpy(logits))
    x, y = [log_p - log_rest], torch.from_numpy(y)
    sizes = 2**16, 2 * len(y)
    together, apart = (fit_one_vs_rest(x, y, torch.ones(len(y)), chunk_size=size).parameters for size in sizes)
    np.testing.assert_allclose(apart, together, rtol=1e-6)
    with pytest.warns(NotConvergedWarning, match="the loss hadn't converged"):
        fit_one_vs_rest(x, y, torch.ones(len(y)), max_steps=1)


def test_log_odds_of_near_certainty():
    """1 - p is 1e-100 and less, far below what a float64 keeps of p."""
    logits = torch.tensor([[0.0, 230.0, -5.0], [0.0, 800.0, 0.0]], dtype=torch.float64)
    log_p, log_rest = log_odds_terms(logits)
    np.testing.assert_allclose(log_rest[:, 1], [logsumexp([0, -5]) - 230, np.log(2) - 800], rtol=1e-14)
    np.testing.assert_allclose(log_p, log_softmax(logits.numpy(), axis=1), rtol=1e-14)
    np.testing.assert_allclose(log_rest[:, [0, 2]], torch.log1p(-log_p[:, [0, 2]].exp()), atol=1e-15)
