import warnings

import numpy as np
import pytest
import torch
from _problems import flat, linear
from _small_networks import bare_logits, convolutional, images, labels_of, nll, perceptron, vectors
from scipy.optimize import minimize
from skorch.callbacks import Callback
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining
from skclamp.perturbations import AffinePerturbation

N_FEATURES = 4
GAIN = np.array([0.5, 2.0, 1.0, 0.7], dtype=np.float32)
OFFSET = np.array([0.5, -0.6, 0.0, 1.0], dtype=np.float32)


NETWORK = linear(N_FEATURES)
CLEAN = vectors(3000, N_FEATURES)
Y = labels_of(bare_logits(NETWORK, CLEAN), temperature=1.5)
X = (CLEAN - OFFSET) / GAIN


def natural(estimator=NETWORK, **settings):
    """Natural-gradient descent on all the samples, in float32."""
    defaults = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}
    return NeuralClampingCalibrator(estimator, **{**defaults, **settings})


@pytest.fixture(scope="module")
def fitted():
    return natural().fit(X, Y)


# It finds the optimum


def least_loss():
    """The best that any gain, offset and temperature do: a convex problem in gain / T and offset / T."""
    weight = NETWORK.weight.detach().double().numpy()

    def loss(p):
        return nll((X * p[:N_FEATURES] + p[N_FEATURES:]) @ weight.T, Y)

    start = np.r_[np.ones(N_FEATURES), np.zeros(N_FEATURES)]
    return minimize(loss, start).fun, 2 * N_FEATURES


def test_it_ends_within_chance_of_the_optimum(fitted):
    """The true parameters' own expected excess is n_parameters / (2 n)."""
    best, n_parameters = least_loss()
    alone = nll(TemperatureScaling(NETWORK).fit(X, Y).predict_log_proba(X), Y)
    found = nll(fitted.predict_log_proba(X), Y)
    assert alone - best > 0.1
    assert best - 1e-9 <= found < best + n_parameters / len(X)


def test_a_few_steps_suffice_and_are_told_of(fitted):
    assert 1 < fitted.n_iter_ < 10
    assert fitted.cost_["backward"] <= fitted.n_iter_ + 1
    assert fitted.cost_["forward"] < 4 * (fitted.n_iter_ + 2)
    for name in ("train_loss", "temperature", "step", "dur"):
        assert 0 < min(fitted.history_[:, name]) < np.inf, name
    assert fitted.history_[-1, "temperature"] == pytest.approx(fitted.temperature_, rel=0.1)
    few, many = (natural(max_epochs=n).fit(X, Y) for n in (1, 50))
    assert few.n_iter_ == 1
    assert few.cost_["backward"] == pytest.approx(1, abs=0.4)
    assert many.n_iter_ == fitted.n_iter_
    np.testing.assert_array_equal(flat(many.perturbation_), flat(fitted.perturbation_))


def test_the_loss_falls_with_every_step():
    """That of all the samples, of which each epoch tells what it was before its step; so few that all are used."""
    found = natural().fit(X[:500], Y[:500])
    losses = [*found.history_[:, "train_loss"], nll(found.predict_log_proba(X[:500]), Y[:500])]
    alone = TemperatureScaling(NETWORK).fit(X[:500], Y[:500])
    assert losses[0] == pytest.approx(nll(alone.predict_log_proba(X[:500]), Y[:500]))
    assert np.diff(losses).max() < 2e-3
    assert losses[-1] < losses[0] - 0.1


def test_it_stops_where_there_is_nothing_to_learn():
    found = natural().fit(CLEAN, Y)
    assert found.n_iter_ <= 2
    np.testing.assert_allclose(found.perturbation_.gain.detach() / found.perturbation_.gain.mean().item(), 1, atol=0.15)
    np.testing.assert_allclose(found.perturbation_.offset.detach(), 0, atol=0.15)


# Settings act


@pytest.mark.parametrize(
    ("name", "values", "settings"), [("gamma", [0.0, 1.0], {}), ("lr", [0.1, 1.0], {"max_epochs": 2})]
)
def test_gamma_and_lr_act(name, values, settings):
    fits = [flat(natural(**{name: value}, **settings).fit(X, Y).perturbation_) for value in values]
    assert min(np.abs(a - b).max() for i, a in enumerate(fits) for b in fits[:i]) > 1e-4


