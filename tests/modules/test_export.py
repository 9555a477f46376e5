"""What a user deploys leaves Python: torch.export and ONNX give its logits for any batch size."""

import warnings

import numpy as np
import pytest
import torch
from _export import HOW, check_the_same, exported, onnx
from _families import PERTURBATIONS
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron, vectors
from sklearn.linear_model import LogisticRegression
from torch import nn

from _data import load_images
from _networks import load_resnet
from skclamp import NeuralClampingCalibrator, SplineCalibration, StructuredMatrixScaling, TorchTraining

IMAGES = images(40)
SLOW = pytest.mark.slow


def fitted_module(estimator, X, perturbation, y=None):
    """The module of a fitted calibrator, and inputs of the network's precision."""
    # Clamps of features take natural steps alone.
    training = "natural" if isinstance(perturbation, str) and perturbation == "norm" else TorchTraining()
    options = {"training": training, "max_epochs": 1, "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(estimator, perturbation=perturbation, **options)
    module = calibrator.fit(X, np.arange(len(X)) % 4 if y is None else y).module_.eval()
    return module, torch.as_tensor(X)


@HOW
@pytest.mark.parametrize(
    "perturbation",
    [name if name == "affine" else pytest.param(name, marks=SLOW) for name in [None, *PERTURBATIONS, "norm"]],
)
def test_every_family_gives_the_same_logits_elsewhere(perturbation, how, tmp_path):
    check_the_same(*fitted_module(convolutional(), IMAGES, perturbation), how, tmp_path)


@pytest.mark.slow
@HOW
@pytest.mark.parametrize("head", [(), (nn.Flatten(0),)], ids=["column", "vector"])
def test_a_binary_head_gives_the_same_logits_elsewhere(head, how, tmp_path):
    network, X = perceptron(0, 6, 1, *head), vectors(40)
    score = bare_logits(network, X).reshape(40)
    y = labels_of(np.stack([np.zeros(40), score], 1))
    check_the_same(*fitted_module(network, X, "affine", y), how, tmp_path)


@HOW
def test_a_classifier_of_scikit_learn_gives_the_same_logits_elsewhere(how, tmp_path):
    X = vectors(40).astype(np.float64)
    classifier = LogisticRegression().fit(X, np.arange(40) % 4)
    check_the_same(*fitted_module(classifier, X, "affine"), how, tmp_path)


@pytest.mark.slow
@HOW
def test_a_residual_network_gives_the_same_logits_elsewhere(how, data_dir, tmp_path):
    X, y = load_images("cifar10_test", data_dir)
    module, x = fitted_module(load_resnet("cifar10_resnet20", data_dir), X[:40], "color", y[:40])
    check_the_same(module, x, how, tmp_path)


@pytest.mark.parametrize(
    ("output", "how"),
    [
        (StructuredMatrixScaling(), exported),
        (StructuredMatrixScaling(), onnx),
        # ONNX has no searchsorted.
        (SplineCalibration(n_knots=3), exported),
    ],
)
def test_an_output_map_gives_the_same_logits_elsewhere(output, how, tmp_path):
    options = {"perturbation": "affine", "training": TorchTraining(), "max_epochs": 1, "validation_fraction": None}
    calibrator = NeuralClampingCalibrator(convolutional(), output=output, random_state=0, **options)
    calibrator.fit(IMAGES, np.arange(40) % 4)
    check_the_same(calibrator.module_.eval(), torch.from_numpy(IMAGES), how, tmp_path)


def test_a_trace_gives_the_same_logits():
    """torch deprecates torch.jit.trace, but what serves through libtorch loads nothing else yet."""
    module, x = fitted_module(convolutional(), IMAGES, "affine")
    with warnings.catch_warnings():
        # That it is deprecated, and that checks of shapes aren't traced.
        warnings.simplefilter("ignore")
        trace = torch.jit.trace(module, x[:3])
    with torch.no_grad():
        torch.testing.assert_close(trace(x), module(x), rtol=0, atol=1e-5)
