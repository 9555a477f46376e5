"""Every probability below 2.2e-16 counts as that: given, voted, of a network, and in what scores it."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from skclamp import (
    EnsembleTemperatureScaling,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.metrics import calibration_refinement, neg_log_likelihood_scorer, negative_log_likelihood

EPS = np.finfo(np.float64).eps


@pytest.fixture(scope="module")
def drift(data_dir):
    """Sensors: batches 1 and 2 to train on, and two halves of batch 9."""
    with np.load(data_dir / "gas_sensor_drift.npz") as file:
        X, y, batch = (file[name] for name in ("X", "y", "batch"))
    first = np.isin(batch, (1, 2))
    X = StandardScaler().fit(X[first]).transform(X.astype(np.float64))
    late = np.random.default_rng(0).permutation(np.flatnonzero(batch == 9))
    return [(X[rows], y[rows]) for rows in (first, late[:235], late[235:])]


@pytest.fixture(scope="module")
def perceptron(drift):
    return MLPClassifier(max_iter=500, random_state=0).fit(*drift[0])


@pytest.fixture(scope="module")
def forest(drift):
    return RandomForestClassifier(20, random_state=0).fit(*drift[0])


@pytest.mark.parametrize("name", ["perceptron", "forest"])
def test_probabilities_and_their_classifier_are_scaled_alike(name, drift, request):
    classifier = request.getfixturevalue(name)
    _, (X, y), (X_test, _) = drift
    by_classifier = TemperatureScaling(classifier).fit(X, y)
    given = TemperatureScaling(response="probabilities", classes=classifier.classes_)
    given.fit(classifier.predict_proba(X), y)
    assert given.temperature_ == pytest.approx(by_classifier.temperature_, rel=1e-9)
    found = given.predict_proba(classifier.predict_proba(X_test))
    np.testing.assert_allclose(found, by_classifier.predict_proba(X_test), rtol=1e-9)


def test_clamping_without_a_perturbation_is_temperature_scaling(perceptron, drift):
    _, (X, y), (X_test, _) = drift
    assert (perceptron.predict_proba(X) < EPS).any()
    scaled = TemperatureScaling(perceptron).fit(X, y)
    clamped = NeuralClampingCalibrator(perceptron, perturbation=None, output=None).fit(X, y)
    assert clamped.temperature_ == pytest.approx(scaled.temperature_, rel=1e-9)
    np.testing.assert_allclose(clamped.predict_proba(X_test), scaled.predict_proba(X_test), rtol=1e-9)
    deployed = clamped.module_.eval()(torch.from_numpy(X_test)).softmax(1)
    np.testing.assert_allclose(deployed.detach(), scaled.predict_proba(X_test), rtol=1e-9)


SHARES = np.random.default_rng(0).dirichlet(np.ones(3), size=200)
LABELS = np.where(np.arange(200) % 20 == 0, 0, 1 + (SHARES.cumsum(1) > 0.5).argmax(1))


@pytest.mark.filterwarnings("ignore:labels may be wrong")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [TemperatureScaling, VectorScaling, EnsembleTemperatureScaling])
def test_what_lies_below_counts_as_the_least(make, dtype):
    """Subnormal numbers, and those that float64 still tells apart, as well as zeros."""
    zeros = np.hstack([np.zeros((200, 1)), SHARES]).astype(dtype)
    expected = make(response="probabilities").fit(zeros, LABELS).predict_proba(zeros)
    for small in (1e-40, 1e-30, EPS / 2, EPS):
        given = zeros.copy()
        given[:, 0] = small
        found = make(response="probabilities").fit(given, LABELS).predict_proba(given)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_network_that_yields_probabilities_is_scaled_as_these_are():
    torch.manual_seed(0)
    network, X = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), 60 * torch.randn(300, 4)
    with torch.no_grad():
        proba = network(X)
    y = torch.randint(3, (300,))
    assert (proba < EPS).any()
    given = TemperatureScaling(response="probabilities").fit(proba, y)
    for calibrator in (TemperatureScaling(network, response="probabilities"), NeuralClampingCalibrator(network)):
        calibrator.set_params(response="probabilities").fit(X, y)
        np.testing.assert_allclose(calibrator.predict_proba(X), given.predict_proba(proba), rtol=1e-5)


class Told:
    """An estimator that predicts what it is given."""

    classes_ = np.arange(2)

    def predict_proba(self, X):
        return X


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("small", [0.0, 1e-300, 1e-40, 1e-17])
def test_metrics_take_it_for_as_much(small, dtype):
    proba = np.array([[small, 1.0], [1.0, small]], dtype)
    worst = -np.log(EPS)
    assert negative_log_likelihood([0, 1], proba) == pytest.approx(worst)
    assert neg_log_likelihood_scorer(Told(), proba, [0, 1]) == pytest.approx(-worst)
    for recalibration in ("isotonic", "temperature"):
        assert calibration_refinement([0, 1], proba, recalibration=recalibration).score == pytest.approx(worst)
