"""What a user deploys leaves Python: torch.export, TorchScript's trace and ONNX give its logits for any batch size."""

import warnings

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron, vectors
from sklearn.linear_model import LogisticRegression
from torch import nn

from _data import load_images
from _networks import load_resnet
from skclamp import NeuralClampingCalibrator
from skclamp.perturbations import PERTURBATIONS

IMAGES = images(40)


def fitted_module(estimator, X, perturbation, y=None):
    """The module of a fitted calibrator, and inputs of the network's precision."""
    options = {"optimizer": "adam", "max_epochs": 1, "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(estimator, perturbation=perturbation, **options)
    module = calibrator.fit(X, np.arange(len(X)) % 4 if y is None else y).module_.eval()
    return module, torch.as_tensor(X)


def any_batch():
    return ({0: torch.export.Dim("n", min=1)},)


def exported(module, x, _folder):
    return torch.export.export(module, (x,), dynamic_shapes=any_batch()).module()


def traced(module, x, folder):
    with warnings.catch_warnings():
        # TorchScript is deprecated, says torch; and our checks of shapes aren't traced, it warns.
        warnings.simplefilter("ignore")
        torch.jit.trace(module, x).save(folder / "module.pt")
        return torch.jit.load(folder / "module.pt")


def onnx(module, x, folder):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        # Of torch's and onnxscript's own doing.
        warnings.simplefilter("ignore")
        options = {"dynamo": True, "dynamic_shapes": any_batch(), "verbose": False}
        torch.onnx.export(module, (x,), folder / "module.onnx", **options)
    session = runtime.InferenceSession(folder / "module.onnx")
    return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


HOW = pytest.mark.parametrize("how", [exported, traced, onnx], ids=lambda how: how.__name__)


def check_the_same(module, x, how, folder):
    """Probabilities to 1e-5, and logits to 1e-5 of the largest: kernels round their sums each in its own way."""
    with torch.no_grad():
        expected = module(x)
        away = how(module, x[:3], folder)
        for rows in (slice(0, 1), slice(None)):
            found = away(x[rows])
            torch.testing.assert_close(found, expected[rows], rtol=0, atol=1e-5 * max(1, expected.abs().max()))
            torch.testing.assert_close(found.softmax(1), expected[rows].softmax(1), rtol=0, atol=1e-5)


@HOW
@pytest.mark.parametrize("perturbation", [None, *PERTURBATIONS])
def test_every_family_gives_the_same_logits_elsewhere(perturbation, how, tmp_path):
    check_the_same(*fitted_module(convolutional(), IMAGES, perturbation), how, tmp_path)


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


@HOW
def test_a_residual_network_gives_the_same_logits_elsewhere(how, data_dir, tmp_path):
    X, y = load_images("cifar10_test", data_dir)
    module, x = fitted_module(load_resnet("cifar10_resnet20", data_dir), X[:40], "color", y[:40])
    check_the_same(module, x, how, tmp_path)
