"""Networks whose first operation works in place: X stays as it was, and they are clamped as others are."""

import numpy as np
import pytest
import torch
from _small_networks import convolutional, images, labels_of, perceptron, vectors
from torch import nn
from torch.utils.data import Dataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining, compare_calibrators
from skclamp.base import BaseCalibrator, Map

NETWORKS = {"table": (perceptron, vectors(120)), "images": (convolutional, images(120))}


class Named(nn.Module):
    """Takes its input by name."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels, scale):
        return self.network(pixels) * scale.abs_()


class Rows(Dataset):
    """Views of an array's rows."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return torch.from_numpy(self.X)[index]


def posed(kind, *, inplace=True):
    make, X = NETWORKS[kind]
    network = nn.Sequential(nn.LeakyReLU(0.5, inplace=inplace), make()).eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(X).clone())
    return network, X.copy(), labels_of(scores)


def memory_map(X, folder):
    X.tofile(folder / "X")
    return np.memmap(folder / "X", X.dtype, "r", shape=X.shape)


FORMS = {
    "array": lambda X, folder: X,
    "tensor": lambda X, folder: torch.from_numpy(X),
    "memory map": memory_map,
    "Dataset": lambda X, folder: Rows(X),
}
SETTINGS = {
    "temperature": None,
    "natural": {"perturbation": "channel"},
    "auto": {"perturbation": "auto", "validation_fraction": None},
    "adam": {"perturbation": "full", "training": TorchTraining(), "max_epochs": 1, "validation_fraction": None},
    "gradient": {"perturbation": "full", "training": TorchTraining(init="gradient"), "max_epochs": 1},
}


def made(network, settings, **options):
    if settings is None:
        return TemperatureScaling(network)
    return NeuralClampingCalibrator(network, random_state=0, **settings, **options)


@pytest.mark.parametrize(
    ("kind", "settings", "form"),
    [("table", settings, "array") for settings in SETTINGS] + [("images", "natural", form) for form in FORMS],
)
def test_x_stays_as_it_was_and_the_result_is_that_of_any_network(kind, settings, form, tmp_path):
    network, X, y = posed(kind)
    before, given = X.copy(), FORMS[form](X, tmp_path)
    calibrator = made(network, SETTINGS[settings]).fit(given, y)
    first, second = calibrator.predict_proba(given), calibrator.predict_proba(given)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(first, second)
    usual = made(posed(kind, inplace=False)[0], SETTINGS[settings]).fit(X, y)
    np.testing.assert_allclose(first, usual.predict_proba(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", ["natural", "adam"])
def test_entries_by_name_stay_as_they_were(settings):
    network, X, y = posed("images")
    given = {"pixels": X, "scale": -np.ones((len(X), 1), np.float32)}
    before = {name: values.copy() for name, values in given.items()}
    made(Named(network), SETTINGS[settings], input_key="pixels").fit(given, y).predict_proba(given)
    for name, values in given.items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_comparisons_and_deployed_modules_leave_x_as_it_was():
    network, X, y = posed("images")
    before = X.copy()
    calibrators = [TemperatureScaling(), made(None, SETTINGS["adam"])]
    compared = compare_calibrators(network, X, y, X[1:], y[1:], calibrators=calibrators, n_resamples=10, n_draws=10)
    module = compared.calibrators["NeuralClampingCalibrator"].module_.eval()
    module(torch.from_numpy(X)).sum().backward()
    np.testing.assert_array_equal(X, before)


class Halving(Map):
    """A map of a user's own that works in place."""

    def transform(self, logits):
        return logits.div_(2.0)


class Halved(BaseCalibrator):
    def _fit_logits(self, logits, y, sample_weight):
        return Halving()


def test_a_map_of_ones_own_may_work_in_place():
    X = np.random.default_rng(0).normal(size=(50, 3))
    before, calibrator = X.copy(), Halved().fit(X, np.arange(50) % 3)
    np.testing.assert_array_equal(calibrator.predict_proba(X), calibrator.predict_proba(X))
    np.testing.assert_array_equal(X, before)
