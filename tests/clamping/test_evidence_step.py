"""A natural-gradient step from its parts: gradients of samples, their moments, the prior, Newton's step, evidence."""

import numpy as np
import pytest
import torch
from _families import PERTURBATIONS
from _problems import flat, moved, pose
from _small_networks import N_CLASSES, bare_logits, convolutional, images, labels_of, logits, nll, perceptron, vectors
from scipy.optimize import minimize
from torch import nn

from skclamp import NeuralClampingCalibrator
from skclamp._solvers.newton import factored
from skclamp._solvers.temperature import solve_temperature
from skclamp.clamping._evidence_step import (
    Gradients,
    gradients_of,
    natural_step,
    per_sample_gradients,
    prior_precision_of,
)
from skclamp.losses import focal_loss
from skclamp.perturbations import AffinePerturbation, ChannelPerturbation, ColorPerturbation

IMAGE = (3, 8, 8)
X = images(24)
Y = labels_of(bare_logits(convolutional(), X))
WEIGHT = np.random.default_rng(0).random(len(X)) * 3
ONES = torch.ones(500, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gradients_by(problem, perturbation, temperature, gamma=0.0, extensions=()):
    """Gradients of the focal loss by a perturbation's parameters, and by these beside each extension's."""
    told = gradients_of(problem, perturbation, temperature, gamma, extensions)
    return [told.own, *map(told.own.followed_by, told.added)]


def rows_of(gradients):
    """Gradients of the losses, log T last."""
    return torch.cat([gradients.factor[:, None] * gradients.rows, gradients.temperature[:, None]], 1)


class Bend(nn.Module):
    """A user's perturbation: nested, with a buffer, and a parameter that others share."""

    def __init__(self):
        super().__init__()
        self.inner = AffinePerturbation(IMAGE)
        self.amount = nn.Parameter(torch.zeros(3, 1, 1))
        self.register_buffer("slope", torch.tensor(0.7))

    def forward(self, x):
        return self.inner(x) + self.amount * torch.sin(self.slope * x) * self.inner.gain


# Gradients of single samples


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        *((family, IMAGE) for family in PERTURBATIONS.values()),
        *((PERTURBATIONS[name], shape) for name in ("full", "curve") for shape in ((6,), (3, 9), (2, 4, 5, 6))),
        (lambda shape: nn.Sequential(ColorPerturbation(shape), PERTURBATIONS["filter"](shape)), IMAGE),
        (lambda shape: Bend(), IMAGE),
    ],
)
def test_gradients_are_each_samples_gradient(make, shape):
    perturbation = moved(make(shape))
    x, cotangent = torch.randn(2, 6, *shape, generator=seeded())
    expected = []
    for i in range(6):
        value = (perturbation(x[i : i + 1]) * cotangent[i]).sum()
        parts = torch.autograd.grad(value, list(perturbation.parameters()))
        expected.append(torch.cat([part.flatten() for part in parts]))
    found = per_sample_gradients(perturbation, x, cotangent)
    assert found.abs().max() > 1
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


def gradients_by_autograd(perturbation, network, temperature, gamma):
    """Of each sample's loss with respect to the parameters and log T."""
    rows = []
    for x, y in zip(torch.as_tensor(X), Y, strict=True):
        log_t = torch.tensor(float(np.log(temperature)), requires_grad=True)
        loss = focal_loss(network(perturbation(x[None])) / log_t.exp(), torch.tensor([int(y)]), gamma=gamma)
        gradients = torch.autograd.grad(loss, [*perturbation.parameters(), log_t])
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]).double().numpy())
    return np.array(rows)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_gradients_are_those_of_all_batches(weight, gamma):
    network, perturbation = convolutional(), moved(AffinePerturbation(IMAGE))
    expected = gradients_by_autograd(perturbation, network, 1.7, gamma)
    w = np.ones(len(X)) if weight is None else weight
    (found,) = gradients_by(pose(network, X, Y, weight, batch_size=7), perturbation, 1.7, gamma=gamma)
    assert found.n_effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    np.testing.assert_array_equal(found.weight, w)
    np.testing.assert_allclose(rows_of(found), expected, rtol=1e-4, atol=1e-4)


def test_one_pass_serves_all_extensions():
    """An extension at the identity has the gradients of the composition."""
    network, own = convolutional(), moved(AffinePerturbation(IMAGE))
    extensions = [ColorPerturbation(IMAGE), PERTURBATIONS["filter"](IMAGE), PERTURBATIONS["grid"](IMAGE), Bend()]
    x = torch.as_tensor(X.copy())
    problem = pose(network, x, Y, WEIGHT)
    alone, *found = gradients_by(problem, own, 1.4, gamma=1.0, extensions=extensions)
    assert (problem.passes.forward, problem.passes.backward) == (len(X), len(X))
    assert not x.requires_grad
    np.testing.assert_array_equal(x, X)
    (expected,) = gradients_by(problem, own, 1.4, gamma=1.0)
    np.testing.assert_allclose(rows_of(alone), rows_of(expected), rtol=1e-5, atol=1e-5)
    for extension, gradients in zip(extensions, found, strict=True):
        (expected,) = gradients_by(problem, nn.Sequential(own, extension), 1.4, gamma=1.0)
        assert gradients.rows.shape[1] == len(flat(own)) + len(flat(extension))
        np.testing.assert_allclose(rows_of(gradients), rows_of(expected), rtol=1e-3, atol=1e-3)


# The prior


