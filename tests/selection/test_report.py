"""The comparison of calibrators: every number it shows is the one computed directly."""

import sys
from functools import partial

import numpy as np
import pytest
from _digits import convolutional_network
from _report_pages import FEW, SEED, labels_for, logits_of, small_comparison
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import d2_log_loss_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from skclamp import (
    HistogramBinning,
    TemperatureScaling,
    compare_calibrators,
)
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
)

NAMES = ["temperature", "bins", "clamping"]


@pytest.mark.parametrize("name", ["uncalibrated", *NAMES])
def test_scores_are_those_of_the_metrics(digits, name):
    comparison, proba, y = digits
    proba, ece = proba[name], partial(expected_calibration_error, n_bins=12)
    seed = np.random.RandomState(SEED).randint(2**31 - 1)
    interval, area = (
        bootstrap_interval(metric, y, proba, n_resamples=50, random_state=seed)
        for metric in (ece, area_under_risk_coverage)
    )
    floor = calibration_noise_floor(ece, proba, n_draws=20, random_state=seed)
    row = comparison[name]
    expected = {
        "accuracy": (proba.argmax(1) == y).mean(),
        "nll": negative_log_likelihood(y, proba),
        "d2_log_loss": d2_log_loss_score(y, proba),
        "brier": brier_score(y, proba),
        "d2_brier": 1 - brier_score(y, proba) / brier_score(y, np.tile(np.bincount(y) / len(y), (len(y), 1))),
        "ece": ece(y, proba),
        "ece_low": interval.low,
        "ece_high": interval.high,
        "ece_floor": floor.mean,
        "ece_floor_quantile": floor.quantile,
        "aece": adaptive_expected_calibration_error(y, proba, n_bins=12),
        "sce": classwise_calibration_error(y, proba, n_bins=12),
        "auroc": roc_auc_score(proba.argmax(1) == y, proba.max(1)),
        "nll_se": stats.sem(-np.log(proba[np.arange(len(y)), y])),
        "aurc": area_under_risk_coverage(y, proba),
        "aurc_low": area.low,
        "aurc_high": area.high,
    }
    assert {key: getattr(row, key) for key in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert row.predict_time > 0 and (row.fit_time > 0 or name == "uncalibrated")


def test_differences_and_ties_are_those_of_a_paired_test(digits):
    comparison, proba, y = digits
    losses = {name: -np.log(own[np.arange(len(own)), y]) for name, own in proba.items()}
    best = min(losses, key=lambda name: losses[name].mean())
    assert comparison.best == best == comparison.rows[0].name == "clamping"
    others = [name for name in losses if name != best]
    t = np.array([stats.ttest_rel(losses[name], losses[best]).statistic for name in others])
    others, t = [others[k] for k in np.argsort(-t)], np.sort(t)[::-1]
    ranges = [stats.studentized_range.sf(2**0.5 * own, len(losses) - k, len(y) - 1) for k, own in enumerate(t)]
    p_values = np.maximum.accumulate(ranges)
    for name, p_value in zip(others, p_values, strict=True):
        difference = losses[name] - losses[best]
        row = comparison[name]
        assert row.nll_difference == pytest.approx(difference.mean(), rel=1e-5)
        assert row.nll_difference_se == pytest.approx(stats.sem(difference), rel=1e-5)
        assert row.p_value == pytest.approx(p_value, rel=1e-3, abs=1e-10)
        assert row.tied == (p_value > 0.05)
    assert comparison.tied == [row.name for row in comparison.rows if row.tied] == ["clamping"]
    assert [row.nll for row in comparison.rows] == sorted(row.nll for row in comparison.rows)


def test_prints_what_it_holds(digits):
    comparison = digits[0]
    head, _, *lines = comparison.to_string(wide=True).splitlines()
    for row, line in zip(comparison.rows, lines, strict=False):
        for name, shown in zip(head.split(), line.split(), strict=True):
            value = getattr(row, name)
            assert (
                shown == str(value)
                if isinstance(value, (str, bool))
                else float(shown) == pytest.approx(value, abs=5.001e-5)
            )
    assert repr(comparison) == str(comparison)
    short = str(comparison).splitlines()
    assert max(map(len, short)) <= 80
    assert [line.split()[0] for line in short[2:-1]] == [row.name.split()[0] for row in comparison.rows]
    assert f"{100 * comparison.rows[0].accuracy:.1f}" in short[2] and f"{comparison.rows[0].nll:.3f}" in short[2]
    assert " best " in short[2] and " ± " in short[-2]
    assert "P(" not in str(comparison)
    assert "<table>" in comparison._repr_html_() and "temperature" in comparison._repr_html_()


def test_makes_a_frame(digits, monkeypatch):
    comparison = digits[0]
    frame = comparison.to_frame()
    assert list(frame.index) == [row.name for row in comparison.rows]
    for row in comparison.rows:
        for column in frame.columns:
            shown, own = frame.loc[row.name, column], getattr(row, column)
            # Slope and intercept are of an event, which ten classes haven't.
            assert shown == own or (column in ("slope", "intercept") and np.isnan([shown, own]).all())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="a DataFrame needs pandas: pip install pandas"):
        comparison.to_frame()


