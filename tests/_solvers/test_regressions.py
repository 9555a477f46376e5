"""The regressions behind affine maps and maps by class: derivatives, and that every way to the optimum finds it."""

import numpy as np
import pytest
import torch
from _output_maps import draw
from scipy.special import log_softmax, logsumexp

from skclamp import PlattScaling
from skclamp._solvers import newton, softmax_regression, temperature_sums
from skclamp._solvers.one_vs_rest import log_odds_terms
from skclamp._solvers.softmax_regression import SoftmaxRegression, minimise

MIXES = pytest.mark.parametrize("mixes", [False, True], ids=["gains", "matrix"])


def posed(n_samples, n_classes, mixes):
    logits, y = draw(n_samples, n_classes)
    x = torch.from_numpy(log_softmax(logits / 2, axis=1))
    return SoftmaxRegression(x, torch.from_numpy(y), torch.ones(n_samples), mixes=mixes)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@MIXES
def test_gradients_and_hessians(mixes, n_classes, monkeypatch):
    """Autograd's of the loss by hand: chunks of a few rows, parameters away from the identity."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(50, n_classes))), torch.from_numpy(rng.integers(n_classes, size=50))
    weight = torch.from_numpy(rng.uniform(size=50))
    monkeypatch.setattr(temperature_sums, "_CHUNK_SIZE", 13 * n_classes)
    regression = SoftmaxRegression(x, y, weight, mixes=mixes)
    assert len(regression.chunks) > 3
    theta, direction = torch.from_numpy(rng.normal(size=(2, *regression.identity.shape)))

    def value(theta):
        logits = x @ theta[:, :-1].T if mixes else x * theta[:, 0]
        losses = torch.nn.functional.cross_entropy(logits + theta[:, -1], y, reduction="none")
        return weight @ losses / weight.sum()

    loss, gradient, hessian = (row for (row,) in regression(theta, hessian=True))
    torch.testing.assert_close(loss, value(theta))
    torch.testing.assert_close(gradient, torch.func.grad(value)(theta))
    expected = torch.func.hessian(value)(theta).view(hessian.shape)
    torch.testing.assert_close(hessian, expected)
    torch.testing.assert_close(regression.curvature(theta)[0].flatten(), expected.diagonal())
    blocks = expected.view(*theta.shape, *theta.shape).diagonal(dim1=0, dim2=2)
    along = regression.curvature_along(theta, direction)
    torch.testing.assert_close(along, torch.einsum("fgk,kf,kg->k", blocks, direction, direction))


@MIXES
def test_every_way_finds_the_same(mixes, monkeypatch):
    """Newton's method, and a search in scaled coordinates."""
    regression = posed(2000, 6, mixes)
    found = []
    for limit in (2**24, 0):
        monkeypatch.setattr(softmax_regression, "_NEWTON_SIZE", limit)
        found.append(minimise(regression, 0.01))
    assert all(solution.converged for solution in found)
    torch.testing.assert_close(found[1].parameters, found[0].parameters, rtol=0, atol=3e-3)
    losses = (regression(solution.parameters)[0] for solution in found)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


def test_scaled_coordinates_know_of_the_ridge_along_the_common_direction():
    """It makes the loss nearly quadratic: the search needs 6 evaluations, and 8 with a wrong curvature."""
    assert minimise(posed(2000, 30, True), 10.0).n_evaluations <= 7


def test_classes_in_chunks_give_the_same(monkeypatch):
    logits, y = draw(1500, 7)
    together = PlattScaling().fit(logits, y)
    monkeypatch.setattr(newton, "_CHUNK_SIZE", 2 * len(y))
    apart = PlattScaling().fit(logits, y)
    np.testing.assert_allclose(apart.coef_, together.coef_, rtol=1e-6)


def test_log_odds_of_near_certainty():
    """1 - p is 1e-100 and less, far below what a float64 keeps of p."""
    logits = torch.tensor([[0.0, 230.0, -5.0], [0.0, 800.0, 0.0]], dtype=torch.float64)
    log_p, log_rest = log_odds_terms(logits)
    np.testing.assert_allclose(log_rest[:, 1], [logsumexp([0, -5]) - 230, np.log(2) - 800], rtol=1e-14)
    np.testing.assert_allclose(log_p, log_softmax(logits.numpy(), axis=1), rtol=1e-14)
    np.testing.assert_allclose(log_rest[:, [0, 2]], torch.log1p(-log_p[:, [0, 2]].exp()), atol=1e-15)
