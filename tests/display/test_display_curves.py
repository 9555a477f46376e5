"""Intervals and smoothed curves of reliability diagrams: equal to brute force, and to the metric."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from skclamp.display import ReliabilityDisplay
from skclamp.display._curves import accuracy_intervals, resampler, smooth_curve
from skclamp.metrics import expected_calibration_error, smooth_calibration_error
from skclamp.metrics._binning import Pairs, Probabilities

plt = pytest.importorskip("matplotlib.pyplot")


def _data(n=400, k=3, seed=0):
    """Probabilities that are too sure, and labels."""
    random = np.random.default_rng(seed)
    proba = random.dirichlet(np.full(k, 0.7), n)
    y = np.array([random.choice(k, p=p) for p in np.sqrt(proba) / np.sqrt(proba).sum(1, keepdims=True)])
    return y, proba


def _pairs(y, proba, weight=None):
    shared = Probabilities(proba, weight)
    return shared, shared.pairs(shared.encode(y))


def _kernel(t, centre, bandwidth):
    """Gaussian reflected at 0 and 1, by its images."""
    images = [sign * centre + 2 * m for sign in (1, -1) for m in range(-3, 4)]
    return sum(np.exp(-((t - at) ** 2) / (2 * bandwidth**2)) for at in images)


@pytest.mark.parametrize("weighted", [False, True])
def test_curve_is_the_kernel_mean_of_the_residuals(weighted):
    y, proba = _data()
    weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(float) if weighted else None
    _, pairs = _pairs(y, proba, weight)
    curve = smooth_curve(pairs)
    assert curve.error == smooth_calibration_error(y, proba, sample_weight=weight)
    shown = ~np.isnan(curve.accuracy)
    ends = curve.confidence[shown][[0, -1]]
    np.testing.assert_allclose(ends, [(seen := pairs.confidence[pairs.masses > 0]).min(), seen.max()], atol=2**-10)
    t = curve.confidence[shown]
    kernel = _kernel(t[:, None], pairs.confidence, curve.bandwidth) * pairs.masses
    expected = t + (kernel * pairs.residual).sum(1) / kernel.sum(1)
    np.testing.assert_allclose(curve.accuracy[shown], expected, atol=2e-4)
    assert curve.low is None and curve.high is None


def test_curve_stays_an_accuracy():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.6, 1, 2000)
    pairs = Pairs(confidence, np.ones(2000))
    curve = smooth_curve(pairs, [random.integers(3, size=(9, 2000))])
    shown = ~np.isnan(curve.accuracy)
    kernel = _kernel(curve.confidence[shown, None], confidence, curve.bandwidth)
    unlimited = curve.confidence[shown] + (kernel * (1 - confidence)).sum(1) / kernel.sum(1)
    assert unlimited[-1] > 1.02 and curve.accuracy[shown][-1] == 1 == curve.high[shown][-1]
    np.testing.assert_allclose(curve.accuracy[shown], np.minimum(unlimited, 1), atol=2e-4)


def test_mean_gap_of_the_curve_is_the_smooth_error():
    random = np.random.default_rng(0)
    confidence = random.uniform(size=3000)
    pairs = Pairs(confidence, (random.uniform(size=3000) < 0.2 + 0.6 * confidence**2).astype(float))
    curve = smooth_curve(pairs)
    gap = np.abs(np.nan_to_num(curve.accuracy - curve.confidence)) * curve.density
    assert trapezoid(gap, curve.confidence) == pytest.approx(curve.error, rel=0.01)
    assert trapezoid(curve.density, curve.confidence) == pytest.approx(1, rel=1e-6)


def test_band_holds_quantiles_of_resampled_curves():
    y, proba = _data(150)
    shared, pairs = _pairs(y, proba)
    resamples = resampler(shared, 60, 0)
    curve = smooth_curve(pairs, resamples(), 0.8)
    shown = np.flatnonzero(~np.isnan(curve.accuracy))[::50]
    t = curve.confidence[shown]
    kernel = _kernel(t[:, None], pairs.confidence, curve.bandwidth)
    weights = np.concatenate(list(resamples()))
    replicates = np.clip([t + (kernel * w * pairs.residual).sum(1) / (kernel * w).sum(1) for w in weights], 0, 1)
    low, high = np.quantile(replicates, [0.1, 0.9], axis=0)
    np.testing.assert_allclose(curve.low[shown], low, atol=1e-3)
    np.testing.assert_allclose(curve.high[shown], high, atol=1e-3)


def test_intervals_hold_quantiles_of_resampled_bins():
    y, proba = _data(150)
    shared, pairs = _pairs(y, proba)
    edges = shared.equal_width_edges(6)
    resamples = resampler(shared, 80, 2)
    low, high = accuracy_intervals(pairs, edges, resamples(), 0.9)
    tables = [_pairs(y, proba, weight)[1].table(edges) for weight in np.concatenate(list(resamples()))]
    for k in range(6):
        values = [table.accuracy[k] for table in tables if table.count[k] > 0]
        if not values:
            assert np.isnan(low[k]) and np.isnan(high[k])
            continue
        assert len(set(values)) > 1
        np.testing.assert_allclose([low[k], high[k]], np.quantile(values, [0.05, 0.95]))


def test_intervals_doubt_bins_without_an_error():
    confidence = np.array([0.1, 0.6, 0.6, 0.6, 0.9])
    pairs = Pairs(confidence, np.array([0.0, 1, 1, 1, 1]), np.array([1.0, 2, 2, 2, 0]))
    low, high = accuracy_intervals(pairs, np.linspace(0, 1, 5), [np.ones((4, 5)) * pairs.masses], 0.9)
    np.testing.assert_allclose(low, [0, np.nan, 0.05 ** (1 / 3), np.nan])
    np.testing.assert_allclose(high, [0.95, np.nan, 1, np.nan])


def test_display_draws_intervals_and_curve():
    y, proba = _data()
    display = ReliabilityDisplay.from_predictions(
        y, proba, n_draws=5, n_resamples=40, smooth=True, random_state=3, confidence_level=0.9
    )
    _, bins = expected_calibration_error(y, proba, return_bins=True)
    held = bins.count > 0
    legend = display.ax_.get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    assert {"90 % interval", "90 % band", "smoothed accuracy"} <= set(labels)
    assert f"smooth ECE {100 * smooth_calibration_error(y, proba):.2f} %" in legend.get_title().get_text()
    curve = next(line for line in display.ax_.lines if line.get_label() == "smoothed accuracy")
    np.testing.assert_array_equal(curve.get_ydata(), display.curve.accuracy)
    bars = next(own for own in display.ax_.containers if own.get_label() == "90 % interval")
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    low, high = display.intervals[:, held]
    np.testing.assert_allclose(ends[:, 0], np.minimum(low, bins.accuracy[held]))
    np.testing.assert_allclose(ends[:, 1], np.maximum(high, bins.accuracy[held]))


def test_equal_mass_bins_have_intervals_too():
    y, proba = _data()
    display = ReliabilityDisplay.from_predictions(y, proba, strategy="quantile", n_draws=0, n_resamples=30)
    low, high = display.intervals
    assert (low <= display.bins.accuracy + 1e-12).all() and (high >= display.bins.accuracy - 1e-12).all()
    assert (high - low > 0.02).all()


def test_refuses_bad_input():
    y, proba = _data(50)
    with pytest.raises(ValueError, match="n_resamples must be a whole number of at least 0; got -1"):
        ReliabilityDisplay.from_predictions(y, proba, n_resamples=-1)
    with pytest.raises(TypeError, match="n_resamples must be a whole number of at least 0; got 2.5"):
        ReliabilityDisplay.from_predictions(y, proba, n_resamples=2.5)
    with pytest.raises(ValueError, match="confidence_level must be .*; got 1.5"):
        ReliabilityDisplay.from_predictions(y, proba, confidence_level=1.5)
