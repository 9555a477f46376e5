"""`ClampedModule.fold`: the same logits from other weights, or the reason why not."""

import copy
from functools import partial

import pytest
import torch
from _families import PERTURBATIONS
from _problems import moved as other_than_the_identity
from _small_networks import convolutional, perceptron, snapshot
from torch import nn
from torch.nn.functional import linear

from skclamp.modules import ClampedModule
from skclamp.perturbations import AffinePerturbation, FullPerturbation, GridPerturbation, NormLayer, NormPerturbation

SHAPE = (4, 6, 6)


moved = partial(other_than_the_identity, scale=0.3, seed=0)


def network_after(*first):
    """Some first layers, and a head that takes whatever they yield."""
    torch.manual_seed(0)
    body = nn.Sequential(*first, nn.ReLU(), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(body(torch.zeros(1, *SHAPE)).numel(), 5)).eval()


def unpadded(**options):
    return network_after(nn.Conv2d(4, 8, 3, **options))


def flat():
    return network_after(nn.Flatten(), nn.Linear(4 * 6 * 6, 16))


def check(module, x, dtype=torch.float32):
    before = snapshot(module)
    folded = module.fold()
    assert snapshot(module) == before
    assert isinstance(folded.perturbation, nn.Identity)
    assert not any(part.training for part in folded.modules())
    assert {p.requires_grad for p in folded.parameters()} <= {p.requires_grad for p in module.parameters()}
    with torch.no_grad():
        expected = module.eval()(x)
        assert not torch.allclose(module.logits(x) / module.temperature, expected, atol=1e-3)
        torch.testing.assert_close(folded(x), expected, rtol=0, atol=2e-5 if dtype == torch.float32 else 1e-12)
    return folded


