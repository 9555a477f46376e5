"""Samples of a group are resampled together: as places of an image are, and copies of one sample tell no more."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from _metrics import draw_calibrated
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skclamp.metrics import (
    area_under_risk_coverage,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    make_calibration_scorer,
    negative_log_likelihood,
    paired_bootstrap_test,
    smooth_calibration_error,
)

METRICS = {
    "ece": expected_calibration_error,
    "ece, thresholded": partial(expected_calibration_error, threshold=0.6),
    "sce": classwise_calibration_error,
    "debiased": debiased_calibration_error,
    "ks": ks_calibration_error,
    "smooth": smooth_calibration_error,
    "nll": negative_log_likelihood,
    "brier": brier_score,
    "aurc": area_under_risk_coverage,
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
N, P = 40, 6


def scenes(n=N):
    """Labels (n, P) and probabilities (n, 3, P) that are too sure."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(n, 3, 1)) + rng.normal(size=(n, 3, P))
    return (logits + rng.gumbel(size=logits.shape)).argmax(1), softmax(2 * logits, axis=1)


def flat(y, proba, order=slice(None)):
    """The same, a row for each place, and the scene of each."""
    return y.ravel()[order], np.moveaxis(proba, 1, -1).reshape(-1, proba.shape[1])[order], np.repeat(range(N), P)[order]


@every_metric
def test_groups_are_resampled_as_images_are(metric):
    y, proba = scenes()
    labels, rows, scene = flat(y, proba)
    options = {"n_resamples": 60, "random_state": 0}
    interval = bootstrap_interval(metric, labels, rows, groups=scene, **options)
    np.testing.assert_allclose(interval, bootstrap_interval(metric, y, proba, **options), rtol=1e-9, atol=1e-12)
    flatter = softmax(0.7 * np.log(proba), axis=1)
    test = paired_bootstrap_test(metric, labels, rows, flat(y, flatter)[1], groups=scene, **options)
    expected = paired_bootstrap_test(metric, y, proba, flatter, **options)
    np.testing.assert_allclose(test, expected, rtol=1e-9, atol=1e-12)
    # Not in succession, and under names, of which a frame has a column.
    labels, rows, scene = flat(y, proba, np.arange(N * P).reshape(N, P).T.ravel())
    names = pd.Series([f"patient {number:02d}" for number in scene])
    found = bootstrap_interval(metric, torch.from_numpy(labels), torch.from_numpy(rows), groups=names, **options)
    np.testing.assert_allclose(found, interval, rtol=1e-6, atol=1e-9)


@every_metric
def test_groups_of_one_sample_each_change_nothing(metric):
    y, proba = draw_calibrated(80, 3)
    options = {"n_resamples": 30, "random_state": 0, "sample_weight": np.arange(80) % 3}
    alone = bootstrap_interval(metric, y, proba, **options)
    # Whatever their names are, of any kinds and in any order: a third of the samples has no weight.
    mixed = np.array([f"patient {k}" if k % 2 else k / 2 for k in range(80)], dtype=object)
    for groups in (range(80), np.arange(80)[::-1], np.random.default_rng(0).permutation(80), mixed):
        assert bootstrap_interval(metric, y, proba, groups=groups, **options) == alone


def test_samples_without_weight_may_begin_a_group():
    y, proba = draw_calibrated(90, 3)
    groups, weight = np.repeat(range(30), 3), np.tile([0.0, 1.0, 2.0], 30)
    run = partial(bootstrap_interval, n_resamples=50, random_state=0)
    kept = weight > 0
    for metric in (negative_log_likelihood, expected_calibration_error, classwise_calibration_error):
        found = run(metric, y, proba, groups=groups, sample_weight=weight)
        fewer = run(metric, y[kept], proba[kept], groups=groups[kept], sample_weight=weight[kept], labels=range(3))
        np.testing.assert_allclose(found, fewer, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        (range(9), r"groups must have shape \(40,\), a name or number a sample; got shape \(9,\)"),
        (["a", None] * 20, "groups must name the group of every sample; got None"),
        (["a"] * 40, "groups must name 2 groups at least"),
    ],
)
def test_refuses_what_are_no_groups(groups, match):
    y, proba = draw_calibrated(40, 3)
    for run in (partial(bootstrap_interval, brier_score), partial(bootstrap_interval, lambda y, p: 0.5)):
        with pytest.raises(ValueError, match=match):
            run(y, proba, groups=groups)
    with pytest.raises(ValueError, match=match):
        paired_bootstrap_test(brier_score, y, proba, proba, groups=groups)
    with pytest.raises(ValueError, match=match):
        calibration_noise_floor(expected_calibration_error, proba, groups=groups)


