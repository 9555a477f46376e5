"""Clamping and scaling of small networks with options that are drawn; failures within them, threads and saved files."""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _campaign import cases, check_fitted, check_probabilities, keeping
from _damage import WAYS
from _drawn import FLOATS, LAYOUTS, Table, Weights, generator, laid_out, seeds, sound_weights, spots
from _families import PERTURBATIONS
from _kinds_of_input import Exposure, as_dataset, as_entries, as_loader, data
from _small_networks import put_into_odd_state
from hypothesis import example
from hypothesis import strategies as st

import skclamp
from skclamp import (
    CalibratorSelector,
    HistogramBinning,
    IsotonicCalibration,
    NeuralClampingCalibrator,
    SplineCalibration,
    StructuredMatrixScaling,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)
from skclamp.persistence import FORMAT

KINDS = ["8 features", "sequences", "images"]
OPTIMIZERS = {
    "sgd": "sgd",
    "adam": "adam",
    "Adamax": torch.optim.Adamax,
    "LBFGS": torch.optim.LBFGS,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
}
MODULES = {"Exposure": Exposure(), "none": None}


def choice(*values):
    return st.sampled_from(values)


@dataclass(frozen=True)
class Options:
    """Options of clamping, all but the data's."""

    perturbation: str = "auto"
    optimizer: str = "auto"
    gamma: Any = 0.0
    penalty: float = 0.0
    init: str = "zeros"
    init_scale: float = 0.001
    init_temperature: Any = "optimal"
    refit_temperature: bool = True
    lr: Any = "auto"
    max_epochs: int = 1
    batch_size: int = 64
    shuffle: bool = True
    validation_fraction: Any = 0.5
    loss_eps: float = 0.0
    random_state: Any = 0

    def arguments(self):
        named = {**asdict(self), "perturbation": MODULES.get(self.perturbation, self.perturbation)}
        own = {name: named.pop(name) for name in TorchTraining().get_params() if name in named}
        training = self.optimizer
        if training not in ("auto", "natural"):
            training = TorchTraining(**{**own, "optimizer": OPTIMIZERS[self.optimizer]})
        return {**named, "training": training}


def options():
    return st.builds(
        Options,
        choice("auto", *PERTURBATIONS, *MODULES),
        choice("auto", "natural", *OPTIMIZERS),
        choice(0.0, 0, 1.0, 3, "auto"),
        choice(0.0, 0.01, 1e6),
        choice("zeros", "normal", "gradient"),
        choice(0.0, 0.001, 1.0, 100.0),
        choice("optimal", 1.0, 1e-3, 1e3),
        st.booleans(),
        choice("auto", 0.01, 1e-12, 10.0, 1e30),
        choice(1, 2, 3),
        choice(1, 7, 64, 1000),
        st.booleans(),
        choice(0.5, 0.2, None),
        choice(0.0, 1e-7, 0.3),
        choice(0, 5),
    )


DIVERGING = Options(
    perturbation="full",
    optimizer="sgd",
    init_scale=0.0,
    init_temperature=0.001,
    refit_temperature=False,
    lr=1e30,
    batch_size=1,
    shuffle=False,
    validation_fraction=None,
)


@cache
def network_of(kind):
    return put_into_odd_state(data(kind, 130)[0])


def given_as(kind, form, n, seed, scale):
    """A network, X and y as they are given, and y."""
    network, X, y = network_of(kind), *data(kind, 130)[1:]
    rows = generator(seed).permutation(len(y))[:n]
    X, y = (X[rows] * 10.0**scale).astype(np.float32), y[rows]
    if form == "dict":
        return *as_entries(network, X), y
    if form in ("Dataset", "DataLoader"):
        return network, (as_dataset if form == "Dataset" else as_loader)(X, y), None
    return network, laid_out(X, form), y


forms = st.sampled_from(["C", "C", "dict", "Dataset", "DataLoader", *LAYOUTS[:-1]])


