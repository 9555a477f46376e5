"""scikit-learn's differentiable classifiers as torch modules: each against its own probabilities or scores."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skclamp.modules import as_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # LogisticRegressionCV announces other defaults, and what liblinear and multi_class will no longer do.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
N_PROBLEMS = 3


def perceptron(**settings):
    return MLPClassifier((7, 5), max_iter=20, **settings)


CLASSIFIERS = {
    "LogisticRegression": LogisticRegression(C=10),
    "LogisticRegression without intercept": LogisticRegression(fit_intercept=False),
    "LogisticRegressionCV": LogisticRegressionCV(Cs=2, cv=2, max_iter=20),
    "SGD hinge": SGDClassifier(),
    "SGD log loss": SGDClassifier(loss="log_loss", average=True),
    "SGD modified Huber": SGDClassifier(loss="modified_huber", alpha=0.1),
    "Perceptron": Perceptron(),
    "LinearSVC": LinearSVC(),
    "LinearSVC without intercept": LinearSVC(fit_intercept=False),
    "Crammer-Singer": LinearSVC(multi_class="crammer_singer", max_iter=50),
    "Ridge": RidgeClassifier(),
    "RidgeCV": RidgeClassifierCV(),
    "LDA": LinearDiscriminantAnalysis(),
    "LDA, shrunk": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
    "MLP identity": perceptron(activation="identity"),
    "MLP logistic": perceptron(activation="logistic"),
    "MLP tanh": perceptron(activation="tanh"),
    "MLP relu": perceptron(activation="relu"),
    "MLP without hidden layer": MLPClassifier((), max_iter=20),
    "standardised": make_pipeline(StandardScaler(), LogisticRegression()),
    "standardised, no mean": make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
    "centred": make_pipeline(StandardScaler(with_std=False), RidgeClassifier()),
    "min-max": make_pipeline(MinMaxScaler((-1, 2)), perceptron()),
    "min-max, clipped": make_pipeline(MinMaxScaler(clip=True), LogisticRegression()),
    "max-abs": make_pipeline(MaxAbsScaler(), LinearSVC()),
    "PCA": make_pipeline(PCA(2), LogisticRegression()),
    "PCA, whitened": make_pipeline(StandardScaler(), PCA(3, whiten=True), perceptron()),
    "l1": make_pipeline(Normalizer("l1"), LogisticRegression()),
    "l2": make_pipeline(Normalizer(), LinearDiscriminantAnalysis()),
    "max": make_pipeline(Normalizer("max"), SGDClassifier(loss="log_loss")),
    "all": make_pipeline(
        MaxAbsScaler(), MinMaxScaler(), StandardScaler(), PCA(whiten=True), "passthrough", Normalizer(), perceptron()
    ),
    "nested": make_pipeline(make_pipeline(StandardScaler(), PCA(3)), None, make_pipeline(Normalizer(), LinearSVC())),
    "frozen": FrozenEstimator(make_pipeline(FrozenEstimator(MinMaxScaler()), LogisticRegression())),
}


def problem(seed, n_classes):
    """Training data and other inputs, on scales of their own, some far away, one at zero."""
    rng = np.random.default_rng(seed)
    n_features = int(rng.integers(3, 8))
    y = np.arange(60) % n_classes
    scale, place = 10 ** rng.uniform(-1, 1, n_features), rng.normal(size=n_features)
    X = place + scale * (rng.normal(size=(60, n_features)) + rng.normal(size=(n_classes, n_features))[y])
    others = np.vstack(
        [np.zeros(n_features), place + scale * rng.normal(size=(40, n_features)) * np.repeat([1, 5], 20)[:, None]]
    )
    return X, np.array(["a", "b", "c", "d"])[y], others


def fitted(name, seed, n_classes):
    X, y, others = problem(seed, n_classes)
    classifier = CLASSIFIERS[name]
    if isinstance(classifier, FrozenEstimator):
        scaler, (_, last) = classifier.estimator.steps[0][1].estimator, classifier.estimator.steps[-1]
        inner = make_pipeline(FrozenEstimator(scaler.fit(X)), last)
        return FrozenEstimator(inner.fit(X, y)), others
    for key in classifier.get_params():
        if key.endswith("random_state"):
            classifier.set_params(**{key: seed})
    return classifier.fit(X, y), others


def logits_of(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_gives_the_classifiers_own_probabilities_or_scores(name, n_classes):
    for seed in range(N_PROBLEMS):
        classifier, X = fitted(name, seed, n_classes)
        logits = logits_of(as_module(classifier), X)
        assert logits.shape == (len(X), n_classes)
        assert logits.dtype == np.float64
        assert n_classes > 2 or not logits[:, 0].any()
        if hasattr(classifier, "predict_proba"):
            expected = classifier.predict_proba(X)
            # scikit-learn gives NaN before 1.9 where the probabilities of all classes underflow.
            known = np.isfinite(expected).all(1)
            assert known.all() or (OLDER and known.mean() > 0.9)
            np.testing.assert_allclose(softmax(logits, 1)[known], expected[known], rtol=0, atol=1e-9)
        if hasattr(classifier, "decision_function"):
            logits = logits_of(as_module(classifier, response_method="decision_function"), X)
            scores = classifier.decision_function(X)
            np.testing.assert_allclose(logits[:, 1] if n_classes == 2 else logits, scores, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gradients_are_those_of_finite_differences(name):
    classifier, X = fitted(name, 1, 4)
    x = torch.from_numpy(X[1:6]).requires_grad_()
    assert torch.autograd.gradcheck(as_module(classifier), x, eps=1e-7, atol=1e-4, rtol=1e-4)


class Shy(LogisticRegression):
    """A subclass may do anything."""

    def decision_function(self, X):
        return super().decision_function(X) / 2


@pytest.mark.parametrize("n_labels", [2, 4])
def test_a_perceptron_of_several_labels_has_their_log_odds(n_labels):
    X, _, new = problem(0, 2)
    labels = np.random.default_rng(0).integers(0, 2, (len(X), n_labels))
    classifier = perceptron().fit(X, labels)
    with torch.no_grad():
        proba = as_module(classifier)(torch.from_numpy(new)).sigmoid()
    np.testing.assert_allclose(proba, classifier.predict_proba(new), atol=1e-12)


KNOWN = (
    "estimator must be a scikit-learn classifier .* classifiers known are LogisticRegression, .*, MLPClassifier; got"
)
NO_LABELS = np.random.default_rng(0).integers(0, 2, (60, 3))


@pytest.mark.parametrize(
    ("classifier", "y", "options", "error", "message"),
    [
        (RandomForestClassifier(3), None, {}, TypeError, f"{KNOWN} RandomForest.*with TemperatureScaling"),
        (KNeighborsClassifier(), None, {}, TypeError, f"{KNOWN} KNeighborsClassifier"),
        (make_pipeline(StandardScaler(), DecisionTreeClassifier()), None, {}, TypeError, f"{KNOWN} DecisionTree"),
        (Shy(), None, {}, TypeError, f"{KNOWN} Shy"),
        (
            make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()),
            None,
            {},
            TypeError,
            "transformers known are StandardScaler, .*, PCA; got FunctionTransformer",
        ),
        (RidgeClassifier(), NO_LABELS, {}, ValueError, "tell two or more classes apart that exclude each other"),
        *(
            (classifier, None, {"response_method": method}, ValueError, message)
            for classifier, method, message in [
                (
                    LinearSVC(),
                    "predict_proba",
                    "response_method must be what the estimator offers; got 'predict_proba'",
                ),
                (perceptron(), "decision_function", "MLPClassifier has no decision_function"),
                (LinearSVC(), "predict", "response_method must be one of .*; got 'predict'"),
            ]
        ),
    ],
)
def test_what_cannot_become_a_module_is_refused(classifier, y, options, error, message):
    X, labels, _ = problem(0, 2)
    with pytest.raises(error, match=message):
        as_module(classifier.fit(X, labels if y is None else y), **options)


@pytest.mark.parametrize("estimator", [None, LogisticRegression, "logistic", Pipeline([("scale", StandardScaler())])])
def test_what_is_no_classifier_is_refused(estimator):
    with pytest.raises(TypeError, match="estimator must be a scikit-learn classifier"):
        as_module(estimator)


@pytest.mark.parametrize("unfitted", [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())])
def test_it_must_be_fitted(unfitted):
    with pytest.raises(NotFittedError):
        as_module(unfitted)


OLDER = hasattr(LogisticRegression(), "multi_class")