def test_the_noise_floor_is_that_of_labels_which_agree():
    y, proba = draw_calibrated(300, 3)
    ece, options = expected_calibration_error, {"random_state": 0}
    alone = calibration_noise_floor(ece, proba, groups=range(300), **options)
    np.testing.assert_allclose(alone, calibration_noise_floor(ece, proba, **options), rtol=0.1)
    given, groups = np.repeat(proba, 9, axis=0), np.repeat(range(300), 9)
    assert 2 * calibration_noise_floor(ece, given, **options).quantile < alone.quantile
    copied = calibration_noise_floor(ece, given, groups=groups, **options)
    np.testing.assert_allclose(copied, alone, rtol=1e-9)
    labels = given[:, :2]
    floor = calibration_noise_floor(partial(ece, average="micro"), labels, outputs="sigmoid", groups=groups, **options)
    assert floor.mean > calibration_noise_floor(partial(ece, average="micro"), labels, outputs="sigmoid").quantile


@pytest.mark.parametrize(
    "metric",
    [
        partial(expected_calibration_error, threshold=0.9),
        classwise_calibration_error,
        partial(classwise_calibration_error, threshold=0.1),
        partial(classwise_calibration_error, strategy="quantile"),
    ],
)
def test_the_lower_end_allows_for_groups_whose_outcomes_agree(metric):
    """Of 40 calibrated draws it is above 0 in 10 % at most; of labels drawn row by row a quarter is, or all are."""
    above, groups = 0, np.repeat(range(30), 10)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        proba = softmax(2 * rng.normal(size=(30, 3)), axis=1)
        y = (rng.uniform(size=(30, 1)) > proba.cumsum(1)).sum(1).clip(max=2)
        options = {"groups": groups, "n_resamples": 100, "random_state": seed}
        above += bootstrap_interval(metric, y[groups], proba[groups], **options).low > 0
    assert above <= 4


def test_scorers_are_given_groups_by_routing():
    """Of a metric of one's own that takes them, such as the upper end of an interval."""
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(300, 3)), np.arange(300) // 5
    y = (X[:, 0] + rng.normal(size=60)[groups] > 0).astype(int)

    def upper_end(y_true, y_proba, *, labels, groups=None):
        given = {"labels": labels, "groups": groups, "n_resamples": 50, "random_state": 0}
        return bootstrap_interval(negative_log_likelihood, y_true, y_proba, **given).high

    scorer = make_calibration_scorer(upper_end)
    alone = cross_val_score(LogisticRegression(), X, y, scoring=scorer, cv=3)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = scorer.set_score_request(groups=True)
        grouped = cross_val_score(LogisticRegression(), X, y, scoring=asking, cv=3, params={"groups": groups})
    assert (grouped < alone).all()


def drawn(n_patients, rng):
    """The patient, true log-odds and label of rows, 1 to 60 of each patient, in part the patient's own."""
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 61, size=n_patients))
    z = 1.4 * (rng.normal(size=n_patients)[patient] + rng.normal(size=len(patient)))
    noise = rng.logistic(size=len(z))
    # One of two halves of a patient's rows have the patient's noise: each row's is logistic.
    noise = np.where(rng.uniform(size=len(z)) < 0.5, noise, rng.logistic(size=n_patients)[patient])
    return patient, z, (z > noise).astype(int)


def test_intervals_and_tests_of_patients_keep_their_level():
    """Of 150 draws 7 % miss at most; by rows an interval of the NLL misses a third, and a test of equal maps half."""
    nodes = np.random.default_rng(1).normal(size=10**6) * 1.4 * 2**0.5
    p = 1 / (1 + np.exp(-nodes))
    truth = -(p * np.log(p) + (1 - p) * np.log1p(-p)).mean()
    missed = []
    for seed in range(150):
        patient, z, y = drawn(60, np.random.default_rng(seed))
        options = {"groups": patient, "n_resamples": 200, "random_state": seed}
        low, high = bootstrap_interval(negative_log_likelihood, y, 1 / (1 + np.exp(-z)), **options)[2:4]
        pair = (1 / (1 + np.exp(-z - gap)) for gap in (0.5, -0.5))
        test = paired_bootstrap_test(negative_log_likelihood, y, *pair, **options)
        missed.append((not low <= truth <= high, test.pvalue < 0.05))
    assert (np.mean(missed, axis=0) <= 0.07).all()
