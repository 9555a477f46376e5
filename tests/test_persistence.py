"""Saving and loading: what comes back, which network it is put around, and files that are no calibrators'."""

import functools
import json
import os
import pickle
import sys
import warnings
from collections import OrderedDict

import numpy as np
import pandas
import pytest
import safetensors
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, logits, perceptron, vectors
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochTimer
from torch import nn

import skclamp
from _data import load_images
from _networks import load_resnet
from skclamp import (
    CalibratorSelector,
    IntraOrderPreservingCalibration,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
)
from skclamp._utils.encoding import register
from skclamp.display import PerturbationDisplay
from skclamp.exceptions import NotSavedWarning
from skclamp.modules import LogitsModule
from skclamp.persistence import checksum
from skclamp.perturbations import PERTURBATIONS, FilterPerturbation, GridPerturbation

IMAGES, LOGITS = images(200), logits(300)
Y = labels_of(LOGITS)
FREE = {"optimizer": "adam", "max_epochs": 2, "validation_fraction": None, "random_state": 0}


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


@pytest.fixture(scope="module")
def clamped():
    """An unguarded perturbation around a network."""
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation="affine", **FREE)
    return calibrator.fit(IMAGES, labels_of(bare_logits(convolutional(), IMAGES)))


def round_trip(calibrator, path, estimator=None, **options):
    calibrator.save(path)
    return skclamp.load(path, calibrator.estimator if estimator is None else estimator, **options)


# What comes back


@pytest.mark.parametrize(
    "perturbation",
    [
        *PERTURBATIONS,
        None,
        GridPerturbation((3, 8, 8), 2),
        FilterPerturbation((3, 8, 8), 5),
        Exposure(),
        nn.Sequential(GridPerturbation((3, 8, 8)), nn.Sequential(Exposure(), FilterPerturbation((3, 8, 8)))),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_perturbation_comes_back(perturbation, path):
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=perturbation, **FREE)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))
    x = torch.from_numpy(IMAGES)
    with torch.no_grad():
        assert torch.equal(loaded.module_.eval()(x), calibrator.module_.eval()(x))
    assert loaded.accepted_ == calibrator.accepted_
    assert hasattr(loaded, "delta_") == hasattr(calibrator, "delta_")
    assert all(p.requires_grad for p in loaded.perturbation_.parameters())


def test_an_output_map_on_clamped_logits_comes_back(path):
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation="channel", output=VectorScaling(), **FREE)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))
    assert isinstance(loaded.output, VectorScaling)


@pytest.mark.parametrize("which", ["stack", "recalibrated stack"])
def test_a_stack_comes_back(which, path):
    candidates = [("temperature", TemperatureScaling()), ("ranks", IntraOrderPreservingCalibration())]
    selector = CalibratorSelector(candidates=candidates)
    # The choice is the data's; here it is the test's.
    selector._choose = lambda trial, scores: {"stack": 2, "recalibrated stack": 3}[which]
    selector.fit(LOGITS, Y)
    del selector._choose
    assert selector.best_params_ == {"candidate": which}
    loaded = round_trip(selector, path)
    np.testing.assert_array_equal(loaded.predict_proba(LOGITS), selector.predict_proba(LOGITS))
    assert [name for name, _ in loaded.candidates] == ["temperature", "ranks"]


@pytest.mark.parametrize(
    "names", [list("abcd"), np.array(list("abcd"), dtype=object), [10, 20, 30, 40], np.arange(4, dtype=np.uint8)]
)
def test_names_of_classes_come_back(names, path):
    calibrator = TemperatureScaling().fit(LOGITS, np.array(names)[Y])
    loaded = round_trip(calibrator, path)
    assert loaded.classes_.dtype == calibrator.classes_.dtype
    np.testing.assert_array_equal(loaded.predict(LOGITS), calibrator.predict(LOGITS))


def test_names_of_features_come_back(path):
    X = pandas.DataFrame(vectors().astype(float), columns=list("uvwxyz"))
    y = labels_of(vectors()[:, :3])
    calibrator = TemperatureScaling(LogisticRegression().fit(X, y)).fit(X, y)
    loaded = round_trip(calibrator, path)
    assert list(loaded.feature_names_in_) == list("uvwxyz")
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(X.rename(columns={"u": "a"}))


