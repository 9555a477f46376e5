"""Matrix scaling and Dirichlet calibration: their optimum, and the strengths that cross-validation chooses."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from skclamp import DirichletCalibration, MatrixScaling, TemperatureScaling, VectorScaling
from skclamp._solvers import penalty_path

CALIBRATORS = [MatrixScaling, DirichletCalibration]


def draw(n_samples=600, n_classes=3, *, mixing=0.1, seed=0):
    """Logits, and labels from an affine map of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n_samples, n_classes))
    matrix = (np.eye(n_classes) + rng.normal(scale=mixing, size=(n_classes, n_classes))) / 2
    scores = logits @ matrix.T + rng.normal(scale=0.5, size=n_classes)
    return logits, (scores + rng.gumbel(size=logits.shape)).argmax(1)


def features(calibrator, logits):
    if isinstance(calibrator, MatrixScaling):
        return logits - logits.mean(1, keepdims=True)
    return log_softmax(logits, axis=1)


def mean_nll(log_proba, y):
    return -log_proba[np.arange(len(y)), y].mean()


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_the_objective_is_at_its_least(calibrator):
    """scipy's BFGS by numerical gradients, in the units of the paper, finds nothing lower."""
    logits, y = draw()
    fitted = calibrator(off_diagonal_penalty=0.3, intercept_penalty=0.2).fit(logits, y)
    x = features(fitted, logits)

    def objective(flat):
        coef, intercept = flat[:9].reshape(3, 3), flat[9:]
        off = (coef**2).sum() - (coef.diagonal() ** 2).sum()
        return mean_nll(log_softmax(x @ coef.T + intercept, axis=1), y) + 0.3 / 6 * off + 0.2 / 3 * (intercept**2).sum()

    found = minimize(objective, np.r_[np.eye(3).ravel(), np.zeros(3)], options={"gtol": 1e-7})
    assert objective(np.r_[fitted.coef_.ravel(), fitted.intercept_]) == pytest.approx(found.fun, abs=2e-6)
    assert (fitted.off_diagonal_penalty_, fitted.intercept_penalty_) == pytest.approx((0.3, 0.2))
    expected = log_softmax(x @ fitted.coef_.T + fitted.intercept_, axis=1)
    np.testing.assert_allclose(fitted.predict_log_proba(logits), expected, rtol=1e-10)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_without_penalties_it_is_logistic_regression(calibrator):
    logits, y = draw(2000)
    fitted = calibrator(off_diagonal_penalty=0, intercept_penalty=0).fit(logits, y)
    x = features(fitted, logits)
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(fitted.predict_proba(logits), expected, atol=1e-3)


def test_strong_penalties_leave_gains_alone():
    logits, y = draw()
    fitted = DirichletCalibration(off_diagonal_penalty=1e9, intercept_penalty=1e9).fit(logits, y)
    np.testing.assert_allclose(fitted.coef_ - np.diag(fitted.coef_.diagonal()), 0, atol=1e-6)
    np.testing.assert_allclose(fitted.intercept_, 0, atol=1e-6)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_cross_validation_follows_the_data(calibrator):
    """Weak penalties where classes mix, strong ones where they don't."""
    mixed = calibrator().fit(*draw(3000, 6, mixing=0.4))
    clean = calibrator().fit(*draw(3000, 6, mixing=0.0))
    assert mixed.off_diagonal_penalty_ < clean.off_diagonal_penalty_ / 10


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_the_strengths_chosen_give_the_same_again(calibrator):
    logits, y = draw()
    chosen = calibrator().fit(logits, y)
    penalties = {name: getattr(chosen, f"{name}_") for name in ("off_diagonal_penalty", "intercept_penalty")}
    again = calibrator(**penalties).fit(logits, y)
    np.testing.assert_allclose(again.predict_proba(logits), chosen.predict_proba(logits), atol=1e-10)
    for name in penalties:
        half = calibrator(**{name: penalties[name]}).fit(logits, y)
        assert getattr(half, f"{name}_") == pytest.approx(penalties[name])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_samples", "n_classes"), [(60, 2), (500, 2), (300, 4)])
@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_all_folds_at_once_choose_what_each_by_itself_does(calibrator, n_samples, n_classes, weighted, monkeypatch):
    logits, y = draw(n_samples, n_classes)
    weight = np.random.default_rng(1).integers(0, 3, n_samples) if weighted else None
    together = calibrator().fit(logits, y, sample_weight=weight)
    monkeypatch.setattr(penalty_path, "are_small", lambda *_: False)
    apart = calibrator().fit(logits, y, sample_weight=weight)
    for name in ("off_diagonal_penalty_", "intercept_penalty_"):
        assert getattr(together, name) == pytest.approx(getattr(apart, name))
    np.testing.assert_allclose(together.predict_proba(logits), apart.predict_proba(logits), atol=1e-8)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_no_collapse_where_coefficients_outnumber_samples(calibrator):
    """Labels from a softmax of the logits: 40 x 40 coefficients on 500 samples can't help, and must not harm."""
    logits, y = draw(4500, 40, mixing=0.0)
    fitted, vector, temperature = (
        each(classes=range(40)).fit(logits[:500], y[:500]) for each in (calibrator, VectorScaling, TemperatureScaling)
    )
    scores = [mean_nll(each.predict_log_proba(logits[500:]), y[500:]) for each in (fitted, vector, temperature)]
    assert scores[0] < scores[1] + 0.0005
    assert scores[0] < scores[2] + 0.05


@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
def test_weights_on_one_fold_alone():
    logits, y = draw(50)
    weight = np.zeros(50)
    weight[3] = 1
    assert np.isfinite(MatrixScaling().fit(logits, y, sample_weight=weight).coef_).all()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("off_diagonal_penalty", -1.0, "a float in the range"),
        ("intercept_penalty", -1.0, "a float in the range"),
        ("n_folds", 1, "an int in the range"),
    ],
)
@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_bad_parameters(calibrator, name, value, rule):
    logits, y = draw()
    with pytest.raises(ValueError, match=f"'{name}' parameter of {calibrator.__name__} must be {rule}"):
        calibrator(**{name: value}).fit(logits, y)
