"""Clamping's options beside each other, every pair of them at least once: what holds of all holds of each."""

from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
import torch
from _campaign import check_fitted
from _families import PERTURBATIONS
from _kinds_of_input import Exposure, as_entries, as_loader, data
from _small_networks import nll, snapshot
from sklearn.model_selection import TimeSeriesSplit

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining
from skclamp.exceptions import CalibrationSetWarning

SPATIAL = {"color", "filter", "grid"}
NAMES = np.array(["ant", "bee", "cat", "dog"])

FAMILIES = {name: name for name in ("auto", *PERTURBATIONS)} | {"none": None, "a module": Exposure()}
TRAININGS = {
    "auto": "auto",
    "natural": "natural",
    "sgd": TorchTraining(optimizer="sgd"),
    "adam": TorchTraining(),
    "a class": TorchTraining(optimizer=torch.optim.RMSprop),
    "a partial": TorchTraining(optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
}
GUARDS = {"by number": "auto", "two folds": 0.5, "five folds": 0.2, "splitter": TimeSeriesSplit(3), "no guard": None}
KINDS = ["images", "sequences", "8 features", "dict", "DataLoader"]
LABELS = {
    "ints": lambda y: y,
    "from 1": lambda y: y + 1,
    "objects": lambda y: NAMES[y].astype(object),
    "three of four": lambda y: np.where(y == 2, 0, y),
    "rare": lambda y: np.where((y == 2) & (np.arange(len(y)) > 60), 0, y),
}
FACTORS = [FAMILIES, TRAININGS, GUARDS, KINDS, LABELS]


def all_pairs(factors):
    """Rows of one value for each factor, every pair of values in one of them: greedily, so no more than needed."""
    factors = [list(factor) for factor in factors]
    columns = list(combinations(range(len(factors)), 2))
    missing = {((i, a), (j, b)) for i, j in columns for a, b in product(factors[i], factors[j])}
    while missing:
        row = dict(min(missing, key=str))
        for column in range(len(factors)):
            if column not in row:
                row[column] = max(factors[column], key=lambda value: len(met({**row, column: value}) & missing))
        missing -= met(row)
        yield tuple(row[column] for column in range(len(factors)))


def met(row):
    return set(combinations(sorted(row.items()), 2))


MATRIX = list(all_pairs(FACTORS))
IDS = [", ".join(row) for row in MATRIX]


def test_the_matrix_holds_every_pair_of_options():
    for (i, first), (j, second) in combinations(enumerate(FACTORS), 2):
        assert {(row[i], row[j]) for row in MATRIX} == set(product(first, second))


def given(kind, labels):
    """A network, X, and y or None: what `fit` takes; the bare inputs' network, X and encoded labels beside it."""
    network, X, y = data(kind if kind in KINDS[:3] else "images")
    y = LABELS[labels](y)
    if kind == "dict":
        return *as_entries(network, X), y
    if kind == "DataLoader":
        # torch has no strings: they stand beside the inputs.
        numbers = labels != "objects"
        return network, as_loader(X, y if numbers else np.zeros(len(y))), None if numbers else y
    return network, X, y


def encoded(labels, y):
    """Column indices of the labels."""
    names = NAMES if labels == "objects" else np.arange(4) + (labels == "from 1")
    return names.searchsorted(LABELS[labels](y))


def refusal(family, training, kind):
    """What `fit` says of options that don't suit each other, None of others."""
    if family == "auto" and training not in ("auto", "natural"):
        return "training must be 'auto' or 'natural' where perturbation is 'auto'.* Name a family"
    if family in SPATIAL and kind.endswith("features"):
        return f"perturbation='{family}' needs .* Use 'channel' or 'affine'"
    return None


@pytest.mark.parametrize(("family", "training", "guard", "kind", "labels"), MATRIX, ids=IDS)
@pytest.mark.filterwarnings(f"ignore::{CalibrationSetWarning.__module__}.CalibrationSetWarning")
def test_options_beside_each_other(family, training, guard, kind, labels):
    network, X, y = given(kind, labels)
    input_key = {"input_key": "values"} if kind == "dict" else {}
    calibrator = NeuralClampingCalibrator(
        network,
        perturbation=FAMILIES[family],
        training=TRAININGS[training],
        validation_fraction=GUARDS[guard],
        random_state=0,
        **input_key,
    )
    before = snapshot(network)
    message = refusal(family, training, kind)
    if message:
        with pytest.raises(ValueError, match=message):
            calibrator.fit(X, y)
        assert snapshot(network) == before
        return
    log_proba = calibrator.fit(X, y).predict_log_proba(X)
    assert snapshot(network) == before
    assert check_fitted(calibrator, X, 110).shape == (110, 4) and calibrator.temperature_ > 0
    scaled = TemperatureScaling(network).fit(X, y).predict_log_proba(X)
    if not (calibrator.accepted_ or any(hasattr(calibrator, name) for name in ("output_", "last_layer_"))):
        np.testing.assert_allclose(log_proba, scaled, rtol=1e-5, atol=1e-6)
    y = encoded(labels, data(kind if kind in KINDS[:3] else "images")[2])
    assert nll(log_proba, y) <= nll(scaled, y) + 1e-6
