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


def test_images_and_rows_of_labels_have_groups_too():
    y, proba = scenes()
    patient = np.arange(N) // 4
    run = partial(bootstrap_interval, n_resamples=50, random_state=0)
    together = y.reshape(N // 4, -1), np.moveaxis(proba.reshape(N // 4, 4, 3, P), 1, -1).reshape(N // 4, 3, -1)
    # By patient, image and place; the axis of images is the last above.
    labels = np.moveaxis(y.reshape(N // 4, 4, P), 1, -1).reshape(N // 4, -1)
    for metric in (expected_calibration_error, classwise_calibration_error, negative_log_likelihood):
        expected = run(metric, labels, together[1])
        np.testing.assert_allclose(run(metric, y, proba, groups=patient), expected, rtol=1e-9, atol=1e-12)
    metric = partial(negative_log_likelihood, average="samples")
    each = metric.func(y, proba, average=None)
    found = bootstrap_interval(metric, y, proba, groups=patient, random_state=0)
    error = each.reshape(-1, 4).mean(1).std() / (N // 4) ** 0.5
    assert found.standard_error == pytest.approx(error, rel=0.1)
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(N, 5))
    Y = np.where(rng.uniform(size=p.shape) < 0.1, np.nan, rng.uniform(size=p.shape) < p)
    whole = run(partial(brier_score, average="micro"), np.vstack([Y, Y]), np.vstack([p, p]), groups=[*range(N)] * 2)
    alone = run(partial(brier_score, average="micro"), Y, p)
    np.testing.assert_allclose(whole, alone, rtol=1e-9)


def test_metrics_of_others_have_groups():
    y, proba = draw_calibrated(50, 3)

    def accuracy(y_true, y_proba):
        return float((y_proba.argmax(1) == y_true).mean())

    run = partial(bootstrap_interval, accuracy, n_resamples=50, random_state=0)
    assert run(np.repeat(y, 4), np.repeat(proba, 4, axis=0), groups=np.repeat(range(50), 4)) == run(y, proba)


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


def test_the_noise_floor_holds_groups_that_are_right_together():
    """Whatever their classes are: 50 groups of 20, each of them right, or wrong, altogether."""
    proba, groups = np.tile([[0.8, 0.2], [0.2, 0.8]], (500, 1)), np.repeat(range(50), 20)
    floor = calibration_noise_floor(expected_calibration_error, proba, groups=groups, n_draws=1000, random_state=0)
    right = np.random.default_rng(0).uniform(size=(400, 50)) < 0.8
    errors = [expected_calibration_error(np.where(each[groups], 0, 1) ^ (np.arange(1000) % 2), proba) for each in right]
    assert np.mean(errors) == pytest.approx(floor.mean, rel=0.1)
    assert (np.array(errors) > floor.quantile).mean() <= 0.08


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


def test_the_lower_end_allows_for_patients_of_one_probability():
    """Few patients have a bin to themselves, and residuals of one are all of a sign, if their labels agree."""
    above = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), rng.integers(1, 61, size=60))
        z, shared = 2 * rng.logistic(size=60)[patient], rng.uniform(size=len(patient)) < 0.7
        y = (z > np.where(shared, rng.logistic(size=60)[patient], rng.logistic(size=len(patient)))).astype(int)
        options = {"groups": patient, "n_resamples": 100, "random_state": seed}
        above += bootstrap_interval(expected_calibration_error, y, 1 / (1 + np.exp(-z)), **options).low > 0
    assert above <= 4
