"""A class at each place of a sample: metrics, their intervals, scorers and displays."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skclamp import PlattScaling, TemperatureScaling
from skclamp.display import ReliabilityDisplay, ReliabilityGridDisplay, RiskCoverageDisplay
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    calibration_refinement,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    make_calibration_scorer,
    maximum_calibration_error,
    neg_brier_score_scorer,
    neg_expected_calibration_error_scorer,
    neg_log_likelihood_scorer,
    negative_log_likelihood,
    predictive_entropy,
    risk_coverage_curve,
    smooth_calibration_error,
)

METRICS = {
    "ece": expected_calibration_error,
    "aece": adaptive_expected_calibration_error,
    "mce": maximum_calibration_error,
    "ks": ks_calibration_error,
    "ks, classwise": partial(ks_calibration_error, mode="classwise"),
    "debiased": debiased_calibration_error,
    "smooth": smooth_calibration_error,
    "nll": negative_log_likelihood,
    "brier": brier_score,
    "aurc": area_under_risk_coverage,
}
# Their own averages are over classes.
OF_CLASSES = {
    "sce": classwise_calibration_error,
    "sce, equal mass": partial(classwise_calibration_error, strategy="quantile"),
}
every_metric = pytest.mark.parametrize("metric", list((METRICS | OF_CLASSES).values()), ids=[*METRICS, *OF_CLASSES])
N, K, PLACES = 25, 4, (6, 5)
close = partial(pytest.approx, rel=1e-9, abs=1e-12)


def scenes(n=N, k=K, places=PLACES, seed=0, sharpness=2.0):
    """Labels (n, *places) that are drawn from a softmax, and probabilities (n, k, *places) that are too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(n, k, *places))
    return (logits + rng.gumbel(size=logits.shape)).argmax(1), softmax(sharpness * logits, axis=1)


def rows(proba):
    """Rows of probabilities, one a place."""
    return np.moveaxis(proba, 1, -1).reshape(-1, proba.shape[1])


@every_metric
class TestMetrics:
    def test_all_places_count_alike(self, metric):
        y, proba = scenes()
        expected = metric(y.ravel(), rows(proba))
        assert metric(y, proba) == expected
        if metric not in OF_CLASSES.values():
            assert metric(y, proba, average="micro") == expected
        assert metric(y.reshape(N, -1), proba.reshape(N, K, -1)) == expected
        assert metric(torch.from_numpy(y), torch.from_numpy(proba)) == expected

    def test_samples_by_themselves(self, metric):
        y, proba = scenes()
        each = [metric(own, rows(p[None]), labels=range(K)) for own, p in zip(y.reshape(N, -1), proba, strict=True)]
        assert metric(y, proba, average="samples") == close(np.mean(each))
        weight = np.random.default_rng(1).integers(1, 4, size=N)
        if metric is not debiased_calibration_error:
            # Its weights are numbers of samples.
            assert metric(y, proba, average="samples", sample_weight=weight) == close(np.average(each, weights=weight))
        if metric not in OF_CLASSES.values():
            np.testing.assert_allclose(metric(y, proba, average=None), each, rtol=1e-9, atol=1e-12)

    def test_unknown_places_are_left_out(self, metric):
        y, proba = scenes()
        given = y.copy()
        given[:, :2] = -100
        given[3] = -100
        known = given.ravel() >= 0
        expected = metric(given.ravel()[known], rows(proba)[known], labels=range(K))
        assert metric(given, proba) == close(expected)
        other = np.where(given < 0, 255, given)
        assert metric(other, proba, ignore_index=255) == close(expected)
        with pytest.raises(ValueError, match="got 255, by which many masks say.*give ignore_index=255"):
            metric(other, proba)
        each = [metric(own[2:].ravel(), rows(p[None, :, 2:]), labels=range(K)) for own, p in zip(y, proba, strict=True)]
        assert metric(given, proba, average="samples") == close(np.mean(np.delete(each, 3)))

    def test_weights_of_samples_and_of_places(self, metric):
        y, proba = scenes()
        rng = np.random.default_rng(1)
        of_samples, of_places = rng.uniform(size=N), rng.uniform(size=y.shape)
        for weight, each in ((of_samples, np.repeat(of_samples, 30)), (of_places, of_places.ravel())):
            expected = metric(y.ravel(), rows(proba), sample_weight=each)
            for given in (weight, torch.from_numpy(weight), weight.tolist()):
                assert metric(y, proba, sample_weight=given) == close(expected)
        with pytest.raises(ValueError, match=r"sample_weight must have shape \(25,\), or that of y_true, \(25, 6, 5\)"):
            metric(y, proba, sample_weight=of_places[:, :3])

    def test_the_second_of_two_classes(self, metric):
        y, proba = scenes(k=2)
        second = proba[:, 1]
        expected = metric(y.ravel(), second.ravel())
        assert metric(y, second) == metric(y, second[:, None]) == expected
        assert metric(y.reshape(N, -1), second.reshape(N, 1, -1)) == expected

    def test_names_what_is_wrong(self, metric):
        y, proba = scenes()
        with pytest.raises(
            ValueError, match=r"classes along axis 1.*got 4 classes last.*np.moveaxis\(y_proba, -1, 1\)"
        ):
            metric(y, np.moveaxis(proba, 1, -1))
        with pytest.raises(ValueError, match=r"y_true must have shape \(n_samples, 6, 5\).*got places \(6, 4\)"):
            metric(y[..., :4], proba)
        with pytest.raises(ValueError, match="inconsistent numbers of samples, 25 and 24"):
            metric(y[:24], proba)
        with pytest.raises(ValueError, match="y_proba must have shape"):
            metric(y[:, 0, 0], proba)
        with pytest.raises(ValueError, match="each row must sum to 1"):
            metric(y, 0.5 * proba)
        with pytest.raises(ValueError, match="a place whose class is known"):
            metric(np.full_like(y, -100), proba)
        with pytest.raises(ValueError, match="average must be"):
            metric(y, proba, average="weighted")

    def test_intervals_resample_whole_samples(self, metric):
        """Of places that are all alike, the standard error is that of one of them."""
        y, proba = scenes(n=200, places=(1, 1))
        many, alike = np.repeat(y, 9, axis=2), np.repeat(proba, 9, axis=3)
        run = partial(bootstrap_interval, metric, n_resamples=100, random_state=0)
        alone, found = run(y[:, 0, 0], proba[..., 0, 0]), run(many, alike)
        assert found.standard_error == pytest.approx(alone.standard_error, rel=0.25)
        # Samples without a known class are none.
        many[:50] = -100
        fewer = bootstrap_interval(metric, y[50:, 0, 0], proba[50:, :, 0, 0], n_resamples=100, random_state=0)
        assert run(many, alike).standard_error == pytest.approx(fewer.standard_error, rel=0.25)


