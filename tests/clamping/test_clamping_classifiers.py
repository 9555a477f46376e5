"""Clamping of scikit-learn's differentiable classifiers: fitted ones as they are, others cross-fitted."""

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
from sklearn.model_selection import KFold, RepeatedKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skclamp import NeuralClampingCalibrator, TemperatureScaling

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


@pytest.mark.parametrize("fitted", [True, False])
@of_each
def test_without_a_perturbation_it_is_temperature_scaling(name, fitted, n_classes):
    X, y = samples(300, n_classes)
    classifier = clone(CLASSIFIERS[name])
    if fitted:
        classifier.fit(X[:150], y[:150])
    cv = None if fitted else 3
    found = NeuralClampingCalibrator(classifier, perturbation=None, output=None, cv=cv).fit(X[150:], y[150:])
    expected = TemperatureScaling(classifier, cv=cv).fit(X[150:], y[150:])
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-6)
    assert hasattr(classifier, "classes_") == fitted


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


def by_hand(classifier, folds, delta, response_method="decision_function"):
    """Logits of X + delta, each row's from a clone that hasn't seen it, through scikit-learn alone."""
    out = np.empty((len(X), 3))
    for train, rows in folds.split(X, Y):
        out[rows] = own_logits(clone(classifier).fit(X[train], Y[train]), X[rows] + delta)
    return out


Y_ENCODED = np.unique(Y, return_inverse=True)[1]
FOLDS = StratifiedKFold(3, shuffle=True, random_state=1)


@pytest.mark.parametrize("batch_size", [16, 1000])
def test_the_temperature_is_that_of_each_samples_own_fold(batch_size):
    delta = np.array([0.5, -1.0, 0.0, 1.0, 0.2])
    settings = {"init": delta, "lr": 1e-12, "max_epochs": 1, "cv": FOLDS, "batch_size": batch_size}
    calibrator = clamping(LogisticRegression(), **settings).fit(X, Y)
    np.testing.assert_allclose(calibrator.delta_, delta, atol=1e-9)
    expected = TemperatureScaling().fit(by_hand(LogisticRegression(), FOLDS, delta), Y_ENCODED)
    assert calibrator.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)


def test_a_step_of_a_torch_optimiser_follows_the_gradient_of_each_samples_own_fold():
    settings = {"lr": 1.0, "max_epochs": 1, "batch_size": 1000, "init_temperature": 1.0, "cv": FOLDS}
    calibrator = clamping(LogisticRegression(), **settings).fit(X, Y)
    shifts = 1e-4 * np.eye(X.shape[1])
    losses = [nll(by_hand(LogisticRegression(), FOLDS, delta), Y_ENCODED) for delta in (*shifts, *-shifts)]
    np.testing.assert_allclose(calibrator.delta_, -np.subtract(losses[:5], losses[5:]) / 2e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:integer_scale has no effect:UserWarning")
@pytest.mark.parametrize("integer_scale", [{"image": 1 / 255}])
def test_folds_go_with_their_samples_whatever_the_scale_of_integers(integer_scale):
    calibrator = clamping(LogisticRegression(), perturbation="channel", cv=FOLDS, integer_scale=integer_scale)
    expected = clamping(LogisticRegression(), perturbation="channel", cv=FOLDS).fit(X, Y)
    np.testing.assert_array_equal(calibrator.fit(X, Y).predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize(("gamma", "optimizer"), [(0.0, "natural"), ("auto", "adam")])
def test_what_an_unfitted_classifier_gets_wrong_is_mended(gamma, optimizer):
    """Discriminants of the wrong class frequencies err by a constant, which a moved input undoes."""
    X, y = samples(1200)
    classifier = LinearDiscriminantAnalysis(priors=[0.02, 0.49, 0.49])
    settings = {"perturbation": "channel", "gamma": gamma, "optimizer": optimizer, "batch_size": 200, "cv": 3}
    calibrator = NeuralClampingCalibrator(classifier, output=None, random_state=0, **settings).fit(X[:600], y[:600])
    assert calibrator.accepted_
    assert calibrator.estimator is classifier
    assert not hasattr(classifier, "coef_")
    y_encoded = np.unique(y, return_inverse=True)[1][600:]
    alone = TemperatureScaling(classifier).fit(X[:600], y[:600])
    found = nll(calibrator.predict_log_proba(X[600:]), y_encoded)
    assert found < nll(alone.predict_log_proba(X[600:]), y_encoded) - 0.02
    whole = clone(classifier).fit(X[:600], y[:600])
    np.testing.assert_array_equal(calibrator.estimator_.coef_, whole.coef_)
    expected = softmax(whole.decision_function(X + calibrator.delta_) / calibrator.temperature_)
    proba = calibrator.predict_proba(X)
    np.testing.assert_allclose(proba, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(proba, probabilities_of(calibrator.module_, X), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(calibrator)).predict_proba(X), proba)
    np.testing.assert_array_equal(clone(calibrator).fit(X[:600], y[:600]).predict_proba(X), proba)


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"batch_size": 7}])
def test_what_speeds_networks_up_changes_nothing(settings):
    plain = {"optimizer": "natural", "perturbation": "affine", "cv": 3}
    expected = clamping(LogisticRegression(), **plain).fit(X, Y)
    found = clamping(LogisticRegression(), **plain, **settings).fit(X, Y)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-9)


def test_responses_and_parameters_of_the_classifier():
    calibrator = clamping(LogisticRegression(), response="probabilities", cv=3).set_params(estimator__C=0.01)
    calibrator.fit(X, Y)
    assert calibrator.estimator_.C == 0.01
    with pytest.raises(ValueError, match="response must be .* got 'probabilities', but LinearSVC has no predict_proba"):
        clamping(LinearSVC(), response="probabilities").fit(X, Y)


@pytest.mark.parametrize("perturbation", [None, "full"])
def test_a_fold_that_misses_a_class(perturbation):
    y = Y.copy()
    y[0] = "d"
    calibrator = clamping(LogisticRegression(), perturbation=perturbation, cv=KFold(3))
    calibrator.fit(X, y)
    assert calibrator.classes_.tolist() == ["a", "b", "c", "d"]
    assert np.isfinite(calibrator.predict_log_proba(X)).all()


# Folds


def test_folds_must_hold_out_each_sample_once():
    with pytest.raises(ValueError, match="cv must hold out each sample exactly once; got sample 0 2 times"):
        clamping(LogisticRegression(), cv=RepeatedKFold(n_splits=2, n_repeats=2)).fit(X, Y)
    with pytest.raises(ValueError, match="'cv' parameter of NeuralClampingCalibrator must be .* Got 1"):
        clamping(LogisticRegression(), cv=1).fit(X, Y)
