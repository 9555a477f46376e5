"""Vector, structured vector and structured matrix scaling: their optima, penalties and what they do on poor data."""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax

from skclamp import StructuredMatrixScaling, StructuredVectorScaling, TemperatureScaling, VectorScaling
from skclamp._solvers.softmax_regression import MatrixRegression, VectorRegression
from skclamp._solvers.softmax_regression import minimise as minimise_regression

CALIBRATORS = [VectorScaling, StructuredVectorScaling, StructuredMatrixScaling]
REGRESSIONS = [VectorRegression, MatrixRegression]


def draw(n_samples=600, n_classes=4, *, temperature=2.0, scale=3.0, seed=0):
    """Logits, and labels from an affine map of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n_samples, n_classes))
    matrix = (np.eye(n_classes) + rng.normal(scale=0.1, size=(n_classes, n_classes))) / temperature
    scores = logits @ matrix.T + rng.normal(scale=0.5, size=n_classes)
    return logits, (scores + rng.gumbel(size=logits.shape)).argmax(1)


def mean_nll(scores, y, weight=None):
    return np.average(-log_softmax(scores, axis=1)[np.arange(len(y)), y], weights=weight)


def smoothed(logits, temperature, n):
    mixed = n / (n + 1) * np.exp(log_softmax(logits / temperature, axis=1)) + 1 / (n + 1) / logits.shape[1]
    return np.log(mixed)


def objective(calibrator, logits, y, weight=None):
    """The function of (coef, intercept) that a fitted calibrator says it minimises."""
    n, n_classes = len(y) if weight is None else weight.sum(), logits.shape[1]
    if isinstance(calibrator, VectorScaling):
        x = log_softmax(logits, axis=1)
        return lambda coef, intercept: mean_nll(x * coef + intercept, y, weight)
    x = smoothed(logits, calibrator.temperature_, n)

    def structured(coef, intercept):
        matrix = np.diag(coef) if coef.ndim == 1 else coef
        diagonal = matrix.diagonal()
        ridge = calibrator.diagonal_penalty * ((diagonal - 1) ** 2).sum()
        ridge += calibrator.intercept_penalty * (intercept**2).sum()
        if coef.ndim == 2:
            off = (matrix**2).sum() - (diagonal**2).sum()
            ridge += calibrator.off_diagonal_penalty * (n_classes - 1) * off
        return mean_nll(x @ matrix.T + intercept, y, weight) + n_classes / n * ridge

    return structured


def brute_force(function, calibrator):
    """scipy's own minimum, by numerical gradients from the identity."""
    shape, n_classes = calibrator.coef_.shape, len(calibrator.intercept_)
    start = np.ones(n_classes) if len(shape) == 1 else np.eye(n_classes)
    split = start.size

    def flat(parameters):
        return function(parameters[:split].reshape(shape), parameters[split:])

    found = minimize(flat, np.r_[start.ravel(), np.zeros(n_classes)], method="BFGS", options={"gtol": 1e-6})
    return found.fun


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_the_objective_is_at_its_least(calibrator, weighted):
    logits, y = draw()
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else None
    fitted = calibrator().fit(logits, y, sample_weight=weight)
    function = objective(fitted, logits, y, weight)
    assert function(fitted.coef_, fitted.intercept_) == pytest.approx(brute_force(function, fitted), abs=2e-6)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_probabilities_are_the_map(calibrator):
    logits, y = draw()
    fitted = calibrator().fit(logits, y)
    x = log_softmax(logits, axis=1)
    if not isinstance(fitted, VectorScaling):
        x = smoothed(logits, fitted.temperature_, len(y))
    coef = np.diag(fitted.coef_) if fitted.coef_.ndim == 1 else fitted.coef_
    expected = log_softmax(x @ coef.T + fitted.intercept_, axis=1)
    np.testing.assert_allclose(fitted.predict_log_proba(logits), expected, rtol=1e-10)


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
    logits, y = draw(2000, 6)
    loss = regression(
        torch.from_numpy(log_softmax(logits / 2, axis=1)), torch.from_numpy(y), torch.ones(len(y)).double()
    )
    whitened, scaled = (minimise_regression(loss, 0.01, **options) for options in ({}, {"most_factored": 0}))
    assert whitened.converged
    assert scaled.converged
    np.testing.assert_allclose(scaled.parameters, whitened.parameters, atol=3e-3)
    np.testing.assert_allclose(
        *(loss.loss_and_gradient(found.parameters)[0] for found in (scaled, whitened)), rtol=1e-5
    )


def test_scaled_coordinates_know_of_the_ridge_along_the_common_direction():
    """It makes the loss nearly quadratic: the search needs 6 evaluations, and 8 with a wrong curvature."""
    logits, y = draw(2000, 30)
    x = torch.from_numpy(log_softmax(logits / 2, axis=1))
    loss = MatrixRegression(x, torch.from_numpy(y), torch.ones(len(y)).double())
    assert minimise_regression(loss, 10.0, most_factored=0).n_evaluations <= 7


@pytest.mark.parametrize("calibrator", [StructuredVectorScaling, StructuredMatrixScaling])
def test_strong_penalties_leave_temperature_scaling(calibrator):
    logits, y = draw()
    names = [name for name in calibrator().get_params() if name.endswith("penalty")]
    fitted = calibrator(**dict.fromkeys(names, 1e9)).fit(logits, y)
    expected = smoothed(logits, TemperatureScaling().fit(logits, y).temperature_, len(y))
    np.testing.assert_allclose(fitted.predict_log_proba(logits), expected, atol=1e-5)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_constant_logits_leave_the_frequencies(calibrator):
    y = np.repeat([0, 1, 2], [500, 300, 200])
    proba = calibrator().fit(np.zeros((1000, 3)), y).predict_proba(np.zeros((1, 3)))
    np.testing.assert_allclose(proba, [[0.5, 0.3, 0.2]], atol=0.01)


@pytest.mark.parametrize(
    ("calibrator", "name"),
    [
        (StructuredVectorScaling, "diagonal_penalty"),
        (StructuredVectorScaling, "intercept_penalty"),
        (StructuredMatrixScaling, "off_diagonal_penalty"),
    ],
)
def test_negative_strengths(calibrator, name):
    logits, y = draw()
    with pytest.raises(ValueError, match=f"'{name}' parameter of {calibrator.__name__} must be a float in the range"):
        calibrator(**{name: -1.0}).fit(logits, y)
