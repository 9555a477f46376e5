"""A network's normalisation layers: found, verified, clamped by hooks, and by weights of their own."""

import threading

import pytest
import torch
from _export import HOW, check_the_same
from _quantised import quantised
from _small_networks import snapshot
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from skclamp.modules import LogitsModule
from skclamp.modules._norm_layers import (
    LayerReason,
    features_clamped,
    find_norm_layers,
    private_copy,
    with_features_clamped,
)
from skclamp.perturbations._norm import NormPerturbation

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore:.torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True, but:UserWarning"),
]


class Calls(nn.Module):
    """Layers, and a function of them and of the inputs."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


class Residual(nn.Module):
    """As torchvision's: what the norm gave is overwritten."""

    def __init__(self, width, again=lambda function, x: function(x)):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu, self.again = nn.ReLU(inplace=True), again

    def forward(self, x):
        return self.again(self._forward, x)

    def _forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class PreActivation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.act, self.conv = nn.BatchNorm2d(width), nn.SiLU(inplace=True), nn.Conv2d(width, width, 3)

    def forward(self, x):
        return self.conv(self.act(self.norm(x))) + x[..., 1:-1, 1:-1]


class LlamaRMSNorm(nn.Module):
    def __init__(self, width, unit=0.0):
        super().__init__()
        self.weight, self.unit = nn.Parameter(torch.rand(width)), unit

    def forward(self, x):
        out = x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6)
        return (self.weight + self.unit) * out.to(x)


class FrozenBatchNorm2d(nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(width))

    def forward(self, x):
        scale = (self.weight * (self.running_var + 1e-5).rsqrt())[:, None, None]
        return x * scale + (self.bias - self.running_mean * scale[:, 0, 0])[:, None, None]


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: the activation is inside."""

    def __init__(self, width):
        super().__init__(width)
        self.drop, self.act = nn.Identity(), nn.SiLU(inplace=True)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GatedNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

    def forward(self, x):
        return torch.sigmoid(self.weight) * F.normalize(x, dim=-1)


class ChannelNorm(nn.Module):
    """With other names, and a weight that broadcasts."""

    def __init__(self, width):
        super().__init__()
        self.g, self.b = nn.Parameter(torch.rand(1, width, 1, 1)), nn.Parameter(torch.rand(1, width, 1, 1))

    def forward(self, x):
        return F.normalize(x, dim=1) * self.g + self.b


def reentrant(function, x):
    return checkpoint(function, x, use_reentrant=True)


def not_reentrant(function, x):
    return checkpoint(function, x, use_reentrant=False)


def on_images(*layers, width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(5))


def on_tokens(*layers, width=8):
    return nn.Sequential(nn.Embedding(11, width), *layers, nn.Flatten(), nn.LazyLinear(5))


def on_vectors(*layers):
    return nn.Sequential(nn.Linear(6, 8), *layers, nn.Tanh(), nn.Linear(8, 5))


def on_volumes(layer):
    return nn.Sequential(nn.Conv3d(2, 4, 2), layer, nn.Flatten(), nn.LazyLinear(5))


def encoder(**options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, **options)
    if options.get("batch_first"):
        return on_tokens(nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8)))
    layers = {"embed": nn.Embedding(11, 8), "body": nn.TransformerEncoder(layer, 2), "head": nn.Linear(8, 5)}
    return Calls(lambda self, x: self.head(self.body(self.embed(x).transpose(0, 1)).mean(0)), **layers)


def twice():
    def function(self, x):
        return self.head(self.norm(torch.tanh(self.norm(self.first(x)))))

    return Calls(function, first=nn.Linear(6, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 5))


def shared():
    norm = nn.LayerNorm(8)
    return on_vectors(norm, nn.Tanh(), nn.Linear(8, 8), norm)


def tied():
    network = on_vectors(nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 8), nn.LayerNorm(8))
    network[4].weight = network[1].weight
    return network


def frames():
    """A video's frames are rows of their own."""
    layers = {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "head": nn.Linear(4, 5)}

    def function(self, x):
        rows = self.norm(self.conv(x.flatten(0, 1)))
        return self.head(torch.tanh(rows).mean((2, 3)).unflatten(0, x.shape[:2]).amax(1))

    return Calls(function, **layers)


def not_alone():
    """Fails on a single sample."""

    def function(self, x):
        return self.head(self.norm(self.first(x)).squeeze()).reshape(len(x), 5 if len(x) > 1 else 7)

    return Calls(function, first=nn.Linear(6, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 5))


