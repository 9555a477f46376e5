"""Saving and loading: what comes back, and files that are no calibrators'."""

import functools
import json
import os
import pickle
import sys

import numpy as np
import pandas
import pytest
import safetensors
import torch
from _small_networks import convolutional, images, labels_of, logits
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EpochTimer
from torch import nn

import skclamp
from _data import load_images
from _networks import load_resnet
from skclamp import (
    CalibratorSelector,
    IntraOrderPreservingCalibration,
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)
from skclamp.exceptions import NotSavedWarning
from skclamp.persistence import checksum, register
from skclamp.perturbations import FilterPerturbation, GridPerturbation

IMAGES, LOGITS = images(200), logits(300)
Y = labels_of(LOGITS)
FREE = {"training": TorchTraining(), "max_epochs": 2, "validation_fraction": None, "random_state": 0}


@register
class Exposure(nn.Module):
    def __init__(self, start=1.0):
        super().__init__()
        self.start = start
        self.gain = nn.Parameter(torch.tensor(start))

    def forward(self, x):
        return self.gain * x


class Unknown(Exposure):
    pass


@pytest.fixture
def path(tmp_path):
    return tmp_path / "calibrator.safetensors"


@pytest.fixture
def saved(path):
    """A file that holds a temperature of logits."""
    TemperatureScaling().fit(LOGITS, Y).save(path)
    return path


def round_trip(calibrator, path, estimator=None, **options):
    calibrator.save(path)
    return skclamp.load(path, calibrator.estimator if estimator is None else estimator, **options)


# What comes back


@pytest.mark.parametrize(
    "perturbation",
    [
        *("full", "channel", "affine", "curve", "color", "filter", "grid", "norm"),
        None,
        GridPerturbation((3, 8, 8), 2),
        FilterPerturbation((3, 8, 8), 5),
        Exposure(),
        nn.Sequential(GridPerturbation((3, 8, 8)), nn.Sequential(Exposure(), FilterPerturbation((3, 8, 8)))),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_perturbation_comes_back(perturbation, path):
    options = FREE | {"training": "natural"} if isinstance(perturbation, str) and perturbation == "norm" else FREE
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=perturbation, **options)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))
    x = torch.from_numpy(IMAGES)
    with torch.no_grad():
        assert torch.equal(loaded.module_.eval()(x), calibrator.module_.eval()(x))
    assert loaded.accepted_ == calibrator.accepted_
    assert hasattr(loaded, "delta_") == hasattr(calibrator, "delta_")
    assert all(p.requires_grad for p in loaded.perturbation_.parameters())


def test_a_pool_comes_back(path):
    rng = np.random.default_rng(0)
    Z = rng.normal(scale=3, size=(2000, 4))
    y = (Z * [0.5, 1.0, 1.0, 0.5] + rng.gumbel(size=Z.shape)).argmax(1)
    candidates = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    selector = CalibratorSelector(candidates=candidates).fit(Z, y)
    assert selector.weights_[1]
    loaded = round_trip(selector, path)
    np.testing.assert_array_equal(loaded.predict_proba(Z), selector.predict_proba(Z))
    assert [name for name, _ in loaded.candidates] == ["temperature", "vector"]
    assert loaded.summary() == selector.summary()


@pytest.mark.parametrize(
    "names", [list("abcd"), np.array(list("abcd"), dtype=object), [10, 20, 30, 40], np.arange(4, dtype=np.uint8)]
)
def test_names_of_classes_come_back(names, path):
    calibrator = TemperatureScaling().fit(LOGITS, np.array(names)[Y])
    loaded = round_trip(calibrator, path)
    assert loaded.classes_.dtype == calibrator.classes_.dtype
    np.testing.assert_array_equal(loaded.predict(LOGITS), calibrator.predict(LOGITS))


def test_a_parameter_that_is_no_value_is_said_to_be_left_out(path):
    calibrator = NeuralClampingCalibrator(
        convolutional(),
        perturbation="affine",
        **{**FREE, "training": TorchTraining(optimizer=torch.optim.Adam, callbacks=[EpochTimer()])},
    ).fit(IMAGES, np.arange(200) % 4)
    with pytest.warns(NotSavedWarning, match="callbacks"):
        calibrator.save(path)
    loaded = skclamp.load(path, calibrator.estimator)
    assert loaded.training.optimizer is torch.optim.Adam
    assert loaded.training.callbacks is None
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))


def test_an_optimiser_with_arguments_is_saved(path):
    optimizer = functools.partial(torch.optim.Adam, betas=(0.5, 0.9), eps=1e-6)
    calibrator = NeuralClampingCalibrator(
        convolutional(), perturbation="affine", **{**FREE, "training": TorchTraining(optimizer=optimizer)}
    )
    loaded = round_trip(calibrator.fit(IMAGES, np.arange(200) % 4), path)
    assert loaded.training.optimizer.func is torch.optim.Adam
    assert loaded.training.optimizer.keywords == {"betas": (0.5, 0.9), "eps": 1e-6}
    loaded.fit(IMAGES, np.arange(200) % 4)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (TemperatureScaling, {"bounds": pandas.Series([0.1, 10.0], index=["low", "high"])}),
        (TemperatureScaling, {"bounds": pandas.Index([0.1, 10.0])}),
        (TemperatureScaling, {"classes": pandas.Series(list("abcd"), index=[3, 4, 5, 6])}),
        (TemperatureScaling, {"classes": pandas.Series(list("abcd"), dtype="category")}),
        (TemperatureScaling, {"classes": pandas.Series([3, 4, 5, 6], dtype="Int64")}),
        (IntraOrderPreservingCalibration, {"hidden_layer_sizes": pandas.Series([5])}),
        (PriorShiftCorrection, {"priors": pandas.Series([0.1, 0.2, 0.3, 0.4], index=[3, 2, 1, 0])}),
    ],
    ids=lambda value: "" if isinstance(value, type) else ", ".join(f"{k}={type(v).__name__}" for k, v in value.items()),
)
def test_parameters_of_pandas_come_back_as_what_they_stand_for(make, given, path):
    names = np.asarray(given.get("classes", range(4)))
    calibrator = make(**given).fit(LOGITS, names[Y])
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(LOGITS), calibrator.predict_proba(LOGITS))
    np.testing.assert_array_equal(loaded.classes_, calibrator.classes_)
    again = loaded.fit(LOGITS, names[Y]).predict_proba(LOGITS)
    np.testing.assert_array_equal(again, calibrator.predict_proba(LOGITS))


