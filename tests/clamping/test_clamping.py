"""What clamping learns, by explicit settings: the defaults' choices are tested elsewhere."""

from functools import partial

import numpy as np
import pytest
import torch
from _plain_clamping import X, Y, clamping
from _small_networks import nll

from skclamp import TemperatureScaling, VectorScaling
from skclamp.losses import focal_loss
from skclamp.modules import ClampedModule
from skclamp.perturbations import AffinePerturbation, ChannelPerturbation

# What is learned


def test_fitted_attributes(network, fitted):
    assert fitted.delta_.shape == (3, 8, 8)
    assert np.abs(fitted.delta_).max() > 1e-3
    assert isinstance(fitted.temperature_, float)
    assert fitted.temperature_ > 0
    assert fitted.n_iter_ == len(fitted.history_) == 3
    assert not hasattr(fitted, "n_features_in_")
    assert fitted.classes_.tolist() == [0, 1, 2, 3]
    assert isinstance(fitted.module_, ClampedModule)
    assert np.isfinite(fitted.history_[:, "train_loss"]).all()


def test_predictions_are_those_of_a_plain_loop(network, fitted):
    probabilities = []
    with torch.no_grad():
        for i in range(0, len(X), 20):
            x = torch.as_tensor(X[i : i + 20]) + torch.as_tensor(fitted.delta_)
            probabilities.append(torch.softmax(network(x).double() / fitted.temperature_, 1))
    np.testing.assert_allclose(fitted.predict_proba(X), torch.cat(probabilities), rtol=0, atol=1e-6)


def test_a_refit_forgets_what_does_not_hold_any_more(network):
    calibrator = clamping(network).fit(X, Y)
    calibrator.set_params(perturbation="affine").fit(X, Y)
    assert isinstance(calibrator.perturbation_, AffinePerturbation)
    assert not hasattr(calibrator, "delta_")


# Settings act


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_setting_acts_whatever_the_optimiser(network, optimizer):
    base = clamping(network, optimizer=optimizer).fit(X, Y)
    for change in ({"gamma": 2.0}, {"lr": 0.02}, {"penalty": 0.5}, {"max_epochs": 1}, {"batch_size": 96}):
        other = clamping(network, optimizer=optimizer, **change).fit(X, Y)
        assert np.abs(base.delta_ - other.delta_).max() > 1e-5, change


@pytest.mark.parametrize(
    ("name", "optimizer", "arguments"),
    [("sgd", torch.optim.SGD, {"momentum": 0.9}), ("adam", torch.optim.Adam, {"betas": (0.5, 0.9)})],
)
def test_optimisers_of_torch_and_their_arguments(network, name, optimizer, arguments):
    named, given, bare, set_ = (
        clamping(network, optimizer=each).fit(X, Y).delta_
        for each in (name, optimizer, partial(optimizer), partial(optimizer, **arguments))
    )
    np.testing.assert_array_equal(named, given)
    np.testing.assert_array_equal(named, bare)
    assert np.abs(named - set_).max() > 1e-5


def test_a_full_batch_step_of_sgd_is_the_gradients(network):
    """One step from delta = 0, T = 1: -lr times the gradient of the mean focal loss."""
    settings = {"gamma": 1.5, "max_epochs": 1, "batch_size": 96, "init_temperature": 1.0, "refit_temperature": False}
    calibrator = clamping(network, lr=0.3, **settings).fit(X, Y)
    delta, temperature = torch.zeros(3, 8, 8, requires_grad=True), torch.ones((), requires_grad=True)
    loss = focal_loss(network(torch.as_tensor(X) + delta) / temperature, torch.as_tensor(Y), gamma=1.5)
    by_delta, by_temperature = torch.autograd.grad(loss, (delta, temperature))
    np.testing.assert_allclose(calibrator.delta_, -0.3 * by_delta, rtol=0, atol=1e-6)
    assert calibrator.temperature_ == pytest.approx(1 - 0.3 * by_temperature.item(), abs=1e-6)
    assert calibrator.history_[-1, "train_loss"] == pytest.approx(loss.item(), abs=1e-6)


