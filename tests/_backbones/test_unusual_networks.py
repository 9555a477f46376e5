"""Compiled, scripted, exported, parallel and quantised networks: the plain network's result, or why there is none."""

import copy

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron, snapshot, vectors
from sklearn.base import clone
from torch import fx, nn

import skclamp
from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining, VectorScaling
from skclamp.exceptions import ForwardError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, .* are deprecated:UserWarning"),
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


def compiled_in_place(network, x):
    network.compile(backend="eager")
    return network


# Each takes a network and some inputs.
SAME = {
    "compiled": lambda network, x: torch.compile(network, backend="eager"),
    "compiled in place": compiled_in_place,
    "a compiled part": lambda network, x: nn.Sequential(torch.compile(network[0], backend="eager"), *network[1:]),
    "scripted": lambda network, x: torch.jit.script(network),
    "traced": lambda network, x: torch.jit.trace(network, x),
    "scripted and frozen": lambda network, x: torch.jit.freeze(torch.jit.script(network)),
    "exported": exported,
    "symbolically traced": lambda network, x: fx.symbolic_trace(network),
    "parallel": lambda network, x: nn.DataParallel(network),
}
WRAPPED = {
    "compiled": SAME["compiled"],
    "parallel": SAME["parallel"],
    "compiled and parallel": lambda network, x: nn.DataParallel(torch.compile(network, backend="eager")),
}
# For what no gradient comes back through.
OTHER = {
    "int8": lambda network, x: torch.ao.quantization.quantize_dynamic(network, {nn.Linear}),
    "float16": lambda network, x: torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.float16),
    "optimised for inference": lambda network, x: torch.jit.optimize_for_inference(torch.jit.script(network)),
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
    "form", [name if name in ("compiled", "traced") else pytest.param(name, marks=pytest.mark.slow) for name in SAME]
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


def test_something_is_kept_so_that_agreement_says_something(posed, plain):
    assert plain["adam"].accepted_
    assert plain["natural"].accepted_ or posed.X.ndim == 2


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


@pytest.mark.parametrize("form", WRAPPED)
def test_what_was_saved_fits_the_plain_network(form, tmp_path):
    pytest.importorskip("safetensors")
    posed = Posed("vectors")
    fitted = TemperatureScaling(posed.unusual(WRAPPED[form])).fit(posed.X, posed.y)
    fitted.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved", posed.network)
    np.testing.assert_allclose(loaded.predict_proba(posed.X), fitted.predict_proba(posed.X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["scripted", "traced", "scripted and frozen", "exported"])
def test_what_was_saved_around_another_graph_fits_it_and_on_demand_the_plain_network(form, tmp_path):
    pytest.importorskip("safetensors")
    posed = Posed("vectors")
    network = posed.unusual(SAME[form])
    fitted = TemperatureScaling(network).fit(posed.X, posed.y)
    fitted.save(tmp_path / "saved")
    expected = fitted.predict_proba(posed.X)
    np.testing.assert_array_equal(skclamp.load(tmp_path / "saved", network).predict_proba(posed.X), expected)
    with pytest.raises(ValueError, match="strict=False lets through what is known to give the same logits"):
        skclamp.load(tmp_path / "saved", posed.network)
    loaded = skclamp.load(tmp_path / "saved", posed.network, strict=False)
    np.testing.assert_allclose(loaded.predict_proba(posed.X), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", WRAPPED)
def test_networks_in_wrappers_stay_as_they_were(posed, form):
    network = posed.unusual(WRAPPED[form]).train()
    before = snapshot(network)
    NeuralClampingCalibrator(network, random_state=0).fit(posed.X, posed.y).predict_proba(posed.X)
    assert snapshot(network) == before


@pytest.mark.parametrize("form", ["scripted", "traced"])
def test_scripts_keep_their_mode(posed, form):
    network = posed.unusual(SAME[form]).train()
    TemperatureScaling(network).fit(posed.X, posed.y)
    assert network.training


class Keeps(nn.Module):
    """Layers in lists, each under a name that torch has for a method, beside a normalisation that can be clamped."""

    def __init__(self, network):
        super().__init__()
        self.layers = nn.Sequential(network, nn.LayerNorm(4))
        for name in ("modules", "parameters", "buffers"):
            setattr(self.layers, name, [*network])
            setattr(self, name, [*network])

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("perturbation", ["full", "norm"])
def test_attributes_of_a_network_may_be_called_as_torch_calls_its_methods(perturbation, tmp_path):
    pytest.importorskip("safetensors")
    posed = Posed("vectors")
    plain = nn.Sequential(posed.network, nn.LayerNorm(4)).eval()
    network = Keeps(posed.network).train()
    options = {"perturbation": perturbation, "validation_fraction": None, "output": None, "random_state": 0}
    found, expected = (NeuralClampingCalibrator(of, **options).fit(posed.X, posed.y) for of in (network, plain))
    proba = expected.predict_proba(posed.X)
    np.testing.assert_allclose(found.predict_proba(posed.X), proba, rtol=0, atol=1e-6)
    assert found.accepted_
    found.save(tmp_path / "saved")
    np.testing.assert_allclose(skclamp.load(tmp_path / "saved", network).predict_proba(posed.X), proba, atol=1e-6)
    with pytest.raises(ForwardError, match="the network failed on a batch"):
        TemperatureScaling(network).fit(posed.X[:, 1:], posed.y)


# Networks that no gradient comes back through


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


def test_a_network_clamped_before_it_is_quantised():
    """What the error names instead: the perturbation and T go around the quantised network."""
    posed = Posed("images")
    fitted = NeuralClampingCalibrator(posed.network, **SETTINGS["natural"][1]).fit(posed.X, posed.y)
    small = skclamp.modules.ClampedModule(
        posed.unusual(OTHER["float16"]), fitted.perturbation_, temperature=fitted.temperature_
    ).eval()
    with torch.no_grad():
        proba = small(torch.as_tensor(posed.X)).softmax(1).numpy()
    np.testing.assert_allclose(proba, fitted.predict_proba(posed.X), rtol=0, atol=5e-3)


def test_a_frozen_script_cannot_tell_its_dtype():
    posed = Posed("vectors")
    network = posed.unusual(SAME["scripted and frozen"])
    with pytest.raises(ForwardError, match=r"(?s)the network failed on a batch .* got Double and Float"):
        TemperatureScaling(network).fit(posed.X.astype(np.float64), posed.y)
