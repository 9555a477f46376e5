"""What a natural-gradient step owes to statistics: Newton's step, evidence, and steadiness where data are few."""

import numpy as np
import pytest
import torch
from _problems import flat, moments_of, pose
from _small_networks import N_CLASSES, bare_logits, convolutional, images, labels_of, logits, nll, perceptron, vectors
from scipy.optimize import minimize
from torch import nn

from skclamp import NeuralClampingCalibrator
from skclamp._solvers.temperature import solve_temperature
from skclamp.clamping._evidence_step import Moments, _inverse, natural_step, prior_precision_of
from skclamp.perturbations import AffinePerturbation, ChannelPerturbation
from skclamp.perturbations._families import PERTURBATIONS

IMAGE = (3, 8, 8)
X = images(24)


def metric_of(problem, perturbation):
    return prior_precision_of(perturbation, problem.example(512), torch.Generator().manual_seed(0))


def step_at(problem, perturbation, temperature=None):
    """The step from the identity."""
    temperature = problem.solve().temperature if temperature is None else temperature
    (moments,) = moments_of(problem, perturbation, temperature)
    return natural_step(moments, torch.zeros(len(flat(perturbation))), [metric_of(problem, perturbation)])


def test_one_step_of_a_logistic_problem_does_most_of_the_work():
    """Offsets of logits and T: a convex problem, whose optimum scipy finds."""
    Z = logits(4000, scale=1.5)
    y = labels_of(Z + [0.6, 0.0, -0.5, 0.2], temperature=1.3)
    plain = solve_temperature(torch.as_tensor(Z), torch.as_tensor(y)).loss

    def loss(offset):
        return solve_temperature(torch.as_tensor(Z + offset), torch.as_tensor(y)).loss

    optimum = minimize(lambda p: nll((Z + p[:-1]) / np.exp(p[-1]), y), [0.0] * 5).fun
    step = step_at(pose(nn.Identity(), Z, y), ChannelPerturbation((N_CLASSES,)))
    assert plain - optimum > 0.01
    assert loss(step.direction.numpy()) - optimum < 0.05 * (plain - optimum)
    assert step.gain == pytest.approx(len(y) * (plain - optimum), rel=0.2)


def test_the_metric_is_the_mean_squared_change_of_the_input():
    x = torch.randn(4000, 3, 5, 4, generator=torch.Generator().manual_seed(0)) + 1
    perturbation = AffinePerturbation((3, 5, 4))
    metric = prior_precision_of(perturbation, x, torch.Generator().manual_seed(1)).numpy()
    change = np.array([0.1, -0.2, 0.3, 0.05, 0.1, -0.1])
    gain, offset = (torch.tensor(part, dtype=torch.float32).view(3, 1, 1) for part in (change[:3], change[3:]))
    expected = ((gain * x + offset) ** 2).mean().item()
    assert change @ metric @ change == pytest.approx(expected, rel=0.05)


def test_the_step_does_not_depend_on_the_units_of_the_parameters():
    scores = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) + 0.3
    weight, units = torch.ones(300, dtype=torch.float64), torch.tensor([1e-2, 1.0, 50.0, 1e3])
    sizes = torch.eye(3, dtype=torch.float64)
    inner = units[:-1].double()
    plain = natural_step(Moments.of(scores, weight), torch.zeros(3), [sizes])
    scaled = natural_step(Moments.of(scores * units, weight), torch.zeros(3), [sizes * inner.outer(inner)])
    np.testing.assert_allclose(scaled.direction * inner, plain.direction, rtol=1e-5)
    assert scaled.evidence == pytest.approx(plain.evidence, rel=1e-5)
    assert scaled.gain == pytest.approx(plain.gain, rel=1e-5)


@pytest.mark.parametrize("family", ["channel", "affine"])
def test_evidence_is_rare_where_nothing_is_to_be_gained(family):
    """A Bayes factor of 20 (3 nats) for the wrong side turns up in fewer than one of 20 draws."""
    network, x = perceptron(), vectors(1500)
    scores = bare_logits(network, x)
    evidence = [
        step_at(pose(network, x, labels_of(scores, seed=seed), batch_size=1500), PERTURBATIONS[family]((6,))).evidence
        for seed in range(60)
    ]
    assert np.mean(np.array(evidence) > 3) <= 0.05


