"""Where samples come from: memory maps, skorch's slices, worker processes and what goes wrong in them."""

import os
import warnings

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, put_into_odd_state, snapshot
from sklearn.model_selection import GridSearchCV, KFold
from skorch.helper import SliceDataset
from torch.utils.data import DataLoader, Dataset, TensorDataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp._backbones.inputs import dataset_behind, open_inputs

N_SAMPLES = 200


def clamping(network, **options):
    return NeuralClampingCalibrator(network, perturbation="affine", validation_fraction=None, random_state=0, **options)


# Memory maps


@pytest.fixture
def on_disk(tmp_path):
    X = images(N_SAMPLES)
    np.save(tmp_path / "images.npy", X)
    return X, np.load(tmp_path / "images.npy", mmap_mode="r")


def test_memory_maps_are_neither_copied_nor_warned_of(on_disk):
    _, mapped = on_disk
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs = open_inputs(mapped)
    assert inputs.values.data_ptr() == mapped.ctypes.data
    assert inputs.take(np.arange(5)).take([1]).values.data_ptr() == mapped.ctypes.data
    (batch, _), *_ = inputs.batches(8)
    assert batch.data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize("make", [TemperatureScaling, clamping, NeuralClampingCalibrator])
def test_memory_maps_are_the_arrays_that_they_hold(on_disk, make):
    network = convolutional()
    X, mapped = on_disk
    y = labels_of(bare_logits(network, X))
    options = {} if make is not NeuralClampingCalibrator else {"random_state": 0}
    calibrator = make(network, **options).fit(mapped, y)
    np.testing.assert_array_equal(calibrator.predict_proba(mapped), make(network, **options).fit(X, y).predict_proba(X))


# skorch's slices


@pytest.mark.parametrize("labels", ["array", "slice"])
@pytest.mark.parametrize("make", [TemperatureScaling, clamping])
@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_grid_search_over_a_dataset(make, labels, scoring):
    network = convolutional()
    X = images(N_SAMPLES)
    y = labels_of(bare_logits(network, X))
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    options = {"param_grid": {"gamma": [0.0, 3.0]}, "cv": KFold(2), "scoring": scoring}
    targets = y if labels == "array" else SliceDataset(dataset, idx=1)
    search = GridSearchCV(make(network), **options).fit(SliceDataset(dataset), targets)
    expected = GridSearchCV(make(network), **options).fit(X, y)
    for column in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(search.cv_results_[column], expected.cv_results_[column], rtol=1e-6)
    assert search.best_params_ == expected.best_params_
    np.testing.assert_allclose(search.predict_proba(SliceDataset(dataset)), expected.predict_proba(X), rtol=1e-6)


def test_a_slice_is_read_in_batches_and_not_at_once():
    class Watched(Dataset):
        asked = 0

        def __len__(self):
            return N_SAMPLES

        def __getitem__(self, index):
            self.asked += 1
            return torch.zeros(3), 0

    watched = Watched()
    next(open_inputs(dataset_behind(SliceDataset(watched)[10:90])).batches(8))
    assert watched.asked == 8


# Worker processes


def nothing():
    pass


class Images(Dataset):
    """Images and labels; reading the eleventh does what it is told."""

    def __init__(self, at_10=nothing):
        self.at_10 = at_10
        self.images = torch.from_numpy(images(N_SAMPLES))
        self.labels = labels_of(bare_logits(convolutional(), self.images))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index == 10:
            self.at_10()
        return self.images[index], int(self.labels[index])


@pytest.mark.parametrize("make", [TemperatureScaling, clamping])
@pytest.mark.usefixtures("one_core")
def test_workers_and_pinned_memory_change_nothing(make):
    """What torch says of two workers on one core is said once, where the loader is made."""
    dataset = Images()
    with pytest.warns(UserWarning, match="2 worker processes"):
        loader = DataLoader(dataset, batch_size=64, num_workers=2, pin_memory=True)
    calibrator = make(convolutional()).fit(loader)
    expected = make(convolutional()).fit(dataset.images, dataset.labels)
    np.testing.assert_array_equal(calibrator.predict_proba(loader), expected.predict_proba(dataset.images))


def fail():
    raise OSError("image 10 can't be read")


def die():
    # Only ever in a worker: the tests' own process goes on.
    if torch.utils.data.get_worker_info() is not None:
        os._exit(3)


@pytest.mark.parametrize(
    ("at_10", "n_workers", "error", "message"),
    [
        (fail, 0, OSError, "image 10 can't be read"),
        (fail, 1, OSError, "image 10 can't be read"),
        (die, 1, RuntimeError, "DataLoader worker .* exited unexpectedly"),
    ],
)
@pytest.mark.parametrize("make", [TemperatureScaling, clamping])
def test_a_worker_that_fails_or_dies_ends_the_fit_with_its_error(make, at_10, n_workers, error, message):
    network = put_into_odd_state(convolutional())
    calibrator = make(network).fit(Images())
    before, predicted = snapshot(network), calibrator.predict_proba(images(3))
    bad = DataLoader(Images(at_10), batch_size=64, num_workers=n_workers)
    for call in (calibrator.fit, calibrator.predict):
        with pytest.raises(error, match=message):
            call(bad)
    assert snapshot(network) == before
    # The earlier fit is there.
    np.testing.assert_array_equal(calibrator.predict_proba(images(3)), predicted)


class Uneven(Images):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (image[:, :5] if index == 10 else image), label


@pytest.mark.parametrize("n_workers", [0, 1])
@pytest.mark.parametrize("make", [TemperatureScaling, clamping])
def test_images_of_several_sizes(make, n_workers):
    network = convolutional()
    before = snapshot(network)
    message = r"X must hold inputs of one size; got inputs of shapes \(3, 5, 8\), \(3, 8, 8\). Resize, crop or pad them"
    for batch_size in (1, 10, 64):
        with pytest.raises(ValueError, match=message):
            make(network).fit(DataLoader(Uneven(), batch_size=batch_size, num_workers=n_workers))
    assert snapshot(network) == before
