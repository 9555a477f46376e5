"""Platt scaling and beta calibration: each class's regression against scikit-learn's and scipy's."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skclamp import BetaCalibration, PlattScaling, TemperatureScaling
from skclamp._solvers.one_vs_rest import fit_one_vs_rest, log_odds_terms

CALIBRATORS = [PlattScaling, BetaCalibration]


def draw(n_samples=1500, n_classes=4, *, seed=0):
    """Logits, and labels from other gains and offsets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n_samples, n_classes))
    scores = logits * rng.uniform(0.3, 0.8, n_classes) + rng.normal(scale=0.5, size=n_classes)
    return logits, (scores + rng.gumbel(size=logits.shape)).argmax(1)


def terms(logits, temperature):
    proba = softmax(logits / temperature, axis=1)
    return np.log(proba), np.log1p(-proba)


def regression(odds, hit, weight):
    """Scikit-learn's, on Platt's targets: of each sample a part is a hit, and the rest none."""
    n_hits = weight @ hit
    target = np.where(hit, (n_hits + 1) / (n_hits + 2), 1 / (weight.sum() - n_hits + 2))
    parts = np.r_[weight * target, weight * (1 - target)]
    outcomes = np.repeat([True, False], len(hit))
    return LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(np.r_[odds, odds], outcomes, sample_weight=parts)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_platt_scaling_is_a_logistic_regression_a_class(weighted):
    logits, y = draw()
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else None
    fitted = PlattScaling().fit(logits, y, sample_weight=weight)
    log_p, log_rest = terms(logits, fitted.temperature_)
    proba = []
    for k in range(4):
        odds = (log_p - log_rest)[:, k, None]
        alone = regression(odds, y == k, np.ones(len(y)) if weight is None else weight)
        assert fitted.coef_[k] == pytest.approx(alone.coef_[0, 0], rel=1e-3)
        assert fitted.intercept_[k] == pytest.approx(alone.intercept_[0], abs=1e-3)
        proba.append(alone.predict_proba(odds)[:, 1])
    expected = np.transpose(proba) / np.sum(proba, axis=0)[:, None]
    np.testing.assert_allclose(fitted.predict_proba(logits), expected, atol=1e-4)


def test_beta_calibration_is_a_constrained_logistic_regression_a_class():
    logits, y = draw()
    fitted = BetaCalibration().fit(logits, y)
    log_p, log_rest = terms(logits, fitted.temperature_)
    proba = []
    for k in range(4):
        inside = (y == k).sum()
        target = np.where(y == k, (inside + 1) / (inside + 2), 1 / (len(y) - inside + 2))

        def loss(parameters, k=k, target=target):
            score = parameters[0] * log_p[:, k] - parameters[1] * log_rest[:, k] + parameters[2]
            return -(target * log_expit(score) + (1 - target) * log_expit(-score)).mean()

        found = minimize(loss, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
        ours = fitted.a_[k], fitted.b_[k], fitted.intercept_[k]
        assert loss(ours) <= found.fun + 1e-7
        proba.append(expit(ours[0] * log_p[:, k] - ours[1] * log_rest[:, k] + ours[2]))
    expected = np.transpose(proba) / np.sum(proba, axis=0)[:, None]
    np.testing.assert_allclose(fitted.predict_proba(logits), expected, atol=1e-10)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_a_search_that_ends_early_is_told(calibrator, monkeypatch):
    hasty = partial(fit_one_vs_rest, max_steps=1)
    monkeypatch.setattr("skclamp.scaling._one_vs_rest_scaling.fit_one_vs_rest", hasty)
    with pytest.warns(ConvergenceWarning):
        calibrator().fit(*draw())


def test_beta_gains_are_never_negative():
    """Labels that shun the confident: the free optimum has negative gains in every class."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(800, 3))
    x = [torch.from_numpy(term) for term in terms(logits, 1.0)]
    x[1].neg_()
    y = torch.from_numpy((-np.abs(logits) + rng.gumbel(size=logits.shape)).argmax(1))
    free = fit_one_vs_rest(x, y, torch.ones_like(x[0][:, 0])).parameters
    assert (free[:2] < 0).any()
    held = fit_one_vs_rest(x, y, torch.ones_like(x[0][:, 0]), monotone=True)
    assert held.converged
    assert (held.parameters[:2] >= 0).all()
    for k in range(3):

        def loss(parameters, k=k):
            score = parameters[0] * x[0][:, k] + parameters[1] * x[1][:, k] + parameters[2]
            return -(log_expit(np.where(y == k, 1, -1) * score.numpy())).mean()

        found = minimize(loss, [0.5, 0.5, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
        assert loss(held.parameters[:, k]) <= found.fun + 1e-5


def test_classes_in_chunks_give_the_same():
    logits, y = draw(n_classes=7)
    logits /= TemperatureScaling().fit(logits, y).temperature_
    log_p, log_rest = log_odds_terms(torch.from_numpy(logits))
    x, y = [log_p - log_rest], torch.from_numpy(y)
    together, apart = (
        fit_one_vs_rest(x, y, torch.ones(len(y)), chunk_size=size).parameters for size in (2**16, 2 * len(y))
    )
    np.testing.assert_allclose(apart, together, rtol=1e-6)


def test_log_odds_of_near_certainty():
    """1 - p is 1e-100 and less, far below what a float64 keeps of p."""
    logits = torch.tensor([[0.0, 230.0, -5.0], [0.0, 800.0, 0.0]], dtype=torch.float64)
    log_p, log_rest = log_odds_terms(logits)
    np.testing.assert_allclose(log_rest[:, 1], [logsumexp([0, -5]) - 230, np.log(2) - 800], rtol=1e-14)
    np.testing.assert_allclose(log_p, log_softmax(logits.numpy(), axis=1), rtol=1e-14)
    np.testing.assert_allclose(log_rest[:, [0, 2]], torch.log1p(-log_p[:, [0, 2]].exp()), atol=1e-15)


@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.parametrize("calibrator", [PlattScaling, BetaCalibration])
def test_separable_classes_have_an_optimum_that_is_found(calibrator):
    """No T is optimal there; Platt's targets are worth (n+ + 1) / (n+ + 2) where the scores tell the classes apart."""
    y = np.repeat([0, 1, 2], 20)
    logits = np.random.default_rng(0).normal(size=(60, 3)) + 12.0 * np.eye(3)[y]
    fitted = calibrator().fit(logits, y)
    assert 0 < fitted.n_iter_ < 20
    proba = fitted.predict_proba(logits)[np.arange(60), y]
    sure = (21 / 22) / (21 / 22 + 2 / 42)
    np.testing.assert_allclose(proba, sure, atol=0.05)
    assert np.mean(proba) == pytest.approx(sure, abs=0.01)
