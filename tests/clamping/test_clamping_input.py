"""What clamping takes, and what it says to what it doesn't take."""

from functools import partial

import numpy as np
import pytest
import torch
from _plain_clamping import X, Y, clamping
from _small_networks import convolutional, labels_of, logits, softmax
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Checkpoint, EarlyStopping
from torch import nn
from torch.optim import SGD

from skclamp import NeuralClampingCalibrator, TemperatureScaling

# What X and the estimator may be


@pytest.mark.parametrize("kind", [np.float16, np.float64, torch.as_tensor])
def test_arrays_of_any_float_dtype_and_tensors(network, kind):
    given = kind(X) if kind is torch.as_tensor else X.astype(kind)
    found = clamping(network).fit(given, Y)
    np.testing.assert_allclose(found.delta_, clamping(network).fit(X, Y).delta_, atol=2e-3 if kind == np.float16 else 0)


@pytest.mark.parametrize(
    ("dtype", "perturbation"),
    [(torch.bfloat16, "auto"), (torch.float16, "color"), (torch.bfloat16, "filter"), (torch.float16, "grid")],
)
def test_half_precision_networks_are_clamped_by_every_family(dtype, perturbation):
    calibrator = clamping(convolutional().to(dtype), perturbation=perturbation, training="natural").fit(X, Y)
    module = calibrator.module_.eval()
    with torch.no_grad():
        found = torch.softmax(module(torch.as_tensor(X).to(dtype)).double(), 1)
    np.testing.assert_allclose(calibrator.predict_proba(X), found, rtol=0, atol=1e-6)


def test_networks_that_yield_probabilities_are_clamped_as_those_that_yield_logits():
    Z = logits()
    y = labels_of(Z)
    found = clamping(nn.Softmax(1), response="probabilities").fit(Z, y)
    assert found.temperature_ == pytest.approx(clamping(nn.Identity()).fit(Z, y).temperature_, rel=0.05)
    with pytest.raises(ValueError, match="the network's output .* must hold probabilities"):
        clamping(nn.Identity(), response="probabilities").fit(Z, y)


@pytest.mark.parametrize("response", ["auto", "probabilities"])
def test_logits_without_a_network_are_for_other_calibrators(response):
    Z = logits()
    unfitted = clamping(None, response=response)
    assert clone(unfitted).estimator is None
    with pytest.raises(
        ValueError, match="network whose inputs clamping perturbs; got None: of X that holds logits take VectorS"
    ):
        unfitted.fit(Z if response == "auto" else softmax(Z), labels_of(Z))
    assert not hasattr(unfitted, "classes_")


# Bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -0.5}, "'gamma' parameter of NeuralClampingCalibrator must be .* Got -0.5"),
        ({"gamma": np.nan}, "'gamma' parameter"),
        ({"lr": 0}, "'lr' parameter of NeuralClampingCalibrator must be .* Got 0"),
        ({"lr": -1e-3}, "'lr' parameter .* Got -0.001"),
        ({"max_epochs": 0}, "'max_epochs' parameter .* Got 0"),
        ({"max_epochs": 1.5}, "'max_epochs' parameter .* Got 1.5"),
        ({"batch_size": 0}, "'batch_size' parameter .* Got 0"),
        ({"penalty": -1}, "'penalty' parameter .* Got -1"),
        ({"init_scale": -1}, "'init_scale' parameter .* Got -1"),
        ({"init_temperature": 0}, "'init_temperature' parameter .* Got 0"),
        ({"init_temperature": "best"}, "'init_temperature' parameter .* Got 'best'"),
        ({"perturbation": "pixel"}, "'perturbation' parameter .*'full'.* Got 'pixel'"),
        ({"init": "random"}, "'init' parameter .*'gradient'.* Got 'random'"),
        ({"optimizer": "newton-raphson"}, "optimizer must be .* got 'newton-raphson'"),
        ({"perturbation": "auto"}, "training must be 'auto' or 'natural' where perturbation is 'auto'"),
        ({"optimizer": dict}, "optimizer must be .* a subclass of torch.optim.Optimizer .* got <class 'dict'>"),
        ({"optimizer": partial(dict, lr=1)}, r"optimizer must be .* or a functools.partial of one .* got .*'dict'"),
        ({"optimizer": partial(SGD, lr=0.1)}, r"optimizer must be .* a functools.partial .* without lr.* lr=0.1\)"),
        ({"optimizer": partial(SGD, [])}, r"or a functools.partial of one with named arguments alone"),
        ({"callbacks": [EarlyStopping()]}, r"must not wait for 'valid_loss', .* EarlyStopping\(monitor='train_loss'\)"),
        ({"callbacks": [("best", Checkpoint)]}, r"'valid_loss_best', .* Checkpoint\(monitor='train_loss_best'\)"),
        ({"validation_fraction": 0.9}, r"'validation_fraction' parameter .* in the range \(0.0, 0.5\]"),
        ({"response": "scores"}, "'response' parameter .* Got 'scores'"),
        ({"output": "vector"}, "'output' parameter of NeuralClampingCalibrator must be .*BaseCalibrator"),
        ({"output": TemperatureScaling(convolutional())}, "output must have estimator=None"),
        ({"classes": ["a", "b"]}, "classes must name the 4 columns"),
    ],
)
def test_bad_parameters(network, settings, message):
    with pytest.raises(ValueError, match=message):
        clamping(network, **settings).fit(X, Y)


def test_a_function_is_no_callback(network):
    with pytest.raises(TypeError, match=r"callbacks must be .*; a function becomes one as the method on_epoch_end"):
        clamping(network, callbacks=[print]).fit(X, Y)


class Constant(nn.Module):
    """Logits that depend on nothing of the input, or through nothing that has a gradient."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.logits = nn.Parameter(torch.arange(4.0))

    def forward(self, x):
        if self.how == "nothing":
            return self.logits.expand(len(x), 4)
        if self.how == "sign":
            return (x.flatten(1)[:, :4].sign() + self.logits) * 3
        return x.flatten(1)[:, :4].detach() + self.logits


@pytest.mark.parametrize(("how", "what"), [("nothing", "missing"), ("detached", "missing"), ("sign", "zero")])
def test_networks_that_pass_no_gradient(how, what):
    with pytest.raises(ValueError, match=f"the network's output must depend on its input .* is {what}"):
        clamping(Constant(how)).fit(X, Y)


@pytest.mark.parametrize("perturbation", ["auto", "full"])
def test_classifiers_that_learned_nothing_gain_nothing(perturbation):
    classifier = LogisticRegression().fit([[0.0], [0.0], [1.0], [1.0]], [0, 1, 0, 1])
    assert not classifier.coef_.any()
    X, y = np.random.default_rng(0).normal(size=(60, 1)), np.resize([0, 1], 60)
    found = NeuralClampingCalibrator(FrozenEstimator(classifier), perturbation=perturbation).fit(X, y)
    np.testing.assert_allclose(found.predict_proba(X), 0.5, atol=0.01)


def test_tokens_have_no_gradient():
    tokens = np.random.default_rng(0).integers(0, 9, (60, 5))
    network = nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(10, 3))
    with pytest.raises(
        TypeError, match="X must hold floating-point inputs: a perturbation can't be added to torch.int64"
    ):
        clamping(network).fit(tokens, np.resize([0, 1, 2], 60))


@pytest.mark.parametrize("shape", [(3, 8, 5), (1, 8, 8), (8, 8), (3, 1, 1), (192,)])
def test_inputs_of_another_shape_at_predict(fitted, shape):
    message = rf"X must have inputs of the shape that the perturbation was fitted to, \(3, 8, 8\); .*{shape[-1]}"
    for n_samples in (2, 3, 8):
        with pytest.raises(ValueError, match=message):
            fitted.predict_proba(np.zeros((n_samples, *shape), dtype=np.float32))
