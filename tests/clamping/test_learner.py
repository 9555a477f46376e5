import copy

import numpy as np
import pytest
import torch
from _problems import flat, linear, moved, pose
from _small_networks import bare_logits, convolutional, images, labels_of, vectors
from torch import nn

from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.clamping._learner import MAX_PARAMETERS, Learner, competing_families
from skclamp.clamping._problem import check_differentiable
from skclamp.clamping._progress import Progress
from skclamp.clamping._state import Settings
from skclamp.perturbations import AffinePerturbation

NETWORK = linear(6)
X = vectors(400)
Y = labels_of(bare_logits(NETWORK, X))
SGD = TorchTraining(optimizer="sgd")


def settings(**changed):
    parameters = {**NeuralClampingCalibrator().get_params(), "perturbation": "affine", **changed}
    return Settings(**{name: parameters[name] for name in Settings.__dataclass_fields__ if name in parameters})


def learner(seed=0):
    return Learner(torch.Generator().manual_seed(seed), Progress(0, 10).__enter__())


class Flattens(nn.Module):
    """Any shape in, the logits of a linear layer out."""

    def __init__(self, shape):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(int(np.prod(shape)), 3)

    def forward(self, x):
        return self.linear(x.flatten(1))


def problem_of(shape, n_samples=4000, network=None):
    x = np.random.default_rng(0).normal(size=(n_samples, *shape)).astype(np.float32)
    return pose(network or Flattens(shape), x, np.arange(n_samples) % 3)


# Candidates


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((6,), {"channel", "affine"}),
        ((3, 16), {"affine", "curve", "color", "filter", "grid"}),
        ((3, 8, 8), {"affine", "curve", "color", "filter", "grid"}),
        ((1, 4, 4), {"affine", "curve", "color", "filter"}),
        ((2, 2), {"affine", "curve", "color"}),
        ((2, 4, 5, 6), {"affine", "curve", "color"}),
        ((2, 3, 3, 2, 2), {"affine", "curve"}),
    ],
)
def test_families_compete_where_the_shape_allows_it(shape, names):
    found, _ = competing_families(problem_of(shape))
    assert found.keys() == names
    x = torch.randn(5, *shape)
    for family in found.values():
        torch.testing.assert_close(family(x), x, rtol=0, atol=1e-6)


def test_candidates_have_few_parameters_for_the_samples():
    sizes = {
        n: [len(flat(family)) for family in competing_families(problem_of((3, 8, 8), n))[0].values()]
        for n in (10, 100, 1000, 9000)
    }
    assert not sizes[10]
    for n, found in sizes.items():
        assert all(size <= min(n / 5, MAX_PARAMETERS) for size in found)
    assert len(sizes[10]) < len(sizes[100]) < len(sizes[9000])


@pytest.mark.parametrize(
    ("n_features", "n_samples", "untried"),
    [
        (600, 300, {}),
        (
            600,
            120_000,
            {"affine": "1,200 parameters and 120,000 samples in a fold, at most 111,848 for so many"},
        ),
        (3000, 5001, {"affine": "6,000 parameters and 5,001 samples in a fold, at most 5,000 for so many"}),
    ],
)
def test_candidates_of_wide_tables_have_few_gradients(n_features, n_samples, untried):
    x = np.broadcast_to(np.float32(1), (n_samples, n_features))
    found, others = competing_families(
        pose(Flattens((n_features,)), x, np.zeros(n_samples, dtype=int), batch_size=10_000)
    )
    assert found.keys() == {"channel", "affine"} - untried.keys()
    assert {name: str(each) for name, each in others.items()} == untried


@pytest.mark.parametrize("shape", [(600,), (1, 4, 4), (2, 3, 3, 2, 2)])
def test_auto_takes_inputs_of_any_shape(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, *shape)).astype(np.float32)
    network = Flattens(shape).eval()
    calibrator = NeuralClampingCalibrator(network, random_state=0).fit(x, labels_of(bare_logits(network, x)))
    assert np.isfinite(calibrator.predict_proba(x)).all()


# Perturbations


