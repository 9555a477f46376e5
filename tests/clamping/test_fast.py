import logging
import threading

import numpy as np
import pytest
import torch
from _problems import pose
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron
from torch import nn
from torch.nn import functional as F

from skclamp import NeuralClampingCalibrator
from skclamp.clamping._acceleration import accelerate
from skclamp.modules import LogitsModule, frozen

X = images(40)


def fast_and_plain(network, x=X, **settings):
    """Logits of the accelerated and of the plain network, and the former's module."""
    problem = pose(network, x, np.zeros(len(x), dtype=int))
    with frozen(network), torch.no_grad():
        module = accelerate(problem, **{"precision": "float32", **settings}).backbone.module
        return module(problem.backbone.to_device(torch.as_tensor(x))[0]), problem.logits, module


def kinds(module):
    return {type(part) for part in module.modules()}


class Branching(nn.Module):
    """The way through it depends on the data."""

    def __init__(self):
        super().__init__()
        self.network = convolutional()

    def forward(self, x):
        return self.network(x if x.mean() > 100 else x + 0.5)


class Held(nn.Module):
    """Holds what can't be copied: a lock, or an activation that somebody kept."""

    def __init__(self, network, held):
        super().__init__()
        self.network = network
        self.held = held

    def forward(self, x):
        return self.network(x)


class NoBfloat16(nn.Module):
    """Has an operation for which autocast finds no kernel."""

    def __init__(self):
        super().__init__()
        self.network = convolutional()

    def forward(self, x):
        logits = self.network(x)
        if logits.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return logits


class Attending(nn.Module):
    """A transformer in small: no convolutions, tuples for outputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        tokens = x.mean(1)
        return self.head(self.norm(self.attention(tokens, tokens, tokens)[0]).mean(1)), tokens


class Viewing(nn.Module):
    """Flattens by `view`, which asks for images that lie in rows."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4 * 36, 4)

    def forward(self, x):
        x = self.convolution(x)
        return self.linear(x.view(x.size(0), -1))


def sequences():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5), nn.ReLU(), nn.Flatten(), nn.Linear(35, 4))
    network(torch.randn(64, 3, 9))
    return network.eval(), torch.randn(40, 3, 9)


def volumes():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(2, 5, 3), nn.BatchNorm3d(5), nn.ReLU(), nn.Flatten(), nn.Linear(40, 4))
    network(torch.randn(64, 2, 4, 4, 4))
    return network.eval(), torch.randn(40, 2, 4, 4, 4)


# Equivalence


@pytest.mark.parametrize(
    ("network", "x"),
    [
        (convolutional(), X),
        (Branching().eval(), X),
        (perceptron(), X.reshape(len(X), -1)[:, :6]),
        (Attending().eval(), X),
        (Viewing().eval(), X),
        sequences(),
        volumes(),
    ],
    ids=["convolutional", "branching", "perceptron", "attention", "viewing", "sequences", "volumes"],
)
def test_the_logits_are_the_networks(network, x):
    fast, plain, module = fast_and_plain(network, x)
    assert isinstance(module, LogitsModule)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def test_batch_norms_are_fused():
    _, _, module = fast_and_plain(convolutional())
    assert nn.BatchNorm2d not in kinds(module)
    assert nn.Conv2d in kinds(module)
    assert nn.BatchNorm1d not in kinds(fast_and_plain(*sequences())[2])


def test_gradients_by_the_input_are_the_networks():
    network = convolutional()
    _, _, module = fast_and_plain(network)
    gradients = []
    for function in (module, network):
        x = torch.as_tensor(X).requires_grad_()
        gradients.append(torch.autograd.grad(F.cross_entropy(function(x), torch.zeros(len(X), dtype=torch.long)), x)[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_what_a_hook_changes_is_not_fused():
    """What it adds between convolution and batch norm, the fused convolution would add behind both."""
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), *convolutional()).eval()
    network[0].register_forward_hook(lambda module, inputs, output: output + 1)
    fast, plain, module = fast_and_plain(network)
    assert [part.num_features for part in module.modules() if isinstance(part, nn.BatchNorm2d)] == [3]
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_batch_norm_that_a_hook_watches_stays(register):
    network = convolutional()
    getattr(network[1], register)(lambda *seen: None)
    assert nn.BatchNorm2d in kinds(fast_and_plain(network)[2])