def test_a_parameter_that_is_no_value_is_said_to_be_left_out(path):
    calibrator = NeuralClampingCalibrator(
        convolutional(), perturbation="affine", **{**FREE, "optimizer": torch.optim.Adam}, callbacks=[EpochTimer()]
    ).fit(IMAGES, np.arange(200) % 4)
    with pytest.warns(NotSavedWarning, match="callbacks"):
        calibrator.save(path)
    loaded = skclamp.load(path, calibrator.estimator)
    assert loaded.optimizer is torch.optim.Adam
    assert loaded.callbacks is None


def test_an_optimiser_with_arguments_is_saved(path):
    optimizer = functools.partial(torch.optim.Adam, betas=(0.5, 0.9), eps=1e-6)
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation="affine", **{**FREE, "optimizer": optimizer})
    loaded = round_trip(calibrator.fit(IMAGES, np.arange(200) % 4), path)
    assert loaded.optimizer.func is torch.optim.Adam
    assert loaded.optimizer.keywords == {"betas": (0.5, 0.9), "eps": 1e-6}
    loaded.fit(IMAGES, np.arange(200) % 4)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), calibrator.predict_proba(IMAGES))


def test_what_was_loaded_shows_its_perturbation_and_fits_again(clamped, path):
    loaded = round_trip(clamped, path)
    display = PerturbationDisplay.from_estimator(loaded)
    assert display.history is None
    again = loaded.fit(IMAGES, np.arange(200) % 4)
    assert len(again.history_) == 2


def test_parts_keep_their_names_and_fixed_parameters_stay_fixed(path):
    perturbation = nn.Sequential(OrderedDict(exposure=Exposure(), shift=PERTURBATIONS["channel"]((3, 8, 8))))
    perturbation.exposure.gain.requires_grad_(False)
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=perturbation, **FREE)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    loaded = round_trip(calibrator, path)
    assert not loaded.perturbation_.exposure.gain.requires_grad
    assert loaded.perturbation_.shift.offset.requires_grad
    again = loaded.fit(IMAGES, np.arange(200) % 4)
    assert again.perturbation_.exposure.gain == 1


def test_what_a_module_was_made_with_is_kept_apart_from_what_it_learned(path):
    @functools.partial(register, arguments=lambda value: {"gain": value.start})
    class Gain(Exposure):
        def __init__(self, gain):
            super().__init__(float(gain))
            self.start = np.array(gain)

    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=Gain(1.0), **FREE)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    loaded = round_trip(calibrator, path)
    assert loaded.perturbation_.start == 1
    assert loaded.perturbation_.gain == calibrator.perturbation_.gain != 1


class Shifted(TemperatureScaling):
    """A user's subclass, which learns something of its own."""

    def _fit_logits(self, logits, y, sample_weight):
        super()._fit_logits(logits, y, sample_weight)
        self._shift = torch.arange(4.0)

    def _transform_logits(self, logits):
        return super()._transform_logits(logits) + self._shift


def test_what_a_subclass_keeps_to_itself_comes_back(path):
    calibrator = Shifted().fit(LOGITS, Y)
    np.testing.assert_array_equal(round_trip(calibrator, path).predict_proba(LOGITS), calibrator.predict_proba(LOGITS))


def test_a_module_that_comes_twice_comes_back_twice(path):
    part = PERTURBATIONS["channel"]((3, 8, 8))
    calibrator = NeuralClampingCalibrator(convolutional(), perturbation=nn.Sequential(part, part), **FREE)
    calibrator.fit(IMAGES, np.arange(200) % 4)
    np.testing.assert_array_equal(round_trip(calibrator, path).predict_proba(IMAGES), calibrator.predict_proba(IMAGES))


def test_what_others_hang_on_a_calibrator_is_left_there(path):
    calibrator = TemperatureScaling().fit(LOGITS, Y)
    calibrator.owner = object()
    assert not hasattr(round_trip(calibrator, path), "owner")


def test_infinite_numbers_come_back(path):
    calibrator = TemperatureScaling().fit(LOGITS, Y)
    calibrator.odd_ = -np.inf
    assert round_trip(calibrator, path).odd_ == -np.inf