@pytest.mark.filterwarnings("ignore:the loss hadn't converged.*may be separable")
def test_defaults_suit_the_problem(data):
    X_cal, y_cal, X_test, y_test = data
    comparison = compare_calibrators(convolutional_network(), X_cal[:150], y_cal[:150], X_test, y_test, **FEW)
    names = {row.name for row in comparison.rows}
    assert {"uncalibrated", "TemperatureScaling", "NeuralClampingCalibrator", "HistogramBinning"} <= names
    assert names - {"uncalibrated"} == set(comparison.calibrators)


@pytest.mark.parametrize("response", ["logits", "probabilities"])
def test_takes_logits_and_probabilities_with_names(response):
    names = np.array(["d", "b", "a", "c"])
    make = (lambda z: softmax(z, axis=1)) if response == "probabilities" else np.asarray
    (z_cal, y_cal), (z, y) = ((logits_of(n, 4), labels_for(n, 4)) for n in (200, 300))
    options = {"calibrators": [TemperatureScaling()], "response": response, "classes": names, **FEW}
    comparison = compare_calibrators(None, make(z_cal), names[y_cal], make(z), names[y], **options)
    proba = TemperatureScaling().fit(z_cal, y_cal).predict_proba(z)
    assert comparison["TemperatureScaling"].nll == pytest.approx(negative_log_likelihood(y, proba))
    own = -log_softmax(z, axis=1)[np.arange(300), y].mean()
    assert comparison["uncalibrated"].nll == pytest.approx(own)
    fitted = comparison.calibrators["TemperatureScaling"]
    np.testing.assert_array_equal(fitted.classes_, names)
    np.testing.assert_allclose(fitted.predict_proba(make(z)), proba, atol=1e-9)


def test_uncalibrated_is_what_the_classifier_itself_says():
    """One-vs-rest probabilities aren't the softmax of the scores."""
    X, y = load_iris(return_X_y=True)
    model = OneVsRestClassifier(LogisticRegression()).fit(X[::3], y[::3])
    comparison = compare_calibrators(
        model, X[1::3], y[1::3], X[2::3], y[2::3], calibrators=[TemperatureScaling()], **FEW
    )
    own = negative_log_likelihood(y[2::3], model.predict_proba(X[2::3]))
    assert comparison["uncalibrated"].nll == pytest.approx(own)
    softmax = -log_softmax(model.decision_function(X[2::3]), axis=1)[np.arange(50), y[2::3]].mean()
    assert abs(softmax - own) > 0.01