class BatchNormLast(nn.Module):
    """A convolution and a batch norm that `between` stands between."""

    def __init__(self, between, norm=None):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3) if norm is None else norm
        self.between = between
        self.head = nn.Linear(3, 4)
        with torch.no_grad():
            self(torch.randn(64, 3, 8, 8))

    def forward(self, x):
        return self.head(torch.relu(self.between(self, x)).mean((2, 3)))


def used_twice(self, x):
    z = self.convolution(x)
    return self.norm(z) + z


def written_to(self, x):
    z = self.convolution(x)
    z += 1
    return self.norm(z)


def called_twice(self, x):
    return self.norm(self.convolution(self.convolution(x)))


def with_the_norms_parameters(self, x):
    return self.norm(self.convolution(x)) * self.norm.weight[0]


@pytest.mark.parametrize(
    "between",
    [
        used_twice,
        written_to,
        called_twice,
        with_the_norms_parameters,
        lambda self, x: self.norm(torch.relu(self.convolution(x))),
        lambda self, x: self.norm(nn.functional.conv2d(x, self.convolution.weight, padding=1)),
        lambda self, x: self.norm(x),
    ],
)
def test_what_is_no_pair_stays_as_it_is(between):
    fast, plain, module = fast_and_plain(BatchNormLast(between).eval())
    assert nn.BatchNorm2d in kinds(module)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, affine=False)])
def test_a_batch_norm_without_running_statistics_stays(norm):
    fast, plain, module = fast_and_plain(BatchNormLast(lambda self, x: self.norm(self.convolution(x)), norm).eval())
    assert (nn.BatchNorm2d in kinds(module)) == (norm.running_mean is None)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def kept_activation():
    x = torch.ones(2, 2, requires_grad=True)
    return x * 2


@pytest.mark.parametrize("held", [threading.Lock(), kept_activation()], ids=["lock", "activation"])
@pytest.mark.parametrize("network", [convolutional(), perceptron()], ids=["convolutional", "perceptron"])
def test_networks_that_cannot_be_copied(network, held):
    x = X if len(network) > 3 else X.reshape(len(X), -1)[:, :6]
    fast, plain, _ = fast_and_plain(Held(network, held).eval(), x)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", [Attending().eval(), perceptron()], ids=["attention", "perceptron"])
def test_no_copies_where_they_gain_nothing(network):
    x = X if isinstance(network, Attending) else X.reshape(len(X), -1)[:, :6]
    _, _, module = fast_and_plain(network, x)
    own = {parameter.data_ptr() for parameter in network.parameters()}
    assert {parameter.data_ptr() for parameter in module.parameters()} == own


# Precision


@pytest.mark.parametrize(
    ("network", "precision", "autocast", "dtype"),
    [
        (convolutional(), "float32", None, torch.float32),
        (convolutional(), "bfloat16", torch.bfloat16, torch.float32),
        (NoBfloat16().eval(), "bfloat16", None, torch.float32),
        (convolutional().double(), "float32", None, torch.float64),
        (convolutional().double(), "auto", None, torch.float64),
    ],
)
def test_precision_is_what_was_asked_for_where_the_network_can(network, precision, autocast, dtype):
    fast, plain, module = fast_and_plain(network, precision=precision)
    assert module.autocast == autocast
    assert fast.dtype == dtype
    rtol, atol = (0.05, 0.05 * plain.abs().max().item()) if autocast else (1e-4, 1e-4)
    torch.testing.assert_close(fast, plain, rtol=rtol, atol=atol)
    assert ((fast - plain).abs().max() > 1e-4) == (autocast is not None)