@pytest.mark.parametrize("family", ["full", "color", "grid"])
def test_a_file_for_a_cifar_network_takes_less_than_30_kB(family, data_dir, path):
    X, y = load_images("cifar10_test", data_dir)
    network = load_resnet("cifar10_resnet20", data_dir)
    calibrator = NeuralClampingCalibrator(network, perturbation=family, **FREE).fit(X[:200], y[:200])
    calibrator.save(path)
    assert path.stat().st_size <= 30_000


# The network


def test_the_network_is_the_one_given_and_stays_as_it_was(clamped, path):
    twin = convolutional().train()
    loaded = round_trip(clamped, path, twin)
    assert loaded.estimator is twin
    assert all(part.training for part in twin.modules())
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES))


@pytest.mark.parametrize("wrap", [nn.DataParallel, pytest.param(torch.compile, marks=pytest.mark.slow)])
def test_a_wrapped_network_is_the_same(wrap, clamped, path):
    loaded = round_trip(clamped, path, wrap(convolutional()))
    np.testing.assert_allclose(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES), rtol=0, atol=1e-6)


OTHER = "estimator must be the network that the calibrator was fitted around"


class Scaled(nn.Module):
    """A network with a buffer that isn't in its state dict, and parts whose names are those of wrappers."""

    def __init__(self, scale=1.0, first=0.1, second=0.2):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.module = nn.Linear(4, 4, bias=False)
        self.weight = nn.Parameter(torch.full((4, 4), second))
        nn.init.constant_(self.module.weight, first)

    def forward(self, x):
        return self.scale * (x + self.module(x) + x @ self.weight)


def quantized(seed):
    with warnings.catch_warnings():
        # It will be moved, says torch.
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(perceptron(seed, 4), {nn.Linear})


def flat(rows, columns):
    layer = nn.Linear(columns, rows, bias=False)
    nn.init.constant_(layer.weight, 0.1)
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(
    ("network", "others"),
    [
        (Scaled(), [Scaled(scale=2.0), Scaled(first=0.2, second=0.1)]),
        (
            perceptron(0, 4),
            [nn.Sequential(perceptron(0, 4)[0], nn.ReLU(), perceptron(0, 4)[2]), perceptron(0, 4).half()],
        ),
        (quantized(0), [quantized(1), perceptron(0, 4)]),
        (flat(4, 4), [flat(2, 8)]),
    ],
    ids=["parts", "layers", "quantized", "shapes"],
)
def test_what_differs_in_a_part_that_counts_is_another_network(network, others, path):
    X = LOGITS.astype(np.float32)
    calibrator = TemperatureScaling(network).fit(X, labels_of(LogitsModule(network)(torch.from_numpy(X)).detach()))
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))
    for other in others:
        with pytest.raises(ValueError, match=OTHER):
            skclamp.load(path, other)


def test_outputs_that_are_read_in_another_way_make_another_network(path):
    network = nn.Sequential(perceptron(), nn.Softmax(1))
    net = NeuralNetClassifier(network).initialize()
    X = vectors()
    calibrator = TemperatureScaling(net).fit(X, labels_of(bare_logits(perceptron(), X)))
    round_trip(calibrator, path)
    with pytest.raises(ValueError, match="other weights, layers or outputs"):
        skclamp.load(path, net.module_)


def test_one_weight_makes_another_network(clamped, path):
    network = convolutional()
    with torch.no_grad():
        network[-1].bias[0] += 1e-6
    with pytest.raises(ValueError, match="other weights"):
        round_trip(clamped, path, network)
    round_trip(clamped, path, network, strict=False)


def test_a_copy_in_another_precision_passes_where_asked(clamped, path):
    double = convolutional().double()
    loaded = round_trip(clamped, path, double, strict=False)
    np.testing.assert_allclose(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES), rtol=0, atol=1e-5)


def test_a_network_is_needed_where_there_was_one_and_only_there(clamped, saved):
    with pytest.raises(ValueError, match="estimator must be None: this is a calibrator of logits; got Sequential"):
        skclamp.load(saved, convolutional())
    clamped.save(saved)
    with pytest.raises(ValueError, match="estimator must be the network it was fitted around; got None"):
        skclamp.load(saved)