@pytest.mark.parametrize("metric", [expected_calibration_error, ks_calibration_error, negative_log_likelihood])
def test_intervals_widen_as_places_say_the_same(metric):
    """As many places in fewer samples; without a sample's places alike, more of them narrow it."""
    run = partial(bootstrap_interval, metric, n_resamples=300, random_state=0)
    y, proba = scenes(n=64, places=(16,))
    independent = run(y, proba)
    alike = run(np.repeat(y[:, :1], 16, axis=1), np.repeat(proba[..., :1], 16, axis=2))
    one = run(y[:, 0], proba[..., 0])
    width = [interval.high - interval.low for interval in (independent, alike, one)]
    assert width[1] > 2 * width[0]
    assert width[1] == pytest.approx(width[2], rel=0.3)


def test_classes_by_themselves():
    y, proba = scenes()
    found = classwise_calibration_error(y, proba, average=None)
    np.testing.assert_array_equal(found, classwise_calibration_error(y.ravel(), rows(proba), average=None))


def test_bins_are_those_of_all_places():
    y, proba = scenes()
    _, bins = expected_calibration_error(y, proba, return_bins=True)
    assert bins.count.sum() == y.size
    for option, metric in (("return_bins", expected_calibration_error), ("return_bandwidth", smooth_calibration_error)):
        with pytest.raises(ValueError, match=f"{option} needs average='micro'"):
            metric(y, proba, average="samples", **{option: True})


def test_what_has_no_average_takes_all_places():
    y, proba = scenes()
    given = np.where(np.arange(5) < 2, -100, y)
    known = given.ravel() >= 0
    few = given.ravel()[known], rows(proba)[known]
    assert calibration_refinement(given, proba) == close(calibration_refinement(*few))
    found, expected = risk_coverage_curve(given, proba), risk_coverage_curve(*few)
    np.testing.assert_allclose(found.risks, expected.risks)
    assert found.area == close(expected.area)
    assert predictive_entropy(proba) == close(predictive_entropy(rows(proba)))
    weight = np.random.default_rng(0).uniform(size=y.shape)
    expected = predictive_entropy(rows(proba), sample_weight=weight.ravel())
    assert predictive_entropy(proba, sample_weight=weight) == close(expected)
    run = partial(calibration_noise_floor, expected_calibration_error, n_draws=5, random_state=0)
    assert run(proba) == run(rows(proba))