@pytest.mark.parametrize("has", [False, True])
def test_auto_follows_the_processor(monkeypatch, has):
    monkeypatch.setattr("skclamp.clamping._acceleration.has_bfloat16", lambda device: has)
    _, _, module = fast_and_plain(convolutional(), precision="auto")
    assert module.autocast == (torch.bfloat16 if has else None)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_the_last_temperature_and_predictions_are_float32(precision):
    """Whatever training ran in, T meets its first-order condition, labels smoothed, on the network's own logits."""
    network, x = convolutional(), images(300)
    y = labels_of(bare_logits(network, x))
    settings = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(network, precision=precision, **settings).fit(0.7 * x + 0.2, y)
    with torch.no_grad():
        z = network(calibrator.perturbation_(torch.as_tensor(0.7 * x + 0.2))).double().numpy()
    p = np.exp(z / calibrator.temperature_ - np.logaddexp.reduce(z / calibrator.temperature_, 1)[:, None])
    np.testing.assert_allclose(calibrator.predict_proba(0.7 * x + 0.2), p, atol=1e-6)
    q = np.full_like(p, 1 / (len(z) + 2) / (z.shape[1] - 1))
    q[np.arange(len(z)), y] = 1 - 1 / (len(z) + 2)
    assert abs(((p - q) * z).sum(1).mean()) < 1e-5 * np.abs(z).mean()


# The user's network


def test_the_memory_format_of_the_weights_stays():
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = convolutional().to(memory_format=memory_format)
        strides = [parameter.stride() for parameter in network.parameters()]
        x = images(200)
        NeuralClampingCalibrator(network, random_state=0).fit(0.5 * x, labels_of(bare_logits(network, x)))
        assert [parameter.stride() for parameter in network.parameters()] == strides


def test_convolutions_run_channels_last():
    _, _, module = fast_and_plain(convolutional())
    weight = next(parameter for parameter in module.parameters() if parameter.ndim == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_gradients_stay_channels_last():
    """Slices and poolings pass back gradients in another layout, which is thirty times as slow through a ReLU."""
    layouts = []

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            layouts.append(gradient.is_contiguous(memory_format=torch.channels_last))
            return gradient

    class Layer(nn.Module):
        def forward(self, x):
            return Spy.apply(x)

    class Sliced(nn.Module):
        def forward(self, x):
            return x[:, :, ::2, ::2].flatten(1)

    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Layer(), Sliced(), nn.Linear(8 * 16, 3)).eval()
    y = labels_of(bare_logits(network, X))
    NeuralClampingCalibrator(network, perturbation="affine", validation_fraction=None, precision="float32").fit(X, y)
    # The first is of the network as it is, which is asked whether it has gradients.
    assert len(layouts) > 1
    assert all(layouts[1:])


@pytest.mark.parametrize(
    ("network", "precision"),
    [
        (Branching(), "auto"),
        (NoBfloat16(), "bfloat16"),
        (Attending(), "bfloat16"),
        (Held(convolutional(), threading.Lock()), "auto"),
    ],
)
@pytest.mark.filterwarnings("ignore:the network returns several things:UserWarning")
def test_odd_networks_are_clamped_all_the_same(network, precision, caplog):
    network, x = network.eval(), images(200)
    with torch.no_grad():
        scores = network(torch.as_tensor(x))
    y = labels_of((scores[0] if isinstance(scores, tuple) else scores).double().numpy())
    with caplog.at_level(logging.WARNING):
        calibrator = NeuralClampingCalibrator(network, precision=precision, random_state=0).fit(0.5 * x + 0.3, y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
    assert not caplog.records


class FailsInCopies(nn.Module):
    """Raises an error of its own in a copy, once that is laid out anew."""

    def __init__(self, error):
        super().__init__()
        self.network, self.error = convolutional(), error

    def forward(self, x):
        if not self.network[0].weight.is_contiguous() or not isinstance(self.network[1], nn.BatchNorm2d):
            raise self.error
        return self.network(x)


@pytest.mark.parametrize("error", [ValueError("of my own"), ZeroDivisionError("of my own"), KeyError("of my own")])
def test_an_error_of_the_networks_own_passes(error):
    network, x = FailsInCopies(error).eval(), images(200)
    y = labels_of(bare_logits(network, x))
    with pytest.raises((type(error), ValueError), match="of my own") as caught:
        NeuralClampingCalibrator(network, random_state=0).fit(0.5 * x, y)
    assert type(error) in (type(caught.value), type(caught.value.__cause__))


def test_an_error_that_a_copy_makes_costs_the_copy_alone():
    network, x = FailsInCopies(RuntimeError("of a layout")).eval(), images(200)
    y = labels_of(bare_logits(network, x))
    calibrator = NeuralClampingCalibrator(network, random_state=0).fit(0.5 * x, y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
