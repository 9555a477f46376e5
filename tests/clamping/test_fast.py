import logging
import threading

import numpy as np
import pytest
import torch
from _problems import pose
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn

from skclamp import NeuralClampingCalibrator
from skclamp.clamping._acceleration import accelerate
from skclamp.modules import frozen

X = images(40)


def fast_and_plain(network, precision):
    """Logits of a network as a fit runs it and as it is."""
    problem = pose(network, X, np.zeros(len(X), dtype=int))
    with frozen(network), torch.no_grad():
        module = accelerate(problem, precision).backbone.module
        assert module.module is network
        return module(problem.backbone.to_device(torch.as_tensor(X))[0]), problem.logits


class Branching(nn.Module):
    """The way through it depends on the data."""

    def __init__(self):
        super().__init__()
        self.network = convolutional()

    def forward(self, x):
        return self.network(x if x.mean() > 100 else x + 0.5)


class Held(nn.Module):
    """Holds what can't be copied."""

    def __init__(self, network):
        super().__init__()
        self.network, self.lock = network, threading.Lock()

    def forward(self, x):
        return self.network(x)


class NoBfloat16(nn.Module):
    """Has an operation for which autocast finds no kernel."""

    def __init__(self):
        super().__init__()
        self.network = convolutional()

    def forward(self, x):
        logits = self.network(x)
        if logits.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return logits


class Attending(nn.Module):
    """A transformer in small: no convolutions, tuples for outputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        tokens = x.mean(1)
        return self.head(self.norm(self.attention(tokens, tokens, tokens)[0]).mean(1)), tokens


# Precision


@pytest.mark.parametrize(
    ("network", "precision", "is_quick", "dtype"),
    [
        (convolutional(), "float32", False, torch.float32),
        (convolutional(), "bfloat16", True, torch.float32),
        (NoBfloat16().eval(), "bfloat16", False, torch.float32),
        (convolutional().double(), "float32", False, torch.float64),
        (convolutional().double(), "auto", False, torch.float64),
    ],
)
def test_precision_is_what_was_asked_for_where_the_network_can(network, precision, is_quick, dtype):
    fast, plain = fast_and_plain(network, precision)
    assert fast.dtype == dtype
    rtol, atol = (0.05, 0.05 * plain.abs().max().item()) if is_quick else (1e-6, 1e-6)
    torch.testing.assert_close(fast, plain, rtol=rtol, atol=atol)
    assert ((fast - plain).abs().max() > 1e-4) == is_quick


@pytest.mark.parametrize("has", [False, True])
def test_auto_follows_the_processor(monkeypatch, has):
    monkeypatch.setattr("skclamp.clamping._acceleration.has_bfloat16", lambda device: has)
    fast, plain = fast_and_plain(convolutional(), "auto")
    assert ((fast - plain).abs().max() > 1e-4) == has


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_the_last_temperature_and_predictions_are_float32(precision):
    """Whatever training ran in, T meets its first-order condition, labels smoothed, on the network's own logits."""
    network, x = convolutional(), images(300)
    y = labels_of(bare_logits(network, x))
    settings = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(network, precision=precision, **settings).fit(0.7 * x + 0.2, y)
    with torch.no_grad():
        z = network(calibrator.perturbation_(torch.as_tensor(0.7 * x + 0.2))).double().numpy()
    p = np.exp(z / calibrator.temperature_ - np.logaddexp.reduce(z / calibrator.temperature_, 1)[:, None])
    np.testing.assert_allclose(calibrator.predict_proba(0.7 * x + 0.2), p, atol=1e-6)
    q = np.full_like(p, 1 / (len(z) + 2) / (z.shape[1] - 1))
    q[np.arange(len(z)), y] = 1 - 1 / (len(z) + 2)
    assert abs(((p - q) * z).sum(1).mean()) < 1e-5 * np.abs(z).mean()


# The user's network


def test_the_memory_format_of_the_weights_stays():
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = convolutional().to(memory_format=memory_format)
        strides = [parameter.stride() for parameter in network.parameters()]
        x = images(200)
        NeuralClampingCalibrator(network, random_state=0).fit(0.5 * x, labels_of(bare_logits(network, x)))
        assert [parameter.stride() for parameter in network.parameters()] == strides


@pytest.mark.parametrize(
    ("network", "precision"),
    [
        (Branching(), "auto"),
        (NoBfloat16(), "bfloat16"),
        (Attending(), "bfloat16"),
        (Held(convolutional()), "auto"),
    ],
)
@pytest.mark.filterwarnings("ignore:the network returns several things:UserWarning")
def test_odd_networks_are_clamped_all_the_same(network, precision, caplog):
    network, x = network.eval(), images(200)
    with torch.no_grad():
        scores = network(torch.as_tensor(x))
    y = labels_of((scores[0] if isinstance(scores, tuple) else scores).double().numpy())
    with caplog.at_level(logging.WARNING):
        calibrator = NeuralClampingCalibrator(network, precision=precision, random_state=0).fit(0.5 * x + 0.3, y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
    assert not caplog.records