def compiled_part():
    network = on_images(nn.BatchNorm2d(4), nn.ReLU())
    network[0] = torch.compile(nn.Sequential(network[0], nn.BatchNorm2d(4)), backend="eager")
    return network


IMAGES, VECTORS, TOKENS = (3, 3, 7, 7), (3, 6), (3, 4)
# Network, shape of the inputs, and how many layers take part; all that normalise.
WORKING = {
    "torchvision's block": (lambda: on_images(nn.BatchNorm2d(4), Residual(4)), IMAGES, 3),
    "in place": (lambda: on_images(nn.BatchNorm2d(4), nn.SiLU(inplace=True)), IMAGES, 1),
    "pre-activation": (lambda: on_images(PreActivation(4), PreActivation(4)), IMAGES, 2),
    "reentrant": (lambda: on_images(nn.BatchNorm2d(4), Residual(4, reentrant)), IMAGES, 3),
    "not reentrant": (lambda: on_images(Residual(4, not_reentrant)), IMAGES, 2),
    "called twice": (twice, VECTORS, 1),
    "shared": (shared, VECTORS, 1),
    "tied": (tied, VECTORS, 2),
    "batch 1d": (lambda: on_vectors(nn.BatchNorm1d(8)), VECTORS, 1),
    "batch 1d of sequences": (lambda: on_tokens(nn.BatchNorm1d(4)), TOKENS, 1),
    "batch 3d": (lambda: on_volumes(nn.BatchNorm3d(4)), (3, 2, 4, 4, 4), 1),
    "layer": (lambda: on_tokens(nn.LayerNorm(8), nn.GELU(), nn.LayerNorm(8, bias=False)), TOKENS, 2),
    "layer, three axes": (lambda: on_images(nn.LayerNorm((4, 5, 5)), nn.ReLU()), IMAGES, 1),
    "layer of channels": (lambda: on_images(LayerNorm2d(4)), IMAGES, 1),
    "group": (lambda: on_images(nn.GroupNorm(2, 4), nn.ReLU()), IMAGES, 1),
    "instance": (lambda: on_images(nn.InstanceNorm2d(4, affine=True), nn.ReLU()), IMAGES, 1),
    "RMS": (lambda: on_tokens(nn.RMSNorm(8)), TOKENS, 1),
    "Llama's": (lambda: on_tokens(LlamaRMSNorm(8)), TOKENS, 1),
    "Gemma's": (lambda: on_tokens(LlamaRMSNorm(8, unit=1.0)), TOKENS, 1),
    "frozen": (lambda: on_images(FrozenBatchNorm2d(4), nn.ReLU()), IMAGES, 1),
    "timm's": (lambda: on_images(BatchNormAct2d(4), nn.Conv2d(4, 4, 2), BatchNormAct2d(4)), IMAGES, 2),
    "other names": (lambda: on_images(ChannelNorm(4)), IMAGES, 1),
    "encoder": (lambda: encoder(batch_first=True), TOKENS, 5),
    "encoder, samples second": (encoder, TOKENS, 4),
    "encoder, norm first": (lambda: encoder(batch_first=True, norm_first=True), TOKENS, 5),
    "frames": (frames, (3, 2, 3, 7, 7), 1),
    "not of one sample": (not_alone, VECTORS, 1),
    "compiled": (lambda: torch.compile(on_images(nn.BatchNorm2d(4)), backend="eager"), IMAGES, 1),
    "a compiled part": (compiled_part, IMAGES, 2),
    "parallel": (lambda: nn.DataParallel(on_images(nn.BatchNorm2d(4), nn.ReLU())), IMAGES, 1),
    "a graph": (lambda: torch.fx.symbolic_trace(on_images(nn.BatchNorm2d(4), nn.ReLU())), IMAGES, 1),
}


def posed(make, shape, dtype=torch.float64):
    """A network with a past, in eval mode, and inputs."""
    torch.manual_seed(0)
    network = make()
    x = torch.randint(11, shape) if shape == TOKENS else torch.randn(shape)
    with torch.no_grad():
        network.eval()(x)
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if ("norm" in name or tensor.ndim == 1) and tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    network = network.to(dtype)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return LogitsModule(network), x if shape == TOKENS else x.to(dtype)


def moved(layers, dtype=torch.float64):
    perturbation = NormPerturbation(layers).to(dtype)
    with torch.no_grad():
        for parameter in perturbation.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).to(dtype))
    return perturbation