# A step so long that T is 0 afterwards.
@example("images", "C", DIVERGING, 1, 0, 3, Weights("none", 0))
@cases(
    8,
    kind=st.sampled_from(KINDS),
    form=forms,
    options=options(),
    n=st.sampled_from([1, 2, 20, 110, 130]),
    seed=seeds(),
    scale=st.sampled_from([0, 0, 0, -30, 3]),
    weights=sound_weights(),
)
def test_clamping_with_any_options_calibrates_or_refuses(kind, form, options, n, seed, scale, weights):
    network, X, y = given_as(kind, form, n, seed, scale)
    key = {"input_key": "values"} if form == "dict" else {}
    calibrator = NeuralClampingCalibrator(network, **options.arguments(), **key)
    weight = weights.given(n)
    watched = () if form in ("dict", "Dataset", "DataLoader") else (X,)
    with keeping(*watched, y, weight, network=network):
        calibrator.fit(X, y, sample_weight=weight)
        proba = check_fitted(calibrator, X, n)
        assert calibrator.temperature_ > 0 and np.isfinite(calibrator.temperature_)
        again = NeuralClampingCalibrator(network, **options.arguments(), **key).fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(again.predict_proba(X), proba)


@cases(
    25,
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(["temperature", "clamping"]),
    n=st.integers(0, 5),
    scale=st.sampled_from([0, 0, -300, -40, 20, 38, 300]),
    spots=spots(),
    dtype=st.sampled_from([*FLOATS, "int64", "uint8", "bool", "complex128", "object", "str"]),
    layout=st.sampled_from([*LAYOUTS, "bfloat16", "gradient", "frame", "None", "ragged", "scalar"]),
)
def test_inputs_of_any_numbers_are_calibrated_or_refused(kind, name, n, scale, spots, dtype, layout):
    network = network_of(kind)
    X = Table((n, *data(kind, 130)[1].shape[1:]), scale, 0, spots, dtype, layout).given()
    y = np.arange(n) % 4
    calibrator = {"temperature": TemperatureScaling, "clamping": NeuralClampingCalibrator}[name](network)
    with keeping(X, y, network=network):
        check_fitted(calibrator.fit(X, y), X, n)


# Failures within the network


class Injected(Exception):
    """What nobody but the test raises."""


class Failing:
    """A hook that raises what it was given at its n-th call."""

    def __init__(self, error, at):
        self.error, self.at, self.calls = error, at, 0

    def __call__(self, module, inputs, output):
        self.calls += 1
        if self.calls == self.at:
            raise self.error


ERRORS = {
    "of our own": Injected("injected"),
    "RuntimeError": RuntimeError("CUDA out of memory"),
    "ValueError": ValueError("injected"),
    "TypeError": TypeError("injected"),
    "StopIteration": StopIteration("injected"),
    "MemoryError": MemoryError("injected"),
    "KeyboardInterrupt": KeyboardInterrupt("injected"),
    "SystemExit": SystemExit("injected"),
}


@cases(
    10,
    error=st.sampled_from(list(ERRORS)),
    at=st.integers(1, 30),
    kind=st.sampled_from(KINDS),
    form=forms,
    family=choice(("auto", "auto"), ("channel", "auto"), ("channel", "sgd"), ("none", "auto"), ("Exposure", "sgd")),
    guarded=st.booleans(),
    n=st.sampled_from([10, 110]),
    batch_size=choice(16, 64),
)
def test_what_fails_in_the_network_comes_out(error, at, kind, form, family, guarded, n, batch_size):
    network, X, y = given_as(kind, form, n, 0, 0)
    inner = network.network if form == "dict" else network
    failing = Failing(ERRORS[error], at)
    calibrator = NeuralClampingCalibrator(
        network,
        perturbation=MODULES.get(family[0], family[0]),
        training=family[1] if family[1] == "auto" else TorchTraining(optimizer=family[1]),
        validation_fraction=0.5 if guarded else None,
        max_epochs=2,
        batch_size=batch_size,
        input_key="values" if form == "dict" else None,
        random_state=0,
    )
    handle = inner[-1].register_forward_hook(failing)
    try:
        with keeping(network=network):
            came = came_out(lambda: calibrator.fit(X, y).predict_proba(X))
    finally:
        handle.remove()
        failing.error.__traceback__ = failing.error.__context__ = failing.error.__cause__ = None
    if came is None:
        # An interrupt ends the training, but not the fit.
        assert failing.calls < at or error == "KeyboardInterrupt"
    elif failing.calls >= at:
        assert failing.error in (came, came.__cause__)
        assert hasattr(calibrator, "classes_") == hasattr(calibrator, "temperature_")
    with keeping(network=network, sound=True):
        check_probabilities(calibrator.fit(X, y).predict_proba(X), n)


