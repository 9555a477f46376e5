"""Families in competition, where training of any module starts, and what its parameters must be."""

import numpy as np
import pytest
import torch
from _kinds_of_input import Exposure, data
from _plain_clamping import by_torch, clamping
from torch import nn

from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.perturbations import ChannelPerturbation


class Contrast(nn.Module):
    """A user's perturbation whose parameter isn't zero at the identity and moves neighbours in different ways."""

    def __init__(self, n_columns):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_columns))

    def forward(self, x):
        return x * self.gain**2


# The default optimiser


@pytest.mark.parametrize(("perturbation", "kind"), [("channel", "600 features"), ("affine", "600 features")])
def test_beyond_few_parameters_auto_is_adam_where_there_is_a_penalty(perturbation, kind):
    network, X, y = data(kind)
    named = {"training": TorchTraining(), "penalty": 1e-4, "lr": 0.01, "max_epochs": 3, "batch_size": 32}
    fits = [
        clamping(network, perturbation=perturbation, **{**named, **changed}).fit(X, y)
        for changed in ({}, {"training": "auto"}, {"training": "auto", "lr": "auto"})
    ]
    for fitted in fits[1:]:
        np.testing.assert_array_equal(fitted.predict_proba(X), fits[0].predict_proba(X))
        assert fitted.history_[:, "train_loss"] == fits[0].history_[:, "train_loss"]


# Starts

STARTED = {"init": "gradient", "init_temperature": 2.5, "lr": 1e-12, "optimizer": "sgd", "max_epochs": 1}


def mean_gradient(network, perturbation, X, temperature):
    """By autograd, of the whole composition."""
    total = network(perturbation(torch.as_tensor(X))).sum() / temperature / len(X)
    return torch.autograd.grad(total, list(perturbation.parameters()))[0].numpy()


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("images", lambda shape: "channel"),
        ("sequences", lambda shape: "channel"),
        ("8 features", lambda shape: "channel"),
        ("images", lambda shape: Exposure()),
        ("images", lambda shape: Contrast(shape[-1])),
        ("sequences", lambda shape: nn.Sequential(nn.Dropout(0.5), Exposure())),
    ],
    ids=["channel of images", "channel of sequences", "channel of a table", "number", "columns", "dropout"],
)
def test_gradient_initialisation_follows_the_chain_rule(kind, make):
    network, X, y = data(kind)
    perturbation = make(X.shape[1:])
    found = clamping(network, perturbation=perturbation, **STARTED)
    if isinstance(perturbation, nn.Sequential):
        # What draws doesn't start as the identity while it does so.
        perturbation.eval()
    learned = next(found.fit(X, y).perturbation_.parameters()).detach().numpy()
    identity = ChannelPerturbation(X.shape[1:]) if perturbation == "channel" else perturbation
    start = next(identity.parameters()).detach().numpy()
    expected = start + mean_gradient(network, identity, X, 2.5)
    assert learned.shape == start.shape
    assert np.abs(expected - start).max() > 1e-2
    np.testing.assert_allclose(learned, expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_counts_integer_weights_as_repeated_samples():
    network, X, y = data("images")
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = clamping(network, **STARTED).fit(X, y, sample_weight=weight)
    repeated = clamping(network, **STARTED).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.delta_, repeated.delta_, rtol=1e-4, atol=1e-5)


# Parameters are checked whatever the data


@pytest.mark.parametrize("n_samples", [20, 110])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"init": np.zeros((3, 1))},
            r"init must have the shape of the perturbation's parameter, \(3, 8, 8\); got \(3, 1\)",
        ),
        ({"init": ["a"]}, "init must be numeric and real; got dtype <U1"),
        ({"init": np.full((3, 8, 8), 1e300)}, "init must be finite; got NaN or infinity in torch.float32"),
        (
            {"perturbation": "affine", "init": "gradient"},
            "init must be 'zeros' or 'normal' .* got 'gradient' for Affine",
        ),
        (
            {"perturbation": "affine", "init": np.zeros(3)},
            "init must be 'zeros' or 'normal' .* got an array for Affine",
        ),
        ({"perturbation": Exposure(), "init": np.zeros(1)}, r"init must have the shape .*, \(\); got \(1,\)"),
        (
            {"perturbation": "auto", "init": "normal"},
            r"training must be 'auto' or 'natural' where perturbation is 'auto', .* got TorchTraining\(init='normal'\)",
        ),
        ({"validation_fraction": 1e-3}, "validation_fraction must hold out at least one of 1[01]0 samples; got 0.001"),
    ],
)
def test_bad_parameters_are_refused_of_few_samples_too(settings, message, n_samples):
    network, X, y = data("images")
    calibrator = NeuralClampingCalibrator(network, **by_torch(**{"perturbation": "full", **settings}))
    with pytest.raises((TypeError, ValueError), match=message):
        calibrator.fit(X[:n_samples], y[:n_samples])