def test_a_skorch_net_and_its_module_are_the_same_network(clamped, path):
    net = NeuralNetClassifier(convolutional(), criterion=nn.CrossEntropyLoss).initialize()
    loaded = round_trip(clamped, path, net)
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), clamped.predict_proba(IMAGES))


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        GaussianNB(),
        DecisionTreeClassifier(),
        KNeighborsClassifier(1),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
        KNeighborsClassifier(algorithm="ball_tree"),
        SVC(),
        OneVsRestClassifier(LogisticRegression()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_classifier_is_known_after_it_was_pickled_and_used(classifier, path):
    X, y = vectors().astype(float), labels_of(vectors()[:, :3])
    classifier, other = (clone(classifier).fit(X[start::2], y[start::2]) for start in (0, 1))
    calibrator = TemperatureScaling(FrozenEstimator(classifier)).fit(X, y)
    calibrator.save(path)
    again = pickle.loads(pickle.dumps(classifier))
    again.predict(X)
    if "n_jobs" in again.get_params():
        again.set_params(n_jobs=1)
    loaded = skclamp.load(path, again)
    np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))
    with pytest.raises(ValueError, match="other weights"):
        skclamp.load(path, other)


def test_a_classifier_of_texts_is_known(path):
    texts = np.array(["one two", "two three", "three one", "one one"] * 10)
    y = np.random.default_rng(0).integers(0, 3, 40)
    classifier = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, y)
    calibrator = TemperatureScaling(FrozenEstimator(classifier)).fit(texts, y)
    loaded = round_trip(calibrator, path)
    np.testing.assert_array_equal(loaded.predict_proba(texts), calibrator.predict_proba(texts))
    with pytest.raises(ValueError, match="other weights"):
        skclamp.load(path, clone(classifier).fit(texts[1:], y[1:]))


class Extra(nn.Linear):
    """A layer with a state of its own in the state dict."""

    def __init__(self, extra):
        super().__init__(4, 4)
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


@pytest.mark.parametrize("place", [4, "key"])
def test_an_extra_state_counts_by_its_content(place, path):
    def network(value):
        long = torch.zeros(5000)
        long[4] = value
        return Extra({"key": value if place == "key" else 0, "long": long, "set": {1, 2}, "none": None})

    X = LOGITS.astype(np.float32)
    calibrator = TemperatureScaling(network(1)).fit(X, Y)
    round_trip(calibrator, path, network(1))
    with pytest.raises(ValueError, match="other weights"):
        skclamp.load(path, network(2))


def test_a_compiled_part_and_a_sparse_buffer_make_no_other_network(path):
    network = perceptron(0, 4)
    network.register_buffer("mask", torch.eye(4).to_sparse())
    X = LOGITS.astype(np.float32)
    calibrator = TemperatureScaling(network).fit(X, labels_of(bare_logits(network, X)))
    again = perceptron(0, 4)
    again.register_buffer("mask", torch.eye(4).to_sparse())
    round_trip(calibrator, path, nn.DataParallel(again))
    again[0] = torch.compile(again[0])
    skclamp.load(path, again)


def test_an_estimator_that_is_not_fitted_is_refused(clamped, path):
    with pytest.raises(
        ValueError, match=r"estimator must be fitted, as the calibrator's was.*; got LogisticRegression"
    ):
        round_trip(clamped, path, LogisticRegression())


def test_parameters_can_be_set_anew(clamped, path):
    assert round_trip(clamped, path, batch_size=7).batch_size == 7
    with pytest.raises(ValueError, match="device must name a device that is there.*'nowhere'"):
        round_trip(clamped, path, device="nowhere")
    for name in ("size", "perturbation", "classes", "temperature_"):
        with pytest.raises(TypeError, match=f"one of batch_size, device, num_workers, pin_memory; got '{name}'"):
            round_trip(clamped, path, **{name: None})
    with pytest.raises(ValueError, match="batch_size"):
        round_trip(clamped, path, batch_size=0)


