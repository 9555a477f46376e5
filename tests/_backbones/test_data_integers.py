"""Integer inputs on a stated scale: the same as the floating-point ones, at a quarter of the memory."""

import functools

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, labels_of
from torch import nn
from torch.utils.data import Dataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining

N_SAMPLES = 200
SCALE = 1 / 64
BYTES = np.random.default_rng(0).integers(256, size=(N_SAMPLES, 3, 8, 8)).astype(np.uint8)
FLOATS = BYTES.astype(np.float32) * np.float32(SCALE)
NETWORK = convolutional()
# Of images that the network sees brighter than they were.
Y = labels_of(bare_logits(NETWORK, FLOATS - 2), 1.0)

CALIBRATORS = {
    "temperature": TemperatureScaling,
    "natural": lambda network, **options: NeuralClampingCalibrator(network, output=None, random_state=0, **options),
    "Adam": lambda network, **options: NeuralClampingCalibrator(
        network,
        perturbation="full",
        training=TorchTraining(),
        max_epochs=2,
        validation_fraction=None,
        random_state=0,
        **options,
    ),
    "search": lambda network, **options: NeuralClampingCalibrator(
        network, perturbation="channel", gamma="auto", random_state=0, **options
    ),
}


class Items(Dataset):
    def __len__(self):
        return N_SAMPLES

    def __getitem__(self, index):
        return BYTES[index], int(Y[index])


@functools.cache
def of_floats(name):
    return CALIBRATORS[name](NETWORK).fit(FLOATS, Y)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("temperature", "array"), ("temperature", "tensor"), ("temperature", "int64"), ("natural", "array")]
    + [(name, "Dataset") for name in CALIBRATORS],
)
def test_integers_are_the_floats_that_they_stand_for(name, kind):
    X = {"array": BYTES, "tensor": torch.from_numpy(BYTES), "int64": BYTES.astype(np.int64), "Dataset": Items()}[kind]
    expected = of_floats(name)
    assert getattr(expected, "accepted_", True)
    calibrator = CALIBRATORS[name](NETWORK, integer_scale=SCALE).fit(X, None if kind == "Dataset" else Y)
    proba = expected.predict_proba(FLOATS)
    for same in (X, FLOATS):
        np.testing.assert_array_equal(calibrator.predict_proba(same), proba)


def test_the_module_takes_the_floats():
    calibrator = CALIBRATORS["natural"](NETWORK, integer_scale=SCALE).fit(BYTES, Y)
    with torch.no_grad():
        deployed = calibrator.module_.eval()(torch.from_numpy(FLOATS)).softmax(1)
    np.testing.assert_allclose(calibrator.predict_proba(BYTES), deployed, rtol=0, atol=1e-6)


def test_the_networks_own_precision_counts():
    network = convolutional().double()
    doubles = BYTES * SCALE
    expected = TemperatureScaling(network).fit(doubles, Y).predict_proba(doubles)
    calibrator = TemperatureScaling(network, integer_scale=SCALE).fit(BYTES, Y)
    np.testing.assert_array_equal(calibrator.predict_proba(BYTES), expected)


class Paired(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = convolutional()
        self.embedding = nn.Embedding(5, 4)

    def forward(self, pixels, tokens):
        return self.network(pixels) + self.embedding(tokens).sum(1)


@pytest.mark.parametrize("name", ["temperature", "natural"])
def test_entries_have_scales_of_their_own(name):
    network = Paired().eval()
    tokens = np.random.default_rng(1).integers(5, size=(N_SAMPLES, 2))
    key = {} if name == "temperature" else {"input_key": "pixels"}
    floats, integers = ({"pixels": pixels, "tokens": tokens} for pixels in (FLOATS, BYTES))
    expected = CALIBRATORS[name](network, **key).fit(floats, Y).predict_proba(floats)
    calibrator = CALIBRATORS[name](network, integer_scale={"pixels": SCALE}, **key).fit(integers, Y)
    np.testing.assert_array_equal(calibrator.predict_proba(integers), expected)
    assert calibrator.integer_scale == {"pixels": SCALE}


@pytest.mark.parametrize("make", [TemperatureScaling, NeuralClampingCalibrator])
@pytest.mark.parametrize("X", [BYTES, BYTES.astype(np.int64), Items()], ids=["bytes", "int64", "Dataset"])
@pytest.mark.parametrize("scale", [None, {"pixels": SCALE}])
def test_images_of_integers_need_a_scale(make, X, scale):
    with pytest.raises(TypeError, match=r"X must hold floating-point inputs .*got torch.*integer_scale=1 / 255"):
        make(NETWORK, integer_scale=scale).fit(X, Y)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (0, ValueError, "integer_scale"),
        (-0.5, ValueError, "integer_scale"),
        ("1/255", ValueError, "integer_scale"),
        ({"pixels": 0}, ValueError, r"integer_scale\['pixels'\] must be .*; got 0"),
        ({"pixels": None}, TypeError, r"integer_scale\['pixels'\] must be .*; got None"),
    ],
)
def test_bad_scales(scale, error, message):
    with pytest.raises(error, match=message):
        TemperatureScaling(NETWORK, integer_scale=scale).fit(BYTES, Y)


class ByName(nn.Module):
    """Takes images by name."""

    def __init__(self):
        super().__init__()
        self.network = NETWORK

    def forward(self, pixels, shift=None):
        return self.network(pixels if shift is None else pixels + shift)


@pytest.mark.parametrize(
    ("scale", "rule"),
    [
        (
            SCALE,
            r"integer_scale must be a dict of scales by entry where X has several, 'pixels', 'shift'; got 0.015625",
        ),
        ({"pixel": SCALE}, "integer_scale must name entries of X, 'pixels', 'shift'; got 'pixel'"),
    ],
)
def test_a_scale_of_nobody_knows_what_is_refused(scale, rule):
    X = {"pixels": BYTES, "shift": np.zeros((N_SAMPLES, 3, 8, 8), np.float32)}
    with pytest.raises(ValueError, match=rule):
        TemperatureScaling(ByName(), integer_scale=scale).fit(X, Y)