def losses(head, x, perturbation, rows=None):
    y = torch.arange(len(x)) % 3
    with features_clamped(head, perturbation, rows):
        each = F.cross_entropy(head(x), y, reduction="none")
        if rows is not None:
            each.sum().backward()
        return each


@pytest.mark.parametrize("name", WORKING)
def test_gradients_per_sample_and_weights_anew(name):
    head, x = posed(*WORKING[name][:2])
    before = snapshot(head)
    layers, left_out = find_norm_layers(head, x, {})
    assert (len(layers), left_out) == (WORKING[name][2], {})
    perturbation, private = moved(layers), private_copy(head)
    n_parameters = sum(p.numel() for p in perturbation.parameters())
    rows = torch.zeros(len(x), n_parameters, dtype=torch.float64, requires_grad=True)
    losses(private, x, perturbation, rows)
    with torch.no_grad():
        values = torch.cat([perturbation.gain, perturbation.offset])

        def at(values):
            perturbation.gain.copy_(values[: len(perturbation.gain)])
            perturbation.offset.copy_(values[len(perturbation.gain) :])
            return losses(private, x, perturbation)

        steps = 1e-5 * torch.eye(len(values), dtype=torch.float64)
        slopes = [(at(values + step) - at(values - step)) / 2e-5 for step in steps]
        torch.testing.assert_close(rows.grad, torch.stack(slopes, 1), rtol=1e-6, atol=1e-8)
        at(values)
        folded = with_features_clamped(head, perturbation)
        with features_clamped(private, perturbation):
            hooked = private(x)
        torch.testing.assert_close(folded(x), hooked, rtol=0, atol=1e-10)
        assert (hooked - head(x)).abs().max() > 1e-3
    assert snapshot(head) == before


class WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        return 0 * gradient


def lends():
    """A norm whose weight multiplies something else as well."""

    def function(self, x):
        return self.head(torch.tanh(self.norm(self.first(x))) * self.norm.weight)

    return Calls(function, first=nn.Linear(6, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 5))


def unreached():
    return Calls(lambda self, x: self.body(x), body=on_vectors(nn.LayerNorm(8)), norm=nn.LayerNorm(8))


def fails_backward():
    """What a function of torch's own can't be run backward through, in place."""

    def function(self, x):
        h = torch.exp(self.norm(self.first(x)))
        out = self.head(h)
        h.zero_()
        return out + self.head(h)

    return Calls(function, first=nn.Linear(6, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 5))


def locked():
    network = on_vectors(nn.LayerNorm(8))
    network.lock = threading.Lock()
    return network


class AlwaysTraining(nn.BatchNorm1d):
    """Uses the batch's statistics in eval too, and notes them."""

    def train(self, mode=True):
        return nn.Module.train(self, True)


class AlwaysTraining2d(nn.BatchNorm2d):
    train = AlwaysTraining.train


def coupled(norm):
    return on_vectors(nn.LayerNorm(8), nn.Linear(8, 8), norm, nn.Tanh(), nn.Linear(8, 8))


def pool_of_rows():
    """Rows of the samples' windows, those of the first window first."""

    def function(self, x):
        rows = self.norm(x.transpose(0, 1).reshape(-1, 6))
        return self.head(torch.tanh(rows).unflatten(0, (-1, len(x))).mean(0))

    return Calls(function, norm=nn.LayerNorm(6), head=nn.Linear(6, 5))


