"""What is tried where nobody named candidates: maps for a selector, calibrators for a comparison."""

import numpy as np
from _small_networks import labels_of, logits

from skclamp import (
    CalibratorSelector,
    default_candidates,
)


def test_default_candidates_are_new_each_time_and_all_take_part():
    names, calibrators = zip(*default_candidates(), strict=True)
    assert len(set(names)) == len(names)
    assert not set(map(id, calibrators)) & {id(calibrator) for _, calibrator in default_candidates()}
    Z = logits(200)
    selector = CalibratorSelector().fit(Z, labels_of(Z, temperature=4.0))
    of_four = [name for name in names if name != "quadratic"]
    assert selector.cv_results_["param_candidate"].tolist() == of_four
    # Of four classes 1 + 3 * 4 of beta calibration.
    assert selector.cv_results_["n_parameters"].tolist() == [1, 3, 8, 8, 13, 20, 20, 20]


def test_quadratic_scaling_is_a_candidate_of_two_classes():
    rng = np.random.default_rng(0)
    margin = rng.normal(scale=2.0, size=2000)
    y = (margin + 0.1 * margin**2 + rng.logistic(size=2000) > 0).astype(int)
    selector = CalibratorSelector().fit(margin, y)
    scores = dict(zip(selector.cv_results_["param_candidate"], selector.cv_results_["mean_test_score"], strict=True))
    assert scores["quadratic"] > scores["temperature"] + 0.003
    assert selector.best_score_ > scores["quadratic"] - 0.001


def test_structured_matrices_differ_in_strength():
    maps = dict(default_candidates())
    for name, strength in (("structured matrix / 16", 1 / 16), ("structured matrix / 256", 1 / 256)):
        penalties = maps[name].off_diagonal_penalty, maps[name].diagonal_penalty, maps[name].intercept_penalty
        assert penalties == (strength, 1 / 16, 1 / 16)
