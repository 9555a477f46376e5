"""Platt scaling and beta calibration: each class's regression against scikit-learn's and scipy's."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax
from sklearn.linear_model import LogisticRegression

from skclamp import BetaCalibration, PlattScaling, TemperatureScaling
from skclamp.scaling._one_vs_rest import fit_one_vs_rest, log_odds_terms

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


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_platt_scaling_is_a_logistic_regression_a_class(weighted):
    logits, y = draw()
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else None
    fitted = PlattScaling().fit(logits, y, sample_weight=weight)
    log_p, log_rest = terms(logits, fitted.temperature_)
    proba = []
    for k in range(4):
        odds = (log_p - log_rest)[:, k, None]
        alone = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(odds, y == k, sample_weight=weight)
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


def test_beta_gains_are_never_negative():
    """Labels that shun the confident: the free optimum has negative gains in every class."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(800, 3))
    x = [torch.from_numpy(term) for term in terms(logits, 1.0)]
    x[1].neg_()
    y = torch.from_numpy((-np.abs(logits) + rng.gumbel(size=logits.shape)).argmax(1))
    free = fit_one_vs_rest(x, y, None).parameters
    assert (free[:2] < 0).any()
    held = fit_one_vs_rest(x, y, None, monotone=True)
    assert held.converged
    assert (held.parameters[:2] >= 0).all()
    for k in range(3):

        def loss(parameters, k=k):
            score = parameters[0] * x[0][:, k] + parameters[1] * x[1][:, k] + parameters[2]
            return -(log_expit(np.where(y == k, 1, -1) * score.numpy())).mean()

        found = minimize(loss, [0.5, 0.5, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
        assert loss(held.parameters[:, k]) <= found.fun + 1e-5


def test_classes_in_chunks_give_the_same(monkeypatch):
    logits, y = draw(n_classes=7)
    together = PlattScaling().fit(logits, y)
    monkeypatch.setattr("skclamp.scaling._one_vs_rest._CHUNK_SIZE", 2 * len(y))
    apart = PlattScaling().fit(logits, y)
    np.testing.assert_allclose(apart.coef_, together.coef_, rtol=1e-6)


def test_log_odds_of_near_certainty():
    """1 - p is 1e-100 and less, far below what a float64 keeps of p."""
    logits = torch.tensor([[0.0, 230.0, -5.0], [0.0, 800.0, 0.0]], dtype=torch.float64)
    log_p, log_rest = log_odds_terms(logits)
    np.testing.assert_allclose(log_rest[:, 1], [logsumexp([0, -5]) - 230, np.log(2) - 800], rtol=1e-14)
    np.testing.assert_allclose(log_p, log_softmax(logits.numpy(), axis=1), rtol=1e-14)
    np.testing.assert_allclose(log_rest[:, [0, 2]], torch.log1p(-log_p[:, [0, 2]].exp()), atol=1e-15)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_gains_of_1_are_temperature_scaling(calibrator):
    """Where labels are drawn from softmax(logits / 2), little else is left to find."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3.0, size=(50_000, 3))
    y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)
    fitted, alone = (each().fit(logits, y) for each in (calibrator, TemperatureScaling))
    np.testing.assert_allclose(fitted.predict_proba(logits), alone.predict_proba(logits), atol=0.02)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_integer_weights_are_repetition(calibrator):
    logits, y = draw()
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = calibrator().fit(logits, y, sample_weight=weight)
    repeated = calibrator().fit(np.repeat(logits, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.predict_proba(logits), repeated.predict_proba(logits), atol=1e-6)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_permuted_classes_permute_the_result(calibrator):
    logits, y = draw(n_classes=5)
    order = np.array([3, 0, 4, 1, 2])
    plain = calibrator().fit(logits, y).predict_proba(logits)
    permuted = calibrator().fit(logits[:, order], np.argsort(order)[y]).predict_proba(logits[:, order])
    np.testing.assert_allclose(permuted, plain[:, order], atol=1e-7)


POOR = {
    "one sample": (np.array([[2.0, 0.0, 1.0]]), np.array([0])),
    "two samples": (np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.array([0, 2])),
    "all right": (10 * np.eye(3)[np.arange(30) % 3], np.arange(30) % 3),
    "all wrong": (10 * np.eye(3)[np.arange(30) % 3], (np.arange(30) + 1) % 3),
    "one class": (np.random.default_rng(0).normal(size=(30, 3)), np.zeros(30, int)),
    "constant logits": (np.zeros((30, 3)), np.arange(30) % 2),
    "duplicates": (np.tile([[1.0, 2.0, 0.0], [0.5, 0.0, 0.1]], (15, 1)), np.arange(30) % 3),
    "extreme logits": (1e4 * np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 3),
}


@pytest.mark.filterwarnings("ignore:temperature_ is at the bound:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("data", POOR)
@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_poor_data_give_finite_probabilities(calibrator, data):
    logits, y = POOR[data]
    log_proba = calibrator(classes=range(3)).fit(logits, y).predict_log_proba(logits)
    assert np.isfinite(log_proba).all()


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_many_classes_most_of_which_are_missing(calibrator):
    logits, y = draw(60, 1000)
    assert np.isfinite(calibrator(classes=range(1000)).fit(logits, y).predict_log_proba(logits)).all()


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_binary_logits_in_one_column(calibrator):
    logits, y = draw(n_classes=2)
    margin = logits[:, 1] - logits[:, 0]
    both = calibrator().fit(logits, y).predict_proba(logits)
    np.testing.assert_allclose(calibrator().fit(margin, y).predict_proba(margin), both, atol=1e-7)