LEFT_OUT = {
    "without affine": (lambda: on_vectors(nn.LayerNorm(8, elementwise_affine=False)), "NO_WEIGHT"),
    "unreached": (unreached, "UNREACHED"),
    # torch deprecates TorchScript, but people have networks of it, whose parts can't be copied one by one.
    "scripted": (lambda: torch.jit.script(on_vectors(nn.LayerNorm(8))), "NO_WEIGHT"),
    "not affine": (lambda: on_vectors(GatedNorm(8)), "NOT_AFFINE"),
    "lends its weight": (lends, "SHARED"),
    "without gradient": (
        lambda: on_vectors(nn.LayerNorm(8), Calls(lambda _, x: WithoutGradient.apply(x))),
        "NO_GRADIENT",
    ),
    "fails backward": (fails_backward, "FAILS"),
    "can't be copied": (locked, "FAILS"),
    "batch statistics": (lambda: coupled(nn.BatchNorm1d(8, track_running_stats=False)), "COUPLED"),
    "batch statistics, noted": (lambda: coupled(AlwaysTraining(8)), "COUPLED"),
    "batch statistics of images": (lambda: on_images(nn.BatchNorm2d(4), AlwaysTraining2d(4)), "COUPLED"),
    "quantised": (
        lambda: quantised(on_vectors(nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8)).eval()),
        "NO_GRADIENT",
    ),
    "random": (lambda: on_vectors(nn.LayerNorm(8), Calls(lambda _, x: F.dropout(x, 0.5))), "COUPLED"),
    "rows in another order": (pool_of_rows, "COUPLED"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_others_are_left_out_with_a_word(name):
    make, reason = LEFT_OUT[name]
    head, x = posed(make, (3, 4, 6) if "rows" in name else IMAGES if "images" in name else VECTORS, torch.float32)
    before = snapshot(head)
    layers, left_out = find_norm_layers(head, x, {})
    assert {layer.name for layer in layers}.isdisjoint(left_out)
    assert LayerReason[reason] in left_out.values()
    assert snapshot(head) == before


def transformer(name):
    """A small random network of Hugging Face's, and what it takes by name."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    of_family = {
        "Bert": {"vocab_size": 50},
        "ViT": {"image_size": 8, "patch_size": 4},
        "Llama": {"vocab_size": 50, "num_key_value_heads": 2, "pad_token_id": 0},
        "Gemma": {"vocab_size": 50, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0},
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(num_labels=5, **sizes, **of_family[name])
    task = "Image" if name == "ViT" else "Sequence"
    network = getattr(transformers, f"{name}For{task}Classification")(config).eval().double().requires_grad_(False)
    if name == "ViT":
        return LogitsModule(network), {"pixel_values": torch.randn(3, 3, 8, 8, dtype=torch.float64)}
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]])
    return LogitsModule(network), {"input_ids": torch.randint(3, 50, (3, 6)), "attention_mask": mask}


@pytest.mark.parametrize("name", ["Bert", "ViT", "Llama", "Gemma"])
def test_transformers_with_inputs_by_name(name):
    head, others = transformer(name)
    layers, left_out = find_norm_layers(head, None, others)
    assert (len(layers), left_out) == (5, {})
    assert {layer.unit for layer in layers} == {float(name == "Gemma")}
    perturbation, private = moved(layers), private_copy(head)
    with torch.no_grad(), features_clamped(private, perturbation):
        hooked = private(None, **others)
    with torch.no_grad():
        folded = with_features_clamped(head, perturbation)(None, **others)
    # Gemma's norm computes in float32.
    torch.testing.assert_close(folded, hooked, rtol=0, atol=1e-6 if name == "Gemma" else 1e-10)


def places(network):
    return {name: tensor.data_ptr() for name, tensor in [*network.named_parameters(), *network.named_buffers()]}


@pytest.mark.parametrize("name", ["torchvision's block", "frozen", "Gemma's", "parallel", "compiled"])
def test_all_but_the_vectors_is_shared(name):
    head, x = posed(*WORKING[name][:2])
    layers, _ = find_norm_layers(head, x, {})
    folded = with_features_clamped(head, moved(layers))
    before, after = places(head), places(folded)
    assert before.keys() == after.keys()
    parts = dict(head.named_modules())
    n_vectors = sum(1 + layer.has_offset for layer in layers)
    assert sum(before[place] != after[place] for place in before) == n_vectors
    assert [type(part) for part in folded.modules()] == [type(part) for part in parts.values()]
    assert not any(part._forward_hooks for part in folded.modules())


@HOW
@pytest.mark.parametrize("name", ["timm's", pytest.param("encoder", marks=pytest.mark.slow)])
def test_exports_as_the_network_does(name, how, tmp_path):
    head, x = posed(*WORKING[name][:2], torch.float32)
    folded = with_features_clamped(head, moved(find_norm_layers(head, x, {})[0], torch.float32))
    check_the_same(folded, torch.cat([x, x]), how, tmp_path)


def test_another_network_is_refused_by_name():
    head, x = posed(*WORKING["layer"][:2])
    perturbation = moved(find_norm_layers(head, x, {})[0])
    for other in ("RMS", "torchvision's block"):
        with pytest.raises(ValueError, match="estimator must have a layer '1' with a weight of shape"):
            with_features_clamped(posed(*WORKING[other][:2])[0], perturbation)
