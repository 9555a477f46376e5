"""Bootstrap intervals and the paired test: replicates are reweighted metrics, truths are covered, passes are few."""

from functools import partial

import numpy as np
import pytest
from _metrics import draw, draw_calibrated
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.utils import check_random_state

import bootstrap_coverage
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
    smooth_calibration_error,
)
from skclamp.metrics._binning import Pairs, Probabilities
from skclamp.metrics._bootstrap import resampling_weights
from skclamp.metrics._noise_floor import draw_labels
from skclamp.metrics._resampling import KSErrors, resampled

EXACT = {
    "ece": (expected_calibration_error, {}),
    "ece, l2": (expected_calibration_error, {"norm": "l2", "n_bins": 7}),
    "ece, top 2": (expected_calibration_error, {"top_k": 2}),
    "ece, thresholded": (expected_calibration_error, {"threshold": 0.6}),
    "mce": (maximum_calibration_error, {}),
    "sce": (classwise_calibration_error, {}),
    "sce, one bin": (classwise_calibration_error, {"n_bins": 1}),
    "sce, max": (classwise_calibration_error, {"norm": "max"}),
    "ks": (ks_calibration_error, {}),
    "ks, thresholded": (ks_calibration_error, {"threshold": 0.6}),
    "smooth, fixed": (smooth_calibration_error, {"bandwidth": 0.05}),
    "nll": (negative_log_likelihood, {}),
    "brier": (brier_score, {}),
}
ERRORS = [name for name in EXACT if name not in ("nll", "brier")]


def _form(name, y, proba):
    metric, options = EXACT[name]
    return partial(metric, **options), resampled(metric, options, y, proba)


# Replicates


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", EXACT)
def test_replicates_are_the_metric_under_weights(name, weighted):
    y, array = draw()
    own = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    proba = Probabilities(array, own)
    metric, form = _form(name, y, proba)
    weights = np.concatenate(list(resampling_weights(proba, 30, check_random_state(0))))
    expected = [metric(y, array, sample_weight=weight) for weight in weights]
    # The smooth error's replicates have a coarser grid.
    for scale in (1.0, 1e-4):
        found = form.values(form.sums(scale * weights))
        np.testing.assert_allclose(found, expected, rtol=1e-9 if "smooth" not in name else 1e-4)


def test_replicates_are_resamples():
    y, array = draw()
    rows = list(resampling_weights(Probabilities(array), 50, check_random_state(0)))[0]
    assert rows.shape == (50, 400) and (rows.sum(1) == 400).all() and (rows == rows.round()).all()
    assert np.mean(rows == 0) == pytest.approx(np.exp(-1), abs=0.02)
    drawn = np.repeat(np.arange(400), rows[0].astype(int))
    form = resampled(expected_calibration_error, {}, y, Probabilities(array))
    assert form.values(form.sums(rows[:1]))[0] == pytest.approx(expected_calibration_error(y[drawn], array[drawn]))


@pytest.mark.parametrize("name", ERRORS)
def test_scale_moves_the_systematic_part_alone(name):
    y, array = draw_calibrated(300, 4)
    proba = Probabilities(array)
    _, form = _form(name, y, proba)
    sums = form.sums(np.ones((1, 300)))
    for scale in (0.0, 0.5, 1.0, 3.0):
        value = getattr(form, "estimate", form.value) * scale
        assert form.values(sums, scale) == pytest.approx(value, abs=1e-12)
        assert form.at_scale(scale) == pytest.approx(form.value * scale)


def test_scale_of_the_smooth_error_moves_its_bandwidth():
    y, array = draw(n=200)
    form = resampled(smooth_calibration_error, {}, y, Probabilities(array))
    errors = [form.at_scale(scale) for scale in (0, 0.5, 1, 2)]
    assert errors == sorted(errors) and errors[0] == 0
    assert errors[2] == pytest.approx(form.value, rel=1e-4) == smooth_calibration_error(y, array)


def test_ks_replicates_of_many_samples_look_at_groups():
    random = np.random.default_rng(0)
    confidence = random.uniform(size=20_000)
    pairs = Pairs(confidence, (random.uniform(size=20_000) < confidence**1.1).astype(float))
    form = KSErrors(pairs, np.arange(20_000))
    assert form.sums(np.ones((2, 20_000)))[0].shape == (2, 4096)
    assert form.estimate == pytest.approx(form.value, rel=0.02) and form.estimate <= form.value


