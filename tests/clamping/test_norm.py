"""A gain and an offset after each normalisation layer: what is learned and what is refused."""

import copy

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network
from _small_networks import bare_logits, labels_of, snapshot
from sklearn.metrics import log_loss
from torch import nn

from skclamp import (
    NeuralClampingCalibrator,
    TemperatureScaling,
    TorchTraining,
)
from skclamp.exceptions import CalibrationSetWarning
from skclamp.modules import ClampedModule
from skclamp.perturbations import NormPerturbation


def noisy(x, seed=0, sd=0.5):
    """What a gain and an offset of the inputs can't undo."""
    return (x + sd * np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)


class Tokens(nn.Module):
    """A small transformer of tokens, whose norms are LayerNorms."""

    def __init__(self, n_tokens=20, width=16):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(n_tokens, width)
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 4)
        with torch.no_grad():
            self.head.weight.mul_(12)

    def forward(self, ids, more=None):
        return self.head(self.encoder(self.embedding(ids))[:, 0])


def table_network():
    torch.manual_seed(0)
    norms = nn.BatchNorm1d(24), nn.LayerNorm(24)
    network = nn.Sequential(nn.Linear(12, 24), norms[0], nn.ReLU(), nn.Linear(24, 24), norms[1], nn.Linear(24, 4))
    network(torch.randn(256, 12))
    with torch.no_grad():
        network[-1].weight.mul_(8)
    return network.eval()


def problem_of(name, n_samples=800):
    """A network, inputs, and labels that its own or, disturbed, another like it has drawn."""
    rng = np.random.default_rng(0)
    if name == "tokens":
        return Tokens().eval(), rng.integers(20, size=(n_samples, 10))
    if name == "table":
        return table_network(), rng.normal(size=(n_samples, 12)).astype(np.float32)
    return convolutional_network(), noisy(np.concatenate([part[0] for part in calibration_and_test(0)]))[:n_samples]


def disturbed(network, size):
    """A copy whose normalisation layers multiply and add otherwise."""
    torch.manual_seed(1)
    network = copy.deepcopy(network)
    for part in network.modules():
        if "Norm" in type(part).__name__:
            with torch.no_grad():
                part.weight.mul_(1 + size * torch.randn_like(part.weight))
                part.bias.add_(size * torch.randn_like(part.bias))
    return network


@pytest.mark.parametrize(
    ("name", "perturbation"),
    [
        *(("tokens", "norm"), ("table", "norm"), ("images", "norm"), ("table", "auto")),
        *(pytest.param(name, "auto", marks=pytest.mark.slow) for name in ("tokens", "images")),
    ],
)
def test_it_finds_disturbed_layers_and_nothing_where_nothing_is(name, perturbation):
    network, X = problem_of(name)
    there = labels_of(bare_logits(disturbed(network, 0.6), X), temperature=1.5)
    half, before = len(X) // 2, snapshot(network)
    calibrator = NeuralClampingCalibrator(network, perturbation=perturbation, random_state=0)
    plain = TemperatureScaling(network)
    losses = [fit.fit(X[:half], there[:half]).score(X[half:], there[half:]) for fit in (calibrator, plain)]
    assert calibrator.accepted_ or hasattr(calibrator, "last_layer_")
    assert losses[0] > losses[1] + 0.05
    here = labels_of(bare_logits(network, X), temperature=1.5)
    calibrator.fit(X, here)
    assert not calibrator.accepted_
    assert np.array_equal(calibrator.predict_proba(X), TemperatureScaling(network).fit(X, here).predict_proba(X))
    assert snapshot(network) == before


def test_auto_puts_it_on_top_of_what_it_learned_of_the_inputs():
    network, X = problem_of("images", 1200)
    y = labels_of(bare_logits(disturbed(network, 0.6), X), temperature=1.0)
    X, test = 0.5 * X + 0.4, slice(900, None)
    names = None, "affine", "auto"
    fits = [NeuralClampingCalibrator(network, perturbation=p, output=None, random_state=0) for p in names]
    losses = [log_loss(y[test], fit.fit(X[:900], y[:900]).predict_proba(X[test])) for fit in fits]
    assert losses == sorted(losses, reverse=True)
    *inputs, features = fits[-1].perturbation_
    assert inputs
    assert isinstance(features, NormPerturbation)
    assert any(name.endswith(" + norm") for name in fits[-1].verdict_.tried)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Linear(12, 4), "no normalisation layer at all"),
        (nn.Sequential(nn.BatchNorm1d(12, affine=False), nn.Linear(12, 4)), "'0' has no weight of its own"),
    ],
)
def test_networks_without_such_layers_say_so(network, said):
    X = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
    y = labels_of(bare_logits(network.eval(), X))
    calibrator = NeuralClampingCalibrator(network, perturbation="norm", random_state=0)
    with pytest.warns(CalibrationSetWarning, match=f"'norm' is left out, and features stay as they are: .* {said}"):
        calibrator.fit(X, y)
    assert not calibrator.accepted_
    assert said in calibrator.verdict_.not_tried["norm"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("table", {"training": TorchTraining()}, "training must be 'auto' or 'natural' where perturbation is 'norm'"),
        ("table", {"perturbation": NormPerturbation([("1", (24,))])}, "perturbation must be 'norm' to clamp features"),
        (
            "names",
            {"max_views": [nn.Dropout(0.1)]},
            "input_key must name the entry of X that views look at",
        ),
    ],
)
def test_what_features_have_no_use_of_is_refused(name, options, message):
    network, X = problem_of("tokens" if name == "names" else name, 200)
    y = labels_of(bare_logits(network, X))
    inputs = {"ids": X, "more": X} if name == "names" else X
    with pytest.raises(ValueError, match=message):
        NeuralClampingCalibrator(network, **{"perturbation": "norm", **options}).fit(inputs, y)


def test_it_follows_the_users_network():
    network, X = problem_of("table")
    y = labels_of(bare_logits(disturbed(network, 0.6), X), temperature=1.5)
    calibrator = NeuralClampingCalibrator(network, perturbation="norm", output=None, random_state=0).fit(X, y)
    module = calibrator.module_

    def another_head():
        network[-1] = nn.Linear(24, 4)

    changes = [
        # Of a norm, without and with torch's knowledge.
        lambda: network[1].bias.data.add_(1.0),
        lambda: torch.no_grad()(network[4].weight.mul_)(1.5),
        lambda: setattr(network[1], "eps", 0.5),
        lambda: network[0].register_forward_hook(lambda part, inputs, output: 2 * output),
        another_head,
        lambda: network.load_state_dict({k: 1.5 * v.float() for k, v in network.state_dict().items()}, assign=True),
        lambda: calibrator.perturbation_.norm.gain.data.add_(0.5),
    ]
    before = calibrator.predict_proba(X)
    for change in changes:
        change()
        anew = ClampedModule(network, calibrator.perturbation_, temperature=calibrator.temperature_).eval()
        expected = anew(torch.as_tensor(X)).softmax(1).detach()
        after = calibrator.predict_proba(X)
        np.testing.assert_allclose(after, expected, atol=1e-6)
        assert np.abs(after - before).max() > 1e-3
        np.testing.assert_array_equal(calibrator.predict_proba(X), after)
        before = after
    assert calibrator.module_ is module


def test_one_clamp_of_features_at_a_time():
    network, _ = problem_of("table")
    twice = nn.Sequential(*(NormPerturbation([("1", (24,))]) for _ in range(2)))
    with pytest.raises(ValueError, match="one NormPerturbation at the most"):
        ClampedModule(network, twice)