@pytest.mark.parametrize("family", [None, "affine"])
def test_clamped_features_are_in_the_weights(family):
    network = network_after(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
    norm = moved(NormPerturbation([NormLayer("1", (8,), 2)]))
    first = [] if family is None else [moved(PERTURBATIONS[family](SHAPE))]
    module, x = ClampedModule(network, nn.Sequential(*first, norm), temperature=1.7).eval(), torch.randn(9, *SHAPE)
    with torch.no_grad():
        for each in (module.fold(x), module.fold()):
            torch.testing.assert_close(each(x), module(x), rtol=0, atol=2e-5)
            assert not torch.allclose(network(x) / 1.7, module(x), atol=1e-2)


@pytest.mark.parametrize("family", ["full", "channel", "affine", "color", "filter", "grid"])
def test_a_linear_layer_takes_on_every_affine_family(family):
    check(ClampedModule(flat(), moved(PERTURBATIONS[family](SHAPE)), temperature=1.7), torch.randn(9, *SHAPE))
    if family in ("full", "channel", "affine"):
        module = ClampedModule(perceptron().double(), moved(PERTURBATIONS[family]((6,))).double(), temperature=1.7)
        check(module, torch.randn(9, 6, dtype=torch.float64), torch.float64)


@pytest.mark.parametrize(
    ("options", "family"),
    [
        ({}, "channel"),
        ({}, "affine"),
        ({}, "color"),
        ({"bias": False}, "affine"),
        ({"stride": 2, "dilation": 2}, "color"),
        ({"padding": "valid"}, "color"),
        ({"padding": 1, "padding_mode": "reflect"}, "color"),
        ({"padding": "same", "padding_mode": "replicate"}, "affine"),
    ],
)
def test_a_convolution_takes_on_what_is_the_same_everywhere(options, family):
    module = ClampedModule(unpadded(**options), moved(PERTURBATIONS[family](SHAPE)), temperature=0.6)
    check(module, torch.randn(9, *SHAPE))


def test_tied_weights_come_apart():
    layer = nn.Linear(6, 6)
    network = nn.Sequential(layer, nn.Tanh(), nn.Linear(6, 6))
    network[2].weight = layer.weight
    folded = check(ClampedModule(network, moved(AffinePerturbation((6,))), temperature=3.0), torch.randn(9, 6))
    assert folded.logits.module[0].weight is not folded.logits.module[2].weight


def test_a_temperature_alone_needs_no_particular_first_layer():
    module = ClampedModule(convolutional(), temperature=2.0)
    x, folded = torch.randn(5, 3, 8, 8), module.fold()
    assert isinstance(folded, ClampedModule)
    torch.testing.assert_close(folded(x), module.eval()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_temperature_is_not_rounded_to_half_precision(dtype):
    module = ClampedModule(perceptron().to(dtype), moved(AffinePerturbation((6,))), temperature=1.7)
    folded = module.fold()
    x = torch.randn(9, 6, dtype=dtype)
    assert folded(x).dtype == module.eval()(x).dtype == torch.float32
    torch.testing.assert_close(folded(x), module(x), rtol=0.05, atol=0.1)


class Net(nn.Module):
    """Two layers, and the way through them."""

    def __init__(self, way):
        super().__init__()
        self.body, self.head, self.way = nn.Linear(6, 6), nn.Linear(6, 6), way

    def forward(self, x):
        return self.way(self, x)


def hooked(place, hook, pre=False):
    """The identity, a layer and its head, one of which has a hook before or behind it."""
    network = nn.Sequential(nn.Identity(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    (network[place].register_forward_pre_hook if pre else network[place].register_forward_hook)(hook)
    return network


class Bent(AffinePerturbation):
    def forward(self, x):
        return super().forward(x) + x**2


class Unsteady(Net):
    """Gives other logits each time."""

    def __init__(self, change):
        super().__init__(lambda net, x: net.body(x))
        self.change, self.n_calls = change, 0

    def forward(self, x):
        self.n_calls += 1
        return super().forward(x) * (1 + self.change * self.n_calls)


@pytest.mark.parametrize(
    ("network", "perturbation", "reason"),
    [
        (unpadded(padding=1), AffinePerturbation(SHAPE), "without zero padding"),
        (unpadded(padding="same"), AffinePerturbation(SHAPE), "without zero padding"),
        (unpadded(), FullPerturbation(SHAPE), "same everywhere before a convolution; got FullPerturbation"),
        (unpadded(), nn.Sequential(AffinePerturbation(SHAPE), GridPerturbation(SHAPE)), "got GridPerturbation"),
        (unpadded(groups=2), PERTURBATIONS["color"](SHAPE), "without groups"),
        (perceptron(), PERTURBATIONS["curve"]((6,)), "affine in the inputs; got CurvePerturbation"),
        (perceptron(), Bent((6,)), "a perturbation of this package that is affine in the inputs; got Bent"),
        (perceptron(), nn.Tanh(), "a perturbation of this package that is affine in the inputs; got Tanh"),
        (unpadded(), Bent(SHAPE), "affine in the inputs; got Bent"),
        (nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten()), AffinePerturbation((6,)), "come first; got none"),
        (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 4)), AffinePerturbation((6,)), "come first; got none"),
        (
            network_after(nn.Flatten(1, 2), nn.Conv1d(24, 5, 6)),
            AffinePerturbation(SHAPE),
            "reshaped; got a convolution",
        ),
        (
            nn.Sequential(nn.Unflatten(1, (4, 6)), nn.Conv1d(4, 3, 6), nn.Flatten()),
            AffinePerturbation((24,)),
            "reshaped; got a convolution",
        ),
        (
            Net(lambda net, x: linear(torch.tanh(net.body(x)), net.body.weight)),
            AffinePerturbation((6,)),
            "weights do nothing else",
        ),
        (hooked(0, lambda _, x: (torch.tanh(x[0]),), pre=True), AffinePerturbation((6,)), "to come first; got none"),
        (
            Net(lambda net, x: net.body(x) + net.body.weight.square().sum().tanh() * torch.ones(6).cumsum(0)),
            AffinePerturbation((6,)),
            "weights do nothing else",
        ),
        (hooked(1, lambda _, x, y: y + x[0]), AffinePerturbation((6,)), "weights do nothing else"),
        (
            hooked(1, lambda _, x: (x[0] / 2,), pre=True),
            AffinePerturbation((6,)),
            "got none that takes the inputs as they are",
        ),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4)), AffinePerturbation((6,)), "to come first; got none"),
        (
            Net(lambda net, x: net.body(x) + x),
            AffinePerturbation((6,)),
            "which its first layer alone takes",
        ),
        (
            Net(lambda net, x: net.body(net.body(x))),
            AffinePerturbation((6,)),
            "weights do nothing else",
        ),
        (nn.Sequential(nn.Linear(6, 4), nn.Flatten()), AffinePerturbation((5, 6)), "takes the inputs whole"),
        (Unsteady(0.01), AffinePerturbation((6,)), ""),
        (Unsteady(0.5).bfloat16(), AffinePerturbation((6,)), ""),
    ],
)
def test_what_cannot_be_folded_exactly_is_refused_with_the_reason(network, perturbation, reason):
    network = copy.deepcopy(network)
    with pytest.raises(ValueError, match=f"fold needs .*{reason}"):
        ClampedModule(network, moved(perturbation)).fold()
