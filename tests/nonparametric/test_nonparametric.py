import math

import numpy as np
import pytest
from _small_networks import labels_of, logits, softmax
from sklearn.isotonic import IsotonicRegression

from skclamp import (
    AccuracyPreservingIsotonic,
    BayesianBinningIntoQuantiles,
    HistogramBinning,
    IsotonicCalibration,
    VennAbersCalibration,
)

EPS = np.finfo(float).eps


def draw(n_samples=400, n_classes=4, seed=0):
    Z = logits(n_samples, n_classes, seed=seed)
    return Z, labels_of(Z, seed=seed + 1)


def normalised(columns):
    columns = np.maximum(columns, EPS)
    return columns / columns.sum(1, keepdims=True)


@pytest.mark.parametrize(("n_classes", "weighted"), [(2, True), (3, False), (10, True)])
def test_isotonic_is_scikit_learns_but_for_zeros(n_classes, weighted):
    Z, y = draw(1000, n_classes)
    Z = np.round(Z, 1)  # some probabilities come twice
    new = logits(500, n_classes, seed=5, scale=4.0)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, len(y)) if weighted else None
    ours = IsotonicCalibration().fit(Z, y, sample_weight=weight)
    n_zeros = 0
    for X in (Z, new):
        columns = []
        for k, proba in enumerate(softmax(Z).T):
            places = np.unique(proba)
            values = IsotonicRegression().fit(proba, y == k, sample_weight=weight).predict(places)
            n_zeros += (values == 0).sum()
            least = np.minimum(places / 20, values[values > 0].min())
            columns.append(np.interp(softmax(X)[:, k], places, np.maximum(values, least)))
        expected = normalised(np.transpose(columns))
        np.testing.assert_allclose(ours.predict_proba(X), expected, rtol=0, atol=1e-12)
    assert n_zeros > 0


def test_an_empty_bin_is_its_midpoint_and_the_prior_counts_like_samples():
    p = np.array([0.1, 0.15, 0.9])
    X, y = np.stack([1 - p, p], 1), np.array([0, 1, 1])
    bare = HistogramBinning(n_bins=5, prior_strength=0, response="probabilities").fit(X, y)
    np.testing.assert_allclose(bare.maps_.values[1].numpy(), [0.5, 0.3, 0.5, 0.7, 1.0])
    prior = HistogramBinning(n_bins=5, prior_strength=3, response="probabilities").fit(X, y)
    np.testing.assert_allclose(prior.maps_.values[1].numpy(), [(1 + 3 * 0.125) / 5, 0.3, 0.5, 0.7, (1 + 2.7) / 4])


@pytest.mark.parametrize("prior_strength", [0, 1.5])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_by_brute_force(strategy, prior_strength):
    Z, y = draw(300, 3)
    new, n_bins = logits(100, 3, seed=5), 7
    calibrator = HistogramBinning(n_bins=n_bins, strategy=strategy, prior_strength=prior_strength).fit(Z, y)
    columns = np.empty((100, 3))
    for k in range(3):
        score, ordered = softmax(Z)[:, k], np.sort(softmax(Z)[:, k])
        cuts = [math.ceil(300 * j / n_bins) for j in range(1, n_bins)]
        inner = {"uniform": np.arange(1, n_bins) / n_bins, "quantile": [ordered[c - 1 : c + 1].mean() for c in cuts]}
        edges = [0, *inner[strategy], 1]
        for i, p in enumerate(softmax(new)[:, k]):
            b = next(j for j in range(n_bins) if p <= edges[j + 1])
            inside = (score > edges[b]) & (score <= edges[b + 1])
            if strategy == "quantile":
                assert inside.sum() in (42, 43)
            hits, prior = (y[inside] == k).sum(), prior_strength * score[inside].mean()
            columns[i, k] = (hits + prior) / (inside.sum() + prior_strength)
    np.testing.assert_allclose(calibrator.predict_proba(new), normalised(columns), rtol=1e-10)


