"""What metrics promise: each by itself, and by seven of them what is done alike for all."""

import warnings
from functools import partial
from inspect import isfunction, signature

import numpy as np
import pandas as pd
import pytest
import torch
from _metrics import DECOMPOSED, ERRORS, METRICS, REPRESENTATIVES, draw, draw_calibrated, largest
from scipy.special import softmax

from skclamp import metrics
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import bootstrap_interval, calibration_noise_floor, paired_bootstrap_test

NAMES = np.array(["ant", "bee", "cat", "dog", "eel"])
every_metric = pytest.mark.parametrize("name", METRICS)
of_base = pytest.mark.parametrize("name", REPRESENTATIVES)
close = partial(pytest.approx, rel=1e-7, abs=1e-9)


@every_metric
def test_rows_of_half_precision_that_round_beyond_one_are_within_bounds(name):
    sharp = np.array([[0.00843, 0.9844, 0.007244, 0.0], [1.0, 0.0002, 0.0, 0.0]], np.float16)
    assert (sharp.sum(1, dtype=float) > 1).all()
    for row in sharp:
        assert 0 <= METRICS[name]([3], row[None], labels=range(4), sample_weight=[3]) <= largest(name) + 1e-9


@every_metric
def test_order_of_samples_doesnt_matter(name):
    y, proba = draw()
    order = np.random.default_rng(1).permutation(len(y))
    assert METRICS[name](y[order], proba[order]) == close(METRICS[name](y, proba))


@of_base
def test_order_of_columns_doesnt_matter_where_labels_name_them(name):
    y, proba = draw()
    order = np.array([3, 0, 4, 1, 2])
    assert METRICS[name](y, proba[:, order], labels=order) == close(METRICS[name](y, proba))


@every_metric
def test_single_precision_is_close(name):
    y, proba = draw()
    assert METRICS[name](y, proba.astype(np.float32)) == pytest.approx(METRICS[name](y, proba), rel=1e-4, abs=1e-5)


@of_base
def test_numbers_are_numbers_as_objects(name):
    y, proba = draw()
    for given in (proba.astype(object), pd.DataFrame(proba).astype("Float64")):
        assert METRICS[name](y, given) == METRICS[name](y, proba)


@of_base
@pytest.mark.parametrize(
    "names", [NAMES, NAMES.astype(object), np.arange(1, 6), np.arange(5.0), np.array([-7, 0, 3, 10, 99])]
)
def test_any_labels_do(name, names):
    y, proba = draw()
    for labels in (names, None):
        assert METRICS[name](names[y], proba, labels=labels) == METRICS[name](y, proba)


@of_base
def test_a_class_may_be_missing_from_the_labels(name):
    y, proba = draw()
    few = y != 3
    value = METRICS[name](y[few], proba[few])
    assert np.isfinite(value)
    assert METRICS[name](NAMES[y[few]], proba[few], labels=NAMES) == value


@of_base
def test_one_dimension_is_the_second_of_two_classes(name):
    """Above one half it is the most probable one."""
    y, proba = draw(k=2)
    second = 0.5 + proba[:, 1] / 2
    expected = METRICS[name](y, np.stack([1 - second, second], 1))
    for given in (second, second[:, None], torch.from_numpy(second), list(second)):
        assert METRICS[name](y, given) == expected
    named = np.where(y == 1, "yes", "no")
    assert METRICS[name](named, second, labels=["no", "yes"]) == expected
    assert METRICS[name](named, second, pos_label="yes") == expected
    # Of which of two words it is the probability isn't guessed from their order.
    with pytest.raises(ValueError, match=r"pos_label must name the class .* of one column, .* got None for \['no', 'y"):
        METRICS[name](named, second)


@every_metric
def test_whole_weights_are_repetitions(name):
    y, proba = draw()
    weight = np.random.default_rng(1).integers(4, size=len(y))
    repeated = METRICS[name](np.repeat(y, weight), np.repeat(proba, weight, axis=0))
    for given in (weight, torch.from_numpy(weight)):
        assert METRICS[name](y, proba, sample_weight=given) == close(repeated)
    assert METRICS[name](y, proba, sample_weight=np.ones(len(y))) == close(METRICS[name](y, proba))


