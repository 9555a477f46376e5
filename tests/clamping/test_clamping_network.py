"""Clamping leaves the user's network and the random states as they were, and is deterministic."""

import numpy as np
import pytest
import torch
from _plain_clamping import DIVERGING, X, Y, clamping
from _small_networks import bare_logits, convolutional, labels_of, perceptron, put_into_odd_state, snapshot, vectors
from skorch.callbacks import Callback
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling

# The network as it was


class Failing(Callback):
    """Raises an error in the second epoch."""

    def __init__(self, error):
        self.error = error

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise self.error


class Fragile(nn.Module):
    """A network whose forward pass is interrupted after some calls."""

    def __init__(self, network, n_calls):
        super().__init__()
        self.network = network
        self.n_calls = n_calls

    def __getitem__(self, index):
        return self.network[index]

    def forward(self, x):
        self.n_calls -= 1
        if self.n_calls < 0:
            raise KeyboardInterrupt
        return self.network(x)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"perturbation": None},
        {"perturbation": "channel", "optimizer": "adam"},
        {"init": "gradient", "gamma": 1.0, "penalty": 0.1, "refit_temperature": False},
        {"init": "normal", "random_state": None},
        {"perturbation": "affine", "training": "natural"},
    ],
    ids=["plain", "temperature", "adam", "gradient", "normal", "natural"],
)
def test_fit_and_predict_leave_the_network_as_it_was(settings):
    network = put_into_odd_state(convolutional())
    before, strides = snapshot(network), [parameter.stride() for parameter in network.parameters()]
    calibrator = clamping(network, **settings).fit(X, Y)
    assert snapshot(network) == before
    calibrator.predict_proba(X)
    assert snapshot(network) == before
    assert [parameter.stride() for parameter in network.parameters()] == strides


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"callbacks": [Failing(RuntimeError("stop"))]}, RuntimeError),
        (DIVERGING, ValueError),
        ({"init": np.zeros(3)}, ValueError),
    ],
    ids=["callback", "diverged", "bad start"],
)
def test_a_failed_fit_leaves_the_network_as_it_was(settings, error):
    network = put_into_odd_state(convolutional())
    before = snapshot(network)
    with pytest.raises(error):
        clamping(network, **settings).fit(X, Y)
    assert snapshot(network) == before


@pytest.mark.parametrize("n_calls", [0, 2, 3])
def test_an_interrupt_before_training_leaves_the_network_as_it_was(n_calls):
    network = Fragile(put_into_odd_state(convolutional()), n_calls)
    before = snapshot(network)
    with pytest.raises(KeyboardInterrupt):
        clamping(network).fit(X, Y)
    assert snapshot(network) == before
    network.n_calls = 1
    with pytest.raises(KeyboardInterrupt):
        TemperatureScaling(network, batch_size=32).fit(X, Y)
    assert snapshot(network) == before


def test_an_interrupt_during_training_keeps_what_was_learned_and_the_network_as_it_was():
    network = put_into_odd_state(convolutional())
    before = snapshot(network)
    calibrator = clamping(network, callbacks=[Failing(KeyboardInterrupt())]).fit(X, Y)
    assert snapshot(network) == before
    assert calibrator.n_iter_ == 2
    assert calibrator.delta_.any()
    np.testing.assert_allclose(calibrator.predict_proba(X).sum(1), 1)


def test_a_failed_first_fit_leaves_nothing(network):
    calibrator = clamping(network, **DIVERGING)
    with pytest.raises(ValueError, match="training diverged: the loss became nan in epoch 1; lower lr, got 1e\\+38"):
        calibrator.fit(X, Y)
    assert not [name for name in vars(calibrator) if name.endswith("_")]


def test_networks_whose_weights_take_no_gradient():
    network = convolutional().requires_grad_(False)
    found = clamping(network).fit(X, Y)
    np.testing.assert_array_equal(found.delta_, clamping(convolutional()).fit(X, Y).delta_)
    assert not any(parameter.requires_grad for parameter in network.parameters())


# Randomness


@pytest.mark.parametrize("settings", [{}, {"init": "normal", "init_scale": 0.1}, {"optimizer": "adam"}])
def test_one_random_state_gives_one_result(network, settings):
    torch.manual_seed(0)
    first = clamping(network, **settings).fit(X, Y)
    torch.manual_seed(1)
    second = clamping(network, **settings).fit(X, Y)
    np.testing.assert_array_equal(first.delta_, second.delta_)
    assert first.temperature_ == second.temperature_
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_a_random_state_instance_advances(network):
    random_state = np.random.RandomState(0)  # what scikit-learn's random_state may be
    first = clamping(network, random_state=random_state).fit(X, Y)
    second = clamping(network, random_state=random_state).fit(X, Y)
    assert np.abs(first.delta_ - second.delta_).max() > 1e-6


@pytest.mark.parametrize("n_calls", [8, 32])
def test_an_interrupt_within_the_guard_is_the_callers(n_calls):
    """A half-trained fold must not be judged."""
    network = Fragile(perceptron(), n_calls)
    x = vectors(600) + 0.8
    before = snapshot(network)
    with pytest.raises(KeyboardInterrupt):
        NeuralClampingCalibrator(network, random_state=0).fit(x, labels_of(bare_logits(perceptron(), vectors(600))))
    assert snapshot(network) == before