def test_ks_upper_ends_come_from_a_straight_path():
    y, array = draw_calibrated(300, 4)
    form = resampled(ks_calibration_error, {}, y, Probabilities(array))
    plain, sums = form.with_plain_shape(), form.sums(np.ones((1, 300)))
    for scale in (0.0, 0.5, 2.0):
        assert plain.values(sums, scale) == pytest.approx(scale * form.value)
    noisy = form.sums(np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), size=400).astype(float))
    assert np.mean(plain.values(noisy, 1.0)) < np.mean(form.values(noisy, 1.0))


@pytest.mark.parametrize(
    ("metric", "n", "most"),
    [
        (expected_calibration_error, 400, 1),
        (ks_calibration_error, 400, 1),
        (smooth_calibration_error, 400, 1),
        # Once a block, and once to draw labels.
        (classwise_calibration_error, 30_000, 2 + 3 + 1),
    ],
)
def test_the_probabilities_are_read_once(monkeypatch, metric, n, most):
    passes, chunks = [], Probabilities.chunks
    monkeypatch.setattr(Probabilities, "chunks", lambda self: passes.append(self) or chunks(self))
    bootstrap_interval(metric, *draw(n), n_resamples=200, random_state=0)
    assert 1 <= len(passes) <= most


def test_blocks_change_nothing():
    proba = Probabilities(draw()[1], np.arange(400.0))
    (whole,) = resampling_weights(proba, 100, check_random_state(0))
    blocks = list(resampling_weights(proba, 100, check_random_state(0), block_size=30 * 400))
    assert [len(block) for block in blocks] == [30, 30, 30, 10]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


# Intervals


def test_proper_scores_have_the_intervals_of_a_mean():
    y, proba = draw_calibrated(2000, 4)
    losses = -np.log(proba[np.arange(2000), y])
    interval = bootstrap_interval(negative_log_likelihood, y, proba, n_resamples=4000, random_state=0)
    error = losses.std() / np.sqrt(2000)
    assert interval.value == interval.debiased == pytest.approx(losses.mean())
    assert interval.standard_error == pytest.approx(error, rel=0.05)
    assert interval.low == pytest.approx(losses.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(losses.mean() + 1.96 * error, abs=0.15 * error)


@pytest.mark.parametrize("method", ["percentile", "basic"])
def test_quantile_intervals_are_quantiles(method):
    y, proba = draw()
    shared = Probabilities(proba)
    weights = np.concatenate(list(resampling_weights(shared, 200, check_random_state(3))))
    values = [expected_calibration_error(y, proba, sample_weight=weight) for weight in weights]
    low, high = np.quantile(values, [0.05, 0.95])
    plain = expected_calibration_error(y, proba)
    found = bootstrap_interval(
        expected_calibration_error, y, proba, method=method, n_resamples=200, confidence_level=0.9, random_state=3
    )
    ends = (low, high) if method == "percentile" else (2 * plain - high, 2 * plain - low)
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1))


def test_basic_intervals_end_at_zero_for_errors_alone():
    y, proba = draw_calibrated(400, 4)
    options = {"method": "basic", "n_resamples": 50, "random_state": 0}
    found = bootstrap_interval(expected_calibration_error, y, proba, **options)
    assert 0 == found.low < found.debiased < found.value < found.high
    found = bootstrap_interval(lambda y_true, y_proba: y_true.mean() - 1.6, y, proba, **options)
    assert found.low < found.debiased < found.high < 0


def test_a_gap_in_one_bin_has_the_interval_of_a_mean():
    """One bin far from calibrated: nothing to debias, and the error is the mean residual's absolute value."""
    random = np.random.default_rng(0)
    proba = random.uniform(0.8, 1, 4000)
    y = random.uniform(size=4000) < proba - 0.2
    residual = y - proba
    interval = bootstrap_interval(
        partial(expected_calibration_error, n_bins=1), y, proba, n_resamples=4000, random_state=0
    )
    error = residual.std() / np.sqrt(4000)
    assert interval.debiased == pytest.approx(interval.value, abs=0.1 * error)
    assert interval.low == pytest.approx(interval.value - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(interval.value + 1.96 * error, abs=0.15 * error)


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_equal_probabilities_dont_differ(alternative):
    y, proba = draw()
    found = paired_bootstrap_test(brier_score, y, proba, proba, alternative=alternative, n_resamples=20, random_state=0)
    assert (found.difference, found.pvalue) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ECE", "ECE, l2", "KS", "smooth"])
@pytest.mark.parametrize("temperature", [1.0, 1.05, 1.5])
def test_debiased_intervals_cover_the_truth(name, temperature):
    metric, truth = bootstrap_coverage.METRICS[name]
    data = [bootstrap_coverage.simulate(500, temperature, np.random.default_rng(seed))[:2] for seed in range(80)]
    row = bootstrap_coverage.cover(metric, truth(bootstrap_coverage.true_pairs(temperature)), data, 100)
    # Three standard errors of 80 draws below 95 %; percentiles never cover a calibrated classifier.
    assert row["cover debiased"] >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 80)
    if temperature == 1.0:
        assert row["cover percentile"] == 0
        assert row["debiased"] < 0.6 * row["value"]