# The file


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX's file modes and links")
def test_a_file_is_like_any_other(path):
    calibrator = TemperatureScaling().fit(LOGITS, Y)
    link = path.with_name("link")
    link.symlink_to(path)
    mask = os.umask(0o022)
    try:
        calibrator.save(link)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644
    assert link.is_symlink()
    assert skclamp.load(link).temperature_ == calibrator.temperature_


def test_a_missing_folder_is_named(path):
    with pytest.raises(FileNotFoundError, match="nowhere'"):
        TemperatureScaling().fit(LOGITS, Y).save(path.parent / "nowhere" / "file")


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


def test_a_missing_file_is_missing(path):
    with pytest.raises(FileNotFoundError):
        skclamp.load(path)


def test_what_is_no_path_is_no_damaged_file():
    with pytest.raises(TypeError, match="not NoneType"):
        skclamp.load(None)


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def test_a_pickle_is_refused_unopened(path):
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="must be a file that a calibrator's save wrote"):
        skclamp.load(path)


def test_other_weights_are_refused(path):
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="got one of something else"):
        skclamp.load(path)


def change(path, edit):
    """Write a file anew with another header, and the checksum that it should have."""
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["skclamp"])
    del header["checksum"]
    edit(header)
    header["checksum"] = checksum(header, load_file(path))
    save_file(load_file(path), path, {"skclamp": json.dumps(header)})


@pytest.mark.parametrize(("number", "version"), [(1, "0.1.0"), (3, "7.0")])
def test_another_format_is_refused(number, version, saved):
    change(saved, lambda header: header.update(format=number, version=version))
    with pytest.raises(ValueError, match=f"must have format 2; got {number}, which skclamp {version} wrote. This is"):
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
        {"state": {"temperature_": {"array": "of another"}}},
        {"state": {"temperature_": {"pickle": "gASVKAAAAAA="}}},
        {"state": {"temperature_": {"optimizer": "lr_scheduler"}}},
        {"state": {"temperature_": {"optimizer with arguments": ["lr_scheduler", {"dict": []}]}}},
        {"state": {"temperature_": {"optimizer with arguments": ["SGD", 1]}}},
        {"state": {"temperature_": {"array": {"dtype": "V8", "items": []}}}},
        {"state": {"temperature_": {"tuple": 1, "list": 2}}},
        {"arguments": {"no_such": 1}},
    ],
)
def test_a_forged_header_is_refused(edit, saved):
    change(saved, lambda header: header["calibrator"].update(edit))
    with pytest.raises(ValueError, match="must be a file that a calibrator's save wrote; got one that's damaged"):
        skclamp.load(saved)


TOO_DEEP = "must be a file that a calibrator's save wrote; got one that's damaged: maximum recursion depth"


def test_a_header_too_deep_for_our_reader_is_refused(saved):
    depth = int(0.4 * sys.getrecursionlimit())
    deep = functools.reduce(lambda inner, _: {"tuple": [inner]}, range(depth), 1)
    change(saved, lambda header: header["calibrator"].update(arguments={"classes": deep}))
    with pytest.raises(ValueError, match=TOO_DEEP):
        skclamp.load(saved)


def test_a_header_too_deep_for_jsons_reader_is_refused(saved):
    save_file({}, saved, {"skclamp": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(ValueError, match=TOO_DEEP):
        skclamp.load(saved)


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.nn.modules.linear.Linear"])
def test_a_class_that_is_not_registered_is_named(name, saved):
    change(saved, lambda header: header["calibrator"].update({"class": name, "arguments": {"args": ["true"]}}))
    with pytest.raises(ValueError, match=f"holds an object of the class '{name}', which isn't known here: import"):
        skclamp.load(saved)


def test_an_estimator_comes_from_no_file(saved):
    change(saved, lambda header: header["calibrator"]["arguments"].update(estimator="network.pt"))
    assert skclamp.load(saved).estimator is None


def test_a_parameter_out_of_bounds_is_refused(saved):
    change(saved, lambda header: header["calibrator"]["arguments"].update(batch_size=-1))
    with pytest.raises(ValueError, match="batch_size"):
        skclamp.load(saved)


def test_without_safetensors_the_error_says_what_to_install(saved, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'skclamp\[save\]'"):
        skclamp.load(saved)
