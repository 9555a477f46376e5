"""The warning of calibration on the training data: given where a network is never wrong, and on nothing honest."""

import warnings

import numpy as np
import pytest
import torch
from _digits import splits
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from skclamp import (
    IsotonicCalibration,
    PlattScaling,
    TemperatureScaling,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationWarning, TrainingDataWarning

# So many without an error are suspect.
MANY_SAMPLES = 500
PROBLEMS = {"breast cancer": load_breast_cancer, "digits": load_digits}
CLASSIFIERS = {
    "logistic regression": lambda: LogisticRegression(max_iter=1000),
    "hardly regularised": lambda: LogisticRegression(C=100, max_iter=1000),
    "forest": lambda: RandomForestClassifier(25, random_state=0),
    "boosted trees": lambda: HistGradientBoostingClassifier(max_iter=20, random_state=0),
    "perceptron": lambda: MLPClassifier((32,), max_iter=150, random_state=0),
}


def given(calibrator, X, y, **options):
    """Names of the package's warnings of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(X, y, **options)
    return [type(warning.message) for warning in caught if isinstance(warning.message, CalibrationWarning)]


def halves(problem, seed=0):
    X, y = PROBLEMS[problem](return_X_y=True)
    return train_test_split(StandardScaler().fit_transform(X), y, train_size=0.5, stratify=y, random_state=seed)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")
@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_held_out_samples_of_easy_problems_are_honest(problem, kind):
    X_train, X, y_train, y = halves(problem)
    fitted = CLASSIFIERS[kind]().fit(X_train, y_train)
    for calibrator in (TemperatureScaling(fitted), IsotonicCalibration(FrozenEstimator(fitted))):
        assert TrainingDataWarning not in given(calibrator, X, y)
    assert TrainingDataWarning not in given(TemperatureScaling(CLASSIFIERS[kind](), cv=3), X, y)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_what_learned_the_digits_by_heart_is_told(kind):
    X, _, y, _ = halves("digits")
    fitted = CLASSIFIERS[kind]().fit(X, y)
    assert (fitted.predict(X) == y).all()
    assert given(TemperatureScaling(fitted), X, y) == [TrainingDataWarning]
    assert given(IsotonicCalibration(fitted), X, y) == [TrainingDataWarning]
    assert TrainingDataWarning not in given(TemperatureScaling(fitted), X[: MANY_SAMPLES - 1], y[: MANY_SAMPLES - 1])


def noisy(seed):
    """Samples of two classes, an eighth of them of the wrong one."""
    X, y = make_classification(2000, n_informative=8, flip_y=0.25, class_sep=0.7, random_state=seed)
    return train_test_split(X, y, train_size=0.5, random_state=seed)


@pytest.mark.parametrize("kind", [TemperatureScaling, PlattScaling, IsotonicCalibration])
@pytest.mark.parametrize(
    "make",
    [
        lambda seed: RandomForestClassifier(10, random_state=seed),
        lambda seed: RandomForestClassifier(60, min_samples_leaf=3, random_state=seed),
        lambda seed: BaggingClassifier(n_estimators=10, random_state=seed),
        lambda seed: HistGradientBoostingClassifier(max_iter=15, learning_rate=0.3, random_state=seed),
    ],
    ids=["forest", "leaves of three", "bagged trees", "boosted trees"],
)
def test_few_errors_in_training_are_near_misses(make, kind):
    for seed in range(3):
        X_train, X, y_train, y = noisy(seed)
        fitted = make(seed).fit(X_train, y_train)
        assert 0.9 < fitted.score(X_train, y_train) < 1
        assert given(kind(fitted), X_train, y_train) == [TrainingDataWarning]
        assert given(kind(fitted), X, y) == []


def trained_network(n_epochs):
    (X, y), (_, _) = splits()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(n_epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(torch.as_tensor(X)), torch.as_tensor(y)).backward()
        optimizer.step()
    return network


def test_the_message_says_what_to_do_and_stands_at_the_users_line():
    (X, y), _ = splits()
    with pytest.warns(TrainingDataWarning, match="makes no error on the 600 samples .* calibrate on others") as caught:
        given_here = IsotonicCalibration(trained_network(100)).fit(X, y)
    assert given_here.classes_.tolist() == list(range(10))
    assert caught[0].filename == __file__


def test_cross_fitted_classifiers_are_not_suspected_in_a_comparison():
    """What calibrates them they haven't seen, however easy the problem."""
    X = np.linspace(-1, 1, 1200)[:, None]
    y = (X[:, 0] > 0).astype(int)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps = [TemperatureScaling(), IsotonicCalibration()]
        options = {"n_resamples": 2, "n_draws": 1, "calibrators": maps}
        compare_calibrators(LogisticRegression(C=1e6, max_iter=1000), X, y, X, y, **options)
    assert not [warning for warning in caught if issubclass(warning.category, TrainingDataWarning)]


def compared(network, X, y, X_test, y_test):
    options = {"n_resamples": 2, "n_draws": 1, "calibrators": [TemperatureScaling()]}
    return compare_calibrators(network, X, y, X_test, y_test, **options)


def test_a_comparison_tells_training_data_by_the_test_sets_accuracy():
    """Also such with some errors in them, as noisy labels cause."""
    (X, y), (X_rest, y_rest) = splits()
    noisy = y.copy()
    noisy[:6] = (noisy[:6] + 1) % 10
    network = trained_network(100)
    with pytest.warns(TrainingDataWarning, match=r"accuracy is 99.00% on X_cal and 9\d.\d\d% on X_test, .* by chance"):
        compared(network, X, noisy, X_rest, y_rest)
    logits, rest = (network(torch.as_tensor(part)).detach() for part in (X, X_rest))
    with pytest.warns(TrainingDataWarning):
        compared(None, logits, noisy, rest, y_rest)
    compared(network, X_rest[:600], y_rest[:600], X_rest[600:], y_rest[600:])
    compared(network, X_rest[:600], y_rest[:600], X, y)


def test_real_logits_of_test_images(reference):
    logits, y = reference["cifar10_resnet20/logits"], reference["cifar10_resnet20/labels"]
    assert not given(TemperatureScaling(nn.Identity()), logits, y)


def test_real_networks_on_test_images(data_dir):
    for name in ("wideresnet-16-4", "lenet-5"):
        stored = np.load(data_dir / f"cifar100_{name}_probabilities.npz")
        proba, y = stored["predictions"], stored["ground_truth"]
        proba = proba / proba.sum(1, keepdims=True)
        assert not given(TemperatureScaling(nn.Identity(), response="probabilities"), proba, y.ravel())