def test_the_upper_end_of_less_than_noise_isnt_zero():
    """Labels in the very proportions of each bin have no error; the sample is as small as ever."""
    proba = np.repeat([0.6, 0.8], 50)
    y = np.tile(np.arange(50) % 5, 2) < np.repeat([3, 4], 50)
    interval = bootstrap_interval(expected_calibration_error, y, proba + 1e-3, random_state=0)
    assert interval.value < 0.002 and interval.low == 0 and interval.high >= interval.value


def test_weights_and_labels_are_taken():
    y, proba = draw_calibrated(300, 3)
    names = np.array(["x", "a", "m"])
    plain = bootstrap_interval(expected_calibration_error, y, proba, n_resamples=50, random_state=0)
    named = bootstrap_interval(
        expected_calibration_error,
        names[y],
        proba,
        labels=names,
        sample_weight=np.full(300, 2.0),
        n_resamples=50,
        random_state=0,
    )
    assert named == pytest.approx(plain)


@pytest.mark.parametrize(
    "metric",
    [
        expected_calibration_error,
        adaptive_expected_calibration_error,
        partial(expected_calibration_error, top_k=1, threshold=0.3),
        smooth_calibration_error,
        classwise_calibration_error,
        debiased_calibration_error,
    ],
)
@pytest.mark.parametrize("weight", [None, 2.0])
def test_lower_ends_call_a_calibrated_few_off_no_more_often_than_promised(metric, weight):
    n_simulations = 60
    above = []
    for seed in range(n_simulations):
        y, proba = draw_calibrated(100, 10, seed)
        weights = None if weight is None else np.full(100, weight)
        interval = bootstrap_interval(metric, y, proba, n_resamples=50, sample_weight=weights, random_state=seed)
        assert 0 <= interval.low <= interval.debiased
        above.append(interval.low > 0)
    # Three standard errors above the half of 5 % that is promised.
    assert np.mean(above) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / n_simulations)


@pytest.mark.parametrize("is_noise", [True, False])
def test_draws_end_with_the_fifth_error_as_large(is_noise, monkeypatch):
    """What is plainly noise ends the draws early, and what is plainly none takes them all."""
    drawn = []

    def counted(proba, size, random_state):
        drawn.append(size)
        return draw_labels(proba, size, random_state)

    monkeypatch.setattr("skclamp.metrics._bootstrap.draw_labels", counted)
    y, proba = draw_calibrated(100, 10, 1)
    if not is_noise:
        proba = proba**2 / (proba**2).sum(1, keepdims=True)
    metric = partial(classwise_calibration_error, n_bins=15)
    interval = bootstrap_interval(metric, y, proba, n_resamples=50, random_state=0)
    assert (sum(drawn) < 199, interval.low > 0) == (is_noise, not is_noise)


def test_lower_ends_of_clear_errors_stay():
    y, proba = draw_calibrated(1000, 5)
    sure = proba**2 / (proba**2).sum(1, keepdims=True)
    for metric in (expected_calibration_error, classwise_calibration_error, ks_calibration_error):
        interval = bootstrap_interval(metric, y, sure, n_resamples=200, random_state=0)
        assert interval.low > 0.5 * interval.debiased


@pytest.mark.parametrize("convert", [np.asarray, list])
def test_foreign_metrics_are_resampled_row_by_row(convert):
    y, proba = draw(k=2)
    second = convert(proba[:, 1])
    foreign = bootstrap_interval(brier_score_loss, y, second, n_resamples=100, random_state=0)
    assert foreign == pytest.approx(bootstrap_interval(brier_score, y, second, n_resamples=100, random_state=0))


def test_seeds_and_the_global_random_state():
    shared = check_random_state(None)
    before = shared.get_state()[1].copy()
    run = partial(bootstrap_interval, expected_calibration_error, *draw(), n_resamples=30)
    assert run(random_state=1) == run(random_state=np.random.RandomState(1)) != run(random_state=2)
    np.testing.assert_array_equal(shared.get_state()[1], before)


