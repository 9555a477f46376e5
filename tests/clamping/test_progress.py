"""What a fit shows while it runs, and what an interrupt from the keyboard leaves of it."""

import re

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skclamp import NeuralClampingCalibrator, TorchTraining

(IMAGES, Y), _ = calibration_and_test(0)
FOGGED = np.float32(0.25) + np.float32(0.5) * IMAGES


def last_bar(captured):
    """The bar as it was left, and nothing on standard output."""
    assert not captured.out
    return captured.err.split("\r")[-1]


def test_a_bar_counts_the_epochs_and_shows_what_they_did(capsys):
    fitted = NeuralClampingCalibrator(convolutional_network(), perturbation="affine", random_state=1, verbose=1)
    fitted.fit(FOGGED, Y)
    captured = capsys.readouterr()
    bar = last_bar(captured)
    assert "last layer: 100%" in bar
    # Epochs that weren't needed are taken away.
    done, total = map(int, re.search(r" (\d+)/(\d+) ", bar).groups())
    assert fitted.n_iter_ < done == total < 80
    assert f"loss={fitted.history_[-1, 'train_loss']:.4f}" in bar
    assert f"T={fitted.history_[-1, 'temperature']:.3f}" in bar
    assert re.search(r"fold 1 of 2.*\r.*fold 2 of 2", captured.err)
    held_out, plain = (
        np.array([float(value) for value in re.findall(rf"{name}=([\d.]+)", captured.err)])
        for name in ("held-out NLL", "with T alone")
    )
    # The mean over two folds of equal size is the guard's.
    difference = np.mean([held_out[0] - plain[0], held_out[-1] - plain[-1]])
    assert difference == pytest.approx(fitted.verdict_.difference, abs=1.5e-4)
    # It is full where the guard refuses, too.
    assert not fitted.fit(IMAGES, Y).accepted_
    bar = last_bar(capsys.readouterr())
    done, total = map(int, re.search(r" (\d+)/(\d+) ", bar).groups())
    assert "100%" in bar
    assert 0 < done == total < 80


class Interrupted(nn.Module):
    """A network during one of whose passes Ctrl-C is pressed."""

    def __init__(self, call):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).requires_grad_(False)
        self.layers[2].weight.mul_(6)
        self.call = call
        self.n_calls = 0

    def forward(self, x):
        self.n_calls += 1
        if self.n_calls == self.call:
            raise KeyboardInterrupt
        return self.layers(x)


def shifted_vectors(network):
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    y = torch.multinomial(network.layers(x).softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    return x + 0.8, y


def fit(call=0, **settings):
    network = Interrupted(call)
    calibrator = NeuralClampingCalibrator(
        network, perturbation="channel", validation_fraction=None, batch_size=100, random_state=0, **settings
    )
    return calibrator.fit(*shifted_vectors(network)), network


@pytest.mark.parametrize("training", ["natural", TorchTraining()], ids=str)
def test_ctrl_c_keeps_the_best_epoch_and_warns(training):
    whole, network = fit(training=training, max_epochs=6)
    assert whole.n_iter_ > 1
    # The last pass but those of the final temperature.
    call = network.n_calls - 5
    with pytest.warns(ConvergenceWarning, match=r"interrupted in epoch \d of 6: the state after epoch \d is kept"):
        found, network = fit(call, training=training, max_epochs=6)
    assert 0 < found.n_iter_ < 6
    assert found.delta_.any()
    assert not network.training or network.layers.training
    shorter, _ = fit(training=training, max_epochs=found.n_iter_)
    np.testing.assert_array_equal(found.delta_, shorter.delta_)
    assert found.temperature_ == shorter.temperature_
    assert list(found.history_[:, "train_loss"]) == list(shorter.history_[:, "train_loss"])


def test_ctrl_c_before_the_first_epoch_leaves_the_identity():
    _, network = fit(training=TorchTraining(), max_epochs=1)
    # Of a pass for the logits, two looks at the network and four steps, the second step.
    call = network.n_calls - 4 - 2
    with pytest.warns(ConvergenceWarning, match="in epoch 1 of 1: the state after epoch 0 is kept"):
        found, _ = fit(call, training=TorchTraining(), max_epochs=1)
    assert not found.delta_.any()
    assert found.n_iter_ == 0


def test_ctrl_c_goes_back_to_a_better_epoch():
    settings = {"training": TorchTraining(), "lr": 0.6}
    whole, network = fit(**settings, max_epochs=6)
    losses = whole.history_[:5, "train_loss"]
    n_best = int(np.argmin(losses)) + 1
    assert n_best < 5
    call = network.n_calls - 4 - 1
    with pytest.warns(ConvergenceWarning, match=f"in epoch 6 of 6: the state after epoch {n_best} is kept"):
        found, _ = fit(call, **settings, max_epochs=6)
    assert list(found.history_[:, "train_loss"]) == losses
    best, _ = fit(**settings, max_epochs=n_best)
    np.testing.assert_array_equal(found.delta_, best.delta_)
