"""Big-endian arrays, as HDF5 and FITS files hold them, give what the machine's own give."""

import numpy as np
import pytest
from _small_networks import labels_of, logits, perceptron, vectors
from torch import nn
from torch.utils.data import Dataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining

X, Z = vectors(120), logits(120)
Y = labels_of(Z)
WEIGHT = np.random.default_rng(0).uniform(0.5, 2, size=120)
PLAIN = {
    "perturbation": "full",
    "training": TorchTraining(),
    "max_epochs": 1,
    "validation_fraction": None,
    "random_state": 0,
}


def swapped(values):
    return values.astype(values.dtype.newbyteorder(">"))


def same(calibrator, other, X):
    np.testing.assert_array_equal(calibrator.predict_proba(swapped(X)), other.predict_proba(X))


def test_inputs_of_a_network_names_of_classes_and_initial_values():
    names = np.array(["a", "b", "c", "d"])
    init = np.full(X.shape[1], 0.1)
    options = {**PLAIN, "training": TorchTraining(init=init), "classes": names}
    found = NeuralClampingCalibrator(perceptron(), **{**options, "training": TorchTraining(init=swapped(init))})
    found.set_params(classes=swapped(names)).fit(swapped(X), swapped(names[Y]), sample_weight=swapped(WEIGHT))
    expected = NeuralClampingCalibrator(perceptron(), **options).fit(X, names[Y], sample_weight=WEIGHT)
    same(found, expected, X)
    np.testing.assert_array_equal(found.predict(swapped(X)), expected.predict(X))


class Sum(nn.Module):
    """A network of two inputs by name."""

    def __init__(self):
        super().__init__()
        self.network = perceptron()

    def forward(self, a, b):
        return self.network(a + b)


def test_entries_by_name():
    given = {"a": X, "b": X[::-1].copy()}
    foreign = {name: swapped(values) for name, values in given.items()}
    found = TemperatureScaling(Sum()).fit({**foreign, "labels": swapped(Y)}).predict_proba(foreign)
    np.testing.assert_array_equal(found, TemperatureScaling(Sum()).fit(given, Y).predict_proba(given))


class Items(Dataset):
    """Rows, with labels as arrays without axes."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return swapped(X)[index], swapped(Y)[index, None].reshape(())


@pytest.mark.parametrize("make", [TemperatureScaling, NeuralClampingCalibrator])
def test_items_of_datasets(make):
    options = {} if make is TemperatureScaling else PLAIN
    found = make(perceptron(), **options).fit(Items()).predict_proba(Items())
    np.testing.assert_array_equal(found, make(perceptron(), **options).fit(X, Y).predict_proba(X))
