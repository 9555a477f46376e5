"""Calibration errors against brute force on their definitions, and how fast they fall on calibrated data."""

from functools import partial

import numpy as np
import pytest
from _metrics import draw, draw_calibrated
from scipy.integrate import trapezoid
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    brier_score,
    calibration_refinement,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    smooth_calibration_error,
)

exactly = partial(pytest.approx, abs=1e-12)


def _top(y, proba, k=1):
    """Confidence and hits of the k most probable classes."""
    best = np.argsort(-proba, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(proba, best, 1).sum(1), (best == np.asarray(y)[:, None]).any(1).astype(float)


def _bins(confidence, hits, upper):
    """Confidence and hits of each bin that isn't empty; bins are closed on the right."""
    lower = [-1.0, *upper[:-1]]
    inside = [(confidence > a) & (confidence <= b) for a, b in zip(lower, upper, strict=True)]
    return [(confidence[held], hits[held]) for held in inside if held.any()]


def _equal_mass(confidence, hits, n_bins):
    """The sample of rank r is in bin floor(r * n_bins / n), with all that share its confidence."""
    order = np.argsort(confidence, kind="stable")
    bins, n = {}, len(confidence)
    for rank, i in enumerate(order):
        if rank == 0 or confidence[i] != confidence[order[rank - 1]]:
            place = rank * n_bins // n
        bins.setdefault(place, []).append(i)
    return [(confidence[members], hits[members]) for _, members in sorted(bins.items())]


def _norm(bins, kind):
    n = sum(len(c) for c, _ in bins)
    gaps = np.array([abs(h.mean() - c.mean()) for c, h in bins])
    shares = np.array([len(c) / n for c, _ in bins])
    return {"l1": shares @ gaps, "l2": np.sqrt(shares @ gaps**2), "max": gaps.max()}[kind]


UPPER = np.arange(1, 16) / 15


@pytest.mark.parametrize("kind", ["l1", "l2", "max"])
@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("threshold", [None, 0.6])
@pytest.mark.parametrize(("n", "n_classes", "n_bins"), [(400, 5, 15), (400, 10, 40), (30, 4, 1)])
def test_norms_of_the_most_probable_classes(kind, top_k, threshold, n, n_classes, n_bins):
    y, proba = draw(n, n_classes)
    confidence, hits = _top(y, proba, top_k)
    kept = confidence > (threshold or 0)
    confidence, hits = confidence[kept], hits[kept]
    options = {"top_k": top_k, "threshold": threshold, "n_bins": n_bins}
    expected = _norm(_bins(confidence, hits, np.arange(1, n_bins + 1) / n_bins), kind)
    assert expected_calibration_error(y, proba, norm=kind, **options) == exactly(expected)
    if kind == "max":
        assert maximum_calibration_error(y, proba, **options) == exactly(expected)
    edges = np.interp(np.linspace(0, kept.sum(), n_bins + 1), np.arange(kept.sum()), np.sort(confidence))
    adaptive = partial(adaptive_expected_calibration_error, y, proba, norm=kind, **options)
    assert adaptive(include_lowest=True) == exactly(_norm(_bins(confidence, hits, edges[1:]), kind))
    if kind == "l1":
        above = confidence > edges[0]
        left_out = above.mean() * _norm(_bins(confidence[above], hits[above], edges[1:]), kind)
        assert adaptive(include_lowest=False) == exactly(left_out)


@pytest.mark.parametrize("kind", ["l1", "l2", "max"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize(("threshold", "n_bins"), [(None, 7), (0.05, 7), (0.3, 7), (None, 1)])
def test_classwise_norms(kind, strategy, threshold, n_bins):
    y, proba = draw(n=300, k=4)
    expected = []
    for k, column in enumerate(proba.T):
        kept = column > (-1 if threshold is None else threshold)
        pair = column[kept], (y == k)[kept].astype(float)
        bins = _bins(*pair, np.arange(1, n_bins + 1) / n_bins) if strategy == "uniform" else _equal_mass(*pair, n_bins)
        expected.append(_norm(bins, kind))
    options = {"n_bins": n_bins, "norm": kind, "strategy": strategy, "threshold": threshold}
    np.testing.assert_allclose(classwise_calibration_error(y, proba, average=None, **options), expected, atol=1e-6)
    assert classwise_calibration_error(y, proba, **options) == pytest.approx(np.mean(expected), abs=1e-6)


# The debiased error


def _plain_debiased(bins, kind):
    """Squares less the variance of a mean of labels; or twice the plain error less its mean over normal accuracies."""
    n, total = sum(len(c) for c, _ in bins), 0.0
    for c, h in bins:
        if len(c) < 2:
            continue
        gap, variance = h.mean() - c.mean(), h.mean() * (1 - h.mean())
        if kind == "l2":
            total += len(c) / n * (gap**2 - variance / (len(c) - 1))
        else:
            draws = norm.ppf((np.arange(40_000) + 0.5) / 40_000) * np.sqrt(variance / len(c)) + gap
            total += len(c) / n * (2 * abs(gap) - np.abs(draws).mean())
    return total


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("n", [2, 37, 400])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("mode", ["top-label", "classwise"])
def test_debiased_is_its_definition(kind, n, strategy, mode):
    y, proba = draw(n=n)
    pairs = [_top(y, proba)] if mode == "top-label" else [(p, (y == k).astype(float)) for k, p in enumerate(proba.T)]
    bins = [_bins(*pair, UPPER) if strategy == "uniform" else _equal_mass(*pair, 15) for pair in pairs]
    expected = max(np.mean([_plain_debiased(of_pair, kind) for of_pair in bins]), 0)
    value = debiased_calibration_error(y, proba, norm=kind, strategy=strategy, mode=mode)
    assert value ** (2 if kind == "l2" else 1) == pytest.approx(expected, abs=1e-5 if kind == "l1" else 1e-12)


# The smooth error


def _plain_smooth(confidence, hits, bandwidth, n_points=40_001):
    """Riemann's sum over images of the kernel at 0 and 1."""
    t, density = np.linspace(0, 1, n_points), 0.0
    for c, h in zip(confidence, hits, strict=True):
        for image in [2 * m + sign * c for m in range(-3, 4) for sign in (1, -1)]:
            density = density + (h - c) * norm.pdf(t, image, bandwidth)
    return trapezoid(np.abs(density), t) / len(confidence)


@pytest.mark.parametrize("bandwidth", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("n", [1, 3, 20])
def test_smooth_is_its_definition(n, bandwidth):
    y, proba = draw(n=n)
    expected = _plain_smooth(*_top(y, proba), bandwidth, 8001)
    assert smooth_calibration_error(y, proba, bandwidth=bandwidth) == pytest.approx(expected, abs=1e-6)


def test_smooth_is_the_bandwidth_that_equals_its_error():
    for y, proba in (draw(), draw_calibrated(3000, 10), draw_calibrated(50, 2)):
        error, bandwidth = smooth_calibration_error(y, proba, return_bandwidth=True)
        assert error == bandwidth
        assert smooth_calibration_error(y, proba, bandwidth=error) == pytest.approx(error, abs=1e-6)
        wider = [smooth_calibration_error(y, proba, bandwidth=b) for b in np.geomspace(1e-3, 1, 20)]
        assert (np.diff(wider) <= 1e-9).all()
    assert smooth_calibration_error(y, proba, bandwidth=0.2, return_bandwidth=True)[1] == 0.2
    with pytest.raises(ValueError, match="return_bandwidth must be False with mode='classwise'"):
        smooth_calibration_error(y, proba, mode="classwise", return_bandwidth=True)


# KS


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 5, 200])
def test_ks_is_its_definition(n, ties):
    y, proba = draw(n=n)
    if ties:
        proba = np.maximum(proba.round(1), 0.05)
        proba /= proba.sum(1, keepdims=True)
    confidence, hits = _top(y, proba)
    expected = max(abs((hits - confidence)[confidence <= c].sum()) / n for c in confidence)
    assert ks_calibration_error(y, proba) == exactly(expected)
    classes = [max(abs(((y == k) - p)[p <= c].sum()) / n for c in p) for k, p in enumerate(proba.T)]
    assert ks_calibration_error(y, proba, mode="classwise") == exactly(np.mean(classes))


# Proper scores


@pytest.mark.parametrize("score", ["log_loss", "brier"])
@pytest.mark.parametrize("recalibration", ["temperature", "isotonic", "auto"])
@pytest.mark.parametrize("k", [2, 4])
def test_parts_sum_to_the_score(score, recalibration, k):
    y, proba = draw_calibrated(500, k)
    proba = proba**2 / (proba**2).sum(1, keepdims=True)
    if (score, recalibration) == ("brier", "temperature") or (score, recalibration, k) == ("log_loss", "isotonic", 4):
        with pytest.raises(ValueError, match=f"recalibration must not be '{recalibration}' with score='{score}'"):
            calibration_refinement(y, proba, score=score, recalibration=recalibration)
        return
    found = calibration_refinement(y, proba, score=score, recalibration=recalibration)
    metric = negative_log_likelihood if score == "log_loss" else brier_score
    assert found.score == exactly(metric(y, proba)) and found.score == exactly(found.calibration + found.refinement)
    assert found.calibration > 0.005


@pytest.mark.parametrize(
    "weight", [None, np.random.default_rng(1).uniform(0.2, 3, 300)], ids=["unweighted", "weighted"]
)
def test_refinement_is_what_scikit_learns_isotonic_regression_leaves(weight):
    random = np.random.default_rng(0)
    proba = random.multinomial(10, random.dirichlet([0.8, 0.7, 0.5], size=300)) / 10  # with ties
    y = (random.random((300, 1)) > (proba**2 / (proba**2).sum(1, keepdims=True)).cumsum(1)).sum(1).clip(max=2)
    hits = np.eye(3)[y]
    fit = IsotonicRegression(y_min=0, y_max=1).fit
    fitted = np.stack([fit(p, hit, weight).predict(p) for p, hit in zip(proba.T, hits.T, strict=True)], 1)
    losses = (hits - fitted) ** 2
    decompose = partial(calibration_refinement, sample_weight=weight)
    assert decompose(y, proba, score="brier").refinement == pytest.approx(np.average(losses.sum(1), weights=weight))
    of_two = decompose(y == 1, proba[:, 1], score="brier")
    assert of_two.refinement == pytest.approx(np.average(losses[:, 1], weights=weight))
    of_two = decompose(y == 1, proba[:, 1], recalibration="isotonic")
    assert of_two.refinement == pytest.approx(log_loss(y == 1, fitted[:, 1], sample_weight=weight))
    assert of_two.calibration == pytest.approx(of_two.score - of_two.refinement)