# The paired test


def test_paired_test_of_a_mean_is_that_of_its_differences():
    y, proba = draw_calibrated(3000, 4)
    other = proba**1.1 / (proba**1.1).sum(1, keepdims=True)
    losses = -np.log(proba[np.arange(3000), y]) + np.log(other[np.arange(3000), y])
    error = losses.std() / np.sqrt(3000)
    found = paired_bootstrap_test(negative_log_likelihood, y, proba, other, n_resamples=4000, random_state=0)
    assert found.difference == pytest.approx(losses.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    z = abs(losses.mean()) / error
    assert found.pvalue == pytest.approx(2 * norm.sf(z), abs=0.03)


@pytest.mark.parametrize("metric", [expected_calibration_error, smooth_calibration_error, debiased_calibration_error])
def test_a_clear_difference_is_found_and_its_sign(metric):
    y, good = draw_calibrated(3000, 4)
    bad = good**2.5 / (good**2.5).sum(1, keepdims=True)
    run = partial(paired_bootstrap_test, metric, y, n_resamples=99, random_state=0)
    found = run(good, bad)
    assert found.high < 0 and found.pvalue == pytest.approx(0.01)
    assert run(good, bad, alternative="less").pvalue == pytest.approx(0.01)
    assert run(good, bad, alternative="greater").pvalue > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("pair", [bootstrap_coverage.two_calibrated, bootstrap_coverage.two_equally_off])
def test_paired_test_of_equal_errors_keeps_its_level(pair):
    data = [pair(600, np.random.default_rng(seed)) for seed in range(100)]
    run = partial(paired_bootstrap_test, expected_calibration_error, n_resamples=99, random_state=0)
    rejected = np.mean([run(*sample).pvalue <= 0.05 for sample in data])
    assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_resamples": 1}, ValueError, "n_resamples must be a whole number of at least 2; got 1"),
        ({"n_resamples": 9.5}, TypeError, "n_resamples must be a whole number of at least 2; got 9.5"),
        ({"confidence_level": 1.0}, ValueError, "confidence_level must be .*; got 1.0"),
        ({"confidence_level": "95%"}, TypeError, "confidence_level must be .*; got '95%'"),
        ({"metric": "ece"}, TypeError, r"metric must be a callable metric\(y_true, y_proba\); got 'ece'"),
        ({"metric": log_loss, "sample_weight": np.ones(400)}, TypeError, "sample_weight must be None for a metric of"),
        ({"y_true": np.zeros(399, int)}, ValueError, "y_true must have one value per sample"),
    ],
)
@pytest.mark.parametrize("function", [bootstrap_interval, paired_bootstrap_test])
def test_refuses_bad_parameters(function, options, error, match):
    y, proba = draw()
    given = {"metric": expected_calibration_error, "y_true": y, **options}
    probabilities = (proba,) if function is bootstrap_interval else (proba, proba)
    with pytest.raises(error, match=match):
        function(given.pop("metric"), given.pop("y_true"), *probabilities, **given)


def test_refuses_unknown_choices_and_other_lengths():
    y, proba = draw()
    with pytest.raises(ValueError, match="method must be one of .*; got 'bca'"):
        bootstrap_interval(expected_calibration_error, y, proba, method="bca")
    with pytest.raises(ValueError, match="alternative must be one of .*; got 'both'"):
        paired_bootstrap_test(expected_calibration_error, y, proba, proba, alternative="both")
    with pytest.raises(ValueError, match="y_true must have one value per sample.* 399 and 400"):
        paired_bootstrap_test(expected_calibration_error, y, proba, proba[1:])
    with pytest.raises(ValueError, match="y_proba must be finite"):
        bootstrap_interval(expected_calibration_error, y, np.full((400, 5), np.nan))


# The benchmark


@pytest.mark.slow
def test_coverage_benchmark_writes_what_it_prints(tmp_path, capsys):
    out = tmp_path / "coverage.csv"
    bootstrap_coverage.main(["--n-simulations", "3", "--n-resamples", "10", "--sizes", "60", "--out", str(out)])
    printed = capsys.readouterr().out
    assert (
        "lower ends above 0" in printed
        and "any of 20 equal" in printed
        and "cover debiased" in printed
        and "both calibrated" in printed
    )
    lines = out.read_text().splitlines()
    assert len(lines) == 1 + len(bootstrap_coverage.METRICS) * len(bootstrap_coverage.TEMPERATURES)
