"""Weights of a pool: the optimum of the priced loss, exactly 0 where nothing earns its price."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skclamp._solvers.pool import leads, pooled, solve_pool


def draw(truth, n=600, seed=0):
    """Log-probabilities of a base and two others, and labels drawn from their mixture at some weights."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=2.0, size=(3, n, 4))
    parts = torch.log_softmax(torch.from_numpy(scores[0] + np.array([0.0, 0.5, 0.5])[:, None, None] * scores), -1)
    y = (pooled(list(parts), truth).numpy() + rng.gumbel(size=(n, 4))).argmax(1)
    return parts, torch.from_numpy(y)


def priced(parts, y, prices, w):
    return -torch.log_softmax(pooled(list(parts), w), 1)[torch.arange(len(y)), y].sum().item() + prices @ w


@pytest.mark.parametrize("told", [[1.0, 1.0], [0.5, 1.0]])
@pytest.mark.parametrize("truth", [[0.6, 0.0], [0.4, 0.4], [0.0, 1.0]])
def test_weights_are_the_optimum_of_the_priced_loss(truth, told):
    """Of what tells half as much a unit costs twice as much."""
    parts, y = draw(truth)
    spreads = np.array([1.0, 2.0])
    w, prices = solve_pool(list(parts), y, torch.ones(len(y), dtype=torch.float64), len(y) * np.array(told), spreads)
    prices = prices / told
    assert (w >= 0).all() and w.sum() <= 1 + 1e-12
    best = min(
        (
            minimize(
                lambda v: priced(parts, y, prices, v),
                start,
                bounds=[(0, 1)] * 2,
                constraints={"type": "ineq", "fun": lambda v: 1 - v.sum()},
                method="SLSQP",
            )
            for start in ([0.1, 0.1], [0.5, 0.4])
        ),
        key=lambda found: found.fun,
    )
    assert priced(parts, y, prices, w) <= best.fun + 1e-6
    np.testing.assert_allclose(w, best.x, atol=1e-2)


def test_nothing_that_does_not_earn_its_price_has_weight():
    parts, y = draw([0.0, 0.0])
    weight = torch.ones(len(y), dtype=torch.float64)
    assert solve_pool(list(parts), y, weight, np.full(2, len(y)), np.full(2, 1e3))[0].tolist() == [0.0, 0.0]


def test_leads_have_no_mean_under_the_base_and_its_deviation():
    parts, _ = draw([0.0, 0.0], n=50)
    proba, difference = parts[0].exp(), parts[1] - parts[0]
    lead, deviation = leads(parts[0], parts[1])
    torch.testing.assert_close(lead, difference - (proba * difference).sum(1, keepdim=True))
    variance = (proba * difference**2).sum(1) - (proba * difference).sum(1) ** 2
    np.testing.assert_allclose(deviation, variance.sqrt(), rtol=1e-9)