def test_a_large_penalty_keeps_the_identity():
    found = natural(penalty=100.0).fit(X, Y)
    np.testing.assert_array_equal(flat(found.perturbation_), [1.0] * N_FEATURES + [0.0] * N_FEATURES)
    assert found.temperature_ == pytest.approx(TemperatureScaling(NETWORK).fit(X, Y).temperature_, rel=1e-9)


# What is told of epochs, whatever makes them


@pytest.mark.parametrize("training", ["natural", TorchTraining()], ids=str)
def test_verbose_prints_a_line_an_epoch(training, capsys):
    calibrator = natural(training=training, max_epochs=3, verbose=2).fit(X, Y)
    out = capsys.readouterr().out
    assert "train_loss" in out
    assert "temperature" in out
    assert f"{calibrator.history_[-1, 'train_loss']:.4f}" in out
    natural(training=training, max_epochs=3, verbose=0).fit(X, Y)
    assert not capsys.readouterr().out


class Recorder(Callback):
    """Notes what it is called for."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, net, **kwargs):
        self.calls.append("begin")

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        assert training
        self.calls.append("batch")

    def on_epoch_end(self, net, **kwargs):
        self.calls.append("epoch")

    def on_train_end(self, net, **kwargs):
        self.calls.append("end")


@pytest.mark.parametrize("fraction", [None, 0.5], ids=["no guard", "guard"])
def test_callbacks_see_each_epoch_of_the_final_training_alone(fraction):
    recorder, how = Recorder(), {"batch_size": 1000, "lr": 0.3, "output": None}
    training = TorchTraining(callbacks=[recorder])
    calibrator = natural(training=training, validation_fraction=fraction, **how).fit(X, Y)
    assert calibrator.accepted_
    assert recorder.calls == ["begin", *[*["batch"] * 3, "epoch"] * calibrator.n_iter_, "end"]


# It harms nothing


def test_separable_data_end_in_finite_parameters():
    """Every label is the network's own: the loss falls for ever as T does, and gradients vanish."""
    network, x = perceptron(), vectors(300)
    y = bare_logits(network, x).argmax(1)
    for settings in ({}, {"perturbation": "auto"}, {"perturbation": "auto", "validation_fraction": 0.5}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calibrator = natural(network, max_epochs=30, **settings).fit(x, y)
        assert np.isfinite(calibrator.predict_proba(x)).all(), settings
        assert all(torch.isfinite(p).all() for p in calibrator.perturbation_.parameters()), settings


@pytest.mark.parametrize(("perturbation", "n_samples"), [("affine", 1), ("auto", 2), ("grid", 5), ("auto", 20)])
def test_few_samples_are_fitted_all_the_same_without_the_guard(perturbation, n_samples):
    network, x = convolutional(), images(n_samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrator = natural(network, perturbation=perturbation).fit(x, np.zeros(n_samples, dtype=int))
    assert np.isfinite(calibrator.predict_proba(x)).all()


def test_dead_inputs_leave_their_parameters_alone():
    x = X.copy()
    x[:, 1] = 0.0
    gain = natural().fit(x, Y).perturbation_.gain.detach().numpy()
    assert gain[1] == 1
    assert (gain[[0, 2, 3]] != 1).all()


def test_frozen_parameters_of_a_users_module_do_not_move():
    given = AffinePerturbation((N_FEATURES,))
    given.gain.requires_grad_(False)
    calibrator = natural(perturbation=given).fit(X, Y)
    np.testing.assert_array_equal(calibrator.perturbation_.gain.detach(), 1)
    expected = natural(perturbation="channel").fit(X, Y)
    np.testing.assert_allclose(calibrator.perturbation_.offset.detach(), expected.delta_, rtol=1e-5, atol=1e-5)


# Weights, and repetition


def test_integer_weights_are_repeated_samples():
    """Up to which samples steps are tried on, and to what weights say of the number of samples."""
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    repeated = np.repeat(np.arange(len(X)), weight)
    found = natural().fit(X, Y, sample_weight=weight)
    expected = natural().fit(X[repeated], Y[repeated])
    losses = [nll(calibrator.predict_log_proba(X[repeated]), Y[repeated]) for calibrator in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=2 * N_FEATURES / len(X))


class Overflows(nn.Module):
    """A network without finite logits for inputs that are moved far."""

    def forward(self, x):
        return linear(N_FEATURES)(x) + torch.where((x.abs() > 4.5).any(1, keepdim=True), torch.inf, 0.0)


def test_steps_on_which_the_network_overflows_are_not_taken():
    x = CLEAN.clip(-4, 4)
    calibrator = natural(Overflows(), lr=16.0).fit(x, Y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