DEGENERATE = {
    "one sample": ([0], [[0.3, 0.6, 0.1]]),
    "two samples": ([0, 1], [[0.3, 0.6, 0.1], [0.6, 0.3, 0.1]]),
    "all labels equal": ([1] * 20, np.tile([0.2, 0.7, 0.1], (20, 1))),
    "certain and right": ([0, 1, 2], np.eye(3)),
    "certain and wrong": ([1, 2, 0], np.eye(3)),
    "certain, right and many": (np.arange(60) % 3, np.eye(3)[np.arange(60) % 3]),
    "certain in float32": ([1, 2, 0], np.eye(3, dtype=np.float32)),
    "zeros beside others": ([0, 1, 2, 2] * 5, [[0.6, 0.4, 0.0], [0.0, 0.4, 0.6], [0.0, 0.0, 1.0], [0.7, 0.0, 0.3]] * 5),
    "whole numbers": ([0, 2], np.array([[1, 0, 0], [0, 1, 0]])),
    "subnormal": ([0, 1], np.array([[1.0, 1e-42, 0], [1e-42, 1.0, 0]], np.float32)),
    "all in one bin": ([0, 1, 2, 0], np.full((4, 3), [0.58, 0.22, 0.2])),
    "duplicates": ([0, 0, 1, 1], [[0.6, 0.3, 0.1]] * 4),
}


@every_metric
def test_degenerate_data_give_neither_nan_nor_warning(name):
    for case, given in DEGENERATE.items():
        with np.errstate(all="raise", under="ignore"):
            value = METRICS[name](*given)
        assert 0 <= value <= largest(name), case


