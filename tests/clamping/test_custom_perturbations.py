"""Perturbations of a user's own, and inputs of any shape."""

import numpy as np
import pytest
import torch
from _problems import moved
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn

from skclamp import NeuralClampingCalibrator
from skclamp.perturbations import AffinePerturbation


class Flattens(nn.Module):
    """Any shape in, the logits of a linear layer out."""

    def __init__(self, shape):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(int(np.prod(shape)), 3)

    def forward(self, x):
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("shape", [(600,), (1, 4, 4), (2, 3, 3, 2, 2)])
def test_auto_takes_inputs_of_any_shape(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, *shape)).astype(np.float32)
    network = Flattens(shape).eval()
    calibrator = NeuralClampingCalibrator(network, random_state=0).fit(x, labels_of(bare_logits(network, x)))
    assert np.isfinite(calibrator.predict_proba(x)).all()


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
