"""What the selector and the comparison make of copies, and of few mistakes."""

import numpy as np
import pytest
import torch
from _small_networks import labels_of, logits

from skclamp import CalibratorSelector, StructuredVectorScaling, TemperatureScaling, VectorScaling, compare_calibrators
from skclamp._utils.folds import copies_of, draw_folds

CANDIDATES = [("temperature", TemperatureScaling()), ("structured vector", StructuredVectorScaling())]
COPIES = np.tile(np.arange(200), 4)
FEW = {"n_resamples": 50, "n_draws": 20}


def selected(Z, y, **options):
    return CalibratorSelector(**{"candidates": CANDIDATES, "stack": False, **options}).fit(Z, y)


# Copies


def test_copies_count_as_one_in_the_contest():
    """The standard error of a gain is that of the distinct samples, not half of it."""
    Z = logits(200)
    y = labels_of(Z)
    once, copied = selected(Z, y).cv_results_, selected(Z[COPIES], y[COPIES]).cv_results_
    # The maps' penalties count samples, and folds are drawn anew.
    assert copied["test_gain_standard_error"][1] == pytest.approx(once["test_gain_standard_error"][1], rel=0.4)


def test_copies_of_several_labels_share_a_fold():
    Z = torch.log_softmax(torch.from_numpy(logits(200)[COPIES]), 1)
    y, weight = torch.from_numpy(labels_of(Z)), torch.ones(800, dtype=torch.float64)
    assert len(np.unique(np.column_stack([COPIES, y]), axis=0)) > 300, "several labels"
    copies = copies_of(Z, weight)
    assert (copies.reshape(4, 200) == copies[:200]).all()
    assert len(np.unique(copies)) == 200
    numbers = draw_folds(Z, y, weight, 5, copies).reshape(4, 200)
    assert (numbers == numbers[0]).all()
    assert np.bincount(numbers[0]).min() > 20


def test_distinct_samples_are_no_copies():
    Z = torch.log_softmax(torch.from_numpy(logits(500)), 1)
    weight = torch.ones(500, dtype=torch.float64)
    assert copies_of(Z, weight) is None
    # Votes that many samples share, and copies of what has no weight.
    assert copies_of(Z[:20].repeat(25, 1), weight) is None
    weight[250:] = 0
    assert copies_of(Z[:250].repeat(2, 1), weight) is None


def test_samples_without_some_class_are_no_copies():
    Z = torch.from_numpy(logits(500))
    Z[:8, 0] = -torch.inf
    weight = torch.ones(500, dtype=torch.float64)
    assert copies_of(torch.log_softmax(Z, 1), weight) is None
    copies = copies_of(torch.log_softmax(Z.repeat(2, 1), 1), torch.ones(1000, dtype=torch.float64))
    np.testing.assert_array_equal(copies, np.tile(np.arange(500), 2))


def test_copies_of_a_test_set_prove_no_more():
    Z, y = logits(200, seed=1), labels_of(logits(200, seed=1), seed=3)
    calibration = logits(400, seed=2), labels_of(logits(400, seed=2))
    maps = [TemperatureScaling(), VectorScaling()]
    once, copied = (
        compare_calibrators(None, *calibration, Z[rows], y[rows], calibrators=maps, **FEW)
        for rows in (np.arange(200), COPIES)
    )
    for row in once.rows:
        assert copied[row.name].nll == pytest.approx(row.nll)
        assert copied[row.name].nll_difference == pytest.approx(row.nll_difference)
        assert copied[row.name].nll_difference_se == pytest.approx(row.nll_difference_se)
        assert copied[row.name].p_value == pytest.approx(row.p_value)
    # Some that come more often than others keep the mean over all samples.
    uneven = np.r_[np.arange(200), np.arange(50)]
    found = compare_calibrators(None, *calibration, Z[uneven], y[uneven], calibrators=maps, **FEW)
    best, other = found.rows[0], found.rows[-1]
    assert other.nll_difference == pytest.approx(other.nll - best.nll)


# Few mistakes


@pytest.mark.filterwarnings("ignore::skclamp.exceptions.NotConvergedWarning")
@pytest.mark.parametrize("kind", ["three classes", "rare"])
def test_few_mistakes_ask_for_two_standard_errors(kind):
    """Where labels are temperature scaling's, one standard error is passed by chance now and then."""
    by_one = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=(100, 3)) * 4 if kind == "three classes" else rng.normal([11, 0], [4.5, 1e-3], (200, 2))
        y = labels_of(Z, 1.7, seed)
        if len(np.unique(y)) < Z.shape[1]:
            continue
        assert (Z.argmax(1) != y).sum() < 60
        selector = selected(Z, y, classes=np.arange(Z.shape[1]), candidates=[*CANDIDATES, ("vector", VectorScaling())])
        gains, errors = (selector.cv_results_[name] for name in ("mean_test_gain", "test_gain_standard_error"))
        n_misses = (Z.argmax(1) != y).sum()
        by_one += (gains[1:] > errors[1:]).any() and n_misses < 60
        n_errors = 3 if min(n_misses, (y != np.bincount(y).argmax()).sum()) < 10 else 2
        left = selector.best_params_["candidate"] != "temperature"
        assert left == (gains[1:] > n_errors * errors[1:]).any()
    assert by_one
