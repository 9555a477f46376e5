"""Wrong labels in the calibration set: a rate beside a temperature and beside Platt scaling, and the hint at it."""

import re
import warnings

import numpy as np
import pytest
from scipy.special import log_softmax
from torch import nn

import skclamp
from skclamp import CalibratorSelector, NeuralClampingCalibrator, PlattScaling, TemperatureScaling
from skclamp.datasets import load_fogged_digits
from skclamp.exceptions import CalibrationWarning, NotConvergedWarning

SHARPNESS = 1.6


def drawn(n_classes=10, n=1000, rate=0.3, offset=0.0, seed=0):
    """Logits that are too sharp, labels of which some are wrong, and the true log-probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n, n_classes)) + offset * np.arange(n_classes)
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    wrong = (y + rng.integers(1, n_classes, n)) % n_classes
    sharp = SHARPNESS * (logits - offset * np.arange(n_classes))
    return sharp, np.where(rng.random(n) < rate, wrong, y), log_softmax(logits, 1)


def divergence(calibrator, logits, truth):
    return (np.exp(truth) * (truth - calibrator.predict_log_proba(logits))).sum(1).mean()


def quietly(calibrator, *args, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return calibrator.fit(*args, **params)


def test_a_sample_of_masked_classes_has_fewer_that_are_wrong():
    logits, y, truth = drawn(3, 2000, rate=0.2)
    masked = np.column_stack([logits, np.full((2000, 3), -np.inf)])
    few, many = (TemperatureScaling(label_noise="auto", classes=range(each.shape[1])) for each in (logits, masked))
    assert many.fit(masked, y).temperature_ == pytest.approx(few.fit(logits, y).temperature_)
    assert many.label_noise_ == pytest.approx(few.label_noise_)


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
@pytest.mark.parametrize(("n_classes", "label_noise"), [(2, 0.3), (10, 0.3), (10, "auto")])
def test_a_rate_of_wrong_labels_is_left_aside(calibrator, n_classes, label_noise):
    logits, y, truth = drawn(n_classes)
    plain = divergence(quietly(calibrator(), logits, y), logits, truth)
    fitted = calibrator(label_noise=label_noise).fit(logits, y)
    assert plain > 0.2
    assert divergence(fitted, logits, truth) < 0.05
    assert fitted.label_noise_ == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
@pytest.mark.parametrize(("n_classes", "label_noise"), [(2, 0), (10, 0), (10, "auto")])
def test_right_labels_have_no_rate(calibrator, label_noise, n_classes):
    logits, y, _ = drawn(n_classes, rate=0.0)
    fitted = calibrator(label_noise=label_noise).fit(logits, y)
    assert fitted.label_noise_ == 0
    np.testing.assert_array_equal(fitted.predict_proba(logits), calibrator().fit(logits, y).predict_proba(logits))


def test_an_offset_is_no_noise():
    logits, y, truth = drawn(2, rate=0.1, offset=2.0)
    assert divergence(PlattScaling(label_noise=0.1).fit(logits, y), logits, truth) < 0.02
    assert divergence(PlattScaling().fit(logits, y), logits, truth) > 0.04


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
@pytest.mark.parametrize("offset", [1, 2, 3, 4, 5])
def test_offsets_of_right_labels_are_no_noise(calibrator, offset):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(3000, 3))
    y = (logits / 2 + [offset, 0, 0] + rng.gumbel(size=logits.shape)).argmax(1)
    fitted, plain = (quietly(calibrator(label_noise=rate), logits, y) for rate in ("auto", None))
    assert fitted.label_noise_ == 0
    np.testing.assert_array_equal(fitted.predict_proba(logits), plain.predict_proba(logits))


def test_what_else_is_wrong_is_told_beside_a_rate():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(3000, 3))
    y = (logits / 2 + [4, 0, 0] + rng.gumbel(size=logits.shape)).argmax(1)
    with pytest.warns(CalibrationWarning, match="class frequencies are off"):
        TemperatureScaling(label_noise="auto").fit(logits, y)
    with pytest.warns(NotConvergedWarning, match="at the bound 1,? beyond"):
        TemperatureScaling(label_noise=0.1, bounds=(1e-4, 1.0)).fit(*drawn(4, rate=0.1)[:2])


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
def test_weights_are_repetitions(calibrator):
    logits, y, _ = drawn(4, 200, rate=0.2)
    twice = quietly(calibrator(label_noise=0.2), np.tile(logits, (2, 1)), np.tile(y, 2))
    weighted = quietly(calibrator(label_noise=0.2), logits, y, sample_weight=np.full(200, 2.0))
    assert weighted.temperature_ == pytest.approx(twice.temperature_, rel=1e-5)


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
def test_several_labels_and_places_share_the_rate(calibrator, tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3.0, size=(600, 3))
    Y = (logits + rng.logistic(size=logits.shape) > 0).astype(int)
    Y = np.where(rng.random(Y.shape) < 0.2, 1 - Y, Y)
    for pooling in ("partial", "complete", "none") if calibrator is PlattScaling else (None,):
        fitted = calibrator(label_noise=0.2, **({} if pooling is None else {"pooling": pooling})).fit(
            SHARPNESS * logits, Y
        )
        assert abs(fitted.predict_proba(SHARPNESS * logits) - 1 / (1 + np.exp(-logits))).mean() < 0.05
        fitted.save(tmp_path / "fitted")
        assert skclamp.load(tmp_path / "fitted").label_noise_ == 0.2
    logits, y, _ = drawn(4, 800, rate=0.2)
    dense = quietly(calibrator(label_noise=0.2), logits.reshape(50, 4, 4, 4).swapaxes(1, 3), y.reshape(50, 4, 4))
    assert dense.label_noise_ == 0.2


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
def test_flawless_samples_lead_to_no_bound(calibrator):
    logits = 5 * np.eye(3)[np.arange(30) % 3]
    fitted = quietly(calibrator(label_noise=0.1), logits, np.arange(30) % 3, sample_weight=np.arange(30.0))
    assert 0.5 < fitted.predict_proba(logits).max() < 1 - 1e-6


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
@pytest.mark.parametrize(
    ("label_noise", "n_classes", "error", "message"),
    [
        (0.75, 4, ValueError, r"label_noise, of 4 classes, must be a float in the range \[0\.0, 0\.75\); got 0\.75"),
        (-0.1, 4, ValueError, r"label_noise, of 4 classes, .*got -0\.1"),
        (np.nan, 4, ValueError, "label_noise, of 4 classes, .*got nan"),
        (False, 4, TypeError, "label_noise, of 4 classes, .*got False"),
        ("auto", 2, ValueError, "label_noise must be a number, such as 0.1, of two classes .*got 'auto'"),
        ("most", 4, ValueError, "'label_noise' parameter .*'auto'.*Got 'most'"),
    ],
)
def test_rates_that_make_no_sense_are_refused(calibrator, label_noise, n_classes, error, message):
    with pytest.raises(error, match=message):
        calibrator(label_noise=label_noise).fit(*drawn(n_classes, 100)[:2])


def test_what_rates_go_beside():
    logits, y, _ = drawn(4, 100)
    quietly(TemperatureScaling(label_noise=0, gamma=1.0), logits, y)
    with pytest.raises(ValueError, match="label_noise must be None where gamma is above 0; got 'auto'"):
        TemperatureScaling(label_noise="auto", gamma=1.0).fit(logits, y)
    with pytest.raises(ValueError, match="candidates must have label_noise=None"):
        CalibratorSelector(candidates=[TemperatureScaling(label_noise=0.1)]).fit(logits, y)
    output = TemperatureScaling(label_noise=0.1)
    for calibrator in (output, NeuralClampingCalibrator(nn.Identity(), output=output)):
        with pytest.raises(ValueError, match="by must be None beside label_noise"):
            calibrator.fit(logits.astype(np.float32), y, by=y % 2)


def test_wrong_labels_are_told():
    with pytest.warns(CalibrationWarning, match="labels may be wrong, or confident mistakes"):
        TemperatureScaling().fit(*drawn(rate=0.1)[:2])
    for calibrator, rate in [(TemperatureScaling(), 0.0), (TemperatureScaling(label_noise="auto"), 0.1)]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            summary = calibrator.fit(*drawn(rate=rate)[:2]).summary()
        assert ("the wrong ones too" in summary) == (rate > 0)


def test_clamping_judges_it_by_labels_that_may_be_wrong():
    logits, y, truth = drawn(rate=0.2)
    output = TemperatureScaling(label_noise="auto")
    calibrator = NeuralClampingCalibrator(nn.Identity(), perturbation=None, output=output, random_state=0)
    calibrator = quietly(calibrator, logits.astype(np.float32), y)
    assert calibrator.output_.label_noise_ == pytest.approx(0.2, abs=0.03)
    assert divergence(calibrator, logits.astype(np.float32), truth) < 0.02
    assert f"label_noise_ = {calibrator.output_.label_noise_:.4g}." in calibrator.summary()


def fogged():
    """The network, inputs and labels of fogged digits, three labels in ten wrong."""
    data = load_fogged_digits()
    rng = np.random.default_rng(0)
    wrong = (data.y_cal + rng.integers(1, 10, len(data.y_cal))) % 10
    return data, np.where(rng.random(len(data.y_cal)) < 0.3, wrong, data.y_cal)


def test_auto_without_a_rate_tells_why_and_what_has_one():
    data, y = fogged()
    told = "classes would be more or less frequent.*PlattScaling.label_noise='auto'. sets"
    with pytest.warns(CalibrationWarning, match=told) as caught:
        scaling = TemperatureScaling(data.network, label_noise="auto").fit(data.X_cal, y)
    assert scaling.label_noise_ == 0
    assert not any("labels may be wrong" in str(warning.message) for warning in caught)
    assert re.search(told, scaling.summary())
    assert "the wrong ones too" not in scaling.summary()
    platt = PlattScaling(data.network, label_noise="auto").fit(data.X_cal, y)
    assert platt.score(data.X_test, data.y_test) > scaling.score(data.X_test, data.y_test) + 0.1


def test_auto_tells_which_gate_leaves_no_rate():
    logits, y, _ = drawn(rate=0.0)
    assert "20 times as likely" in TemperatureScaling(label_noise="auto").fit(logits, y).summary()
    with pytest.warns(CalibrationWarning, match="would come to a half"):
        TemperatureScaling(label_noise="auto").fit(*drawn(rate=0.6)[:2])


@pytest.mark.parametrize("calibrator", [TemperatureScaling, PlattScaling])
def test_auto_of_several_labels_is_refused(calibrator):
    with pytest.raises(ValueError, match="labels that don't exclude each other; got 'auto'"):
        calibrator(label_noise="auto").fit(*np.random.default_rng(0).integers(0, 2, (2, 100, 3)))


def test_small_weights_leave_a_rate_and_the_hint():
    logits, y, _ = drawn(rate=0.1)
    weight = np.full(len(y), 1 / 50)
    whole, small = (
        quietly(TemperatureScaling(label_noise="auto"), logits, y, sample_weight=each) for each in (None, weight)
    )
    assert small.label_noise_ == pytest.approx(whole.label_noise_, abs=1e-4)
    assert small.temperature_ == pytest.approx(whole.temperature_, rel=1e-3)
    with pytest.warns(CalibrationWarning, match="labels may be wrong"):
        TemperatureScaling().fit(logits, y, sample_weight=weight)


def test_equal_samples_and_groups_count_once():
    group = np.repeat(np.arange(30), 10)
    for seed in range(20):
        logits, y, _ = drawn(10, 300, rate=0.02, seed=seed)
        tiled = np.tile(logits, (5, 1)), np.tile(y, 5)
        scaling = TemperatureScaling(label_noise="auto")
        rate = quietly(scaling, logits, y).label_noise_
        assert quietly(scaling, *tiled).label_noise_ == pytest.approx(rate, abs=1e-3)
        assert quietly(scaling, logits, y, groups=np.arange(300)).label_noise_ == rate
        # Ten of a group tell as much as one.
        assert quietly(scaling, logits[group], y[group], groups=group).label_noise_ == pytest.approx(
            quietly(scaling, logits[:30], y[:30]).label_noise_, abs=1e-3
        )


def test_the_hint_counts_equal_samples_and_groups_once():
    logits, y, _ = drawn(n=500, rate=0.1)
    tiled, group = (np.tile(logits, (3, 1)), np.tile(y, 3)), np.arange(500)
    gains = []
    for data, groups in [((logits, y), None), (tiled, None), ((logits, y), group), (tiled, np.tile(group, 3))]:
        with pytest.warns(CalibrationWarning, match="labels may be wrong") as caught:
            TemperatureScaling().fit(*data, groups=groups)
        gains.append(re.search("gains .* nats", str(caught[0].message)).group())
    assert len(set(gains)) == 1
    # What isn't clear isn't clearer three times.
    logits, y, _ = drawn(n=100, rate=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TemperatureScaling().fit(logits, y)
        TemperatureScaling().fit(np.tile(logits, (3, 1)), np.tile(y, 3))
