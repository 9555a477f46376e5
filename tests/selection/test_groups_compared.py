"""Test sets of groups: what rows of a patient tell counts once, whoever compares."""

import warnings

import numpy as np
import pytest
from scipy.special import expit

from skclamp import PlattScaling, TemperatureScaling, VectorScaling, compare_calibrators
from skclamp.exceptions import CalibrationSetWarning, TrainingDataWarning

FEW = {"n_resamples": 100, "n_draws": 20, "verbose": 0}


def problem(n, seed, copies=1, jitter=0):
    """Logits that are too sure and their labels, each some times under other noise, and the number of each."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 3))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    rows = np.repeat(np.arange(n), copies)
    return 2 * logits[rows] + jitter * rng.normal(size=(n * copies, 3)), y[rows], rows


def test_groups_of_near_copies_tell_what_one_of_each_does():
    X_cal, y_cal, _ = problem(300, 0)
    X, y, patient = problem(150, 1, copies=8, jitter=1e-4)
    maps = [TemperatureScaling(), VectorScaling()]
    fit = {"calibrators": maps, **FEW}
    alone = compare_calibrators(None, X_cal, y_cal, X[::8], y[::8], **fit)
    found = compare_calibrators(None, X_cal, y_cal, X, y, groups_test=patient, **fit)
    # In their order they would be found.
    order = np.random.default_rng(2).permutation(len(y))
    by_rows = compare_calibrators(None, X_cal, y_cal, X[order], y[order], **fit)
    for name in alone:
        one, own, rows = (each[name] for each in (alone, found, by_rows))
        for score in ("nll", "nll_se", "ece_low", "ece_high", "aurc_low", "aurc_high", "nll_difference_se", "p_value"):
            assert getattr(own, score) == pytest.approx(getattr(one, score), rel=0.02, abs=2e-3), (name, score)
        assert own.tied == one.tied
        assert 2 * rows.nll_se < own.nll_se
        assert own.ece_floor > rows.ece_floor
    assert "Test samples are of 150 groups" in found.to_string(wide=True).replace("\n", " ")
    assert "groups" not in by_rows.to_string(wide=True)


def test_copies_are_groups_without_a_word():
    X_cal, y_cal, _ = problem(300, 0)
    X, y, _ = problem(150, 1, copies=8)
    fit = {"calibrators": [TemperatureScaling()], **FEW}
    alone, found = (compare_calibrators(None, X_cal, y_cal, *data, **fit) for data in ((X[::8], y[::8]), (X, y)))
    for name in alone:
        assert found[name].nll_se == pytest.approx(alone[name].nll_se)
        assert (found[name].ece_low, found[name].ece_high) == pytest.approx((alone[name].ece_low, alone[name].ece_high))


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        (range(9), r"groups_test must have shape \(100,\), a name or number a sample; got shape \(9,\)"),
        ([None] * 100, "groups_test must name the group of every sample; got None"),
        (["a"] * 100, "groups.* must name 2 groups at least"),
    ],
)
def test_refuses_what_are_no_groups(groups, match):
    X, y, _ = problem(100, 0)
    with pytest.raises(ValueError, match=match):
        compare_calibrators(None, X, y, X + 1, y, groups_test=groups, calibrators=[TemperatureScaling()], **FEW)


def test_equal_maps_of_patients_are_seldom_called_different():
    """By rows they are in every other draw."""
    gap, grid = 0.5, np.repeat(np.linspace(-8, 8, 201), 2)
    second, proba = np.arange(len(grid)) % 2, expit(grid - 1.0)
    # It lowers log-odds by twice the gap: with these raised by it, both are off as much.
    lowering = PlattScaling().fit(grid, second, sample_weight=1e4 * np.where(second, proba, 1 - proba))
    different = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), rng.integers(1, 61, size=60))
        z = 1.4 * (rng.normal(size=60)[patient] + rng.normal(size=len(patient)))
        shared = rng.uniform(size=len(z)) < 0.5
        y = (z > np.where(shared, rng.logistic(size=60)[patient], rng.logistic(size=len(z)))).astype(int)
        data = [-4.0, -1, 1, 4], [0, 1, 0, 1], z + gap, y
        few = {"n_resamples": 2, "n_draws": 1, "verbose": 0}
        found = compare_calibrators(None, *data, calibrators=[lowering], groups_test=patient, **few)
        different.append(not all(row.tied for row in found.rows))
    assert np.mean(different) <= 0.1


def test_groups_of_the_calibration_set_alone_are_told(recwarn):
    (X_cal, y_cal, cal), (X, y, test) = problem(100, 0, copies=4, jitter=0.1), problem(100, 1, copies=4, jitter=0.1)
    fit = {"calibrators": [TemperatureScaling()], **FEW}
    told = "groups are those of X_cal alone: .* intervals too narrow .* Give groups_test"
    for given in ({"groups": cal}, {"params": {"groups": cal}}):
        with pytest.warns(CalibrationSetWarning, match=told):
            compare_calibrators(None, X_cal, y_cal, X, y, **given, **fit)
    recwarn.clear()
    for given in ({"groups": cal, "groups_test": test}, {"groups_test": test}, {}):
        compare_calibrators(None, X_cal, y_cal, X, y, **given, **fit)
    same, known = (
        compare_calibrators(None, X_cal, y_cal, X_cal, y_cal, groups=cal, **more, **fit)
        for more in ({}, {"groups_test": cal})
    )
    assert str(same) == str(known)
    assert not [each for each in recwarn if "groups are those of X_cal" in str(each.message)]


def test_chance_of_few_patients_isnt_taken_for_training(recwarn):
    """Accuracies of two sets of 15 patients differ by chance as rows of their number wouldn't."""
    rng = np.random.default_rng(0)
    told = []
    for seed in range(5):
        sets = []
        for wrong in (0.05, 0.3):
            patient = np.repeat(np.arange(15), 40)
            hit = rng.uniform(size=15) > wrong
            X = rng.normal(size=(600, 3))
            y = np.where(hit[patient], X.argmax(1), X.argmin(1))
            sets.append((X, y, patient))
        (X_cal, y_cal, cal), (X, y, test) = sets
        fit = {"calibrators": [TemperatureScaling()], "random_state": seed, **FEW}
        recwarn.clear()
        compare_calibrators(None, X_cal, y_cal, X, y, groups=cal, groups_test=test, **fit)
        told += [each for each in recwarn if issubclass(each.category, TrainingDataWarning)]
    assert not told
    with pytest.warns(TrainingDataWarning, match="on X_cal and .* on X_test, which isn.t by chance"):
        compare_calibrators(None, X_cal, y_cal, X, X.argmin(1), **fit)


def test_the_calibration_set_as_a_test_set_is_told_where_rows_come_often():
    """Rows of so few values don't tell; the same logits and labels do."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, size=(200, 3)).astype(float)
    y = (X + rng.gumbel(size=X.shape)).argmax(1)
    other = rng.integers(0, 3, size=(200, 3)).astype(float)
    fit = {"calibrators": [TemperatureScaling()], **FEW}
    told = "X_test holds samples of X_cal, about 100% of X_test"
    for X_test in (X, X.copy()):
        with pytest.warns(CalibrationSetWarning, match=told):
            compare_calibrators(None, X, y, X_test, y, **fit)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="X_test holds samples of X_cal")
        compare_calibrators(None, X, y, other, (other + rng.gumbel(size=X.shape)).argmax(1), **fit)
