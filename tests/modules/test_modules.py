import copy
from collections import namedtuple
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _small_networks import convolutional, images, perceptron, put_into_odd_state, snapshot
from torch import nn

from skclamp.modules import ClampedModule, LogitsModule, frozen, logits_from
from skclamp.perturbations import ChannelPerturbation, NormLayer, NormPerturbation

SCORES = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])


class Returning(nn.Module):
    """Wraps what a linear layer gives into something else."""

    def __init__(self, wrap):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.linear(x))


Output = namedtuple("Output", ["loss", "logits"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: z,
        lambda z: (z, "features"),
        lambda z: [z],
        lambda z: {"loss": None, "logits": z},
        lambda z: SimpleNamespace(logits=z),
        lambda z: Output(None, z),
    ],
    ids=["tensor", "tuple", "list", "mapping", "object", "named tuple"],
)
def test_logits_are_found_in_whatever_a_module_returns(wrap):
    module = Returning(wrap)
    assert torch.equal(LogitsModule(module)(SCORES), module.linear(SCORES))


@pytest.mark.parametrize(
    ("wrap", "found"),
    [
        (lambda z: "text", "got str"),
        (lambda z: {"scores": "text"}, "got str"),
        (lambda z: {}, "got dict"),
        (lambda z: (), "got tuple"),
        (lambda z: z.argmax(1), "got a tensor of torch.int64"),
        (lambda z: None, "got NoneType"),
    ],
)
def test_outputs_without_logits_are_refused(wrap, found):
    with pytest.raises(TypeError, match=f"the network must return floating-point logits: .*{found}"):
        LogitsModule(Returning(wrap))(SCORES)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 5, 4, 4), r"scores at each place, \(2, n_classes, \*places\); got shape \(3, 5, 4, 4\)"),
        ((3, 5), r"one row of class scores per sample, shape \(2, n_classes\), .*; got shape \(3, 5\)"),
        ((), r"got shape \(\)"),
    ],
)
def test_outputs_of_other_shapes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        logits_from(torch.zeros(shape), "logits", n_samples=2)


def test_outputs_at_places_stay_at_them():
    assert logits_from(torch.zeros(2, 5, 4, 4), "logits", n_samples=2).shape == (2, 5, 4, 4)
    single = logits_from(torch.full((2, 1, 7), 0.25), "probabilities", n_samples=2)
    np.testing.assert_allclose(single.softmax(1)[:, 1], 0.25)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_sigmoid_heads_speak_of_the_second_class(shape):
    score = torch.tensor([-2.0, 0.0, 3.0])
    expected = torch.stack([1 - score.sigmoid(), score.sigmoid()], 1)
    for values, response in ((score, "logits"), (score.sigmoid(), "probabilities")):
        found = logits_from(values.reshape(shape), response, n_samples=3)
        torch.testing.assert_close(found.softmax(1), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_become_finite_logits_that_give_them_back(dtype):
    probabilities = SCORES.softmax(1)
    torch.testing.assert_close(logits_from(probabilities, "probabilities", n_samples=2).softmax(1), probabilities)
    for certain in (torch.eye(3), torch.tensor([0.0, 1.0])):
        assert logits_from(certain.to(dtype), "probabilities", n_samples=len(certain)).isfinite().all()


def test_nonlinearity_comes_before_the_response():
    module = LogitsModule(nn.Identity(), response="probabilities", nonlinearity=lambda z: torch.softmax(z, 1))
    torch.testing.assert_close(module(SCORES).softmax(1), SCORES.softmax(1))


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_frozen_gives_back_every_flag_whatever_happens(error):
    network = put_into_odd_state(convolutional())
    before = snapshot(network)
    with nullcontext() if error is None else pytest.raises(error), frozen(network):
        assert not any(part.training for part in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
        if error is not None:
            raise error
    assert snapshot(network) == before


def test_a_network_that_fails_to_change_its_mode_is_held_by_nobody():
    class Stubborn(nn.Linear):
        def train(self, mode=True):
            if not mode and self.fails:
                raise RuntimeError("no mode")
            return super().train(mode)

    network = Stubborn(2, 2)
    before = snapshot(network)
    for network.fails in (True, False):
        with pytest.raises(RuntimeError, match="no mode") if network.fails else nullcontext(), frozen(network):
            assert not network.training
        assert snapshot(network) == before


def test_clamped_module_shares_the_network_and_alone_divides_its_logits():
    network, x = perceptron(), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    module = ClampedModule(network, temperature=4.0)
    assert torch.equal(module(x), network(x) / 4)
    assert {id(p) for p in network.parameters()} < {id(p) for p in module.parameters()}


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, ids=None, mask=None):
        return self.head(self.norm(nn.functional.one_hot(ids, 6).float().sum(1)))


def test_inputs_that_nothing_is_added_to_may_all_have_names():
    network, norm = Named(), NormPerturbation([NormLayer("norm", (6,))])
    with torch.no_grad():
        norm.gain.mul_(2)
    inputs = {"ids": torch.arange(12).reshape(4, 3) % 6, "mask": torch.ones(4, 3)}
    module = ClampedModule(network, nn.Sequential(norm), temperature=2.0).eval()
    expected = network.head(2 * network.norm(nn.functional.one_hot(inputs["ids"], 6).float().sum(1))) / 2
    torch.testing.assert_close(module(**inputs), expected)
    torch.testing.assert_close(module.fold()(**inputs), expected)
    perturbed = nn.Sequential(ChannelPerturbation((3,)), norm)
    for module in (ClampedModule(network, perturbed), ClampedModule(network, norm, views=[nn.Identity()])):
        with pytest.raises(TypeError, match="the input that is perturbed must come first"):
            module(**inputs)


def test_train_leaves_the_network_in_eval_mode():
    network = convolutional().train()
    module = ClampedModule(network, nn.Dropout(0.5))
    module.train()
    assert module.training
    assert module.perturbation.training
    assert not any(part.training for part in network.modules())
    x = torch.from_numpy(images(6))
    before = copy.deepcopy(network.state_dict())
    assert torch.equal(module.logits(x), module.logits(x)), "dropout draws"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    module.eval()
    assert not module.perturbation.training


def test_half_precision_networks_get_their_own_dtype_and_yield_float32():
    network, x = perceptron().bfloat16(), torch.randn(9, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    module = ClampedModule(network, ChannelPerturbation((6,)), temperature=1.3)
    assert module.temperature.dtype == torch.float32
    assert torch.equal(module(x), network(x).float() / module.temperature)
