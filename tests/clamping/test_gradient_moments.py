import numpy as np
import pytest
import torch
from _problems import flat, moments_of, moved, pose
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn

from skclamp.clamping._evidence_step import Moments, gradients_of, per_sample_gradients
from skclamp.losses import focal_loss
from skclamp.perturbations import AffinePerturbation, ColorPerturbation
from skclamp.perturbations._families import PERTURBATIONS

IMAGE = (3, 8, 8)
X = images(24)
Y = labels_of(bare_logits(convolutional(), X))
WEIGHT = np.random.default_rng(0).random(len(X)) * 3


class Bend(nn.Module):
    """A user's perturbation: nested, with a buffer, and a parameter that others share."""

    def __init__(self):
        super().__init__()
        self.inner = AffinePerturbation(IMAGE)
        self.amount = nn.Parameter(torch.zeros(3, 1, 1))
        self.register_buffer("slope", torch.tensor(0.7))

    def forward(self, x):
        return self.inner(x) + self.amount * torch.sin(self.slope * x) * self.inner.gain


def perturbations():
    made = {name: family(IMAGE) for name, family in PERTURBATIONS.items()}
    made["sequence"] = nn.Sequential(ColorPerturbation(IMAGE), PERTURBATIONS["filter"](IMAGE))
    made["user's"] = Bend()
    return made


def score_by_autograd(perturbation, network, x, y, temperature, gamma=0.0):
    """Gradient of one sample's loss with respect to the parameters and log T."""
    log_t = torch.tensor(float(np.log(temperature)), requires_grad=True)
    loss = focal_loss(network(perturbation(x[None])) / log_t.exp(), torch.tensor([y]), gamma=gamma)
    gradients = torch.autograd.grad(loss, [*perturbation.parameters(), log_t])
    return torch.cat([gradient.flatten() for gradient in gradients]).double().numpy()


def gradients_by_autograd(perturbation, network, X, Y, temperature, gamma=0.0):
    rows = zip(torch.as_tensor(X), Y, strict=True)
    return np.array([score_by_autograd(perturbation, network, x, int(y), temperature, gamma) for x, y in rows])


# Scores of single samples


@pytest.mark.parametrize("name", perturbations())
def test_gradients_are_each_samples_gradient(name):
    perturbation = moved(perturbations()[name])
    x, cotangent = torch.as_tensor(X[:6]), torch.randn(6, *IMAGE, generator=torch.Generator().manual_seed(3))
    expected = []
    for i in range(6):
        value = (perturbation(x[i : i + 1]) * cotangent[i]).sum()
        parts = torch.autograd.grad(value, list(perturbation.parameters()))
        expected.append(torch.cat([part.flatten() for part in parts]))
    found = per_sample_gradients(perturbation, x, cotangent)
    assert found.abs().max() > 1
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(6,), (3, 9), (2, 4, 5, 6)])
@pytest.mark.parametrize("name", ["full", "channel", "affine", "curve"])
def test_gradients_of_inputs_of_any_rank(name, shape):
    perturbation = moved(PERTURBATIONS[name](shape))
    generator = torch.Generator().manual_seed(0)
    x, cotangent = torch.randn(5, *shape, generator=generator), torch.randn(5, *shape, generator=generator)
    found = per_sample_gradients(perturbation, x, cotangent)
    summed = torch.autograd.grad((perturbation(x) * cotangent).sum(), list(perturbation.parameters()))
    torch.testing.assert_close(found.sum(0), torch.cat([part.flatten() for part in summed]), rtol=1e-4, atol=1e-4)


def test_nothing_to_learn_has_no_scores():
    assert per_sample_gradients(nn.Sequential(), torch.as_tensor(X), torch.as_tensor(X)).shape == (len(X), 0)


# Moments


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_moments_are_weighted_sums_of_scores(weight, gamma):
    network, perturbation = convolutional(), moved(AffinePerturbation(IMAGE))
    gradients = gradients_by_autograd(perturbation, network, X, Y, 1.7, gamma)
    w = np.ones(len(X)) if weight is None else weight
    (found,) = moments_of(pose(network, X, Y, weight, batch_size=7), perturbation, 1.7, gamma=gamma)
    np.testing.assert_allclose(found.sums[:2], [w.sum(), (w**2).sum()])
    np.testing.assert_allclose(found.first, w @ gradients / w.sum(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.second, (gradients.T * w) @ gradients / w.sum(), rtol=1e-4, atol=1e-4)


def test_equal_weights_count_samples():
    gradients = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert Moments.of(
        gradients, torch.full((40,), 0.3, dtype=torch.float64), gradients[:, 0]
    ).n_effective == pytest.approx(40)
    uneven = Moments.of(gradients, torch.linspace(0, 1, 40, dtype=torch.float64), gradients[:, 0])
    assert 20 < uneven.n_effective < 40


def test_one_pass_serves_all_extensions():
    """An extension at the identity has the gradients of the composition."""
    network, own = convolutional(), moved(AffinePerturbation(IMAGE))
    extensions = [ColorPerturbation(IMAGE), PERTURBATIONS["filter"](IMAGE), PERTURBATIONS["grid"](IMAGE), Bend()]
    problem = pose(network, X, Y, WEIGHT)
    alone, *found = moments_of(problem, own, 1.4, gamma=1.0, extensions=extensions)
    assert (problem.passes.forward, problem.passes.backward) == (len(X), len(X))
    (expected,) = moments_of(problem, own, 1.4, gamma=1.0)
    np.testing.assert_allclose(alone.second, expected.second, rtol=1e-5, atol=1e-5)
    for extension, moments in zip(extensions, found, strict=True):
        (expected,) = moments_of(problem, nn.Sequential(own, extension), 1.4, gamma=1.0)
        assert len(moments.first) == len(flat(own)) + len(flat(extension)) + 1
        np.testing.assert_allclose(moments.first, expected.first, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(moments.second, expected.second, rtol=1e-3, atol=1e-3)


def test_gradients_do_not_touch_the_inputs():
    x = torch.as_tensor(X.copy())
    moments_of(pose(convolutional(), x, Y), nn.Identity(), 1.0)
    assert not x.requires_grad
    np.testing.assert_array_equal(x, X)


def test_one_pass_serves_all_losses():
    """Those that focus have multiples of the same gradients."""
    network, own = convolutional(), moved(AffinePerturbation(IMAGE))
    problem = pose(network, X, Y, WEIGHT)
    gammas = [0.0, 0.5, 2.0]
    found = gradients_of(problem, own, 1.4, gammas, [ColorPerturbation(IMAGE)])
    assert (problem.passes.forward, problem.passes.backward) == (len(X), len(X))
    np.testing.assert_allclose(found[0].logits, bare_logits(nn.Sequential(own, network), X), rtol=1e-4, atol=1e-5)
    for gamma, shared in zip(gammas, found, strict=True):
        (alone,) = gradients_of(problem, own, 1.4, [gamma], [ColorPerturbation(IMAGE)])
        for one, other in zip([alone.own, *alone.extended], [shared.own, *shared.extended], strict=True):
            np.testing.assert_array_equal(one.second, other.second)
            assert one.loss == other.loss
    assert not np.allclose(found[0].own.second, found[2].own.second)
