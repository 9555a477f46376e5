"""The last temperature of clamping: what samples that weren't fitted say of it, no label promising certainty."""

import warnings

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _problems import linear
from _small_networks import bare_logits, labels_of, nll, smoothed_temperature, vectors
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining

NETWORK = linear(6)
X = vectors(300)
Y = labels_of(bare_logits(NETWORK, X), temperature=1.5)
SHIFTED = X + np.float32(0.8)
WEIGHT = np.random.default_rng(0).uniform(0.2, 2, len(Y))


class Recorder(TemperatureScaling):
    """A temperature by name, which keeps what it was fitted to."""

    def _fit_logits(self, logits, y, sample_weight):
        learned = super()._fit_logits(logits, y, sample_weight)
        self.seen_ = logits.double().numpy(), y.numpy(), None if sample_weight is None else sample_weight.numpy()
        return learned


def clamping(estimator=NETWORK, **settings):
    return NeuralClampingCalibrator(estimator, **{"perturbation": "affine", "random_state": 0, **settings})


def perturbed(calibrator, x):
    """Logits of the perturbed inputs."""
    with torch.no_grad():
        return NETWORK(calibrator.perturbation_(torch.as_tensor(x))).double().numpy()


# Small tables.


@pytest.fixture(scope="module")
def sensors(data_dir):
    """A perceptron of the gas sensors' first two batches, all standardised inputs, labels and batches."""
    path = data_dir / "gas_sensor_drift.npz"
    if not path.exists():
        pytest.skip("needs gas_sensor_drift.npz")
    with np.load(path) as file:
        x, y, batch = file["X"], file["y"], file["batch"]
    known = np.isin(batch, (1, 2))
    x = StandardScaler().fit(x[known]).transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = MLPClassifier((64,), max_iter=40, random_state=0).fit(x[known], y[known])
    return classifier, x, y, batch


def split_off(batch, chosen, n_samples, seed):
    """Some samples of a batch, and its others."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(batch == chosen))
    return rows[:n_samples], rows[n_samples:]


@pytest.mark.parametrize("fraction", [0.5, None])
@pytest.mark.parametrize("seed", [10, 17])
def test_few_samples_of_many_features_promise_no_certainty(sensors, seed, fraction):
    classifier, x, y, batch = sensors
    fit, test = split_off(batch, 3, 200, seed)
    # Maps of the network's own logits, which may do better, aren't in question.
    found = clamping(classifier, validation_fraction=fraction, output=None).fit(x[fit], y[fit])
    plain = TemperatureScaling(classifier).fit(x[fit], y[fit])
    columns = np.searchsorted(classifier.classes_, y[test])
    assert found.accepted_
    assert found.temperature_ > 0.1
    assert nll(found.predict_log_proba(x[test]), columns) < nll(plain.predict_log_proba(x[test]), columns) - 0.1


# With a guard.


@pytest.mark.parametrize(
    ("settings", "weight"),
    [
        ({}, WEIGHT),
        ({"gamma": "auto"}, None),
        ({"validation_fraction": 0.2}, WEIGHT),
        ({"perturbation": "full", "training": TorchTraining(), "lr": 0.05}, None),
    ],
    ids=["affine", "gamma", "five folds", "adam"],
)
def test_the_guard_solves_t_and_the_output_out_of_fold(settings, weight):
    found = clamping(output=Recorder(), **settings).fit(SHIFTED, Y, sample_weight=weight)
    assert found.accepted_
    scores, y, seen_weight = found.output_.seen_
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(seen_weight, np.ones(len(Y)) if weight is None else weight)
    assert found.temperature_ == pytest.approx(smoothed_temperature(scores, Y, weight), rel=1e-6)
    # Each fold had its own perturbation, the result has another.
    assert (np.abs(scores - perturbed(found, SHIFTED)).max(1) > 1e-3).all()
    alone = clamping(**settings).fit(SHIFTED, Y, sample_weight=weight)
    assert alone.temperature_ == found.temperature_


def test_t_suits_the_perturbation_that_is_kept():
    """Folds stop early, and have half of the samples: the logits that they leave behind are of another size."""
    (x, y), (x_test, y_test) = calibration_and_test(0)
    x, x_test = shifted(x, "mixed colours"), shifted(x_test, "mixed colours")
    found = NeuralClampingCalibrator(convolutional_network(), random_state=0).fit(x, y)
    assert found.accepted_
    log_proba = found.predict_log_proba(x_test)
    best = TemperatureScaling().fit(log_proba, y_test)
    assert nll(log_proba, y_test) - nll(best.predict_log_proba(log_proba), y_test) < 0.02


def test_what_a_fold_says_depends_on_none_of_its_labels():
    """Of folds that are given, as others are drawn by all labels: the other half alone changes, but for size."""
    names = np.arange(Y.max() + 1)
    options = {"output": Recorder(), "classes": names, "validation_fraction": KFold(2)}
    found = clamping(**options).fit(SHIFTED, Y)
    scores = found.output_.seen_[0]
    labels = Y.copy()
    labels[0] = (Y[0] + 1) % len(names)
    changed = clamping(**options).fit(SHIFTED, labels)
    assert changed.accepted_
    factor = changed.output_.seen_[0] / scores
    same = np.isclose(factor, factor[0, 0], rtol=1e-5).all(1)
    assert same[0]
    assert same.sum() == len(Y) / 2


# Without.


def test_where_nothing_is_learned_t_is_temperature_scalings():
    """Neither by a refusal, nor where gradients ask for no family."""
    plain = TemperatureScaling(NETWORK).fit(X, Y).temperature_
    for settings in ({}, {"perturbation": "auto", "validation_fraction": None}):
        found = clamping(**settings).fit(X, Y)
        assert not found.accepted_
        assert found.temperature_ == plain
