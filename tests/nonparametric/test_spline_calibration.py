"""The spline by the paper's steps, its own conditions, and what stands where samples don't say."""

import numpy as np
import pytest
from _small_networks import labels_of, logits, softmax
from scipy.interpolate import make_lsq_spline

from skclamp import SplineCalibration
from skclamp.exceptions import CalibrationSetWarning


def draw(n_samples=500, n_classes=5):
    Z = logits(n_samples, n_classes)
    return Z, labels_of(Z, seed=1)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_calibrated_score_by_the_papers_steps(weighted):
    """Gupta et al. (2021), sample by sample: all top probabilities are distinct, and heavier samples are wider."""
    Z, y = draw()
    weight = np.random.default_rng(0).uniform(0.5, 2, 500) if weighted else np.ones(500)
    calibrator = SplineCalibration().fit(Z, y, sample_weight=weight)
    score, hit = softmax(Z).max(1), Z.argmax(1) == y
    order = score.argsort()
    score, hit, weight = score[order], hit[order], weight[order]
    total = weight.sum()
    share, gap = np.cumsum(weight) / total, np.cumsum(weight * (hit - score)) / total
    # All cubic splines with these knots, those that are natural picked out by a penalty on the ends' curvature.
    basis = make_lsq_spline(
        np.linspace(0, 1, 50), np.eye(8)[np.arange(50) % 8], np.r_[[0] * 3, np.linspace(0, 1, 6), [1] * 3]
    )
    basis.c = np.eye(8)
    rows = np.concatenate([basis(share) * np.sqrt(weight)[:, None], 1e6 * basis([0, 1], 2)])
    heights = np.linalg.lstsq(rows, np.append(gap * np.sqrt(weight), [0, 0]), rcond=None)[0]
    slope = np.diff(basis(np.append(0, share)) @ heights) * total / weight
    expected = (score + slope).clip(1 / (total + 2), 1 - 1 / (total + 2))
    np.testing.assert_allclose(calibrator.accuracy_, expected, atol=1e-5)
    led = expected > 0.5
    proba = calibrator.predict_proba(Z).max(1)[order]
    np.testing.assert_allclose(proba[led], calibrator.accuracy_[led], rtol=1e-9)


def test_the_rest_shares_what_remains():
    Z, y = draw()
    before, after = softmax(Z), SplineCalibration().fit(Z, y).predict_proba(Z)
    others = np.arange(5) != Z.argmax(1)[:, None]
    shares = [proba * others / (proba * others).sum(1, keepdims=True) for proba in (before, after)]
    np.testing.assert_allclose(*shares, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:X holds .* on another scale than in fit:skclamp.exceptions.CalibrationSetWarning")
def test_between_and_beyond_the_calibration_set():
    calibrator = SplineCalibration().fit(*draw(n_classes=2))
    odds = np.array([-1e3, -2.345, 0.7, 5.0, 1e3])
    expected = np.interp(np.abs(odds), calibrator.log_odds_, calibrator.accuracy_)
    proba = calibrator.predict_proba(np.stack([np.zeros(5), odds], 1))
    np.testing.assert_allclose(proba.max(1), expected.clip(0.5), rtol=1e-8)


def test_saturated_probabilities_are_told_apart():
    """Float64 has no probability between 1 - 1e-16 and 1, but the odds lie apart."""
    rng = np.random.default_rng(0)
    odds = rng.uniform(40, 100, size=4000)
    hit = rng.random(4000) < np.where(odds > 70, 0.95, 0.65)
    calibrator = SplineCalibration(n_knots=10).fit(odds, hit.astype(int))
    proba = calibrator.predict_proba(np.array([50.0, 90.0]))[:, 1]
    np.testing.assert_allclose(proba, [0.65, 0.95], atol=0.05)


@pytest.mark.filterwarnings("ignore:X holds .* on another scale than in fit:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.filterwarnings("ignore:all labels are of one class:UserWarning")
@pytest.mark.parametrize(
    ("rows", "flat", "n_distinct"), [([0], 1, 1), ([0, 1], 1, 2), (range(60), 0, 1), ([0] * 30 + [1] * 30, 1, 2)]
)
def test_few_distinct_scores_are_told(rows, flat, n_distinct):
    Z, y = draw(60)
    message = f"has {n_distinct} distinct top probabilities, fewer than n_knots=6"
    with pytest.warns(CalibrationSetWarning, match=message) as caught:
        calibrator = SplineCalibration().fit(flat * Z[rows], y[rows])
    assert caught[0].filename == __file__
    assert np.isfinite(calibrator.predict_log_proba(Z)).all()