def came_out(call):
    """What a call raises."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001
        return error
    return None


# Threads

THREADED = {
    "temperature": TemperatureScaling,
    "clamping": partial(NeuralClampingCalibrator, perturbation="channel", random_state=0),
    "clamping, trained": partial(
        NeuralClampingCalibrator,
        perturbation="full",
        training=TorchTraining(optimizer="sgd"),
        max_epochs=1,
        random_state=0,
    ),
    "selector": partial(
        CalibratorSelector, candidates=[("a", TemperatureScaling()), ("b", VectorScaling())], n_folds=2
    ),
    "bins": HistogramBinning,
}


@cases(
    3,
    kind=st.sampled_from(KINDS),
    pair=st.tuples(st.sampled_from(sorted(THREADED)), st.sampled_from(sorted(THREADED))),
    n=st.sampled_from([20, 110]),
    seed=seeds(),
)
def test_two_fits_at_a_time_are_those_of_one_after_the_other(kind, pair, n, seed):
    network, X, y = given_as(kind, "C", n, seed, 0)

    def fitted(name):
        return THREADED[name](network).fit(X, y).predict_proba(X)

    with keeping(X, y, network=network, sound=True), ThreadPoolExecutor(2) as pool:
        expected = [fitted(name) for name in pair]
        for one, other in zip(expected, pool.map(fitted, pair), strict=True):
            np.testing.assert_array_equal(one, other)


# Saved files

SAVED = {
    "temperature": TemperatureScaling,
    "vector": VectorScaling,
    "structured matrix": StructuredMatrixScaling,
    "bins": HistogramBinning,
    "isotonic": IsotonicCalibration,
    "spline": SplineCalibration,
    "selector": partial(
        CalibratorSelector, candidates=[("a", TemperatureScaling()), ("b", VectorScaling())], n_folds=2
    ),
    "clamping": partial(NeuralClampingCalibrator, perturbation="affine", validation_fraction=None, random_state=0),
}
LABELS = np.array(["bird", "cat", "deer", "frog"])


@cache
def saved(name, kind):
    """The calibrator, its bytes and what it says."""
    network, X, y = data(kind, 60)
    calibrator = SAVED[name](network)
    with keeping(network=network, sound=True), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved"
        calibrator.fit(X, LABELS[y]).save(path)
        return calibrator, path.read_bytes(), calibrator.predict_proba(X)


@cases(
    200,
    name=st.sampled_from(sorted(SAVED)),
    kind=st.sampled_from(KINDS[:2]),
    ways=st.lists(
        st.tuples(st.sampled_from(WAYS), st.floats(0, 1, exclude_max=True), st.integers(1, 512), seeds()), max_size=3
    ),
)
def test_damaged_files_are_refused_by_name_or_hold_what_was_saved(name, kind, ways):
    calibrator, whole, expected = saved(name, kind)
    X, changed = data(kind, 60)[1], whole
    for way, place, length, seed in ways:
        if changed:
            start = int(place * len(changed))
            changed = way(changed, start, min(len(changed), start + length), generator(seed))
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "damaged", Path(folder) / "again"
        path.write_bytes(changed)
        with keeping(network=calibrator.estimator, sound=changed == whole) as outcome:
            loaded = skclamp.load(path, calibrator.estimator)
            loaded.save(again)
            assert again.read_bytes() == whole
            np.testing.assert_array_equal(loaded.predict_proba(X), expected)
        refused = f"{path} must (be a file that a calibrator's save wrote|have format {FORMAT}); got"
        assert outcome.refusal is None or re.match(refused, str(outcome.refusal))
