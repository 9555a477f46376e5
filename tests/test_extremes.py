"""Huge and tiny logits and weights: the right number or an error that names what is wrong, never NaN."""

import tracemalloc
import warnings

import numpy as np
import pytest
from _calibrators import LOGITS, every_map, of_base
from _metrics import METRICS, REPRESENTATIVES, SCALE_MATTERS, draw
from _small_networks import labels_of

import skclamp
from skclamp import (
    BayesianBinningIntoQuantiles,
    CalibratorSelector,
    IsotonicCalibration,
    VennAbersCalibration,
)
from skclamp.exceptions import CalibrationWarning

of_logits = every_map(lambda case: case.X is LOGITS)
# The selector fits all the others.
of_logits_alone = every_map(lambda case: case.X is LOGITS and not isinstance(case.make(), CalibratorSelector))
UNIT = LOGITS / np.abs(LOGITS).max()


def fitted_proba(calibrator, X, y, **options):
    """Probabilities after a fit of which nothing but what the package itself knows is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CalibrationWarning)
        calibrator.fit(X, y, **options)
        proba, log_proba = calibrator.predict_proba(X), calibrator.predict_log_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=0, atol=1e-9)
    assert np.isfinite(log_proba).all()
    return proba


@of_logits
@pytest.mark.parametrize(("scale", "dtype"), [(1e-300, np.float64), (3e37, np.float32)])
def test_logits_of_any_scale(case, scale, dtype):
    fitted_proba(case.make(), (scale * UNIT).astype(dtype), case.y)


@of_logits
def test_logits_beyond_float32(case):
    message = r"X must hold logits of at most 3.4e\+38 in magnitude, float32's largest number"
    with pytest.raises(ValueError, match=message):
        case.make().fit(1e308 * UNIT, case.y)
    with pytest.raises(ValueError, match=message):
        case.fitted.predict_proba(1e300 * UNIT)


WHOLE = np.random.default_rng(0).integers(1, 5, len(LOGITS))
WEIGHTS = {
    "tiny": 1e-100 * WHOLE,
    "uneven": 10 ** np.random.default_rng(0).uniform(-30, 15, len(LOGITS)),
    "beyond the resolution of their sum": np.r_[1e18, np.ones(len(LOGITS) - 1)],
}


@of_logits_alone
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_any_scale(case, weight):
    fitted_proba(case.make(), LOGITS, case.y, sample_weight=weight)


@of_base(lambda case: case.X is LOGITS)
@pytest.mark.parametrize("scale", [1e-200, 1e155])
def test_weights_that_can_not_be_squared(case, scale):
    with pytest.raises(ValueError, match="sample_weight must have a largest value between 1e-100 and 1e.100, .*; got"):
        case.make().fit(LOGITS, case.y, sample_weight=np.full(len(case.y), scale))


@pytest.mark.parametrize(
    ("name", "mask"),
    [(name, -1e9) for name in skclamp.scaling.__all__]
    # The network of this one standardises all log-probabilities by one scale.
    + [(name, -3e38) for name in skclamp.scaling.__all__ if name != "IntraOrderPreservingCalibration"],
)
def test_a_masked_class_is_none(name, mask):
    """A logit that stands for an impossible class takes nothing from what the others are calibrated to."""
    X, y = LOGITS.copy(), LOGITS[:, :3].argmax(1)
    y[::3] = (y[::3] + 1) % 3
    X[:, 3] = mask
    calibrator = getattr(skclamp, name)(classes=range(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proba = calibrator.fit(X, y).predict_proba(X)
        moderate = getattr(skclamp, name)(classes=range(4)).fit(np.maximum(X, -1e4), y).predict_proba(X.clip(-1e4))
    np.testing.assert_allclose(proba, moderate, rtol=0, atol=1e-3)


def test_a_matrix_refuses_logits_beside_which_others_are_rounded_away():
    X, y = LOGITS.copy(), LOGITS.argmax(1)
    y[::3] = (y[::3] + 1) % 4
    X[y != 3, 3] = -3e38
    with pytest.raises(ValueError, match=r"X must hold logits of at most 1e\+13 times the temperature, beside which"):
        skclamp.MatrixScaling(classes=range(4)).fit(X, y)


def test_memory_does_not_grow_with_the_size_of_weights_and_one_sample_more_changes_nothing(monkeypatch):
    """Then Venn-Abers predictors are isotonic regressions, zeros among them."""
    monkeypatch.setattr("skclamp.nonparametric._isotonic._NEVER", 0.0)
    y, weight = labels_of(LOGITS), np.full(len(LOGITS), 1e9)
    tracemalloc.start()
    bayesian, venn, isotonic = (
        kind().fit(LOGITS, y, sample_weight=weight).predict_proba(LOGITS)
        for kind in (BayesianBinningIntoQuantiles, VennAbersCalibration, IsotonicCalibration)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25
    assert np.isfinite(bayesian).all()
    np.testing.assert_allclose(venn, isotonic, rtol=0, atol=1e-6)


# Metrics


@pytest.mark.parametrize("name", sorted(set(METRICS) - SCALE_MATTERS))
def test_metrics_go_by_the_ratios_of_weights(name):
    for dtype in (np.float32, np.float64):
        y, proba = draw(dtype=dtype)
        weight = np.random.default_rng(0).integers(1, 5, len(y))
        expected = METRICS[name](y, proba, sample_weight=weight)
        for scale in (1e-99, 1e-46, 1e-10, 1e15, 1e40, 1e99):
            assert METRICS[name](y, proba, sample_weight=scale * weight) == pytest.approx(expected, abs=1e-6), scale


@pytest.mark.parametrize("name", sorted(SCALE_MATTERS | set(REPRESENTATIVES)))
def test_metrics_of_weights_that_are_tiny_or_huge_are_finite_or_refuse_them(name):
    y, proba = draw()
    for scale in (1e-99, 1e99):
        assert np.isfinite(METRICS[name](y, proba, sample_weight=np.full(len(y), scale)))
    for scale in (1e-300, 1e300) if name in REPRESENTATIVES else ():
        with pytest.raises(ValueError, match="sample_weight must have a largest value between 1e-100 and 1e.100"):
            METRICS[name](y, proba, sample_weight=np.full(len(y), scale))
