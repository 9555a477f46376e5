"""What is tried where nobody named candidates: maps for a selector, calibrators for a comparison."""

from types import SimpleNamespace

import pytest
from _small_networks import labels_of, logits

from skclamp import CalibratorSelector, TemperatureScaling, VectorScaling, default_candidates
from skclamp.selection._candidates import default_calibrators


def test_default_candidates_are_new_each_time_and_all_take_part():
    names, calibrators = zip(*default_candidates(), strict=True)
    assert len(set(names)) == len(names)
    assert not set(map(id, calibrators)) & {id(calibrator) for _, calibrator in default_candidates()}
    Z = logits(200)
    selector = CalibratorSelector().fit(Z, labels_of(Z))
    assert selector.cv_results_["param_candidate"].tolist() == [*names, "stack", "recalibrated stack"]
    # Of four classes: 1 + 10 (4 + 1) + 3 (10 + 1) of the order-preserving map, 1 + 3 * 4 of beta calibration.
    assert selector.cv_results_["n_parameters"][:-2].tolist() == [1, 84, 8, 8, 13, 20, 20, 20]


def test_candidates_stay_as_they_were():
    Z, candidates = logits(200), [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    CalibratorSelector(candidates=candidates).fit(Z, labels_of(Z))
    for _, calibrator in candidates:
        assert not hasattr(calibrator, "classes_")
        assert calibrator.classes is None


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
    logits_of = SimpleNamespace(classes=range(n_classes), calibration=range(n_samples), is_of_a_network=False)
    names = default_calibrators(logits_of, 0).keys()
    assert ("MatrixScaling" in names) == matrix
    assert ("IsotonicCalibration" in names) == one_vs_rest
    assert "NeuralClampingCalibrator" not in names