class OneWay(nn.Module):
    """A user's module that isn't fit to perturb."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.amount = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return {
            "moves": lambda: x + 0.01 + self.amount,
            "scales": lambda: x * (1.01 + self.amount),
            "reshapes": lambda: x[:, :2] + self.amount,
            "flattens": lambda: x.flatten(1) + self.amount,
            "broadcasts": lambda: x.unsqueeze(1) + self.amount,
            "spoils": lambda: x * (self.amount / 0.0),
        }[self.how]()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (OneWay("moves"), "perturbation must start as the identity; OneWay moves an input by 0.01"),
        (OneWay("scales"), "perturbation must start as the identity; OneWay moves"),
        (OneWay("spoils"), "perturbation must start as the identity; OneWay moves an input by nan"),
        (
            OneWay("reshapes"),
            r"perturbation must keep the shape of its input \(32, 3, 8, 8\); OneWay gave \(32, 2, 8, 8\)",
        ),
        (OneWay("flattens"), r"perturbation must keep the shape .* OneWay gave \(32, 192\)"),
        (OneWay("broadcasts"), r"perturbation must keep the shape .* OneWay gave \(32, 1, 3, 8, 8\)"),
        (moved(AffinePerturbation((3, 8, 8))), "perturbation must start as the identity; AffinePerturbation moves"),
        (nn.Identity(), "perturbation must have parameters to learn; got Identity, which has none"),
        (nn.Sequential(), "perturbation must have parameters to learn; got Sequential, which has none"),
        (nn.BatchNorm2d(3, affine=False), "perturbation must have parameters to learn; got BatchNorm2d"),
        (AffinePerturbation((3, 8, 8)).requires_grad_(False), "perturbation must have parameters to learn; got Affine"),
    ],
)
def test_bad_custom_perturbations(given, message):
    x = images(120)
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=given)
    with pytest.raises(ValueError, match=message):
        calibrator.fit(x, labels_of(bare_logits(convolutional(), x)))


# Starts


@pytest.mark.parametrize("training", ["natural", TorchTraining()], ids=str)
def test_a_start_is_gone_on_from_and_left_alone(training):
    problem = pose(NETWORK, X + 0.8, Y)
    start = learner().fit(problem, settings(training=training, max_epochs=1, lr=0.2))
    before = copy.deepcopy(start)
    further = learner().fit(problem, settings(training=training, max_epochs=1, lr=0.2), start)
    np.testing.assert_array_equal(flat(start.perturbation), flat(before.perturbation))
    assert start.temperature == before.temperature
    assert loss_of(problem, further) < loss_of(problem, start) < problem.solve().loss


def loss_of(problem, state):
    return problem.solve(problem.logits_under(state.perturbation)).loss


def test_the_exact_temperature_is_the_start():
    problem = pose(NETWORK, X, Y)
    for gamma in (0.0, 2.0):
        state = learner().fit(problem, settings(training=SGD, lr=1e-12, max_epochs=1, gamma=gamma))
        assert state.temperature == pytest.approx(problem.solve(gamma=gamma).temperature, rel=1e-5)
    far = TorchTraining(optimizer="sgd", init_temperature=3.0)
    state = learner().fit(problem, settings(training=far, lr=1e-12, max_epochs=1))
    assert state.temperature == pytest.approx(3.0)


# Paths


GAMMAS = (0.0, 0.5, 1.0, 2.0)


def test_a_paths_states_are_where_fits_of_their_own_end():
    problem = pose(NETWORK, X + 0.8, Y)
    path = [settings(gamma=gamma) for gamma in GAMMAS]
    states = learner().fit_path(problem, path)
    n_parameters = len(flat(states[0].perturbation))
    for one, state in zip(path, states, strict=True):
        alone = learner().fit(problem, one)
        found, expected = (
            problem.solve(problem.logits_under(each.perturbation), gamma=one.gamma).loss for each in (state, alone)
        )
        assert found == pytest.approx(expected, abs=n_parameters / (2 * len(X)))


def test_torch_optimisers_share_nothing():
    problem = pose(NETWORK, X + 0.8, Y)
    path = [settings(gamma=gamma, training=TorchTraining(), max_epochs=2) for gamma in (0.0, 1.0)]
    states = learner().fit_path(problem, path)
    # Each candidate from the identity: two epochs of two.
    assert problem.passes.backward == 4 * len(X)
    assert all(len(state.history) == 2 for state in states)


# The check of the network


def test_a_network_whose_logits_sum_to_a_constant_is_differentiable():
    network = nn.Sequential(linear(6), nn.LogSoftmax(1))
    check_differentiable(pose(network, X, Y))
