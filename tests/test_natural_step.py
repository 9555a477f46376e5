"""What a natural-gradient step owes to statistics: Newton's step, the score test, and steadiness where data are few."""

import numpy as np
import pytest
import torch
from _problems import flat, moments_of, pose
from _small_networks import N_CLASSES, bare_logits, convolutional, images, labels_of, logits, nll, perceptron, vectors
from scipy.optimize import minimize
from torch import nn

from skclamp._scores import Moments, natural_step
from skclamp._temperature import solve_temperature
from skclamp.perturbations import PERTURBATIONS, AffinePerturbation, ChannelPerturbation

IMAGE = (3, 8, 8)
X = images(24)
Y = labels_of(bare_logits(convolutional(), X))


def step_at(problem, perturbation, temperature=None):
    temperature = problem.solve().temperature if temperature is None else temperature
    return natural_step(moments_of(problem, perturbation, temperature)[0])


def test_one_step_of_a_logistic_problem_does_most_of_the_work():
    """Offsets of logits and T: a convex problem, whose optimum scipy finds."""
    Z = logits(4000, scale=1.5)
    y = labels_of(Z + [0.6, 0.0, -0.5, 0.2], temperature=1.3)

    def loss(p):
        return nll((Z + p[:-1]) / np.exp(p[-1]), y)

    start = np.array(
        [0.0, 0.0, 0.0, 0.0, np.log(solve_temperature(torch.as_tensor(Z), torch.as_tensor(y)).temperature)]
    )
    optimum = minimize(loss, start).fun
    step = step_at(pose(nn.Identity(), Z, y), ChannelPerturbation((N_CLASSES,)))
    after = loss(start + step.direction.numpy())
    assert loss(start) - optimum > 0.01
    assert after - optimum < 0.05 * (loss(start) - optimum)


def test_the_statistic_is_twice_the_gain_that_is_to_be_had():
    """Wilks and Rao agree where the gain is small: n times twice the fall of the mean loss."""
    Z = logits(5000, scale=1.5)
    y = labels_of(Z + [0.1, 0.0, -0.1, 0.05], temperature=1.0)
    start = [0.0, 0.0, 0.0, 0.0, np.log(solve_temperature(torch.as_tensor(Z), torch.as_tensor(y)).temperature)]

    def loss(p):
        return nll((Z + p[:-1]) / np.exp(p[-1]), y)

    gain = loss(np.array(start)) - minimize(loss, start).fun
    step = step_at(pose(nn.Identity(), Z, y), ChannelPerturbation((N_CLASSES,)))
    assert step.statistic == pytest.approx(2 * len(y) * gain, rel=0.1)


def test_the_step_does_not_depend_on_the_units_of_the_parameters():
    scores = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    weight, units = torch.ones(300, dtype=torch.float64), torch.tensor([1e-2, 1.0, 50.0, 1e3])
    plain, scaled = (natural_step(Moments.of(part, weight)) for part in (scores, scores * units))
    np.testing.assert_allclose(scaled.direction * units, plain.direction, rtol=1e-5)
    assert scaled.statistic == pytest.approx(plain.statistic, rel=1e-5)
    assert scaled.freedom == pytest.approx(plain.freedom, rel=1e-5)


@pytest.mark.parametrize("family", ["channel", "affine"])
def test_the_statistic_is_chi_squared_where_nothing_is_to_be_gained(family):
    network, x = perceptron(), vectors(1500)
    scores = bare_logits(network, x)
    steps = [
        step_at(pose(network, x, labels_of(scores, seed=seed), batch_size=1500), PERTURBATIONS[family]((6,)))
        for seed in range(60)
    ]
    statistics, freedom = np.array([step.statistic for step in steps]), np.mean([step.freedom for step in steps])
    n_parameters = len(flat(PERTURBATIONS[family]((6,))))
    assert 0.6 * n_parameters < freedom <= n_parameters
    assert abs(statistics.mean() - freedom) < 4 * np.sqrt(2 * freedom / len(steps))
    assert statistics.var() == pytest.approx(2 * freedom, rel=0.7)
    assert np.mean([step.evidence > 0 for step in steps]) < 0.3


def test_the_statistic_grows_with_a_shift():
    network, x = perceptron(), vectors(600)
    y = labels_of(bare_logits(network, x))
    shifts = [step_at(pose(network, x + shift, y), ChannelPerturbation((6,))) for shift in (0.0, 0.3, 1.0)]
    assert shifts[0].evidence < 5
    assert shifts[0].statistic < shifts[1].statistic < shifts[2].statistic
    assert shifts[2].evidence > 20


@pytest.mark.parametrize("n_samples", [1, 2, 8])
def test_fewer_samples_than_parameters_stay_finite(n_samples):
    network = convolutional()
    for family in PERTURBATIONS.values():
        perturbation = family(IMAGE)
        step = step_at(pose(network, X[:n_samples], Y[:n_samples]), perturbation, temperature=1.0)
        assert torch.isfinite(step.direction).all()
        assert 0 <= step.freedom <= len(flat(perturbation))
        assert np.isfinite(step.statistic)


def test_parameters_that_do_nothing_do_not_move():
    network, x = convolutional(), X.copy()
    x[:, 1] = 0
    step = step_at(pose(network, x, Y), AffinePerturbation(IMAGE))
    assert torch.isfinite(step.direction).all()
    assert step.direction[1] == 0
    assert step.direction[[0, 2, 3, 4, 5]].all()
    without = step_at(pose(network, x, Y), nn.Sequential(AffinePerturbation(IMAGE)))
    assert step.freedom == pytest.approx(without.freedom)
    assert step.freedom < 6


def test_scores_that_are_all_zero_give_no_step():
    step = natural_step(Moments.of(torch.zeros(10, 4), torch.ones(10, dtype=torch.float64)))
    assert not step.direction.any()
    assert step.statistic == step.freedom == step.evidence == 0


def test_a_step_lowers_the_loss_of_any_family():
    network, x = convolutional(), images(400, seed=3)
    y = labels_of(bare_logits(network, x))
    problem = pose(network, 0.6 * x + 0.3, y)
    for name, family in PERTURBATIONS.items():
        perturbation = family(IMAGE)
        step = step_at(problem, perturbation)
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(
                torch.as_tensor(flat(perturbation)) + 0.25 * step.direction[:-1].float(), perturbation.parameters()
            )
        assert problem.solve(problem.logits_under(perturbation)).loss < problem.solve().loss - 1e-3, name
