"""Probabilities of exactly 0, as forests and neighbours vote: what stands for them, and where they stay."""

from functools import cache

import numpy as np
import pytest
import sklearn
import torch
from _output_maps import OUTPUT_MAPS
from _small_networks import nll
from _votes import votes_of_trees
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.fixes import parse_version

import skclamp
from skclamp import (
    BayesianBinningIntoQuantiles,
    HistogramBinning,
    IsotonicCalibration,
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    TemperatureScaling,
    VennAbersCalibration,
)
from skclamp.metrics import negative_log_likelihood

VOTES, LABELS = votes_of_trees(1500)
HALF_A_VOTE = 0.02
# Clamping perturbs what it is given. The selector gives all its candidates what it raised.
TAKES_ZEROS = HistogramBinning, BayesianBinningIntoQuantiles, IsotonicCalibration, VennAbersCalibration
SINGLE = sorted(name for name in OUTPUT_MAPS if not ("clamping" in name or "elector" in name))


def fitted(name, X, y, **params):
    return OUTPUT_MAPS[name].make().set_params(**params).fit(X, y)


@cache
def of_votes(name):
    return fitted(name, VOTES[:500], LABELS[:500], response="probabilities")


@pytest.mark.parametrize("name", SINGLE)
def test_half_a_vote_stands_for_none_in_the_module_too(name):
    calibrator = of_votes(name)
    found = calibrator.predict_log_proba(VOTES[500:])
    raised = VOTES if isinstance(calibrator, TAKES_ZEROS) else np.maximum(VOTES, HALF_A_VOTE)
    with np.errstate(divide="ignore"):
        scores = np.maximum(np.log(raised), np.log(np.finfo(float).eps) + 1e-4)
    expected = fitted(name, scores[:500], LABELS[:500]).predict_log_proba(scores[500:])
    np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=1e-6)
    stands = 0 if isinstance(calibrator, TAKES_ZEROS) else HALF_A_VOTE
    assert calibrator.least_probability_ == pytest.approx(stands)
    deployed = calibrator.module_(torch.from_numpy(VOTES[500:])).softmax(1).detach()
    np.testing.assert_allclose(deployed, np.exp(found), atol=1e-6)


@pytest.mark.parametrize("name", SINGLE)
def test_what_is_less_likely_stays_so(name):
    """Averages of trees' shares may lie between no vote and the least one."""
    calibrator = of_votes(name)
    row = np.full((1, 20), 0.6 / 19)
    row[0, :4] = 0.4, 0.2 - 0.06 / 19 - 1e-3, 1e-3, 0
    row /= row.sum()
    proba = calibrator.predict_proba(row)[0]
    assert proba[3] <= proba[2] + 1e-12 or OUTPUT_MAPS[name].changes_predictions


PRECISIONS = {
    "float32": lambda votes: votes.astype(np.float32),
    "float16": lambda votes: votes.astype(np.float16),
    "bfloat16": lambda votes: torch.from_numpy(votes).bfloat16(),
    "rounded": lambda votes: votes.round(4),
    "renormalised": lambda votes: votes.round(4) / 0.9995,
}


@pytest.mark.parametrize("name", PRECISIONS)
def test_rounding_does_not_hide_a_zero(name):
    votes, y = votes_of_trees(1000, n_trees=7)
    rounded, response = PRECISIONS[name](votes), "probabilities"
    expected = TemperatureScaling(response=response).fit(votes[:500], y[:500])
    calibrator = TemperatureScaling(response=response).fit(rounded[:500], y[:500])
    assert calibrator.least_probability_ == pytest.approx(1 / 40, rel=0.01)
    for each in (calibrator, expected):
        found = each.predict_log_proba(rounded[500:])
        np.testing.assert_allclose(found, expected.predict_log_proba(votes[500:]), atol=0.02)


@pytest.mark.parametrize("make", [TemperatureScaling, PriorShiftCorrection])
def test_networks_do_not_vote(make):
    """What stands for a zero would have to become a part of the network."""
    network = torch.nn.Sequential(torch.nn.Threshold(0.05, 0.0), Normalised())
    X = torch.from_numpy(VOTES).float()
    calibrator = make(network, response="probabilities").fit(X[:500], LABELS[:500])
    assert (network(X) == 0).any() and calibrator.least_probability_ == 0
    if make is PriorShiftCorrection:
        deployed = calibrator.module_(X).softmax(1).detach()
        np.testing.assert_allclose(deployed, calibrator.predict_proba(X), atol=1e-6)
    if make is TemperatureScaling:
        clamping = NeuralClampingCalibrator(network, response="probabilities", perturbation=None)
        assert clamping.fit(X[:500], LABELS[:500]).temperature_ == pytest.approx(calibrator.temperature_)


