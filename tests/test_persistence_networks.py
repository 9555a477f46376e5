"""Loading: which networks and classifiers a saved calibrator is put around, and which are refused."""

import copy
import pickle

import numpy as np
import pytest
import torch
from _quantised import quantised
from _small_networks import bare_logits, convolutional, labels_of, perceptron, vectors
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier
from test_persistence import FREE, IMAGES, LOGITS, Y, round_trip
from torch import nn

import skclamp
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp._backbones.fingerprint import Digest
from skclamp.modules import LogitsModule


@pytest.fixture
def path(tmp_path):
    return tmp_path / "calibrator.safetensors"


@pytest.fixture(scope="module")
def clamped():
    """An unguarded perturbation around a network."""
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation="affine", **FREE)
    return calibrator.fit(IMAGES, labels_of(bare_logits(convolutional(), IMAGES)))


def test_the_network_is_the_one_given_and_stays_as_it_was(clamped, path):
    twin = convolutional().train()
    loaded = round_trip(clamped, path, twin)
    assert loaded.estimator is twin
    assert all(part.training for part in twin.modules())
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES))


OTHER = "estimator must be the network that the calibrator was fitted around"


class Scaled(nn.Module):
    """A network with a buffer that isn't in its state dict, and parts whose names are those of wrappers."""

    def __init__(self, scale=1.0, first=0.1, second=0.2):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.module = nn.Linear(4, 4, bias=False)
        self.weight = nn.Parameter(torch.full((4, 4), second))
        nn.init.constant_(self.module.weight, first)

    def forward(self, x):
        return self.scale * (x + self.module(x) + x @ self.weight)


def flat(rows, columns):
    layer = nn.Linear(columns, rows, bias=False)
    nn.init.constant_(layer.weight, 0.1)
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(
    "networks",
    [
        lambda: (Scaled(), Scaled(scale=2.0), Scaled(first=0.2, second=0.1)),
        lambda: (
            perceptron(0, 4),
            nn.Sequential(perceptron(0, 4)[0], nn.ReLU(), perceptron(0, 4)[2]),
            perceptron(0, 4).half(),
        ),
        lambda: (quantised(perceptron(0, 4)), quantised(perceptron(1, 4)), perceptron(0, 4)),
        lambda: (flat(4, 4), flat(2, 8)),
    ],
    ids=["parts", "layers", "quantised", "shapes"],
)
def test_what_differs_in_a_part_that_counts_is_another_network(networks, path):
    network, *others = networks()
    X = LOGITS.astype(np.float32)
    calibrator = TemperatureScaling(network).fit(X, labels_of(LogitsModule(network)(torch.from_numpy(X)).detach()))
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))
    for other in others:
        with pytest.raises(ValueError, match=OTHER):
            skclamp.load(path, other)


def test_one_weight_makes_another_network(clamped, path):
    network = convolutional()
    with torch.no_grad():
        network[-1].bias[0] += 1e-6
    with pytest.raises(ValueError, match="other weights"):
        round_trip(clamped, path, network)
    round_trip(clamped, path, network, strict=False)


def test_a_copy_in_another_precision_passes_where_asked(clamped, path):
    double = convolutional().double()
    loaded = round_trip(clamped, path, double, strict=False)
    np.testing.assert_allclose(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "got"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), "got Linear"),
        (nn.Sequential(nn.Flatten()), "got none"),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(180, 4)), "got BatchNorm2d"),
    ],
)
def test_another_networks_layers_are_refused_by_name(other, got, path):
    how = {"perturbation": "norm", "validation_fraction": None}
    calibrator = NeuralClampingCalibrator(convolutional(), **how)
    calibrator.fit(IMAGES, labels_of(bare_logits(convolutional(1), IMAGES)))
    assert calibrator.accepted_
    half = round_trip(calibrator, path, convolutional().double(), strict=False, device="cpu")
    np.testing.assert_allclose(half.predict_proba(IMAGES), calibrator.predict_proba(IMAGES), rtol=0, atol=1e-5)
    for again in (copy.deepcopy(calibrator), pickle.loads(pickle.dumps(calibrator))):
        np.testing.assert_array_equal(again.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))
    with pytest.raises(ValueError, match=OTHER):
        round_trip(calibrator, path, other)
    message = rf"^estimator must have a layer '1' with a weight of shape \(6,\), whose features are clamped; {got}$"
    with pytest.raises(ValueError, match=message):
        round_trip(calibrator, path, other, strict=False)


def test_a_network_is_needed_where_there_was_one_and_only_there(clamped, path):
    with pytest.raises(ValueError, match="estimator must be None: this is a calibrator of logits; got Sequential"):
        round_trip(TemperatureScaling().fit(LOGITS, Y), path, convolutional())
    clamped.save(path)
    with pytest.raises(ValueError, match=r"must be what this was fitted around: load\(path, estimator\); got None"):
        skclamp.load(path)


def test_a_skorch_net_and_its_module_are_the_same_network(clamped, path):
    net = NeuralNetClassifier(convolutional(), criterion=nn.CrossEntropyLoss).initialize()
    loaded = round_trip(clamped, path, net)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES))


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        GaussianNB(),
        DecisionTreeClassifier(),
        KNeighborsClassifier(1),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
        KNeighborsClassifier(algorithm="ball_tree"),
        SVC(),
        OneVsRestClassifier(LogisticRegression()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_classifier_is_known_after_it_was_pickled_and_used(classifier, path):
    X, y = vectors().astype(float), labels_of(vectors()[:, :3])
    classifier, other = (clone(classifier).fit(X[start::2], y[start::2]) for start in (0, 1))
    calibrator = TemperatureScaling(FrozenEstimator(classifier)).fit(X, y)
    calibrator.save(path)
    again = pickle.loads(pickle.dumps(classifier))
    again.predict(X)
    if "n_jobs" in again.get_params():
        again.set_params(n_jobs=1)
    loaded = skclamp.load(path, again)
    np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))
    with pytest.raises(ValueError, match="other weights"):
        skclamp.load(path, other)


def test_an_estimator_that_is_not_fitted_is_refused(clamped, path):
    with pytest.raises(
        ValueError, match=r"estimator must be fitted, as the calibrator's was.*; got LogisticRegression"
    ):
        round_trip(clamped, path, LogisticRegression())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, .* are deprecated:UserWarning")
def test_weights_that_torch_itself_quantised_are_told_by_their_values():
    """It deprecates them in favour of torchao, but people have networks of them."""
    hashes = [
        Digest().value(torch.quantize_per_tensor(torch.full((2,), value), 0.1, 0, torch.qint8)).hex()
        for value in (1.0, 2.0, 1.0)
    ]
    assert hashes[0] == hashes[2] != hashes[1]
