"""The display of risk over coverage: what it draws is the curve, chance, the best order, the target and a threshold."""

import itertools

import numpy as np
import pytest
from _metrics import draw
from scipy.integrate import trapezoid
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Perceptron

from skclamp import SelectiveClassifier
from skclamp.display import RiskCoverageDisplay
from skclamp.metrics import area_under_risk_coverage, risk_coverage_curve


def _legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def _line(display, label):
    """Coverages and risks of the line whose label starts so."""
    return next(line for line in display.ax_.lines if line.get_label().startswith(label)).get_xydata().T


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 5])
def test_what_is_drawn_is_the_curve(k, weighted):
    y, proba = draw(300, k)
    weight = np.random.default_rng(1).integers(4, size=300) if weighted else None
    curve = risk_coverage_curve(y, proba, sample_weight=weight)
    display = RiskCoverageDisplay.from_predictions(y, proba, sample_weight=weight, name="guess", color="green")
    coverage, risk = display.line_.get_xydata().T
    np.testing.assert_allclose(np.interp(curve.coverages, coverage, risk), curve.risks)
    assert display.line_.get_color() == "green" and display.mark_ is None
    assert _legend(display) == [
        f"by chance {curve.area_by_chance:.4f}",
        f"best order {curve.area_at_best:.4f}",
        f"guess: AURC {area_under_risk_coverage(y, proba, sample_weight=weight):.4f}",
    ]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("coverage", "selective risk")
    bare = RiskCoverageDisplay(curve).plot(ref_line=False)
    assert _legend(bare) == [f"AURC {curve.area:.4f}"]


def test_areas_under_the_lines_are_those_told():
    y, proba = draw(5000)
    curve = risk_coverage_curve(y, proba)
    display = RiskCoverageDisplay(curve).plot()
    for label, area in (("AURC", curve.area), ("best", curve.area_at_best), ("by chance", curve.area_by_chance)):
        coverage, risk = _line(display, label)
        assert trapezoid(risk, coverage) == pytest.approx(area, abs=2e-3)


def _selective(model, threshold, *data, **params):
    selective = SelectiveClassifier(model, **{"target_risk": 0.05, **params}).fit(*data)
    selective.threshold_ = threshold
    return selective


def test_from_estimator_is_from_predictions():
    X, y = load_iris(return_X_y=True)
    y = np.array(["setosa", "versicolor", "virginica"])[y]
    model = LogisticRegression(C=0.1).fit(X, y)
    weight = np.random.default_rng(0).random(90)
    display = RiskCoverageDisplay.from_estimator(model, X[60:], y[60:], sample_weight=weight, target_risk=0.1)
    expected = risk_coverage_curve(y[60:], model.predict_proba(X[60:]), labels=model.classes_, sample_weight=weight)
    for own, direct in zip(display.curve, expected, strict=True):
        np.testing.assert_array_equal(own, direct)
    assert display.estimator_name == "LogisticRegression" and "target risk 0.1" in _legend(display)


def test_a_classifier_that_abstains_shows_its_target_and_threshold():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(C=0.1).fit(X, y)
    selective = _selective(model, 0.8, X, y)
    display = RiskCoverageDisplay.from_estimator(selective, X, y, name="mine")
    answered = selective.is_answered(X)
    risk = (model.predict(X) != y)[answered].mean()
    assert display.mark_.get_xydata() == pytest.approx(np.array([[answered.mean(), risk]]))
    assert (display.target_risk, display.threshold, display.estimator_name) == (0.05, 0.8, "mine")
    assert RiskCoverageDisplay.from_estimator(selective, X, y, target_risk=0.2).target_risk == 0.2
    assert RiskCoverageDisplay.from_estimator(_selective(model, np.inf, X, y), X, y).mark_ is None
    by_cost = _selective(model, 0.8, X, y, costs=np.triu(np.ones((3, 3)), 1), target_risk=0.2)
    with pytest.raises(ValueError, match=r"estimator must have costs=None, as the curve counts .*; got \[\[0\.0, 1\.0"):
        RiskCoverageDisplay.from_estimator(by_cost, X, y)
    # What it was fitted with counts, whatever its parameters are by now.
    selective.set_params(target_risk=0.2, costs=1 - np.eye(3))
    assert RiskCoverageDisplay.from_estimator(selective, X, y).target_risk == 0.05
    with pytest.raises(NotFittedError, match="SelectiveClassifier instance is not fitted yet"):
        RiskCoverageDisplay.from_estimator(clone(selective), X, y)


DEGENERATE = [([0], [[0.3, 0.7]]), ([0, 1, 2], np.eye(3)), ([1, 2, 0], np.eye(3)), ([0, 1], [0.5, 0.5])]


@pytest.mark.parametrize(("y", "proba"), DEGENERATE)
def test_degenerate_data_are_drawn_without_a_warning(y, proba):
    display = RiskCoverageDisplay.from_predictions(y, proba, threshold=0.5)
    display.figure_.canvas.draw()
    values = itertools.chain.from_iterable(line.get_ydata() for line in display.ax_.lines)
    assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"target_risk": 1.5}, ValueError, "target_risk must be .*; got 1.5"),
        ({"target_risk": "5%"}, TypeError, "target_risk must be .*; got '5%'"),
        ({"y_proba": np.full((300, 5), 0.1)}, ValueError, "each row must sum to 1"),
    ],
)
def test_refuses_bad_parameters(options, error, match):
    y, proba = draw(300)
    with pytest.raises(error, match=match):
        RiskCoverageDisplay.from_predictions(**{"y_true": y, "y_proba": proba, **options})


def test_refuses_what_has_no_probabilities():
    y, proba = draw(300)
    with pytest.raises(TypeError, match="estimator must have predict_proba; got Perceptron, which has none"):
        RiskCoverageDisplay.from_estimator(Perceptron().fit(proba, y), proba, y)