def bbq_by_brute_force(score, hit, new, strength):
    """Naeini et al. (2015), one binning after the other."""
    n, order = len(score), np.argsort(score)
    score, hit = score[order], hit[order]
    root = n ** (1 / 3)
    sizes = range(max(1, int(root / 10)), min(math.ceil(n / 5), math.ceil(10 * root)) + 1)
    evidence, predictions = [], []
    for n_bins in sizes:
        cuts = [math.ceil(n * j / n_bins) for j in range(n_bins + 1)]
        edges = [0, *((score[c - 1] + score[c]) / 2 for c in cuts[1:-1]), 1]
        total, heights = 0, []
        for b in range(n_bins):
            m, size = hit[cuts[b] : cuts[b + 1]].sum(), cuts[b + 1] - cuts[b]
            middle, s = (edges[b] + edges[b + 1]) / 2, strength / n_bins
            total += math.lgamma(s) - math.lgamma(size + s)
            total += math.lgamma(m + s * middle) - math.lgamma(s * middle)
            total += math.lgamma(size - m + s * (1 - middle)) - math.lgamma(s * (1 - middle))
            heights.append((m + s * middle) / (size + s))
        evidence.append(total)
        predictions.append([heights[next(b for b in range(n_bins) if p <= edges[b + 1])] for p in new])
    posterior = np.exp(np.array(evidence) - max(evidence))
    return posterior @ np.array(predictions) / posterior.sum()


@pytest.mark.parametrize("strength", [2.0, 30.0])
def test_bbq_by_brute_force(strength):
    Z, y = draw(250, 3)
    new = logits(50, 3, seed=5)
    calibrator = BayesianBinningIntoQuantiles(prior_strength=strength).fit(Z, y)
    columns = [bbq_by_brute_force(softmax(Z)[:, k], y == k, softmax(new)[:, k], strength) for k in range(3)]
    np.testing.assert_allclose(calibrator.predict_proba(new), normalised(np.stack(columns, 1)), rtol=1e-8)


@pytest.mark.parametrize("slope", [None, 0.01])
def test_irm_is_one_isotonic_regression_of_all_probabilities(slope):
    Z, y = draw(300)
    new = logits(100, seed=5)
    regression = IsotonicRegression(out_of_bounds="clip").fit(softmax(Z).ravel(), np.eye(4)[y].ravel())
    expected = regression.predict(softmax(new).ravel()).reshape(-1, 4) + (slope or 1 / 301) * softmax(new)
    calibrator = AccuracyPreservingIsotonic(slope=slope).fit(Z, y)
    assert calibrator.slope_ == (slope or 1 / 301)
    np.testing.assert_allclose(
        calibrator.predict_proba(new), expected / expected.sum(1, keepdims=True), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("scale", [0.01, 3.0, 100.0, 1e4])
def test_irm_keeps_the_order_of_each_row(scale):
    Z = logits(500, 20, scale=scale)
    calibrator = AccuracyPreservingIsotonic().fit(Z, labels_of(Z, temperature=scale))
    log_proba = calibrator.predict_log_proba(Z)
    assert np.isfinite(log_proba).all()
    np.testing.assert_array_equal(log_proba.argmax(1), Z.argmax(1))
    assert np.diff(np.take_along_axis(log_proba, Z.argsort(1), axis=1), axis=1).min() > -1e-12


def test_venn_abers_by_brute_force():
    Z, y = draw(60, 3)
    Z[40:] = Z[:20]  # some probabilities come twice
    new = np.concatenate([Z[:5], logits(10, 3, seed=5)])
    columns = np.empty((len(new), 3))
    for k in range(3):
        score, hit = softmax(Z)[:, k], (y == k).astype(float)
        for i, p in enumerate(softmax(new)[:, k]):
            p0, p1 = (IsotonicRegression().fit([*score, p], [*hit, added]).predict([p])[0] for added in (0.0, 1.0))
            columns[i, k] = p1 / (1 - p0 + p1)
    calibrator = VennAbersCalibration().fit(Z, y)
    np.testing.assert_allclose(calibrator.predict_proba(new), normalised(columns), rtol=1e-9)


def test_isotonic_regression_leaves_a_twentieth_down_to_the_least_probability_it_has_seen():
    p = np.linspace(0.1, 0.9, 201)
    regression = IsotonicCalibration(response="probabilities").fit(np.column_stack([1 - p, p]), (p > 0.5).astype(int))
    few = np.array([0.05, 0.1, 0.2])
    event = regression.predict_proba(np.column_stack([1 - few, few]))[:, 1]
    np.testing.assert_allclose(event, 0.05 * np.array([0.1, 0.1, 0.2]), rtol=0.02)
