"""The passes that a search takes where there is nothing to find."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skclamp import NeuralClampingCalibrator
from skclamp.datasets import load_fogged_digits

DATA = load_fogged_digits(fog=0)
IMAGES, LABELS = np.concatenate([DATA.X_cal, DATA.X_test]), np.concatenate([DATA.y_cal, DATA.y_test])


def draw(seed, n=500):
    rows = np.random.default_rng(seed).permutation(len(LABELS))[:n]
    return IMAGES[rows], LABELS[rows]


@pytest.mark.parametrize("seed", [0, 4, 8])
def test_clear_digits_are_not_searched(seed):
    """Families that a half of the samples is too few for promise nothing that a search could try."""
    calibrator = NeuralClampingCalibrator(DATA.network, random_state=seed).fit(*draw(seed))
    assert not calibrator.accepted_
    assert calibrator.cost_["forward"] <= 3
    assert calibrator.cost_["backward"] <= 1.5
    assert "grid" in calibrator.verdict_.not_tried


class Dropping(nn.Module):
    """The network of the digits, with dropout that is on whatever the mode."""

    def __init__(self):
        super().__init__()
        self.body, self.last = DATA.network[:-1], DATA.network[-1]

    def forward(self, x):
        return self.last(F.dropout(self.body(x), 0.3, training=True))


def test_a_random_network_is_not_searched():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with pytest.warns(match="dropout"):
            calibrator = NeuralClampingCalibrator(Dropping().eval(), random_state=0).fit(*draw(0))
    assert not calibrator.accepted_
    assert calibrator.cost_["backward"] == 0
    assert "random" in calibrator.verdict_.reason


def test_as_many_samples_as_parameters_are_screened_as_others_are():
    """Inner products of so many gradients have the shape of the gradients themselves."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 4))
    X = torch.randn(128, 128)
    with torch.no_grad():
        network[-1].weight.mul_(20)
        y = torch.distributions.Categorical(logits=network(X)).sample().numpy()
    shifted = (0.5 * X + 0.5).numpy()
    calibrator = NeuralClampingCalibrator(network, random_state=0).fit(shifted, y)
    assert calibrator.cost_["backward"] > 1
