"""Metrics of what is drawn: of sound probabilities what a few lines of numpy say, of others a number or a refusal."""

import numpy as np
from _campaign import cases, keeping
from _drawn import (
    Labels,
    Oddly,
    Proba,
    Table,
    Weights,
    any_labels,
    any_table,
    any_weights,
    sound_labels,
    sound_probabilities,
    sound_weights,
)
from _metrics import DECOMPOSED, METRICS, largest
from hypothesis import assume, example
from hypothesis import strategies as st

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
    predictive_entropy,
)

# References


def gaps(confidence, hit, weight, n_bins):
    """Share of the weight and gap of each bin (a, b] that holds some."""
    edges = np.linspace(0, 1, n_bins + 1)
    bins = edges[1:].searchsorted(confidence.clip(0, 1))
    total = np.bincount(bins, weight, n_bins)
    off = abs(np.bincount(bins, weight * confidence, n_bins) - np.bincount(bins, weight * hit, n_bins))
    return total[total > 0] / weight.sum(), off[total > 0] / total[total > 0]


def put_together(share, gap, norm):
    return {"l1": (share * gap).sum(), "l2": np.sqrt((share * gap**2).sum()), "max": gap.max()}[norm]


def top(proba, y, top_k=1):
    """Confidence and hit of the most probable classes."""
    order = np.argsort(-proba, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(proba, order, 1).sum(1), (order == y[:, None]).any(1)


def expected(proba, y, weight, n_bins, norm, top_k):
    return put_together(*gaps(*top(proba, y, top_k), weight, n_bins), norm)


def classwise(proba, y, weight, n_bins, norm):
    errors = [put_together(*gaps(proba[:, k], y == k, weight, n_bins), norm) for k in range(proba.shape[1])]
    return np.mean(errors)


def kolmogorov_smirnov(proba, y, weight):
    confidence, hit = top(proba, y)
    sums = [(weight * (confidence - hit))[confidence <= at].sum() for at in confidence]
    return np.abs(sums).max() / weight.sum()


def near_an_edge(proba, n_bins, dtype):
    """Where a bin hangs on the last digit: edges are rounded to the probabilities' dtype."""
    step = n_bins * np.finfo(np.float16).eps if dtype == "float16" else 1e-3
    scaled = np.concatenate([proba.ravel(), np.sort(proba, axis=1).cumsum(1).ravel()]) * n_bins
    return (abs(scaled - scaled.round()) < max(step, 1e-3))[scaled.round() != n_bins].any()


def has_ties(proba, top_k):
    ordered = -np.sort(-proba, axis=1)
    return top_k < proba.shape[1] and np.isclose(ordered[:, top_k - 1], ordered[:, top_k]).any()


UNIFORM = Weights("uniform", 6)


# A probability that is 9/11 in half precision.
# A first bin that is empty but for rounding; an axis of one entry with a negative stride; labels that are read-only.
@example(Proba(34, 2, "softmax", 0, 316, "float16"), Labels("indices"), Weights(), 11, "l1", 1)
@example(Proba(9, 2, "softmax", 0, 4070), Labels("gaps", seed=20), UNIFORM, 20, "max", 1)
@example(Proba(1, 2, "one-hot", 0, 4397, "float64", "reversed"), Labels(), Weights("tensor"), 1, "l1", 1)
@example(Proba(12, 4, "softmax", 2, 187, "float64", "tensor"), Labels("indices", "series"), Weights(), 7, "l1", 1)
@cases(
    60,
    proba=sound_probabilities(),
    labels=sound_labels(),
    weights=sound_weights(),
    n_bins=st.integers(1, 20),
    norm=st.sampled_from(["l1", "l2", "max"]),
    top_k=st.integers(1, 3),
)
def test_metrics_are_what_few_lines_say(proba, labels, weights, n_bins, norm, top_k):
    n, k = proba.n_samples, proba.n_classes
    values, given = proba.values().astype(np.float64), proba.given()
    y, encoded = labels.given(n, k), labels.encoded(n, k)
    # Longer than float64 is taken for float64; half precision need not sum to 1 exactly.
    weight, top_k = weights.values(n), min(top_k, k)
    options = {"labels": labels.classes(n, k), "sample_weight": weights.given(n)}
    with keeping(given, y, options["sample_weight"], sound=True):
        found = [
            negative_log_likelihood(y, given, **options),
            brier_score(y, given, scale_by_half=False, **options),
            predictive_entropy(given, sample_weight=options["sample_weight"]),
        ]
        own = values[np.arange(n), encoded].clip(np.finfo(float).eps)
        squares = ((values - np.eye(k)[encoded]) ** 2).sum(1)
        entropies = -(values * np.log(values.clip(5e-324))).sum(1)
        wanted = [np.average(each, weights=weight) for each in (-np.log(own), squares, entropies)]
        np.testing.assert_allclose(found, wanted, rtol=2e-3 if proba.dtype == "float16" else 1e-6, atol=1e-6)
        if near_an_edge(values, n_bins, proba.dtype) or has_ties(values, 1) or has_ties(values, top_k):
            return
        shared = {"n_bins": n_bins, **options}
        found = [
            expected_calibration_error(y, given, norm=norm, top_k=top_k, **shared),
            maximum_calibration_error(y, given, **shared),
            classwise_calibration_error(y, given, norm=norm, **shared),
            ks_calibration_error(y, given, **options),
        ]
        wanted = [
            expected(values, encoded, weight, n_bins, norm, top_k),
            expected(values, encoded, weight, n_bins, "max", 1),
            classwise(values, encoded, weight, n_bins, norm),
            kolmogorov_smirnov(values, encoded, weight),
        ]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3 if proba.dtype == "float16" else 1e-5)
        alone = adaptive_expected_calibration_error(y, given, include_lowest=True, **{**shared, "n_bins": 1})
        np.testing.assert_allclose(alone, expected(values, encoded, weight, 1, "l1", 1), atol=2e-3)


