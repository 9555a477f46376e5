"""Compiled, exported, parallel, quantised and scripted networks: the plain network's result, or why there is none."""

import copy

import numpy as np
import pytest
import torch
from _quantised import quantised, torchao
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron, vectors
from sklearn.base import clone
from torch import fx, nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining, VectorScaling

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*:DeprecationWarning"),
    # Torch's own, where it scripts, exports, copies and compiles.
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    # What it says of the quantised, before we say what to do instead.
    pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered:UserWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


def exported(network, x):
    batch = torch.export.Dim("batch", min=16, max=4096)
    return torch.export.export(network, (x,), dynamic_shapes=({0: batch},)).module()


def exported_in_int8(network, x):
    """Convolutions too, which torchao quantises in what torch.export gives."""
    pt2e = torchao("quantization.pt2e.quantize_pt2e")
    x86 = torchao("quantization.pt2e.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = pt2e.prepare_pt2e(exported(network, x), quantizer)
    prepared(x)
    return pt2e.convert_pt2e(prepared)


def compiled_in_place(network, x):
    network.compile(backend="eager")
    return network


# Each takes a network and some inputs.
SAME = {
    "compiled": lambda network, x: torch.compile(network, backend="eager"),
    "compiled in place": compiled_in_place,
    "a compiled part": lambda network, x: nn.Sequential(torch.compile(network[0], backend="eager"), *network[1:]),
    "exported": exported,
    "symbolically traced": lambda network, x: fx.symbolic_trace(network),
    "parallel": lambda network, x: nn.DataParallel(network),
    # torch deprecates TorchScript, but people have files of it, and torch.jit.load gives them such a network.
    "scripted and frozen": lambda network, x: torch.jit.freeze(torch.jit.script(network)),
}
WRAPPED = {
    "compiled": SAME["compiled"],
    "parallel": SAME["parallel"],
    "compiled and parallel": lambda network, x: nn.DataParallel(torch.compile(network, backend="eager")),
}
# For what no gradient comes back through.
OTHER = {
    "int8": lambda network, x: quantised(network),
    "exported, int8": exported_in_int8,
}
PROBLEMS = {"images": (convolutional, images(300)), "vectors": (perceptron, vectors(300))}
SETTINGS = {
    "temperature": (TemperatureScaling, {}),
    # What torch has traced hides its layers from a clamp of features.
    "natural": (
        NeuralClampingCalibrator,
        {"perturbation": "affine", "output": None, "random_state": 0},
    ),
    "adam": (
        NeuralClampingCalibrator,
        {
            "perturbation": "full",
            "training": TorchTraining(),
            "max_epochs": 2,
            "validation_fraction": None,
            "random_state": 0,
        },
    ),
}


class Posed:
    """A plain network and what it is calibrated on, shifted: something is to be won."""

    def __init__(self, problem):
        make, X = PROBLEMS[problem]
        self.network = make()
        self.y = labels_of(bare_logits(self.network, X))
        self.X = 0.5 * X + 0.8

    def unusual(self, wrap):
        """A copy of the network in another form."""
        torch.compiler.reset()
        return wrap(copy.deepcopy(self.network), torch.as_tensor(self.X[:32]))


@pytest.fixture(scope="module", params=PROBLEMS)
def posed(request):
    return Posed(request.param)


@pytest.fixture(scope="module")
def plain(posed):
    """Calibrators of the plain network by name."""
    return {name: kind(posed.network, **options).fit(posed.X, posed.y) for name, (kind, options) in SETTINGS.items()}


every_form = pytest.mark.parametrize(
    "form", [name if name in ("compiled", "exported") else pytest.param(name, marks=pytest.mark.slow) for name in SAME]
)


@pytest.mark.parametrize("settings", ["temperature", "natural"])
@every_form
def test_other_forms_of_a_network_give_its_result(posed, plain, form, settings):
    kind, options = SETTINGS[settings]
    network = posed.unusual(SAME[form])
    found = kind(network, **options).fit(posed.X, posed.y)
    expected = plain[settings]
    np.testing.assert_allclose(found.predict_log_proba(posed.X), expected.predict_log_proba(posed.X), atol=2e-5)
    assert getattr(found, "accepted_", None) == getattr(expected, "accepted_", None)
    assert clone(found).estimator is network
    assert len(repr(found)) < 250


@every_form
def test_the_deployed_module_runs_around_other_forms(posed, plain, form):
    options = SETTINGS["adam"][1]
    network = posed.unusual(SAME[form])
    module = NeuralClampingCalibrator(network, **options).fit(posed.X, posed.y).module_.eval()
    x = torch.as_tensor(posed.X)
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain["adam"].module_.eval()(x), rtol=0, atol=2e-5)
    assert not module.train().logits.training


@pytest.mark.parametrize("form", WRAPPED)
def test_other_forms_are_folded(form):
    posed = Posed("vectors")
    fitted = NeuralClampingCalibrator(posed.unusual(WRAPPED[form]), **SETTINGS["adam"][1]).fit(posed.X, posed.y)
    x = torch.as_tensor(posed.X)
    with torch.no_grad():
        torch.testing.assert_close(fitted.module_.fold()(x), fitted.module_.eval()(x), rtol=0, atol=1e-4)


def test_scripts_keep_their_mode(posed):
    network = posed.unusual(lambda network, x: torch.jit.script(network)).train()
    TemperatureScaling(network).fit(posed.X, posed.y)
    assert network.training


# Quantised networks


@pytest.mark.parametrize("form", OTHER)
def test_output_maps_take_quantised_networks_for_what_they_say(form):
    posed = Posed("images")
    network = posed.unusual(OTHER[form])
    with torch.no_grad():
        logits = network(torch.as_tensor(posed.X)).double().numpy()
    for kind in (TemperatureScaling, VectorScaling):
        found, expected = kind(network, batch_size=300).fit(posed.X, posed.y), kind().fit(logits, posed.y)
        np.testing.assert_allclose(found.predict_proba(posed.X), expected.predict_proba(logits), rtol=0, atol=1e-5)
    assert NeuralClampingCalibrator(network, perturbation=None).fit(posed.X, posed.y).temperature_ > 0


@pytest.mark.parametrize("form", OTHER)
def test_clamping_says_why_not_and_what_instead(form):
    posed = Posed("images")
    network = posed.unusual(OTHER[form])
    with pytest.raises(ValueError, match="differentiable operations: .* missing. Use TemperatureScaling; or clamp the"):
        NeuralClampingCalibrator(network, random_state=0).fit(posed.X, posed.y)


def test_weights_alone_may_be_quantised():
    posed = Posed("vectors")
    network = quantised(posed.network, "Int8WeightOnlyConfig")
    plain = copy.deepcopy(posed.network)
    for mine, its in zip(plain[::2], network[::2], strict=True):
        mine.weight = nn.Parameter(its.weight.dequantize())
    found, expected = (
        NeuralClampingCalibrator(each, **SETTINGS["natural"][1]).fit(posed.X, posed.y) for each in (network, plain)
    )
    assert found.accepted_
    np.testing.assert_allclose(found.predict_proba(posed.X), expected.predict_proba(posed.X), rtol=0, atol=1e-5)
