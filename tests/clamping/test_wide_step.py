"""Natural steps from the gradients of the samples themselves: those of the second moments, for a diagonal prior."""

import numpy as np
import pytest
import torch
from _problems import flat, moments_of, moved, pose
from _small_networks import bare_logits, labels_of, nll, perceptron, vectors
from torch import nn

from skclamp import NeuralClampingCalibrator, NeuralClampingCalibratorCV
from skclamp.clamping._evidence_step import (
    MAX_ENTRIES,
    MAX_ORDER,
    WideGradients,
    gradients_of,
    most_samples,
    natural_step,
    prior_precision_of,
    wide_step,
)
from skclamp.perturbations._families import PERTURBATIONS

N_FEATURES = 30


def drifted(n_samples):
    """A problem of a table whose sensors have drifted, with uneven weights, of which some are 0."""
    network, x = perceptron(0, N_FEATURES), vectors(n_samples, N_FEATURES)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0, 3, n_samples)
    weight[::5] = 0
    offset = rng.normal(size=N_FEATURES).astype(np.float32)
    return pose(network, x + 2 * offset, labels_of(bare_logits(network, x), 0.2), weight, batch_size=16)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("n_samples", [45, 70, 90, 400])
@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_the_step_is_that_of_the_second_moments(n_samples, gamma, scale):
    """With fewer samples than parameters and with more, at the identity and away from it."""
    problem = drifted(n_samples)
    perturbation = PERTURBATIONS["affine"]((N_FEATURES,))
    identity = torch.as_tensor(flat(perturbation))
    prior = prior_precision_of(perturbation, problem.example(512), torch.Generator().manual_seed(0), diagonal=True)
    displacement = torch.as_tensor(flat(moved(perturbation, scale))) - identity
    (moments,) = moments_of(problem, perturbation, 1.3, gamma)
    (gradients,) = gradients_of(problem, perturbation, 1.3, [gamma], wide=True)
    gradients = gradients.own
    expected = natural_step(moments, displacement, [prior.diag()])
    found = wide_step(gradients, displacement, prior)
    size = expected.direction.abs().max().item()
    np.testing.assert_allclose(found.direction, expected.direction, rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose(found.precision.diag(), expected.precision, rtol=1e-6)
    for name in ("gain", "evidence", "n_effective_parameters", "n_effective"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-6), name
    assert found.prior(displacement) == pytest.approx(expected.prior(displacement), rel=1e-6)
    assert gradients.loss == pytest.approx(moments.loss, rel=1e-6)
    assert found.n_effective_parameters > 0.5


def test_scores_that_are_all_zero_give_no_step():
    zeros = torch.zeros(10, dtype=torch.float64)
    step = wide_step(
        WideGradients(torch.zeros(10, 40), zeros, zeros, zeros + 1, 0.0), torch.zeros(40), torch.ones(40).double()
    )
    assert not step.direction.any()
    assert step.gain == 0
    assert step.evidence == 0


def test_the_diagonal_of_the_metric_is_measured_alone():
    x = torch.as_tensor(vectors(50, N_FEATURES) + 1)
    perturbation = PERTURBATIONS["curve"]((N_FEATURES,))
    expected = prior_precision_of(perturbation, x, torch.Generator().manual_seed(0)).diagonal()
    found = prior_precision_of(perturbation, x, torch.Generator().manual_seed(0), diagonal=True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_gradients_that_are_kept_are_bounded_in_number_and_their_gram_matrix_in_size():
    for n_parameters in (1, 600, MAX_ORDER, MAX_ORDER + 1, 10**5, 10**7):
        most = most_samples(n_parameters)
        assert 0 < most * n_parameters <= MAX_ENTRIES
        assert min(most, n_parameters) <= MAX_ORDER
        assert most == MAX_ORDER or (most + 1) * n_parameters > MAX_ENTRIES


# As a user meets it


WIDE = 600


@pytest.fixture(scope="module")
def table():
    """Many sensors that have drifted, each in units of its own; samples to calibrate with and others to judge by."""
    network, units = perceptron(0, WIDE), np.logspace(-2, 2, WIDE, dtype=np.float32)
    with torch.no_grad():
        network[0].weight.div_(torch.as_tensor(units))
    clean, rng = vectors(2600, WIDE), np.random.default_rng(1)
    x = (clean - rng.normal(size=WIDE)) / rng.uniform(0.7, 1.4, WIDE) * units
    return network, x.astype(np.float32), labels_of(bare_logits(network, clean * units), 0.5)


def fit(table, n_samples=400, **settings):
    """A calibrator, and its NLL on samples that it hasn't seen."""
    network, x, y = table
    weight = settings.pop("sample_weight", None)
    settings = {"precision": "float32", "random_state": 0, **settings}
    calibrator = NeuralClampingCalibrator(network, **settings).fit(x[:n_samples], y[:n_samples], weight)
    return calibrator, nll(calibrator.predict_log_proba(x[-1000:]), y[-1000:])


def is_natural(calibrator):
    return "gain" in calibrator.history_[-1]


@pytest.mark.parametrize("family", ["full", "channel", "affine"])
def test_a_wide_family_takes_natural_steps_which_beat_adams(table, family):
    found, loss = fit(table, 1200, perturbation=family)
    other, other_loss = fit(table, 1200, perturbation=family, optimizer="adam")
    assert found.accepted_
    assert is_natural(found)
    assert not is_natural(other)
    assert loss < other_loss - 0.05
    assert loss < fit(table, 1200, perturbation=None)[1] - 0.1


@pytest.mark.parametrize("n_samples", [400, 1600])
def test_auto_keeps_one_family_of_a_wide_table(table, n_samples):
    """All samples at a time where they are few, and some of them at first where they aren't."""
    found, loss = fit(table, n_samples)
    assert found.accepted_
    assert is_natural(found)
    (name,) = dict(found.perturbation_.named_children())
    assert set(found.verdict_.tried) == {name}
    (reason,) = found.verdict_.not_tried.values()
    assert reason in ("a special case of affine",) or reason.startswith("evidence of ")
    assert loss < fit(table, n_samples, perturbation=None)[1] - 0.1


def test_an_offset_for_each_entry_of_an_image_takes_natural_steps():
    """A pattern that a sensor lays over every image, of 768 entries."""
    rng, network = np.random.default_rng(0), nn.Sequential(nn.Flatten(), perceptron(0, 768))
    clean = rng.normal(size=(2000, 3, 16, 16)).astype(np.float32)
    pattern = rng.normal(size=(3, 16, 16)).astype(np.float32)
    images = network, clean + pattern, labels_of(bare_logits(network, clean), 0.5)
    found, loss = fit(images, 800, perturbation="full")
    assert found.accepted_
    assert is_natural(found)
    assert np.corrcoef(found.delta_.ravel(), -pattern.ravel())[0, 1] > 0.1
    assert loss < fit(images, 800, perturbation=None)[1] - 0.1


def test_a_penalty_has_no_room_in_wide_steps(table):
    settings = {"perturbation": "channel", "validation_fraction": None}
    assert not is_natural(fit(table, penalty=0.001, **settings)[0])
    little, much = (fit(table, penalty=penalty, optimizer="natural", **settings)[0] for penalty in (1e-6, 0.1))
    assert is_natural(little)
    assert is_natural(much)
    assert np.linalg.norm(much.delta_) < np.linalg.norm(little.delta_)


def test_samples_without_weight_do_not_count(table):
    """And a common factor of the others says nothing."""
    network, x, y = table
    weight = 2.0 * (np.arange(400) % 3 > 0)
    kept = weight > 0
    settings = {"perturbation": "channel", "validation_fraction": None, "random_state": 0, "precision": "float32"}
    found = NeuralClampingCalibrator(network, **settings).fit(x[:400], y[:400], weight)
    expected = NeuralClampingCalibrator(network, **settings).fit(x[:400][kept], y[:400][kept])
    np.testing.assert_allclose(found.delta_, expected.delta_, rtol=1e-3, atol=1e-3 * np.abs(expected.delta_).max())
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-3)


def test_uneven_weights_act(table):
    """Samples that weigh a hundred times more are learned from nearly alone."""
    network, x, y = table
    settings = {"perturbation": "channel", "validation_fraction": None, "random_state": 0, "precision": "float32"}
    weight = np.where(np.arange(1600) < 400, 100.0, 1.0)
    noise = np.random.default_rng(0).integers(0, 4, 1200)
    labels = np.r_[y[:400], noise]
    heavy = NeuralClampingCalibrator(network, **settings).fit(x[:1600], labels, weight)
    even = NeuralClampingCalibrator(network, **settings).fit(x[:1600], labels)
    losses = [nll(each.predict_log_proba(x[-1000:]), y[-1000:]) for each in (heavy, even)]
    assert losses[0] < losses[1] - 0.2


def test_a_grid_of_gammas_shares_the_gradients(table):
    network, x, y = table
    search = NeuralClampingCalibratorCV(network, perturbations=["channel"], gammas=[0.0, 1.0], random_state=0)
    search.fit(x[:400], y[:400])
    assert search.accepted_
    assert is_natural(search)
    assert nll(search.predict_log_proba(x[-1000:]), y[-1000:]) < fit(table, perturbation=None)[1] - 0.1
