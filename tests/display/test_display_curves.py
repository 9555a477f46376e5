"""Intervals and smoothed curves of reliability diagrams: equal to brute force, and to the metric."""

from functools import partial

import numpy as np
import pytest
from scipy.integrate import trapezoid

from skclamp.display import ReliabilityDisplay
from skclamp.metrics import smooth_calibration_error

diagram = partial(ReliabilityDisplay.from_predictions, n_draws=0)


def _data(n=400, k=3, seed=0):
    """Probabilities that are too sure, and labels."""
    random = np.random.default_rng(seed)
    proba = random.dirichlet(np.full(k, 0.7), n)
    y = np.array([random.choice(k, p=p) for p in np.sqrt(proba) / np.sqrt(proba).sum(1, keepdims=True)])
    return y, proba


def _pairs(y, proba):
    return proba.max(1), proba.argmax(1) == y


def _resamples(n, n_resamples, random_state):
    """How often each sample is in each of the replicates that a display draws."""
    seed = np.random.RandomState(random_state).randint(2**31 - 1)
    generator = np.random.default_rng(np.random.RandomState(seed).randint(2**31 - 1))
    return [np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(n_resamples)]


def _kernel(t, centre, bandwidth):
    """Gaussian reflected at 0 and 1, by its images."""
    images = [sign * centre + 2 * m for sign in (1, -1) for m in range(-3, 4)]
    return sum(np.exp(-((t - at) ** 2) / (2 * bandwidth**2)) for at in images)


@pytest.mark.parametrize("weighted", [False, True])
def test_curve_is_the_kernel_mean_of_the_residuals(weighted):
    y, proba = _data()
    weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(float) if weighted else None
    curve = diagram(y, proba, smooth=True, sample_weight=weight).curve
    assert curve.error == smooth_calibration_error(y, proba, sample_weight=weight)
    confidence, hits = _pairs(y, proba)
    masses = np.ones(len(y)) if weight is None else weight
    shown = ~np.isnan(curve.accuracy)
    ends = [(weighing := confidence[masses > 0]).min(), weighing.max()]
    np.testing.assert_allclose(curve.confidence[shown][[0, -1]], ends, atol=2**-10)
    t = curve.confidence[shown]
    kernel = _kernel(t[:, None], confidence, curve.bandwidth) * masses
    expected = t + (kernel * (hits - confidence)).sum(1) / kernel.sum(1)
    np.testing.assert_allclose(curve.accuracy[shown], expected, atol=2e-4)
    assert curve.low is None and curve.high is None


def test_curve_stays_an_accuracy():
    confidence = np.random.default_rng(0).uniform(0.6, 1, 2000)
    curve = diagram(np.ones(2000, int), confidence, labels=[0, 1], smooth=True, n_resamples=9).curve
    shown = ~np.isnan(curve.accuracy)
    kernel = _kernel(curve.confidence[shown, None], confidence, curve.bandwidth)
    unlimited = curve.confidence[shown] + (kernel * (1 - confidence)).sum(1) / kernel.sum(1)
    assert unlimited[-1] > 1.02 and curve.accuracy[shown][-1] == 1 == curve.high[shown][-1]
    np.testing.assert_allclose(curve.accuracy[shown], np.minimum(unlimited, 1), atol=2e-4)


def test_mean_gap_of_the_curve_is_the_smooth_error():
    random = np.random.default_rng(0)
    confidence = random.uniform(size=3000)
    curve = diagram(random.uniform(size=3000) < 0.2 + 0.6 * confidence**2, confidence, smooth=True).curve
    gap = np.abs(np.nan_to_num(curve.accuracy - curve.confidence)) * curve.density
    assert trapezoid(gap, curve.confidence) == pytest.approx(curve.error, rel=0.01)
    assert trapezoid(curve.density, curve.confidence) == pytest.approx(1, rel=1e-6)


def test_bands_and_intervals_hold_quantiles_of_replicates():
    y, proba = _data(150)
    display = diagram(y, proba, n_bins=6, n_resamples=80, smooth=True, confidence_level=0.8, random_state=2)
    confidence, hits = _pairs(y, proba)
    resamples = _resamples(150, 80, 2)
    curve = display.curve
    shown = np.flatnonzero(~np.isnan(curve.accuracy))[::50]
    t = curve.confidence[shown]
    kernel = _kernel(t[:, None], confidence, curve.bandwidth)
    replicates = [t + (kernel * count * (hits - confidence)).sum(1) / (kernel * count).sum(1) for count in resamples]
    expected = np.quantile(np.clip(replicates, 0, 1), [0.1, 0.9], axis=0)
    np.testing.assert_allclose([curve.low[shown], curve.high[shown]], expected, atol=1e-3)
    for k in range(6):
        inside = (confidence > display.bins.lower[k]) & (confidence <= display.bins.upper[k])
        if not inside.any():
            assert np.isnan(display.intervals[:, k]).all()
            continue
        shares = [np.average(hits[inside], weights=count[inside]) for count in resamples if count[inside].any()]
        assert len(set(shares)) > 1
        np.testing.assert_allclose(display.intervals[:, k], np.quantile(shares, [0.1, 0.9]))


def test_equal_mass_bins_have_intervals_too():
    display = diagram(*_data(), strategy="quantile", n_resamples=30)
    low, high = display.intervals
    assert (low <= display.bins.accuracy + 1e-12).all() and (high >= display.bins.accuracy - 1e-12).all()
    assert (high - low > 0.02).all()