def test_evidence_grows_with_a_shift():
    network, x = perceptron(), vectors(600)
    y = labels_of(bare_logits(network, x))
    none, some, much = (step_at(pose(network, x + shift, y), ChannelPerturbation((6,))) for shift in (0.0, 0.5, 1.5))
    assert none.evidence < 3
    assert none.evidence < some.evidence < much.evidence
    assert much.evidence > 10


def test_scores_that_are_all_zero_give_no_step():
    moments = Moments.of(torch.zeros(10, 4), torch.ones(10, dtype=torch.float64))
    step = natural_step(moments, torch.zeros(3), [torch.eye(3, dtype=torch.float64)])
    assert not step.direction.any()
    assert step.gain == 0
    assert step.evidence == pytest.approx(0, abs=1e-6)


def test_each_block_has_a_prior_of_its_own():
    """One that the gradients speak for is hardly held, one that they don't is held at the identity."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(500, 5, generator=generator) + torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0])
    blocks = [torch.eye(2, dtype=torch.float64)] * 2
    step = natural_step(Moments.of(scores, torch.ones(500, dtype=torch.float64)), torch.zeros(4), blocks)
    assert step.precision[2, 2] > 10 * step.precision[0, 0]
    assert step.direction[:2].abs().min() > 10 * step.direction[2:].abs().max()


def test_a_singular_curvature_is_inverted_alike_in_any_units():
    singular, units = torch.ones(2, 2).double(), torch.tensor([2.0**-40, 2.0**20]).double()
    scaled = _inverse(singular * units.outer(units))
    torch.testing.assert_close(scaled * units.outer(units), _inverse(singular), rtol=1e-6, atol=0)


def test_the_prior_is_as_wide_as_what_it_lets_be_determined():
    scores = torch.randn(500, 5, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.1, -0.1, 0.0, 0.05, 0.0])
    step = natural_step(Moments.of(scores, torch.ones(500).double()), torch.zeros(4), [torch.eye(4).double()])
    determined = step.precision[0, 0] * step.direction.square().sum()
    assert determined.item() == pytest.approx(step.n_effective_parameters, rel=0.05)


def test_a_step_lowers_the_loss_of_any_family():
    network, x = convolutional(), images(400, seed=3)
    y = labels_of(bare_logits(network, x))
    problem = pose(network, 0.6 * x + 0.3, y)
    for name, family in PERTURBATIONS.items():
        perturbation = family(IMAGE)
        step = step_at(problem, perturbation)
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(
                torch.as_tensor(flat(perturbation)) + 0.25 * step.direction.float(), perturbation.parameters()
            )
        assert problem.solve(problem.logits_under(perturbation)).loss < problem.solve().loss, name


class Gain(nn.Module):
    """One gain for all features: what T does, before a network without offsets."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x):
        return self.gain * x


@pytest.mark.filterwarnings("ignore:temperature_ is at the bound:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scale", [1e6, 1e9, 1e12])
def test_a_perturbation_that_does_what_the_temperature_does(scale):
    """Nothing but rounding errors is left of its curvature, which may be negative."""
    for seed in range(4):
        torch.manual_seed(seed)
        network = nn.Linear(5, 3, bias=False).double()
        inputs, y = torch.randn(400, 5).double(), torch.multinomial(torch.ones(400, 3), 1)[:, 0]
        y = torch.where(torch.rand(400) < 0.5, network(inputs).argmax(1), y)
        network.weight.data.mul_(scale)
        options = {"perturbation": Gain(), "validation_fraction": None, "random_state": 0}
        calibrator = NeuralClampingCalibrator(network, **options).fit(inputs, y)
        expected = solve_temperature(network(inputs).detach(), y).temperature
        assert calibrator.temperature_ == pytest.approx(expected, rel=1e-3)
