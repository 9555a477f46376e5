"""Skorch nets and scikit-learn classifiers at the entry point."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, softmax, vectors
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from skclamp import TemperatureScaling

X = vectors()


def uncalibrated(calibrator, X, proba):
    """What a calibrator says at T = 1, after a fit to labels drawn with given probabilities."""
    calibrator.fit(X, labels_of(np.log(proba)))
    calibrator.temperature_ = 1.0
    return calibrator.predict_proba(X)


# skorch


def softmax_of(z):
    return torch.softmax(z, dim=-1)


SKORCH = {
    "NLLLoss and a softmax": lambda: NeuralNetClassifier(perceptron(0, 6, 4, nn.Softmax(1))),
    "CrossEntropyLoss": lambda: NeuralNetClassifier(perceptron(), criterion=nn.CrossEntropyLoss),
    "CrossEntropyLoss, nonlinearity": lambda: NeuralNetClassifier(
        perceptron(), criterion=nn.CrossEntropyLoss, predict_nonlinearity=softmax_of
    ),
    "NLLLoss, nonlinearity": lambda: NeuralNetClassifier(perceptron(), predict_nonlinearity=softmax_of),
    "binary": lambda: NeuralNetBinaryClassifier(perceptron(0, 6, 1)),
    "binary, flat": lambda: NeuralNetBinaryClassifier(perceptron(0, 6, 1, nn.Flatten(0))),
    "BCELoss and a sigmoid": lambda: NeuralNet(perceptron(0, 6, 1, nn.Sigmoid(), nn.Flatten(0)), nn.BCELoss),
    "NeuralNet": lambda: NeuralNet(perceptron(), nn.CrossEntropyLoss),
}


@pytest.mark.parametrize("kind", SKORCH)
def test_skorch_nets_at_temperature_1_say_what_they_say_themselves(kind):
    net = SKORCH[kind]().initialize()
    expected = net.predict_proba(X)
    found = uncalibrated(TemperatureScaling(net), X, expected)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_trained_skorch_net_knows_its_classes():
    y = np.array(["no", "maybe", "yes"])[labels_of(bare_logits(perceptron(0, 6, 3), X))]
    y_encoded = np.unique(y, return_inverse=True)[1]
    net = NeuralNetClassifier(
        perceptron(0, 6, 3), criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0, classes=["maybe", "no", "yes"]
    )
    net.fit(X, y_encoded)
    few = y != "no"
    calibrator = TemperatureScaling(net).fit(X[few], y[few])
    assert calibrator.classes_.tolist() == ["maybe", "no", "yes"]
    assert calibrator.predict_proba(X).shape == (len(X), 3)


# scikit-learn


@pytest.fixture(scope="module")
def classified():
    y = labels_of(bare_logits(perceptron(), X), temperature=1.0)
    return X.astype(np.float64), np.array(list("pqrs"))[y]


@pytest.mark.parametrize("wrap", [lambda fitted: fitted, FrozenEstimator])
@pytest.mark.parametrize(
    "classifier",
    [LogisticRegression(), GaussianNB(), make_pipeline(StandardScaler(), LogisticRegression())],
    ids=["decision function", "probabilities", "pipeline"],
)
def test_fitted_classifiers_are_used_as_they_are(classified, classifier, wrap):
    X, y = classified
    fitted = classifier.fit(X[:100], y[:100])
    calibrator = TemperatureScaling(wrap(fitted)).fit(X[100:], y[100:])
    calibrator.temperature_ = 1.0
    assert not hasattr(calibrator, "estimator_")
    assert calibrator.classes_.tolist() == list("pqrs")
    np.testing.assert_allclose(calibrator.predict_proba(X), fitted.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("cv", [None, 3, StratifiedKFold(4, shuffle=True, random_state=0)])
def test_unfitted_classifiers_are_cross_fitted(classified, cv):
    X, y = classified
    classifier = LogisticRegression()
    calibrator = TemperatureScaling(classifier, cv=cv).fit(X, y)
    scores = cross_val_predict(LogisticRegression(), X, y, cv=cv, method="decision_function")
    expected = TemperatureScaling().fit(scores, y)
    assert not hasattr(classifier, "classes_")
    assert calibrator.temperature_ == expected.temperature_
    whole = LogisticRegression().fit(X, y).decision_function(X)
    np.testing.assert_allclose(calibrator.predict_proba(X), softmax(whole / expected.temperature_), atol=1e-12)


def test_binary_classifiers_have_one_score(classified):
    X, y = classified
    binary = y < "r"
    fitted = LogisticRegression().fit(X, binary)
    calibrator = TemperatureScaling(fitted).fit(X, binary)
    assert calibrator.classes_.tolist() == [False, True]
    calibrator.temperature_ = 1.0
    np.testing.assert_allclose(calibrator.predict_proba(X), fitted.predict_proba(X), atol=1e-12)


def test_one_against_one_machines_are_told_to_change(classified):
    X, y = classified
    machine = SVC(decision_function_shape="ovo").fit(X, y)
    with pytest.raises(ValueError, match="gave 6 columns for 4 classes. For a support vector machine set"):
        TemperatureScaling(machine).fit(X, y)


class Unnormalised(GaussianNB):
    def predict_proba(self, X):
        return 2 * super().predict_proba(X)


def test_classifiers_whose_probabilities_are_none(classified):
    X, y = classified
    with pytest.raises(ValueError, match=r"Unnormalised.predict_proba\(X\) must hold probabilities"):
        TemperatureScaling(Unnormalised().fit(X, y)).fit(X, y)
