import numpy as np
import pytest
from _small_networks import labels_of, logits, softmax
from scipy.interpolate import make_lsq_spline

from skclamp import SplineCalibration
from skclamp.exceptions import CalibrationSetWarning
from skclamp.nonparametric._spline_calibration import natural_spline


def draw(n_samples=500, n_classes=5, seed=0, temperature=2.0):
    Z = logits(n_samples, n_classes, seed=seed)
    return Z, labels_of(Z, temperature, seed=seed + 1)


def test_the_spline_is_natural_and_has_the_least_error():
    rng = np.random.default_rng(0)
    x, y, weight = np.sort(rng.random(300)), rng.normal(size=300), rng.uniform(0.5, 2, 300)
    spline = natural_spline(x, y, weight, 6)
    np.testing.assert_allclose(spline([0, 1], 2), 0, atol=1e-9)
    # All cubic splines with these knots, those that are natural picked out by a penalty on the ends' curvature.
    knots = np.r_[[0] * 3, np.linspace(0, 1, 6), [1] * 3]
    basis = make_lsq_spline(np.linspace(0, 1, 50), np.eye(8)[np.arange(50) % 8], knots)
    basis.c = np.eye(8)
    rows = np.concatenate([basis(x) * np.sqrt(weight)[:, None], 1e6 * basis([0, 1], 2)])
    heights = np.linalg.lstsq(rows, np.concatenate([y * np.sqrt(weight), [0, 0]]), rcond=None)[0]
    np.testing.assert_allclose(spline(x), basis(x) @ heights, atol=1e-6)


def test_the_calibrated_score_by_the_papers_steps():
    """Gupta et al. (2021), sample by sample: all top probabilities are distinct."""
    Z, y = draw()
    score, hit = softmax(Z).max(1), Z.argmax(1) == y
    order = score.argsort()
    share = np.arange(1, 501) / 500
    spline = natural_spline(share, np.cumsum(hit[order] - score[order]) / 500, np.ones(500), 6)
    expected = score[order] + 500 * (spline(share) - spline(share - 1 / 500))
    calibrator = SplineCalibration().fit(Z, y)
    np.testing.assert_allclose(calibrator.accuracy_, expected.clip(1 / 502, 501 / 502), rtol=1e-9)
    np.testing.assert_allclose(expected, score[order] + spline(share - 1 / 1000, 1), atol=1e-5)
    proba = calibrator.predict_proba(Z)
    led = expected > 0.5
    np.testing.assert_allclose(proba.max(1)[order][led], calibrator.accuracy_[led], rtol=1e-9)


def test_the_rest_shares_what_remains():
    Z, y = draw()
    before, after = softmax(Z), SplineCalibration().fit(Z, y).predict_proba(Z)
    others = np.arange(5) != Z.argmax(1)[:, None]
    shares = [(each * others)[:, :, None] / (each * others).sum(1)[:, None, None] for each in (before, after)]
    np.testing.assert_allclose(*shares, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:the columns may be in another order:UserWarning")
@pytest.mark.parametrize("n_classes", [2, 10])
def test_predictions_stay_what_they_were(n_classes):
    """Even where nearly every prediction is wrong."""
    Z = logits(500, n_classes)
    calibrator = SplineCalibration().fit(Z, labels_of(-Z))
    np.testing.assert_array_equal(calibrator.predict(Z), Z.argmax(1))


def test_between_and_beyond_the_calibration_set():
    Z, y = draw(n_classes=2)
    calibrator = SplineCalibration().fit(Z, y)
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


@pytest.mark.filterwarnings("ignore:all labels are of one class:UserWarning")
@pytest.mark.parametrize("what", ["one sample", "two samples", "constant", "duplicates"])
def test_few_distinct_scores_are_told(what):
    Z, y = draw(60)
    X, labels, n_distinct = {
        "one sample": (Z[:1], y[:1], 1),
        "two samples": (Z[:2], y[:2], 2),
        "constant": (np.zeros_like(Z), y, 1),
        "duplicates": (np.repeat(Z[:2], 30, axis=0), y, 2),
    }[what]
    with pytest.warns(
        CalibrationSetWarning, match=f"has {n_distinct} distinct top probabilities, fewer than n_knots=6"
    ) as caught:
        calibrator = SplineCalibration().fit(X, labels)
    assert caught[0].filename == __file__
    assert np.isfinite(calibrator.predict_log_proba(Z)).all()


def test_bad_parameters():
    with pytest.raises(ValueError, match="'n_knots' parameter of SplineCalibration must be an int in the range"):
        SplineCalibration(n_knots=2).fit(*draw(20))
