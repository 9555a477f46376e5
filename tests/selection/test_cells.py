"""Cells of confidences: whatever bins are on offer, sums over cells are sums over samples."""

from functools import partial

import numpy as np
import pytest

from skclamp._report.cells import THRESHOLDS, cells_of, counts_with
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
)
from skclamp.metrics._binning import Pairs, Probabilities, bin_indices, equal_mass_edges
from skclamp.metrics._noise_floor import draw_labels

COUNTS = counts_with(7)


def _problem(kind, n_samples=400):
    """Probabilities of three classes, smooth or of few values with edges among them, and labels."""
    random = np.random.default_rng(0)
    proba = random.dirichlet([0.6, 0.5, 0.4], size=n_samples)
    if kind == "ties":
        proba = np.round(20 * proba[:, :2]) / 20
        proba = np.column_stack([proba, np.maximum(1 - proba.sum(1), 0)])
    if kind == "float32":
        proba = (np.round(10 * proba) / 10).astype(np.float32)
        proba[:, 0] = 1 - proba[:, 1] - proba[:, 2]
        proba = proba.clip(0, 1)
    return proba, random.integers(3, size=n_samples)


def _cells(kind, event):
    """Cells of the most probable class (event None) or of a class, and the pairs that they sum up."""
    proba, y_encoded = _problem(kind)
    is_top, column = event is None, proba.argmax(1) if event is None else event
    confidence = (proba.max(1) if is_top else proba[:, event]).astype(np.float64)
    hits, drawn = y_encoded == column, draw_labels(Probabilities(proba), 30, np.random.RandomState(3)) == column
    cells = cells_of(confidence, hits, drawn, COUNTS, dtype=proba.dtype, is_top=is_top, units=np.arange(len(hits)))
    return cells, Pairs(confidence, hits.astype(np.float64), unit=np.arange(len(hits)), n_units=len(hits)), proba


@pytest.mark.parametrize("kind", ["smooth", "ties", "float32"])
@pytest.mark.parametrize("event", [None, 1])
def test_no_bin_on_offer_parts_a_cell(kind, event):
    cells, pairs, proba = _cells(kind, event)
    order = np.argsort(pairs.confidence, kind="stable")
    of_sample = np.repeat(np.arange(len(cells.count)), cells.count)
    side = "right" if event is None else "left"
    for n_bins in COUNTS:
        for edges in (
            Probabilities(proba).equal_width_edges(n_bins),
            equal_mass_edges(pairs.confidence, None, n_bins, side),
        ):
            place = bin_indices(pairs.confidence[order], edges)
            assert all(len({*place[of_sample == k]}) == 1 for k in range(len(cells.count)))
    assert cells.count.sum() == len(order)
    np.testing.assert_allclose(cells.confidence.sum(), pairs.confidence.sum())
    assert cells.hits.sum() == pairs.hits.sum()
    assert (cells.hits <= cells.count).all()
    np.testing.assert_array_equal(cells.upper, pairs.confidence[order][np.cumsum(cells.count) - 1])


@pytest.mark.parametrize("kind", ["smooth", "ties", "float32"])
def test_thresholds_part_the_cells_of_the_most_probable_class(kind):
    cells, pairs, proba = _cells(kind, None)
    edges = np.unique(np.concatenate([THRESHOLDS, *(np.arange(n + 1) / n for n in COUNTS)]))
    for index, threshold in enumerate(edges):
        above = pairs.above(float(proba.dtype.type(threshold)))
        kept = cells.place > index
        assert cells.count[kept].sum() == len(above.confidence)
        assert cells.hits[kept].sum() == above.hits.sum()


@pytest.mark.parametrize("kind", ["smooth", "ties", "float32"])
@pytest.mark.parametrize("n_bins", [1, 7, 15, 50])
@pytest.mark.parametrize("event", [None, 1])
def test_floors_are_those_of_the_metrics(kind, n_bins, event):
    cells, _, proba = _cells(kind, event)

    def error(y, own, metric, strategy):
        if event is None:
            return metric(y, own, n_bins=n_bins)
        options = {"n_bins": n_bins, "strategy": strategy, "average": None, "labels": np.arange(3)}
        return classwise_calibration_error(y, own, **options)[event]

    kinds = (expected_calibration_error, "uniform"), (adaptive_expected_calibration_error, "quantile")
    for floors, (metric, strategy) in zip(cells.floors, kinds, strict=True):
        own = partial(error, metric=metric, strategy=strategy)
        expected = calibration_noise_floor(own, proba, n_draws=30, random_state=3)
        # The metric of a class adds up columns in the probabilities' own precision.
        rtol = 1e-5 if kind == "float32" and event is not None else 1e-9
        np.testing.assert_allclose(floors[COUNTS.index(n_bins)], expected, rtol=rtol, atol=1e-12)


def test_the_comparisons_own_bins_are_on_offer():
    assert 33 in counts_with(33)
    assert counts_with(15) == counts_with(20)
