"""Bins, as metrics return them: exact edges in every dtype, equal masses, ties together, few passes over the data."""

from functools import partial

import numpy as np
import pytest
import torch

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)


def bins_of(metric, y, proba, **options):
    return metric(y, proba, return_bins=True, **options)[1]


def two_columns(p):
    return np.stack([1 - p, p], 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n_bins", [1, 2, 3, 7, 10, 15, 30, 49, 100])
def test_a_probability_of_k_over_n_closes_bin_k_in_every_dtype(n_bins, dtype):
    on_edge = (np.arange(1, n_bins + 1) / n_bins).astype(dtype)
    y, every_bin = np.ones(n_bins, int), [1] * n_bins
    count = partial(bins_of, expected_calibration_error, n_bins=n_bins, labels=[0, 1])
    assert count(y, on_edge).count.tolist() == every_bin
    assert count(y, np.nextafter(on_edge, dtype(0))).count.tolist() == every_bin
    if n_bins > 1:
        assert count(y[1:], np.nextafter(on_edge[:-1], dtype(2))).count.tolist() == [0, *every_bin[1:]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_edges_of_tensors(dtype):
    on_edge = (torch.arange(1, 16).double() / 15).to(dtype)
    bins = bins_of(expected_calibration_error, np.ones(15, int), on_edge, labels=[0, 1])
    assert bins.count.tolist() == [1] * 15


def test_top_label_is_the_first_of_equals():
    proba = [[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.25, 0.25, 0.5]]
    assert bins_of(expected_calibration_error, [0, 1, 2], proba, n_bins=1).accuracy == 1
    assert bins_of(expected_calibration_error, [1, 2, 0], proba, n_bins=1).accuracy == 0


def test_bins_are_those_behind_the_value():
    random = np.random.default_rng(0)
    proba, y = random.dirichlet(np.full(5, 0.4), 400), random.integers(5, size=400)
    for metric in (expected_calibration_error, adaptive_expected_calibration_error):
        value, bins = metric(y, proba, n_bins=12, return_bins=True)
        assert value == bins.expected_gap() == metric(y, proba, n_bins=12)
        assert bins.count.sum() == len(y) and len(bins.count) == 12 == len(bins.edges) - 1
        last = (proba.max(1) > bins.lower[-1]) & (proba.max(1) <= bins.upper[-1])
        assert bins.count[-1] == last.sum() and bins.share[-1] == last.mean()
        assert bins.accuracy[-1] == pytest.approx((proba.argmax(1) == y)[last].mean())
        assert bins.confidence[-1] == pytest.approx(proba.max(1)[last].mean())
    assert bins_of(expected_calibration_error, y, proba).error("max") == maximum_calibration_error(y, proba)
    empty = bins_of(expected_calibration_error, [1], [[0.3, 0.7]], n_bins=2)
    assert (empty.share[0], empty.confidence[0], empty.accuracy[0]) == (0, 0, 0)


@pytest.mark.parametrize("n", [1, 2, 5, 14, 15, 16, 100, 1000])
@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_bins_of_equal_mass_hold_equal_numbers(n, n_bins):
    p = np.random.default_rng(0).uniform(0.5, 1, n)
    bins = bins_of(adaptive_expected_calibration_error, np.ones(n, int), two_columns(p), n_bins=n_bins)
    # Edge k is the (floor(k n / n_bins) + 1)-th smallest, which the bin below it holds.
    np.testing.assert_array_equal(bins.edges, np.sort(p)[[min(k * n // n_bins, n - 1) for k in range(n_bins + 1)]])
    assert bins.count.sum() == n
    if n >= n_bins > 2:
        assert np.ptp(bins.count[1:-1]) <= 1


@pytest.mark.parametrize("of", ["event", "top label"])
@pytest.mark.parametrize("weight", [None, np.tile([1, 0, 3, 2], 10), np.ones(40)], ids=["none", "unequal", "equal"])
def test_edges_of_equal_mass_are_the_last_with_less_before(of, weight):
    """Weights of tenths, whose sums are rounded, give the edges of whole numbers."""
    confidence = np.random.default_rng(0).uniform(0.5, 1, 40)
    confidence[::2] = confidence[::2].round(1)
    order = np.argsort(confidence, kind="stable")
    ascending = np.ones(40) if weight is None else weight[order]
    before = ascending.cumsum() - ascending
    for n_bins in (1, 3, 4, 8, 50):
        # So few as lie before an edge may be as many, of the top label.
        more = of == "top label"
        less = [5 * before * n_bins < 5 * k * ascending.sum() + more for k in range(n_bins + 1)]
        bins = bins_of(
            adaptive_expected_calibration_error,
            np.arange(40) % 2,
            confidence if of == "event" else two_columns(confidence),
            n_bins=n_bins,
            sample_weight=None if weight is None else weight / 10,
        )
        expected = confidence[order][[max(np.flatnonzero(some), default=0) for some in less]]
        np.testing.assert_array_equal(bins.edges, expected)


def test_bins_of_equal_mass_dont_part_ties():
    p = np.repeat([0.6, 0.7, 0.8], [5, 50, 5])
    count = bins_of(
        adaptive_expected_calibration_error, np.ones(60, int), two_columns(p), n_bins=10, labels=[0, 1]
    ).count
    np.testing.assert_array_equal(count[count > 0], [55, 5])
    constant = bins_of(adaptive_expected_calibration_error, [0, 1, 2] * 3, np.full((9, 3), 1 / 3), n_bins=4)
    assert constant.count.tolist() == [9, 0, 0, 0]