def test_the_penalty_pulls_towards_the_identity(network):
    # Small steps: the norm has a kink at the identity, around which larger ones jump back and forth.
    settings = {"perturbation": "channel", "lr": 0.01, "optimizer": "sgd", "max_epochs": 20}
    norms = [np.linalg.norm(clamping(network, penalty=p, **settings).fit(X, Y).delta_) for p in (0.0, 0.02, 0.2)]
    assert norms[0] > 1.2 * norms[1] > 1.2 * norms[2]


@pytest.mark.parametrize(
    ("init", "check"),
    [
        ("zeros", lambda delta: np.abs(delta).max() < 1e-9),
        ("normal", lambda delta: 0.25 < delta.std() < 0.35),
        ("gradient", lambda delta: np.abs(delta).max() > 1e-3),
        (np.full((3, 8, 8), 0.5), lambda delta: np.abs(delta - 0.5).max() < 1e-6),
        (torch.full((3, 8, 8), 0.5), lambda delta: np.abs(delta - 0.5).max() < 1e-6),
        (np.full((3, 8, 8), 0.5).tolist(), lambda delta: np.abs(delta - 0.5).max() < 1e-6),
    ],
    ids=["zeros", "normal", "gradient", "array", "tensor", "list"],
)
def test_initialisations(network, init, check):
    assert check(clamping(network, init=init, init_scale=0.3, lr=1e-12, max_epochs=1).fit(X, Y).delta_)


def test_custom_perturbations_are_copied(network):
    given = ChannelPerturbation((3, 8, 8))
    calibrator = clamping(network, perturbation=given).fit(X, Y)
    assert not given.offset.any()
    np.testing.assert_array_equal(calibrator.delta_, clamping(network, perturbation="channel").fit(X, Y).delta_)


# The theory


def test_without_refit_the_temperature_is_the_trained_one(network):
    refitted = clamping(network, gamma=2.0).fit(X, Y)
    trained = clamping(network, gamma=2.0, refit_temperature=False).fit(X, Y)
    np.testing.assert_array_equal(refitted.delta_, trained.delta_)
    assert trained.temperature_ == pytest.approx(trained.module_.temperature.item())
    assert abs(refitted.temperature_ - trained.temperature_) > 1e-3
    assert nll(refitted.predict_log_proba(X), Y) < nll(trained.predict_log_proba(X), Y)


@pytest.mark.parametrize("perturbation", ["full", "channel", "affine", "filter"])
def test_the_joint_optimum_is_no_worse_than_temperature_scaling(network, perturbation):
    alone = nll(TemperatureScaling(network).fit(X, Y).predict_log_proba(X), Y)
    settings = {"batch_size": len(X), "shuffle": False, "optimizer": "adam", "lr": 0.01, "max_epochs": 20}
    joint = clamping(network, perturbation=perturbation, **settings).fit(X, Y)
    assert nll(joint.predict_log_proba(X), Y) < alone - 1e-3


# An output map in the temperature's place


@pytest.mark.parametrize("perturbation", ["channel", None])
def test_an_output_map_is_fitted_to_the_logits_of_the_perturbed_inputs(network, perturbation):
    given = VectorScaling(batch_size=7)
    settings = {"perturbation": perturbation, "refit_temperature": True, "random_state": 0}
    found = clamping(network, output=given, **settings).fit(X, Y)
    plain = clamping(network, **settings).fit(X, Y)
    with torch.no_grad():
        moved = network(plain.perturbation_(torch.as_tensor(X)))
    expected = VectorScaling().fit(moved, Y)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(moved), atol=1e-6)
    assert np.abs(found.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3
    assert found.temperature_ == plain.temperature_
    assert not hasattr(given, "classes_")
