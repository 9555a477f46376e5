"""scikit-learn's meta-estimators, inspections and displays around calibrators, as around any classifier of its own."""

import re
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn
import torch
from _small_networks import bare_logits, labels_of, perceptron, snapshot
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import PartialDependenceDisplay
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.utils.fixes import parse_version

from skclamp import NeuralClampingCalibrator, TemperatureScaling, VectorScaling

N_SAMPLES = 200


def problem(n_classes, n_samples=N_SAMPLES):
    """Inputs, and labels of which a network knows something."""
    X = np.random.default_rng(0).normal(size=(n_samples, 6))
    return X, labels_of(bare_logits(perceptron(0, 6, n_classes), X.astype(np.float32)))


def classifier(n_classes):
    X, y = problem(n_classes)
    return LogisticRegression().fit(X[:100], y[:100])


# Each makes an unfitted calibrator of the inputs of `problem`, by the number of classes.
CALIBRATORS = {
    "output map of a classifier": lambda k: VectorScaling(classifier(k)),
    "output map of an unfitted classifier": lambda k: TemperatureScaling(LogisticRegression(), cv=2),
    "clamped classifier": lambda k: NeuralClampingCalibrator(classifier(k), random_state=0),
    "clamped float32 network": lambda k: NeuralClampingCalibrator(perceptron(0, 6, k), random_state=0),
}
PROBABILISTIC = {
    "frozen": lambda c, X, y: FrozenEstimator(clone(c).fit(X, y)),
    "soft vote": lambda c, X, y: VotingClassifier(
        [("ours", c), ("theirs", LogisticRegression())], voting="soft", weights=[2, 1]
    ).fit(X, y),
    "stack": lambda c, X, y: StackingClassifier([("ours", c), ("theirs", LogisticRegression())], cv=2).fit(X, y),
    "bag": lambda c, X, y: BaggingClassifier(c, n_estimators=2, random_state=0).fit(X, y),
    "calibrated again": lambda c, X, y: CalibratedClassifierCV(c, cv=2).fit(X, y),
}


@pytest.fixture(params=CALIBRATORS)
def made(request):
    """An unfitted calibrator of three classes."""
    return CALIBRATORS[request.param](3)


@pytest.mark.parametrize("meta", PROBABILISTIC)
def test_probabilities_of_meta_estimators(made, meta):
    X, y = problem(3)
    given = made.estimator
    before = snapshot(given) if isinstance(given, torch.nn.Module) else None
    # A fitted classifier knows its classes by the names that it was fitted to.
    names = y if before is None else np.array(list("pqr"))[y]
    fitted = PROBABILISTIC[meta](made, X, names)
    proba = fitted.predict_proba(X)
    assert proba.shape == (N_SAMPLES, 3)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(fitted.classes_, np.unique(names))
    assert log_loss(names, proba, labels=np.unique(names)) < 0.9 * np.log(3)
    assert before is None or snapshot(given) == before


@pytest.mark.parametrize("meta", [OneVsRestClassifier, OneVsOneClassifier])
@pytest.mark.parametrize("make", [partial(TemperatureScaling, cv=2), partial(NeuralClampingCalibrator, random_state=0)])
def test_one_class_against_others(make, meta):
    # Clamping fits the classifiers to half of the samples of their classes.
    X, y = problem(3, 1000)
    fitted = meta(make(LogisticRegression())).fit(X, y)
    assert fitted.score(X, y) > meta(LogisticRegression()).fit(X, y).score(X, y) - 0.03
    assert all(part.classes_.tolist() == [0, 1] for part in fitted.estimators_)


# Pictures


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_scikit_learns_displays(kind):
    X, y = problem(2)
    fitted = CALIBRATORS[kind](2).fit(X, y)
    theirs = CalibrationDisplay.from_estimator(fitted, X, y, n_bins=5)
    np.testing.assert_array_equal(theirs.y_prob, fitted.predict_proba(X)[:, 1])
    assert theirs.estimator_name == type(fitted).__name__
    shown = PartialDependenceDisplay.from_estimator(fitted, X, [0], grid_resolution=3, response_method="predict_proba")
    assert np.isfinite(shown.pd_results[0]["average"]).all()
    plt.close("all")


# What scikit-learn asks of them


def test_an_html_repr_shows_what_was_learned_and_not_the_network(made):
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("older scikit-learns show parameters alone")
    X, y = problem(3)
    html = made.fit(X, y)._repr_html_()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "in_features" not in text
    if hasattr(made, "temperature_"):
        assert re.search(rf"temperature_ float {made.temperature_:.3f}".rstrip("0"), text)
    if hasattr(made, "accepted_"):
        assert f"accepted_ bool {made.accepted_}" in text
