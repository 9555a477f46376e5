"""A network's inputs may be called what our own forwards call theirs."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining, compare_calibrators
from skclamp.modules import ClampedModule

PLAIN, IMAGES = convolutional(), images(120)
Y = labels_of(bare_logits(PLAIN, IMAGES), 1.0)


class Product(nn.Module):
    """A network of two inputs."""

    def forward(self, first, second):
        return PLAIN(first * second)


class OurNames(Product):
    """The same, whose inputs are called as parameters of our own are."""

    def forward(self, x, temperature):
        return super().forward(x, temperature)


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.parametrize(("key", "usual"), [("x", "first"), ("temperature", "second")])
def test_inputs_may_have_names_of_ours(key, usual):
    values = IMAGES, np.full_like(IMAGES, 0.5)
    X, same = dict(zip(("x", "temperature"), values, strict=True)), dict(zip(("first", "second"), values, strict=True))
    scaled = TemperatureScaling(OurNames()).fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(scaled, TemperatureScaling(Product()).fit(same, Y).predict_proba(same))
    compared = compare_calibrators(OurNames(), X, Y, X, Y, calibrators=[TemperatureScaling()])
    np.testing.assert_array_equal(compared.calibrators["TemperatureScaling"].predict_proba(X), scaled)
    for options in (
        {"perturbation": "channel"},
        {"perturbation": "full", "training": TorchTraining(), "max_epochs": 1},
    ):
        options |= {"validation_fraction": None, "random_state": 0}
        clamped = NeuralClampingCalibrator(OurNames(), input_key=key, **options).fit(X, Y)
        expected = NeuralClampingCalibrator(Product(), input_key=usual, **options).fit(same, Y)
        np.testing.assert_array_equal(clamped.predict_proba(X), expected.predict_proba(same))
        with torch.no_grad():
            deployed = clamped.module_.eval()(**{name: torch.from_numpy(each) for name, each in X.items()})
        np.testing.assert_allclose(deployed.softmax(1), clamped.predict_proba(X), rtol=0, atol=1e-6)


def test_the_input_that_comes_first_may_be_called_x():
    x = torch.from_numpy(IMAGES[:3])
    assert torch.equal(ClampedModule(PLAIN)(x=x), ClampedModule(PLAIN)(x))
