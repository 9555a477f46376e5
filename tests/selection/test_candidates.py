"""What is tried where nobody named candidates: maps for a selector, calibrators for a comparison."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, logits, perceptron, vectors

from skclamp import (
    CalibratorSelector,
    EnsembleTemperatureScaling,
    IntraOrderPreservingCalibration,
    NeuralClampingCalibratorCV,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
    default_candidates,
)
from skclamp.scaling._order_preserving import GapNetwork
from skclamp.selection._candidates import default_calibrators


def test_default_candidates_are_new_each_time_and_all_take_part():
    names, calibrators = zip(*default_candidates(), strict=True)
    assert len(set(names)) == len(names)
    assert not set(map(id, calibrators)) & {id(calibrator) for _, calibrator in default_candidates()}
    Z = logits(200)
    selector = CalibratorSelector().fit(Z, labels_of(Z, temperature=4.0))
    of_four = [name for name in names if name != "quadratic"]
    assert selector.cv_results_["param_candidate"].tolist() == [*of_four, "stack", "recalibrated stack"]
    # Of four classes: 1 + 10 (4 + 1) + 3 (10 + 1) of the order-preserving map, 1 + 3 * 4 of beta calibration.
    assert selector.cv_results_["n_parameters"][:-2].tolist() == [1, 3, 84, 8, 8, 13, 20, 20, 20]


def test_quadratic_scaling_is_a_candidate_of_two_classes():
    rng = np.random.default_rng(0)
    margin = rng.normal(scale=2.0, size=2000)
    y = (margin + 0.1 * margin**2 + rng.logistic(size=2000) > 0).astype(int)
    selector = CalibratorSelector().fit(margin, y)
    scores = dict(zip(selector.cv_results_["param_candidate"], selector.cv_results_["mean_test_score"], strict=True))
    assert scores["quadratic"] > scores["temperature"] + 0.003


@pytest.mark.parametrize(("n_samples", "dtype"), [(300, torch.float64), (3000, torch.float32)])
def test_of_many_logits_the_map_after_the_stack_is_fitted_in_single_precision(n_samples, dtype, monkeypatch):
    """Of more than 2^18; the same tolerance doesn't narrow a map that is fitted by itself."""
    dtypes, standardise = [], GapNetwork.standardise

    def looked_at(network, ordered, weight):
        dtypes.append(ordered.dtype)
        standardise(network, ordered, weight)

    monkeypatch.setattr(GapNetwork, "standardise", looked_at)
    Z = logits(n_samples, n_classes=100)
    y, candidates = (
        labels_of(Z, temperature=4.0),
        [("one", TemperatureScaling()), ("two", EnsembleTemperatureScaling())],
    )
    CalibratorSelector(candidates=candidates, n_folds=2).fit(Z, y)
    assert len(dtypes) >= 2 and set(dtypes) == {dtype}
    IntraOrderPreservingCalibration(tol=1e-6).fit(Z, y)
    assert dtypes[-1] == torch.float64


@pytest.mark.parametrize(
    ("n_samples", "weight", "missing"),
    [(1200, None, []), (300, None, ["vector", "beta"]), (1200, "uneven", ["vector", "beta"])],
)
def test_maps_without_a_penalty_take_part_where_enough_samples_are_misclassified(n_samples, weight, missing):
    """Four classes: 8 and 12 parameters."""
    Z = logits(n_samples)
    y = Z.argmax(1)
    y[::10] = (y[::10] + 1) % 4
    if weight == "uneven":
        weight = np.ones(n_samples)
        weight[[0, 10, 20]] = 1000
    selector = CalibratorSelector(stack=False, n_folds=2).fit(Z, y, sample_weight=weight)
    names = [name for name, _ in default_candidates() if name not in {"quadratic", *missing}]
    assert selector.cv_results_["param_candidate"].tolist() == names
    given = CalibratorSelector(
        candidates=[("temperature", TemperatureScaling()), ("vector", VectorScaling())], stack=False, n_folds=2
    ).fit(Z, y)
    assert given.cv_results_["param_candidate"].tolist() == ["temperature", "vector"]


@pytest.mark.filterwarnings("ignore:cv has no effect:UserWarning")
def test_a_searchs_own_folds_stay_around_a_fitted_network():
    network, X = perceptron(), vectors(120, 6)
    y = labels_of(bare_logits(network, X))
    search = NeuralClampingCalibratorCV(perturbations=["channel"], gammas=[0.0], max_epochs=1, cv=3, random_state=0)
    parts, few = (X, y, X[:100], y[:100]), {"n_resamples": 5, "n_draws": 5}
    found = compare_calibrators(network, *parts, calibrators={"search": search}, cv=2, **few).calibrators["search"]
    assert found.cv == 3 and "split2_test_score" in found.cv_results_


def test_structured_matrices_differ_in_strength():
    maps = dict(default_candidates())
    for name, strength in (("structured matrix / 16", 1 / 16), ("structured matrix / 256", 1 / 256)):
        penalties = maps[name].off_diagonal_penalty, maps[name].diagonal_penalty, maps[name].intercept_penalty
        assert penalties == (strength, 1 / 16, 1 / 16)


@pytest.mark.parametrize(
    ("n_classes", "n_samples", "matrix", "one_vs_rest"),
    [(50, 500, True, True), (51, 510, False, True), (50, 499, True, False)],
)
def test_costly_and_hungry_calibrators_take_part_where_they_can(n_classes, n_samples, matrix, one_vs_rest):
    Z = torch.zeros(n_samples, n_classes)
    logits_of = SimpleNamespace(
        classes=range(n_classes), calibration=Z, test=Z, shape_of_an_input=None, has_features_to_clamp=False
    )
    names = default_calibrators(logits_of, 0).keys()
    assert ("MatrixScaling" in names) == matrix
    assert ("IsotonicCalibration" in names) == one_vs_rest
    assert "NeuralClampingCalibrator" not in names
