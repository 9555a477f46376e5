"""Clamping of scikit-learn's differentiable classifiers: fitted ones as they are, others fitted to one half."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from _plain_clamping import clamping
from _small_networks import nll, softmax
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")

CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "perceptron": MLPClassifier((16,), max_iter=60, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), PCA(4), LogisticRegression()),
}
SHIFT = np.array([2.0, -2.0, 1.0, 0.0, 1.0])


def samples(n_samples=400, n_classes=3, seed=0):
    X, y = make_blobs(n_samples, 5, centers=4, cluster_std=1.5, center_box=(-4, 4), random_state=seed)
    return X, np.array(["a", "b", "c", "d"])[y % n_classes]


X, Y = samples()
NEW_X, NEW_Y = X[200:], Y[200:]


of_each = pytest.mark.parametrize(("name", "n_classes"), [("logistic", 2), ("perceptron", 4), ("pipeline", 4)])


def own_logits(classifier, X):
    """What the classifier itself says."""
    if not hasattr(classifier, "decision_function"):
        return np.log(classifier.predict_proba(X))
    scores = classifier.decision_function(X)
    return scores if scores.ndim == 2 else np.column_stack([np.zeros(len(X)), scores])


def probabilities_of(module, X):
    with torch.no_grad():
        return torch.softmax(module.eval()(torch.as_tensor(np.asarray(X, dtype=np.float64))), 1).numpy()


# Fitted


@of_each
def test_a_shift_of_the_inputs_is_found_and_the_classifier_stays(name, n_classes):
    X, y = samples(1200, n_classes)
    classifier = clone(CLASSIFIERS[name]).fit(X[:300], y[:300])
    shifted, before = X + SHIFT, pickle.dumps(classifier)
    calibrator = NeuralClampingCalibrator(classifier, output=None, random_state=0).fit(shifted[300:800], y[300:800])
    assert calibrator.accepted_
    assert pickle.dumps(classifier) == before
    alone = TemperatureScaling(classifier).fit(shifted[300:800], y[300:800])
    new, labels = shifted[800:], y[800:]
    assert calibrator.score(new, labels) > alone.score(new, labels) + 0.02
    proba = calibrator.predict_proba(new)
    np.testing.assert_allclose(proba, probabilities_of(calibrator.module_, new), rtol=0, atol=1e-12)
    with torch.no_grad():
        moved = calibrator.perturbation_(torch.from_numpy(new)).numpy()
    expected = softmax(own_logits(classifier, moved) / calibrator.temperature_)
    np.testing.assert_allclose(proba, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(calibrator)).predict_proba(new), proba)
    twin = clone(calibrator)
    assert twin.estimator is classifier
    np.testing.assert_array_equal(twin.fit(shifted[300:800], y[300:800]).predict_proba(new), proba)


@of_each
def test_without_a_perturbation_it_is_temperature_scaling(name, n_classes):
    X, y = samples(300, n_classes)
    classifier = clone(CLASSIFIERS[name]).fit(X[:150], y[:150])
    found = NeuralClampingCalibrator(classifier, perturbation=None, output=None).fit(X[150:], y[150:])
    expected = TemperatureScaling(classifier).fit(X[150:], y[150:])
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fitted", [True, False])
def test_frames_and_sparse_matrices_and_tensors_give_what_arrays_give(fitted):
    def learned(X):
        classifier = LogisticRegression()
        classifier = FrozenEstimator(classifier.fit(X[:100], Y[:100])) if fitted else classifier
        return clamping(classifier).fit(X[100:], Y[100:]).predict_proba(X)

    expected = learned(X)
    for given in (pd.DataFrame(X, columns=list("abcde")), csr_matrix(X), torch.from_numpy(X)):
        np.testing.assert_allclose(learned(given), expected, rtol=0, atol=1e-9)


def exploding(*args, **kwargs):
    raise AssertionError("work was done")


@pytest.mark.parametrize(
    ("classifier", "wrap"),
    [
        (RandomForestClassifier(2), lambda each: each),
        (KNeighborsClassifier(), lambda each: make_pipeline(StandardScaler(), each)),
    ],
    ids=["forest", "neighbours"],
)
def test_what_has_no_gradient_is_refused_before_any_work(classifier, wrap, monkeypatch):
    message = f"output has a gradient .* got {type(classifier).__name__}. Calibrate .* with TemperatureScaling"
    fitted = wrap(clone(classifier)).fit(X, Y)
    for method in ("fit", "predict_proba"):
        monkeypatch.setattr(type(classifier), method, exploding)
    for estimator in (fitted, FrozenEstimator(fitted), wrap(clone(classifier))):
        with pytest.raises(TypeError, match=message):
            NeuralClampingCalibrator(estimator).fit(X, Y)


def test_a_step_without_a_known_gradient_is_refused():
    for estimator in (LogisticRegression(), LogisticRegression().fit(X, Y)):
        pipeline = make_pipeline(FunctionTransformer(np.tanh), estimator)
        with pytest.raises(TypeError, match="transformers known are StandardScaler, .* got FunctionTransformer"):
            clamping(pipeline).fit(X, Y)


# Not fitted


@pytest.fixture
def given(monkeypatch):
    """Inputs of each fit of a logistic regression."""
    fit, given = LogisticRegression.fit, []

    def noting(self, X, y, sample_weight=None):
        given.append(X)
        return fit(self, X, y, sample_weight)

    monkeypatch.setattr(LogisticRegression, "fit", noting)
    return given


def half_of(given, X):
    """Which rows of X the first fit was given."""
    return (X[:, None] == given[0]).all(2).any(1)


@pytest.mark.parametrize("told", [{}, {"groups": np.arange(600) // 2}, {"sample_weight": np.arange(600) % 7 + 1.0}])
def test_one_half_fits_the_clone_and_the_other_is_clamped(given, told):
    X, y = samples(600)
    classifier = LogisticRegression()
    found = NeuralClampingCalibrator(classifier, perturbation="affine", random_state=0).fit(X, y, **told)
    assert not hasattr(classifier, "classes_")
    own = half_of(given, X)
    assert found.verdict_.n_samples == (~own).sum() == pytest.approx(300, abs=6)
    weight = {name: values[own] for name, values in told.items() if name == "sample_weight"}
    alone = LogisticRegression().fit(X[own], y[own], **weight)
    np.testing.assert_array_equal(found.estimator_.coef_, alone.coef_)
    frozen = NeuralClampingCalibrator(alone, perturbation="affine", random_state=0)
    expected = frozen.fit(X[~own], y[~own], **{name: values[~own] for name, values in told.items()})
    assert found.verdict_.difference == pytest.approx(expected.verdict_.difference, rel=1e-9)
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-9)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.predict_proba(X), probabilities_of(found.module_, X), rtol=0, atol=1e-9)
    said = "The other half fitted the estimator."
    assert said in found.summary() and said not in expected.summary()


GROUPS = np.arange(400) % 80


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["samples", "groups"])
def test_halves_have_as_much_of_each_class_and_whole_groups(given, groups):
    y = Y if groups is None else Y[groups]
    clamping(LogisticRegression()).fit(X, y, groups=groups)
    own = half_of(given, X)
    units = np.arange(400) if groups is None else groups
    assert not np.intersect1d(units[own], units[~own]).size
    for name in np.unique(y):
        counts = [len(np.unique(units[half & (y == name)])) for half in (own, ~own)]
        assert abs(np.diff(counts)) <= 1


def test_equal_inputs_are_in_one_half(given):
    clamping(LogisticRegression()).fit(np.repeat(X, 2, axis=0), np.repeat(Y, 2))
    assert len(given[0]) == 2 * half_of(given, X).sum() == pytest.approx(400, abs=4)


@pytest.mark.parametrize("told", [{}, {"groups": np.zeros(9)}, {"sample_weight": np.arange(9) < 3}])
def test_nothing_left_to_clamp_is_told_before_any_fit(given, told):
    X, y = (values[:9] if told else values[[0, 1, 2]] for values in (NEW_X, np.arange(400) % 3))
    with pytest.raises(ValueError, match=rf"two samples of a class, or two groups.* got n_samples={len(y)}"):
        clamping(LogisticRegression()).fit(X, y, **told)
    assert not given


@pytest.mark.parametrize(("gamma", "training"), [(0.0, "natural"), ("auto", TorchTraining())], ids=str)
def test_what_an_unfitted_classifier_gets_wrong_is_mended(gamma, training):
    """Discriminants of the wrong class frequencies err by a constant, which a moved input undoes."""
    X, y = samples(1200)
    classifier = LinearDiscriminantAnalysis(priors=[0.02, 0.49, 0.49])
    settings = {"perturbation": "channel", "gamma": gamma, "training": training, "batch_size": 200}
    calibrator = NeuralClampingCalibrator(classifier, output=None, random_state=0, **settings).fit(X[:800], y[:800])
    assert calibrator.accepted_
    assert calibrator.estimator is classifier
    assert not hasattr(classifier, "coef_")
    y_encoded = np.unique(y, return_inverse=True)[1][800:]
    alone = TemperatureScaling(classifier).fit(X[:800], y[:800])
    found = nll(calibrator.predict_log_proba(X[800:]), y_encoded)
    assert found < nll(alone.predict_log_proba(X[800:]), y_encoded) - 0.02
    expected = softmax(calibrator.estimator_.decision_function(X + calibrator.delta_) / calibrator.temperature_)
    proba = calibrator.predict_proba(X)
    np.testing.assert_allclose(proba, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(proba, probabilities_of(calibrator.module_, X), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(calibrator)).predict_proba(X), proba)
    np.testing.assert_array_equal(clone(calibrator).fit(X[:800], y[:800]).predict_proba(X), proba)