@pytest.mark.parametrize("name", ERRORS)
def test_certain_and_right_has_no_error(name):
    for y in ([0, 1, 2], np.arange(60) % 3):
        assert ERRORS[name](y, np.eye(3)[y]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", ERRORS)
def test_a_temperature_that_is_far_off_shows(name):
    y, proba = draw_calibrated(5000, 5)
    off = proba**4 / (proba**4).sum(1, keepdims=True)
    assert ERRORS[name](y, off) > 2 * ERRORS[name](y, proba)


# What is built on metrics


@every_metric
def test_is_resampled_with_its_bounds_and_reproducibly(name):
    metric, (y, proba) = METRICS[name], draw_calibrated(120, 3)
    # Of a part of a decomposition nobody knows what it takes.
    weight = None if name in DECOMPOSED else np.random.default_rng(1).uniform(0.5, 2, 120)
    run = partial(bootstrap_interval, metric, y, proba, n_resamples=20, random_state=0, sample_weight=weight)
    interval = run()
    assert interval == run()
    assert interval.value == close(metric(y, proba, sample_weight=weight))
    assert interval.low <= interval.high and np.isfinite(interval).all()
    if name not in DECOMPOSED:
        assert interval.low >= 0
    run = partial(calibration_noise_floor, metric, proba, n_draws=5, random_state=0, sample_weight=weight)
    assert 0 <= run().mean <= largest(name) and run() == run()


@pytest.mark.parametrize("name", [*REPRESENTATIVES, *DECOMPOSED])
def test_has_a_paired_test(name):
    y, proba = draw_calibrated(120, 3)
    run = partial(paired_bootstrap_test, METRICS[name], y, n_resamples=20, random_state=0)
    assert run(proba, proba.copy()) == (0, 0, 0, 1)
    other = np.sqrt(proba) / np.sqrt(proba).sum(1, keepdims=True)
    one_way, back = run(proba, other), run(other, proba)
    assert one_way.difference == close(-back.difference) and one_way.pvalue == back.pvalue


def test_every_metric_is_held_to_these_promises():
    public = [getattr(metrics, name) for name in metrics.__all__]
    of_labels = {value for value in public if isfunction(value) and next(iter(signature(value).parameters)) == "y_true"}
    held = {metric.func if isinstance(metric, partial) else metric for metric in METRICS.values()}
    # What asks for an event, for costs or for groups has tests of its own.
    of_decisions = {metrics.calibration_slope, metrics.calibration_intercept, metrics.integrated_calibration_index}
    of_decisions |= {metrics.net_benefit, metrics.expected_cost}
    within_groups = {metrics.group_calibration_error, metrics.multicalibration_error}
    others = {metrics.calibration_refinement, metrics.risk_coverage_curve} | of_decisions | within_groups
    assert of_labels - others <= held


# Bad input


def _with(value, dtype=np.float64):
    _, proba = draw(dtype=dtype)
    proba[3, 1] = value
    return proba


@of_base
@pytest.mark.parametrize(
    ("proba", "error", "match"),
    [
        (_with(np.nan), ValueError, "y_proba must be finite: Input y_proba contains NaN or infinity; got nan"),
        (_with(np.inf, np.float32), ValueError, "y_proba must be finite.*got inf"),
        (_with(-0.2), ValueError, "y_proba must hold probabilities between 0 and 1; got values from -0.2 to"),
        (_with(1.7), ValueError, "y_proba must hold probabilities between 0 and 1; got values from .* to 1.7"),
        (0.9 * draw()[1], ValueError, "each row must sum to 1; row \\d+ sums to 0.9"),
        (torch.full((400, 5), 0.25), ValueError, "row 0 sums to 1.25; of rounded ones give y_proba / y_proba.sum"),
        (np.full((400, 5), 0.5), ValueError, "row 0 sums to 2.5; of labels that don't exclude each other, y must"),
        (np.log(draw()[1]), ValueError, "got values from .*; of log-probabilities give their exp"),
        (np.arange(400) % 5, ValueError, "of percentages give y_proba / 100; predicted labels are no probabilities"),
        (np.full(400, 1.2), ValueError, "y_proba must hold probabilities between 0 and 1; got values from 1.2 to 1.2$"),
        (np.full((400, 2), 50), ValueError, "got values from 50 to 50; of percentages give y_proba / 100"),
        (np.array([10, 90] * 200), ValueError, "got values from 10 to 90; of percentages give y_proba / 100"),
        (np.zeros((0, 5)), ValueError, r"not be empty; got shape \(0, 5\)"),
        (np.zeros((400, 5, 2)), ValueError, r"y_proba must have shape \(n_samples, n_classes\).*shape \(400, 5, 2\)"),
        (0.5, ValueError, r"y_proba must have shape \(n_samples, n_classes\).*got shape \(\)"),
        (np.full((400, 5), "0.2"), TypeError, "y_proba must be numeric and real; got dtype <U3"),
        (np.full((400, 5), "0.2", dtype=object), TypeError, "y_proba must be numeric and real; got dtype object"),
        (_with(pd.NA, object), ValueError, "y_proba must be finite: .* got nan in row 3, column 1"),
        (
            np.full((400, 5), 0.2 + 0j),
            TypeError,
            "y_proba must be numeric and real; got dtype complex128",
        ),
    ],
)
def test_refuses_what_are_no_probabilities(name, proba, error, match):
    y = draw()[0] if np.ndim(proba) != 1 else draw(k=2)[0]
    with pytest.raises(error, match=match):
        METRICS[name](y, proba)


@of_base
def test_names_in_another_order_than_the_columns_are_told(name):
    y = np.arange(400) % 5
    proba = softmax(np.random.default_rng(0).normal(3 * np.eye(5)[y]), axis=1)
    names = np.array(["zero", "one", "two", "three", "four"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = METRICS[name](names[y], proba, labels=names)
        METRICS[name](np.sort(names)[y], proba)
        METRICS[name](names[y], pd.DataFrame(proba, columns=names))
    np.testing.assert_allclose(value, METRICS[name](y, proba))
    with pytest.warns(CalibrationSetWarning, match="better in another order than sorted: give labels"):
        METRICS[name](names[y], proba)


@of_base
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"y_true": np.zeros(399, int)}, "y_true must have one value per sample.*400 and 399"),
        ({"y_true": np.full(400, 5)}, "labels must be given when the labels are neither 0 ... 4 nor"),
        ({"y_true": np.array(["a", "b"] * 200)}, "labels must be given"),
        ({"y_true": np.linspace(0, 4, 400)}, "y_true must hold class labels; got real values such as 0.01"),
        ({"y_true": np.full(400, np.nan)}, "y_true must not hold NaN or infinity"),
        ({"y_true": np.eye(5)[np.arange(400) % 5]}, "should be a 1d array, got"),
        ({"y_true": None}, "the target y_true is None"),
        ({"labels": [0, 1, 2, 3]}, r"labels must name the 5 columns of the logits; got shape \(4,\)"),
        ({"labels": [0, 1, 2, 3, 3]}, r"labels must not repeat a name; got \[0, 1, 2, 3, 3\]"),
        ({"labels": [1, 2, 3, 4, 5]}, r"y_true must hold labels among the classes \[1, 2, 3, 4, 5\]; got \[0\]"),
        ({"labels": list("abcde")}, "y_true must hold labels among the classes"),
        ({"sample_weight": -np.ones(400)}, "sample_weight must be finite, non-negative and not zero everywhere"),
        ({"sample_weight": np.zeros(400)}, "sample_weight must be .* not zero everywhere; got values from 0.0"),
        ({"sample_weight": np.full(400, np.nan)}, "sample_weight must be finite.*got values from nan"),
        ({"sample_weight": np.ones(399)}, "sample_weight must have one value per sample"),
    ],
)
def test_refuses_bad_labels_and_weights(name, options, match):
    y, proba = draw()
    with pytest.raises(ValueError, match=match):
        METRICS[name](**{"y_true": y, "y_proba": proba, **options})