class Normalised(torch.nn.Module):
    """Shares of the sum."""

    def forward(self, x):
        return x / x.sum(1, keepdim=True)


@pytest.mark.parametrize("make", [lambda: RandomForestClassifier(25, random_state=0), lambda: KNeighborsClassifier(10)])
def test_scaled_votes_beat_scikit_learns_temperature(make):
    """Where no vote counts as 2.2e-16, one label without a vote costs 36 nats, and T pays for it."""
    if parse_version(sklearn.__version__) < parse_version("1.8"):
        pytest.skip("this scikit-learn has no temperature scaling")
    gains = []
    for X, y in (load_digits(return_X_y=True), make_classification(3000, n_classes=6, n_informative=8, random_state=0)):
        for seed in range(5):
            X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=0.4, random_state=seed)
            X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, test_size=0.5, random_state=seed)
            classifier = FrozenEstimator(make().fit(X_train, y_train))
            theirs = CalibratedClassifierCV(classifier, method="temperature").fit(X_cal, y_cal)
            ours = TemperatureScaling(classifier).fit(X_cal, y_cal)
            eps = np.finfo(float).eps
            scores = [np.log(np.clip(each.predict_proba(X_test), eps, 1)) for each in (ours, theirs)]
            gains.append(nll(scores[1], y_test) - nll(scores[0], y_test))
    standard_error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert np.mean(gains) > 2 * standard_error


def test_samples_without_weight_do_not_tell_what_a_vote_is():
    votes, weight = VOTES[:300].copy(), np.ones(300)
    votes[0], weight[0] = [1 - 1e-6, 1e-6, *np.zeros(18)], 0
    calibrator = TemperatureScaling(response="probabilities").fit(votes, LABELS[:300], sample_weight=weight)
    assert calibrator.least_probability_ == pytest.approx(HALF_A_VOTE)


def test_a_correction_leaves_calibrated_zeros_as_they_are():
    rng = np.random.default_rng(0)
    share = rng.integers(26, size=1500) / 25
    votes, y = np.column_stack([1 - share, share]), rng.uniform(size=1500) < share
    steps = IsotonicCalibration(response="probabilities").fit(votes[:500], y[:500])
    corrected = PriorShiftCorrection(steps).fit(votes[500:1000], y[500:1000])
    expected = steps.predict_proba(votes[1000:])
    assert (expected < 1e-15).any()
    np.testing.assert_allclose(corrected.predict_proba(votes[1000:]), expected, atol=1e-12)


def test_what_stands_for_zeros_is_told_saved_and_forgotten(tmp_path):
    calibrator = TemperatureScaling(response="probabilities").fit(VOTES[:500], LABELS[:500])
    assert "learned 1 number" in calibrator.summary()
    assert calibrator.summary().endswith("Probabilities of 0 count as 0.02.")
    calibrator.save(tmp_path / "votes")
    loaded = skclamp.load(tmp_path / "votes")
    np.testing.assert_array_equal(loaded.predict_proba(VOTES), calibrator.predict_proba(VOTES))
    assert loaded.least_probability_ == calibrator.least_probability_
    calibrator.fit(np.full((40, 20), 0.05), np.tile(np.arange(20), 2))
    assert calibrator.least_probability_ == 0


def masked(n_samples, seed=0, dtype=np.float64):
    """Probabilities of ten classes of a hundred, the others exactly 0, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_samples, 100))
    scores[rng.random(scores.shape).argsort(1) >= 10] = -np.inf
    return softmax(scores, axis=1).astype(dtype), (scores + rng.gumbel(size=scores.shape)).argmax(1)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("n_samples", [100, 1000])
def test_zeros_that_no_label_is_among_are_no_votes(n_samples, dtype):
    new, y_new = masked(5000, seed=1)
    calibrator = TemperatureScaling(response="probabilities", classes=range(100)).fit(*masked(n_samples, dtype=dtype))
    assert calibrator.least_probability_ == pytest.approx(1 / (90 * n_samples))
    found = calibrator.predict_proba(new)
    # (hits + 1) / zeros each, of ninety, were T 1: one sample's worth.
    assert found[new == 0].sum() / len(new) < 2 / n_samples
    assert negative_log_likelihood(y_new, found) < negative_log_likelihood(y_new, new) + 0.03


def test_zeros_are_left_alone_where_logits_are_given():
    proba, y = masked(500)
    scores = np.log(np.maximum(proba, 1e-15))
    alone = TemperatureScaling(classes=range(100)).fit(scores, y)
    assert alone.least_probability_ == 0
    assert alone.predict_proba(scores)[proba == 0].max() < 1e-12