@pytest.mark.parametrize("places", [(1,), (3,), (70_000,), (300, 400)])
def test_chunks_end_anywhere(places):
    y, proba = scenes(3, 3, places)
    for metric in (brier_score, classwise_calibration_error):
        assert metric(y, proba) == metric(y.ravel(), rows(proba))
    half = torch.from_numpy(proba).bfloat16()
    assert brier_score(y, half) == brier_score(y.ravel(), half.movedim(1, -1).reshape(-1, 3))


class TestScorers:
    @pytest.mark.parametrize("places", [(30,), PLACES])
    def test_in_cross_validation(self, places):
        y, proba = scenes(n=60, places=places)
        logits, folds = np.log(proba), [(np.arange(60) % 3 != k, np.arange(60) % 3 == k) for k in range(3)]
        folds = [tuple(map(np.flatnonzero, fold)) for fold in folds]
        given = y.copy()
        given[:, 0] = -1
        calibrator = TemperatureScaling(ignore_index=-1)
        scorers = {
            neg_log_likelihood_scorer: negative_log_likelihood,
            neg_brier_score_scorer: brier_score,
            neg_expected_calibration_error_scorer: expected_calibration_error,
            make_calibration_scorer(expected_calibration_error, average="samples", n_bins=5): partial(
                expected_calibration_error, average="samples", n_bins=5
            ),
        }
        for scorer, metric in scorers.items():
            found = cross_val_score(calibrator, logits, given, scoring=scorer, cv=folds)
            fits = [(clone(calibrator).fit(logits[train], given[train]), test) for train, test in folds]
            expected = [-metric(given[test], fit.predict_proba(logits[test]), ignore_index=-1) for fit, test in fits]
            np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_of_two_classes_an_error_is_of_the_second(self):
        y, proba = scenes(k=2)
        calibrator = PlattScaling().fit(np.log(proba), y)
        found = calibrator.predict_proba(np.log(proba))
        of_second = expected_calibration_error(y, found[:, 1])
        assert neg_expected_calibration_error_scorer(calibrator, np.log(proba), y) == close(-of_second)
        assert neg_brier_score_scorer(calibrator, np.log(proba), y) == close(-brier_score(y, found))


class TestDisplays:
    def test_shows_all_places(self):
        y, proba = scenes(n=60)
        given = np.where(np.arange(5) < 2, 255, y)
        display = ReliabilityDisplay.from_predictions(given, proba, ignore_index=255, smooth=True, n_resamples=100)
        bins = expected_calibration_error(given, proba, ignore_index=255, return_bins=True)[1]
        np.testing.assert_array_equal(display.bins.count, bins.count)
        assert display.noise_floor is None
        assert display.histogram_ax_.get_ylabel() == "places (%)"
        assert np.isfinite(display.curve.low).any()
        plt.close(display.figure_)

    def test_intervals_are_of_samples(self):
        """Also in bins whose places are all right."""
        y, proba = scenes(n=200, places=(1, 1))
        many, alike = np.repeat(y, 9, axis=2), np.repeat(proba, 9, axis=3)
        displays = [
            ReliabilityDisplay.from_predictions(y[:, 0, 0], proba[..., 0, 0], n_bins=8, n_resamples=1000),
            ReliabilityDisplay.from_predictions(many, alike, n_bins=8),
        ]
        widths = [np.diff(display.intervals, axis=0)[0] for display in displays]
        np.testing.assert_allclose(widths[1], widths[0], rtol=1e-6)
        np.testing.assert_array_equal(displays[0].few, displays[1].few)
        plt.close("all")

    def test_of_an_estimator_with_unknown_places(self):
        y, proba = scenes()
        given = np.where(np.arange(5) < 2, -1, y)
        calibrator = TemperatureScaling(ignore_index=-1).fit(np.log(proba), given)
        for display in (ReliabilityDisplay, RiskCoverageDisplay):
            display.from_estimator(calibrator, np.log(proba), given)
        grid = ReliabilityGridDisplay.from_estimators([calibrator], np.log(proba), given, n_bins=5)
        assert grid.displays[0].bins.count.sum() == (given >= 0).sum()
        grid = ReliabilityGridDisplay.from_classes(given, proba, ignore_index=-1)
        assert len(grid.displays) == K and grid.displays[0].counted == "places"
        plt.close("all")