def test_the_prior_precision_is_the_mean_squared_change_of_the_input():
    x = torch.randn(4000, 3, 5, 4, generator=seeded()) + 1
    perturbation = AffinePerturbation((3, 5, 4))
    metric = prior_precision_of(perturbation, x, seeded(1)).numpy()
    change = np.array([0.1, -0.2, 0.3, 0.05, 0.1, -0.1])
    gain, offset = (torch.tensor(part, dtype=torch.float32).view(3, 1, 1) for part in (change[:3], change[3:]))
    assert change @ metric @ change == pytest.approx(((gain * x + offset) ** 2).mean().item(), rel=0.05)


# The step


def told(gradients):
    """Gradients of some losses, log T last."""
    ones = ONES[: len(gradients)]
    return Gradients(gradients[:, :-1], ones, gradients[:, -1].double(), ones, ones)


def step_at(problem, perturbation):
    """The step from the identity."""
    (gradients,) = gradients_by(problem, perturbation, problem.solve().temperature)
    precision = prior_precision_of(perturbation, problem.example(512), seeded())
    return natural_step(gradients, torch.zeros(len(flat(perturbation))), [precision])


def test_one_step_of_a_logistic_problem_does_most_of_the_work():
    """Offsets of logits and T: a convex problem, whose optimum scipy finds."""
    Z = logits(4000, scale=1.5)
    y = labels_of(Z + [0.6, 0.0, -0.5, 0.2], temperature=1.3)
    plain = solve_temperature(torch.as_tensor(Z), torch.as_tensor(y)).loss
    optimum = minimize(lambda p: nll((Z + p[:-1]) / np.exp(p[-1]), y), [0.0] * 5).fun
    step = step_at(pose(nn.Identity(), Z, y), ChannelPerturbation((N_CLASSES,)))
    loss = solve_temperature(torch.as_tensor(Z + step.direction.numpy()), torch.as_tensor(y)).loss
    assert plain - optimum > 0.01
    assert loss - optimum < 0.05 * (plain - optimum)
    assert step.gain == pytest.approx(len(y) * (plain - optimum), rel=0.2)


def test_the_step_does_not_depend_on_the_units_of_the_parameters():
    gradients = torch.randn(500, 4, generator=seeded()) + 0.3
    units, sizes = torch.tensor([1e-2, 1.0, 50.0, 1e3]), torch.eye(3, dtype=torch.float64)
    inner = units[:-1].double()
    plain = natural_step(told(gradients), torch.zeros(3), [sizes])
    scaled = natural_step(told(gradients * units), torch.zeros(3), [sizes * inner.outer(inner)])
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


@pytest.mark.parametrize("wide", [False, True])
def test_gradients_that_are_all_zero_give_no_step(wide):
    ones = torch.ones(40, dtype=torch.float64)
    step = natural_step(told(torch.zeros(10, 41)), torch.zeros(40), [ones if wide else ones.diag()])
    assert not step.direction.any()
    assert step.gain == 0
    assert step.evidence == pytest.approx(0, abs=1e-6)


def test_a_singular_curvature_has_the_same_factor_in_any_units():
    singular, units = torch.ones(1, 2, 2).double(), torch.tensor([2.0**-40, 2.0**20]).double()
    scale, factor = factored(singular * units.outer(units))
    assert torch.equal(scale * units, torch.ones(1, 2).double())
    assert torch.equal(factor, factored(singular)[1])


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_step_lowers_the_loss_of_any_family(name):
    network, x = convolutional(), images(400, seed=3)
    problem = pose(network, 0.6 * x + 0.3, labels_of(bare_logits(network, x)))
    perturbation = PERTURBATIONS[name](IMAGE)
    step = step_at(problem, perturbation)
    with torch.no_grad():
        parameters = torch.as_tensor(flat(perturbation)) + 0.25 * step.direction.float()
        torch.nn.utils.vector_to_parameters(parameters, perturbation.parameters())
    assert problem.solve(problem.logits_under(perturbation)).loss < problem.solve().loss


class Gain(nn.Module):
    """One gain for all features: what T does, before a network without offsets."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x):
        return self.gain * x


@pytest.mark.filterwarnings("ignore:temperature_ is at the bound:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scale", [1e6, 1e12])
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


# The step of many parameters


@pytest.mark.parametrize(
    ("n_samples", "gamma", "scale"), [(45, 0.0, 0.3), (70, 1.5, 0.0), (90, 0.0, 0.0), (400, 1.5, 0.3)]
)
def test_the_step_of_a_diagonal_prior_is_that_of_the_same_matrix(n_samples, gamma, scale):
    """With fewer samples than parameters and with more, at the identity and away from it, with uneven weights."""
    network, x, rng = perceptron(0, 30), vectors(n_samples, 30), np.random.default_rng(0)
    weight = rng.uniform(0, 3, n_samples)
    weight[::5] = 0
    drifted = x + 2 * rng.normal(size=30).astype(np.float32)
    problem = pose(network, drifted, labels_of(bare_logits(network, x), 0.2), weight, batch_size=16)
    perturbation = PERTURBATIONS["affine"]((30,))
    identity = torch.as_tensor(flat(perturbation))
    prior = prior_precision_of(perturbation, problem.example(512), seeded(), diagonal=True)
    displacement = torch.as_tensor(flat(moved(perturbation, scale))) - identity
    (gradients,) = gradients_by(problem, perturbation, 1.3, gamma)
    expected = natural_step(gradients, displacement, [prior.diag()])
    found = natural_step(gradients, displacement, [prior])
    size = expected.direction.abs().max().item()
    np.testing.assert_allclose(found.direction, expected.direction, rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose(found.precision.diag(), expected.precision, rtol=1e-6)
    for name in ("gain", "evidence", "n_effective"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-6), name
    assert found.prior(displacement) == pytest.approx(expected.prior(displacement), rel=1e-6)
