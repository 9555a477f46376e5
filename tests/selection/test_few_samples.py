"""What the selector and the comparison make of copies."""

import numpy as np
import pytest
from _small_networks import labels_of, logits
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from skclamp import (
    CalibratorSelector,
    MatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)

CANDIDATES = [("temperature", TemperatureScaling()), ("structured vector", StructuredVectorScaling())]
FEW = {"n_resamples": 50, "n_draws": 20}


def selected(Z, y, groups=None, **options):
    return CalibratorSelector(**{"candidates": CANDIDATES, **options}).fit(Z, y, groups=groups)


def recordings(shifts):
    """Logits and labels of 200 recordings, and each recording's frames, which differ by noise, with their groups."""
    rng = np.random.default_rng(0)
    Z = rng.normal(0, 3, (200, 5))
    y = (Z / 1.7 + np.multiply(shifts, [0, 0.5, 1, 0, -1]) + rng.gumbel(size=Z.shape)).argmax(1)
    frames = rng.permutation(np.repeat(np.arange(200), 8))
    return Z, y, Z[frames] + rng.normal(0, 1e-3, (1600, 5)), frames


@pytest.mark.parametrize("shifts", [0, 1])
@pytest.mark.parametrize("name", [int, str, None], ids=["numbers", "names", "equal logits"])
def test_what_depends_on_each_other_counts_as_one_in_the_pool(name, shifts):
    """Eight frames of each recording would pay any price, and be the same in all folds."""
    Z, y, frames_of, frames = recordings(shifts)
    once, unknown = selected(Z, y), selected(frames_of, y[frames])
    found = selected(frames_of, y[frames], frames.astype(name)) if name else selected(Z[frames], y[frames])
    np.testing.assert_allclose(found.weights_, once.weights_, atol=0.2)
    assert (found.weights_[1] > 0.5) == (once.weights_[1] > 0.5) == (shifts == 1)
    assert found.best_score_ == pytest.approx(once.best_score_, abs=0.01)
    assert unknown.weights_[1] > 0.5 and unknown.best_score_ > once.best_score_ + 0.01


@pytest.mark.parametrize("n_groups", [2, 3, 5, 10])
def test_few_groups_that_say_nothing_leave_temperature_scaling(n_groups):
    """Hospitals whose patients are like any others: what is plain without groups stays plain."""
    Z = logits(1000, 5, seed=3)
    y = labels_of(Z, temperature=2.5, seed=3)
    found, plain = selected(Z, y, groups=np.arange(1000) % n_groups), TemperatureScaling().fit(Z, y)
    assert found.best_estimator_.temperature_ == pytest.approx(plain.temperature_, rel=0.05)


def forest_of(n_trees, n_samples, **options):
    """A forest, samples that all differ, and the labels of these."""
    X, y = make_classification(n_samples + 600, 20, n_informative=6, flip_y=0.25, random_state=0)
    return RandomForestClassifier(n_trees, random_state=0, **options).fit(X[:600], y[:600]), X[600:], y[600:]


def losses_of(comparison, X, y):
    """The loss of each sample, by calibrator."""
    found = comparison.calibrators.items()
    return {name: -calibrator.predict_log_proba(X)[np.arange(len(y)), y] for name, calibrator in found}


@pytest.mark.parametrize("n_times", [2, 11, 30])
@pytest.mark.parametrize("make", [CalibratorSelector, MatrixScaling], ids=["selector", "matrix"])
@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_tiled_samples_are_as_many_weights(make, n_times):
    """Torn apart they would prove any map."""
    Z, y = logits(300), labels_of(logits(300))
    tiled = make().fit(np.tile(Z, (n_times, 1)), np.tile(y, n_times))
    weighted = make().fit(Z, y, sample_weight=np.full(300, float(n_times)))
    np.testing.assert_allclose(tiled.predict_proba(Z), weighted.predict_proba(Z), atol=0.01)


@pytest.mark.parametrize("n_trees", [1, 25, 100])
@pytest.mark.parametrize("given", ["inputs", "scores"])
@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_votes_that_tie_are_no_copies(n_trees, given):
    forest, X, y = forest_of(n_trees, 600)
    calibrator_of, options = forest, {}
    if given == "scores":
        X, calibrator_of, options = forest.predict_proba(X), None, {"response": "probabilities"}
    assert len(np.unique(forest.predict_proba(X) if given == "inputs" else X, axis=0)) < 200
    maps = {"temperature": TemperatureScaling(), "vector": VectorScaling()}
    found = compare_calibrators(calibrator_of, X[:300], y[:300], X[300:], y[300:], calibrators=maps, **options, **FEW)
    first, second = losses_of(found, X[300:], y[300:]).values()
    errors = {row.name: row.nll_difference_se for row in found.rows}
    if errors["temperature"] * errors["vector"] == 0:
        assert max(errors["temperature"], errors["vector"]) == pytest.approx((first - second).std(ddof=1) / 300**0.5)


@pytest.mark.parametrize("labels", ["equal", "others"])
def test_uneven_copies_have_the_error_of_their_groups(labels):
    """40 samples nine times and 40 once."""
    Z, y = 3 * logits(80, seed=1), labels_of(logits(80, seed=1), seed=3)
    rows = np.r_[np.repeat(np.arange(40), 9), 40:80]
    calibration = 3 * logits(400, seed=2), labels_of(logits(400, seed=2))
    maps = [TemperatureScaling(), VectorScaling()]
    own = y[rows] if labels == "equal" else np.where(np.arange(400) % 9, y[rows], (y[rows] + 1) % Z.shape[1])
    found = compare_calibrators(None, *calibration, Z[rows], own, calibrators=maps, **FEW)
    best, other = (row for row in found.rows if row.name != "uncalibrated")
    losses = losses_of(found, Z[rows], own)
    weight = np.bincount(rows)
    differences, share = np.bincount(rows, losses[other.name] - losses[best.name]) / weight, weight / 400
    effective = 1 / (share**2).sum()
    mean = share @ differences
    error = np.sqrt(share**2 @ (differences - mean) ** 2 * effective / (effective - 1))
    assert other.nll_difference == pytest.approx(mean)
    assert other.nll_difference_se == pytest.approx(error)