@cases(
    60,
    name=st.sampled_from(sorted(METRICS)),
    proba=sound_probabilities(),
    labels=sound_labels(),
    weights=sound_weights(),
)
def test_metrics_of_sound_probabilities_are_numbers(name, proba, labels, weights):
    n, k = proba.n_samples, proba.n_classes
    assume(k > 2 or "top 2" not in name)
    y, given, weight = labels.given(n, k), proba.given(), weights.given(n)
    with keeping(given, y, weight, sound="thresholded" not in name):
        value = METRICS[name](y, given, labels=labels.classes(n, k), sample_weight=weight)
        assert type(value) is float
        assert 0 <= value <= largest(name) + 1e-9
        again = METRICS[name](labels.encoded(n, k), proba.values(), sample_weight=weights.values(n))
        # A list of single precision numbers is one of double precision.
        assert abs(value - again) <= 1e-6 * max(1, value)


# Names among numbers, and weights that are no real numbers or come in no array.
@example("brier", Table((8, 2)), Oddly("nullable string", Labels("gaps", told=True)), Weights())
@example("ece", Table((4,)), Labels(), Weights("bfloat16"))
@example("ece", Table((4,)), Labels(), Weights("ragged"))
@example("ece", Table((4,)), Labels(), Weights("complex"))
@example("ece", Table((4,)), Labels(), Weights("words"))
@example("brier", Table((3, 2), dtype="complex128", layout="tensor"), Labels(), Weights())
@example("brier", Table((3, 2)), Oddly("None object"), Weights())
@example("ece", Table((0, 2)), Labels(), Weights("ones"))
@cases(120, name=st.sampled_from(sorted(METRICS)), table=any_table(), labels=any_labels(), weights=any_weights())
def test_metrics_of_anything_are_numbers_or_refusals(name, table, labels, weights):
    shape = table.shape
    n, k = (shape or (3,))[0], max(2, (shape or (3,))[-1] if len(shape) > 1 else 2)
    given, y, weight = table.given(), labels.given(n, k), weights.given(n)
    with keeping(given, y, weight):
        value = METRICS[name](y, given, labels=labels.classes(n, k), sample_weight=weight)
        assert 0 <= value <= largest(name) + 1e-9


# A bandwidth beyond 1 of what was scaled up.
@example("smooth", Proba(1, 2), Labels(), Weights(), 0)
@example("brier", Proba(6, 2, "votes", 0, 264), Labels(), Weights("zeros but one"), 0)
@example(
    "sce, l2", Proba(33, 6, "softmax", -1, 3008), Labels("floats", "categorical", 99, 948), Weights("huge", 3008), 5
)
@cases(
    30,
    name=st.sampled_from(sorted(METRICS)),
    proba=sound_probabilities(),
    labels=sound_labels(),
    weights=sound_weights(),
    seed=st.integers(0, 9),
)
def test_resampled_metrics_are_numbers(name, proba, labels, weights, seed):
    n, k = proba.n_samples, proba.n_classes
    assume(k > 2 or "top 2" not in name)
    y, given, weight = labels.given(n, k), proba.given(), weights.given(n)
    options = {"labels": labels.classes(n, k), "sample_weight": weight, "random_state": seed, "n_resamples": 3}
    # Of a part of a decomposition it isn't known what it takes.
    with keeping(given, y, weight, sound="thresholded" not in name and name not in DECOMPOSED):
        interval = bootstrap_interval(METRICS[name], y, given, **options)
        assert interval.low <= interval.high and np.isfinite(interval).all()
        if name not in DECOMPOSED:
            assert interval.low >= 0
        same = paired_bootstrap_test(METRICS[name], y, given, given, **options)
        assert same == (0, 0, 0, 1)
        floor = calibration_noise_floor(METRICS[name], given, n_draws=3, sample_weight=weight, random_state=seed)
        assert 0 <= floor.mean <= largest(name) + 1e-9