def test_numbers_calibrators_of_one_class():
    found = small_comparison(calibrators=[HistogramBinning(), TemperatureScaling(), HistogramBinning(n_bins=5)])
    assert list(found.calibrators) == ["HistogramBinning-1", "TemperatureScaling", "HistogramBinning-2"]
    assert found.calibrators["HistogramBinning-2"].n_bins == 5
    of_pairs = small_comparison(calibrators=[("five", HistogramBinning(n_bins=5)), TemperatureScaling()])
    assert list(of_pairs.calibrators) == ["five", "TemperatureScaling"]
    assert of_pairs["five"].nll == found["HistogramBinning-2"].nll
    with pytest.raises(KeyError, match="HistogramBinning"):
        found["HistogramBinning"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibrators": []}, ValueError, "calibrators must hold at least one; got none"),
        ({"calibrators": [("x", TemperatureScaling())] * 2}, ValueError, r"names of their own; got \['x', 'x'\]"),
        ({"calibrators": "temperature"}, TypeError, r"must be a list, or a dict .*got 'temperature'"),
        ({"calibrators": ["x"]}, TypeError, r"must be calibrators of skclamp, .*; got 'x'$"),
        ({"calibrators": [TemperatureScaling]}, TypeError, r"must be calibrators of skclamp, .*; got <class"),
        ({"calibrators": {"uncalibrated": TemperatureScaling()}}, ValueError, "must not be named 'uncalibrated'"),
        ({"calibrators": [TemperatureScaling(LogisticRegression())]}, ValueError, "must have estimator=None"),
        ({"calibrators": [("a", TemperatureScaling(), 1)]}, TypeError, r"be estimators or .name, estimator. pairs"),
        ({"calibrators": [HistogramBinning(n_bins=0)]}, ValueError, "'n_bins' parameter of HistogramBinning"),
        ({"n_bins": 0}, ValueError, "n_bins must be a whole number of at least 1; got 0"),
        ({"n_resamples": 1}, ValueError, "n_resamples must be a whole number of at least 2; got 1"),
        ({"n_draws": 0}, ValueError, "n_draws must be a whole number of at least 1; got 0"),
        ({"alpha": 1.0}, ValueError, r"alpha must be .*\(0\.?0?, 1\.?0?\); got 1\.0"),
        ({"response": "bogus"}, ValueError, "'response' parameter of compare_calibrators must be"),
        ({"batch_size": 0}, ValueError, "'batch_size' parameter of compare_calibrators must be"),
        ({"integer_scale": -1}, ValueError, "'integer_scale' parameter of compare_calibrators must be"),
        ({"cv": "folds"}, ValueError, "'cv' parameter of compare_calibrators must be"),
        ({"y_cal": np.zeros(99, int)}, ValueError, "y_cal must have one value per sample.*100 and 99"),
        ({"y_test": np.full(90, 7)}, ValueError, r"y_test must hold labels among .*; got \[7\]"),
        ({"X_test": logits_of(90)}, ValueError, "X_test must give logits of 4 columns, as X_cal does; got 3"),
        ({"X_test": logits_of(1, 4), "y_test": [0]}, ValueError, "y_test must know something of at least 2 samples"),
        ({"estimator": "net"}, TypeError, "estimator must be None, a torch.nn.Module"),
    ],
)
def test_refuses_bad_input(options, error, message):
    data = {
        "X_cal": logits_of(100, 4),
        "y_cal": labels_for(100, 4),
        "X_test": logits_of(90, 4),
        "y_test": labels_for(90, 4),
    }
    given = {"estimator": None, **data, "calibrators": [TemperatureScaling()], **FEW}
    with pytest.raises(error, match=message):
        compare_calibrators(**given | options)


@pytest.mark.parametrize("given", [{"response": "probabilities"}, {"classes": list("abc")}, {"cv": 3}])
def test_calibrators_leave_what_all_share_to_the_comparison(data, given):
    (name,) = given
    with pytest.raises(ValueError, match=f"calibrators must have {name}=.*give {name} to the comparison.* for 'Temp"):
        compare_calibrators(convolutional_network(), *data, calibrators=[TemperatureScaling(**given)])
