"""Every family of perturbations: a new one is a row in `FITTING`, and its formula one in `BY_HAND`."""

import pytest
import torch
from _families import PERTURBATIONS
from _problems import moved
from _templates import template
from torch import nn

from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.perturbations import FilterPerturbation, GridPerturbation

SHAPES = {"vector": (5,), "sequence": (3, 9), "image": (3, 8, 7), "volume": (2, 4, 5, 6)}
FITTING = {
    "full": SHAPES,
    "channel": SHAPES,
    "affine": SHAPES,
    "curve": SHAPES,
    "color": {"sequence", "image", "volume"},
    "filter": {"sequence", "image"},
    "grid": {"sequence", "image"},
    "to copy": SHAPES,
}
COPIED = {"to copy": template("family_full").GammaPerturbation}
FAMILIES = {**PERTURBATIONS, **COPIED}
PAIRS = [(name, shape) for name in FAMILIES for shape in SHAPES]


def batch(shape, n_samples=4):
    return torch.randn(n_samples, *SHAPES[shape], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "shape"), PAIRS)
def test_each_family_keeps_its_promises_on_the_shapes_that_it_takes(name, shape):
    """It starts as the identity, keeps shapes, treats samples alike, has gradients, and float32 for half precision."""
    if shape not in FITTING[name]:
        with pytest.raises(ValueError, match=f"perturbation='{name}' needs a channel axis and .* got inputs"):
            FAMILIES[name](SHAPES[shape])
        return
    perturbation, x = FAMILIES[name](SHAPES[shape]), batch(shape)
    torch.testing.assert_close(perturbation(x), x, rtol=0, atol=1e-6)
    (perturbation(x) * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    assert all(parameter.grad.any() for parameter in perturbation.parameters())
    out = moved(perturbation, 0.3)(x)
    assert out.shape == x.shape
    assert (out - x).abs().max() > 0.01
    for i in range(len(x)):
        torch.testing.assert_close(perturbation(x[i : i + 1])[0], out[i])
    half = perturbation(x.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, perturbation(x.bfloat16().float()))


def filtered(module, x):
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return nn.functional.conv2d(padded, module.weight, groups=3) + module.offset


def enlarged(cells, x):
    return nn.functional.interpolate(cells, x.shape[2:], mode="bilinear")


BY_HAND = {
    "full": lambda module, x: x + module.delta,
    "channel": lambda module, x: x + module.offset.view(3, 1, 1),
    "affine": lambda module, x: module.gain.view(3, 1, 1) * x + module.offset.view(3, 1, 1),
    "curve": lambda module, x: module.bend * x**2 + module.gain * x + module.offset,
    "color": lambda module, x: (module.matrix @ x.flatten(2)).view_as(x) + module.offset,
    "filter": filtered,
    "grid": lambda module, x: enlarged(module.gain, x) * x + enlarged(module.offset, x),
}


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_does_what_its_formula_says(name):
    perturbation, x = moved(PERTURBATIONS[name](SHAPES["image"]), 0.3), batch("image")
    torch.testing.assert_close(perturbation(x), BY_HAND[name](perturbation, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [*PERTURBATIONS, None])
def test_a_calibrator_tells_what_it_adds_where_it_does_nothing_else(family):
    x = torch.randn(200, 3, 8, 7, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(168, 4))
    options = {
        "validation_fraction": None,
        "max_epochs": 1,
        "training": TorchTraining(optimizer="sgd"),
        "random_state": 0,
    }
    calibrator = NeuralClampingCalibrator(network, perturbation=family, **options).fit(x, torch.arange(200) % 4)
    assert hasattr(calibrator, "delta_") == (family in ("full", "channel", None))
    if hasattr(calibrator, "delta_"):
        perturbed = x if family is None else calibrator.perturbation_(x).detach()
        assert calibrator.delta_.any() == (family is not None)
        torch.testing.assert_close(perturbed, x + torch.from_numpy(calibrator.delta_))


@pytest.mark.parametrize(
    ("family", "rule"),
    [
        (FilterPerturbation, "size must be odd and at most the input's 7 entries; got {}"),
        (GridPerturbation, "size must be at least 1 and no larger than the input's 7 entries; got {}"),
    ],
)
def test_sizes_must_fit(family, rule):
    for size in (0, 8, -1, *([2, 9] if family is FilterPerturbation else [])):
        with pytest.raises(ValueError, match=rule.format(size)):
            family((3, 8, 7), size=size)
    assert family((3, 8, 7), size=1)(batch("image")).shape == (4, 3, 8, 7)
