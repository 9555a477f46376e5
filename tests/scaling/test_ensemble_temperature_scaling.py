"""Ensemble temperature scaling: the mixture's weights and temperature against other ways to find them."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from skclamp import EnsembleTemperatureScaling, TemperatureScaling


def draw(n_samples=2000, n_classes=4, *, noise=0.15, temperature=2.0, seed=0):
    """Logits, and labels of which a share is drawn blindly."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=4.0, size=(n_samples, n_classes))
    y = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)
    blind = rng.random(n_samples) < noise
    y[blind] = rng.integers(n_classes, size=blind.sum())
    return logits, y


def mixture(weights, logits, temperature):
    uniform = np.full(logits.shape, 1 / logits.shape[1])
    parts = [softmax(logits / temperature, axis=1), softmax(logits, axis=1), uniform]
    return sum(weight * part for weight, part in zip(weights, parts, strict=True))


def loss_of(proba, y, weight=None):
    return np.average(-np.log(proba[np.arange(len(y)), y]), weights=weight)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_the_weights_are_at_the_optimum(noise, weighted):
    """As scipy's SLSQP finds it, by numerical gradients, from the middle."""
    logits, y = draw(noise=noise)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else None
    fitted = EnsembleTemperatureScaling().fit(logits, y, sample_weight=weight)

    def objective(weights):
        return loss_of(mixture(weights, logits, fitted.temperature_), y, weight)

    constraint = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = minimize(
        objective, np.full(3, 1 / 3), bounds=[(1e-9, 1)] * 3, constraints=constraint, method="SLSQP", tol=1e-12
    )
    assert objective(fitted.weights_) <= found.fun + 1e-6
    assert fitted.weights_.sum() == pytest.approx(1)
    assert (fitted.weights_ >= 0).all()
    expected = np.log(mixture(fitted.weights_, logits, fitted.temperature_))
    np.testing.assert_allclose(fitted.predict_log_proba(logits), expected, atol=1e-12)


def test_the_temperature_is_at_the_optimum_too():
    """Of a grid of temperatures, each with SLSQP's weights, none does better."""
    logits, y = draw(500)
    fitted = EnsembleTemperatureScaling().fit(logits, y)
    reached = loss_of(fitted.predict_proba(logits), y)
    for temperature in np.geomspace(0.3, 10, 20):

        def objective(weights, temperature=temperature):
            return loss_of(mixture(weights, logits, temperature), y)

        constraint = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
        bounds = [(1e-9, 1)] * 3
        found = minimize(objective, np.full(3, 1 / 3), bounds=bounds, constraints=constraint, method="SLSQP")
        assert reached < found.fun + 1e-6


def test_the_uniform_part_bounds_the_loss_of_confident_mistakes():
    """One sample in ten thousand is wrong with a logit of 1000: temperature scaling has to bow to it alone."""
    logits = np.zeros((10_000, 3))
    y = np.arange(10_000) % 3
    logits[np.arange(10_000), y] = 8.0
    logits[0] = [0.0, 1000.0, 0.0]
    alone, fitted = TemperatureScaling().fit(logits, y), EnsembleTemperatureScaling().fit(logits, y)
    losses = [-each.predict_log_proba(logits)[np.arange(10_000), y].mean() for each in (alone, fitted)]
    assert losses[1] < losses[0] - 0.001
    assert losses[0] == pytest.approx(-log_softmax(logits / alone.temperature_, axis=1)[np.arange(10_000), y].mean())