_OPTIONS = {
    "norm": [("l3", ValueError, "norm must be one of .*; got 'l3'")],
    "strategy": [("kmeans", ValueError, r"strategy must be one of \('uniform', 'quantile'\); got 'kmeans'")],
    "mode": [(None, ValueError, r"mode must be one of \('top-label', 'classwise'\); got None")],
    "n_bins": [
        (0, ValueError, "n_bins must be a whole number of at least 1; got 0"),
        (2.5, TypeError, "n_bins must be a whole number of at least 1; got 2.5"),
        (True, TypeError, "n_bins must be a whole number of at least 1; got True"),
        ("auto", TypeError, "n_bins must be a whole number of at least 1; got 'auto'"),
    ],
    "top_k": [
        (0, ValueError, "top_k must be a whole number of at least 1; got 0"),
        (6, ValueError, "top_k must be at most the number of classes, 5; got 6"),
        (1.5, TypeError, "top_k must be a whole number of at least 1; got 1.5"),
    ],
    "threshold": [
        (1.0, ValueError, "threshold must be .*; got 1.0"),
        (-0.1, ValueError, "threshold must be .*; got -0.1"),
        ("0.5", TypeError, "threshold must be .*; got '0.5'"),
    ],
    "bandwidth": [
        (0.0, ValueError, "bandwidth must be .*; got 0.0"),
        (1.5, ValueError, "bandwidth must be .*; got 1.5"),
        (True, TypeError, "bandwidth must be .*; got True"),
    ],
}
_PLAIN = ["ece", "aece", "mce", "sce", "debiased", "smooth", "ks"]


@pytest.mark.parametrize(
    ("name", "option", "value", "error", "match"),
    [
        (name, option, *case)
        for name in _PLAIN
        for option, cases in _OPTIONS.items()
        for case in cases
        if option in signature(METRICS[name]).parameters
    ],
)
def test_refuses_bad_options(name, option, value, error, match):
    with pytest.raises(error, match=match):
        METRICS[name](*draw(), **{option: value})


@pytest.mark.parametrize("name", ["debiased", "smooth", "ks"])
def test_every_class_is_its_own(name):
    with pytest.raises(ValueError, match="top_k must be 1 with mode='classwise'; got 2"):
        METRICS[name](*draw(), mode="classwise", top_k=2)


@pytest.mark.parametrize("name", ["ece", "aece", "mce", "debiased", "smooth", "ks"])
def test_a_threshold_must_leave_a_sample(name):
    with pytest.raises(ValueError, match="threshold must be below .* the largest of which is 0.6; got 0.6"):
        METRICS[name]([0, 1], [[0.6, 0.4], [0.5, 0.5]], threshold=0.6)
