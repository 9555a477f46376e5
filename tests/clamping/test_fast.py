import logging
import threading

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn

from skclamp import NeuralClampingCalibrator


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


# The last temperature


def test_the_last_temperature_and_predictions_are_of_the_networks_own_logits():
    """T meets its first-order condition, labels smoothed, on the network's own logits."""
    network, x = convolutional(), images(300)
    y = labels_of(bare_logits(network, x))
    settings = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(network, **settings).fit(0.7 * x + 0.2, y)
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
    "network", [Branching(), Attending(), Held(convolutional())], ids=lambda network: type(network).__name__
)
@pytest.mark.filterwarnings("ignore:the network returns several things:UserWarning")
def test_odd_networks_are_clamped_all_the_same(network, caplog):
    network, x = network.eval(), images(200)
    with torch.no_grad():
        scores = network(torch.as_tensor(x))
    y = labels_of((scores[0] if isinstance(scores, tuple) else scores).double().numpy())
    with caplog.at_level(logging.WARNING):
        calibrator = NeuralClampingCalibrator(network, random_state=0).fit(0.5 * x + 0.3, y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
    assert not caplog.records
