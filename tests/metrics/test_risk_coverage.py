"""The risk-coverage curve and its area: their definitions, whatever the ties and weights."""

import itertools

import numpy as np
import pytest
from _metrics import draw

from skclamp.metrics import area_under_risk_coverage, risk_coverage_curve

close = pytest.approx


def _of(confidence, wrong):
    """Labels and probabilities of two classes, of which the first is the more probable."""
    return np.asarray(wrong).astype(int), np.stack([confidence, 1 - np.asarray(confidence)], 1)


def _plain_area(wrong):
    """Mean of the risks of the first, the first two, ... of answers in this order."""
    return np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))


@pytest.mark.parametrize("k", [2, 5, 1000])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_without_ties_it_is_its_definition(n, k):
    y, proba = draw(n, k)
    confidence, wrong = proba.max(1), proba.argmax(1) != y
    order = np.argsort(-confidence)
    curve = risk_coverage_curve(y, proba, labels=range(k))
    np.testing.assert_allclose(curve.thresholds, confidence[order])
    np.testing.assert_allclose(curve.coverages, np.arange(1, n + 1) / n)
    np.testing.assert_allclose(curve.risks, [wrong[confidence >= t].mean() for t in curve.thresholds])
    assert curve.area == area_under_risk_coverage(y, proba, labels=range(k)) == close(_plain_area(wrong[order]))
    assert curve.area_by_chance == close(wrong.mean())
    assert curve.area_at_best == close(_plain_area(np.sort(wrong)))


@pytest.mark.parametrize("sizes", [(7,), (1, 6), (4, 3), (2, 1, 4)])
@pytest.mark.parametrize("wrong", [(0, 1, 0, 0, 1, 1, 0), (0,) * 7, (1,) * 7, (1, 0, 0, 0, 0, 0, 0)])
def test_ties_are_in_random_order(sizes, wrong):
    """The mean over all orders of the samples of each confidence."""
    confidence = np.repeat([0.9, 0.8, 0.7][: len(sizes)], sizes)
    parts = np.split(np.array(wrong), np.cumsum(sizes)[:-1])
    orders = itertools.product(*(list(itertools.permutations(part)) for part in parts))
    expected = np.mean([_plain_area(np.concatenate(order)) for order in orders])
    curve = risk_coverage_curve(*_of(confidence, wrong), labels=[0, 1])
    assert curve.area == close(expected, abs=1e-12)
    np.testing.assert_allclose(curve.coverages, np.cumsum(sizes) / 7)
    np.testing.assert_allclose(curve.risks, np.cumsum([part.sum() for part in parts]) / np.cumsum(sizes))


def test_the_best_order_of_many_samples_has_its_limit():
    wrong = np.arange(100_000) < 20_000
    curve = risk_coverage_curve(*_of(np.where(wrong, 0.6, 0.7), wrong))
    assert curve.area == curve.area_at_best == close(0.2 + 0.8 * np.log(0.8), abs=1e-5)
    assert risk_coverage_curve(*_of(np.full(100_000, 0.7), wrong)).area == close(0.2)


def test_weights_are_told_by_the_curve():
    y, proba = _of([0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1])
    curve = risk_coverage_curve(y, proba, sample_weight=[0, 1, 2, 1])
    np.testing.assert_allclose(curve.thresholds, [0.8, 0.7, 0.6])
    np.testing.assert_allclose(curve.coverages, [0.25, 0.75, 1])
    np.testing.assert_allclose(curve.risks, [1, 1 / 3, 1 / 2])
    # Of 1, 2 and 1 samples.
    assert curve.area == close((1 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    halved = risk_coverage_curve(y, proba, sample_weight=[0, 0.5, 1, 0.5])
    assert halved[3:] == close(curve[3:])


def test_columns_names_and_one_dimension():
    y, proba = draw(60, 2)
    names = np.array(["no", "yes"])
    first = risk_coverage_curve(y, proba)
    for given in (
        risk_coverage_curve(names[y], proba[:, ::-1], labels=names[::-1]),
        risk_coverage_curve(names[y], proba[:, 1], pos_label="yes"),
    ):
        assert given.area == close(first.area)
        np.testing.assert_allclose(given.risks, first.risks)


def test_refuses_what_metrics_refuse():
    y, proba = draw(60)
    proba[3, 1] = np.nan
    with pytest.raises(ValueError, match="y_proba must be finite.*got nan"):
        risk_coverage_curve(y, proba)