# The file


@pytest.mark.parametrize(
    ("options", "n_parameters", "n_bytes"),
    [({"perturbation": "full"}, 3072, 30_000), ({"perturbation": "norm", "training": "natural"}, 1376, 16_000)],
    ids=["full", "norm"],
)
def test_a_file_for_a_cifar_network_is_small(options, n_parameters, n_bytes, data_dir, path):
    """Of the family that has the most parameters, and of features."""
    X, y = load_images("cifar10_test", data_dir)
    calibrator = NeuralClampingCalibrator(load_resnet("cifar10_resnet20", data_dir), **{**FREE, **options})
    calibrator.fit(1 - X[:50], y[:50]).save(path)
    assert sum(p.numel() for p in calibrator.perturbation_.parameters()) == n_parameters
    assert path.stat().st_size <= n_bytes


# Bad input


def test_only_what_is_fitted_can_be_saved(path):
    with pytest.raises(NotFittedError):
        TemperatureScaling().save(path)
    assert not path.exists()


def test_a_perturbation_that_nobody_knows_cannot_be_saved(saved):
    before = saved.read_bytes()
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=Unknown(), **FREE)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    with pytest.raises(
        TypeError, match=r"perturbation_ must be of a class.*got Unknown: see skclamp.persistence.regis"
    ):
        calibrator.save(saved)
    assert saved.read_bytes() == before


def test_an_earlier_file_survives_a_failure(saved, monkeypatch):
    before = saved.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        VectorScaling().fit(LOGITS, Y).save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_paths_that_lead_nowhere_are_no_damaged_files(path):
    with pytest.raises(FileNotFoundError, match="path must lie in an existing directory; got .*nowhere"):
        TemperatureScaling().fit(LOGITS, Y).save(path.parent / "nowhere" / "file")
    with pytest.raises(FileNotFoundError):
        skclamp.load(path)
    with pytest.raises(TypeError, match="got NoneType"):
        skclamp.load(None)


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def test_files_of_others_are_refused_and_pickles_unopened(path):
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="must be a file that a calibrator's save wrote"):
        skclamp.load(path)
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="got one of something else"):
        skclamp.load(path)


def change(path, edit, **arrays):
    """Write a file anew with another header, and further arrays, and the checksum that it should have."""
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["skclamp"])
    del header["checksum"]
    edit(header)
    arrays |= load_file(path)
    header["checksum"] = checksum(header, arrays)
    save_file(arrays, path, {"skclamp": json.dumps(header)})


@pytest.mark.parametrize(("number", "version"), [(9, "0.1.0"), (11, "9.0")])
def test_another_format_is_refused(number, version, saved):
    change(saved, lambda header: header.update(format=number, version=version))
    with pytest.raises(ValueError, match=f"must have format 10; got {number}, which skclamp {version} wrote. This is"):
        skclamp.load(saved)


@pytest.mark.parametrize(
    "edit",
    [
        {"class": "torch.nn.modules.container.Sequential", "arguments": {"modules": []}},
        {"class": "VectorScaling"},
        {"state": None},
        {"state": {"predict_proba": 1}},
        {"state": {"_restore": 1}},
        {"state": {"__class__": "VectorScaling"}},
        {"state": {"odd_": {"array": "of another"}}},
        {"state": {"odd_": {"pickle": "gASVKAAAAAA="}}},
        {"state": {"odd_": {"optimizer": "lr_scheduler"}}},
        {"state": {"odd_": {"partial": [{"optimizer": "lr_scheduler"}, {"dict": []}]}}},
        {"state": {"odd_": {"partial": [{"optimizer": "SGD"}, 1]}}},
        {"state": {"odd_": {"names": ["V8", []]}}},
        {"state": {"odd_": {"names": ["no", []]}}},
        {"state": {"odd_": {"tuple": 1, "list": 2}}},
        {"arguments": {"no_such": 1}},
    ],
)
def test_a_forged_header_is_refused(edit, saved):
    change(saved, lambda header: header["calibrator"].update(edit))
    with pytest.raises(ValueError, match="must be a file that a calibrator's save wrote; got one that's damaged"):
        skclamp.load(saved)


TOO_DEEP = (
    "must be a file that a calibrator's save wrote; got one that's damaged: (maximum recursion depth|Stack overflow)"
)


def test_a_header_too_deep_for_jsons_reader_is_refused(saved):
    save_file({}, saved, {"skclamp": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(ValueError, match=TOO_DEEP):
        skclamp.load(saved)


def test_a_parameter_out_of_bounds_is_refused(saved):
    change(saved, lambda header: header["calibrator"]["arguments"].update(batch_size=-1))
    with pytest.raises(ValueError, match="batch_size"):
        skclamp.load(saved)


def test_without_safetensors_the_error_says_what_to_install(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'skclamp\[save\]'"):
        skclamp.load(saved)
