"""Comparisons where each sample has several labels that don't exclude each other."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from _report_pages import FEW, SEED, read_page
from scipy.special import expit
from scipy.stats import binomtest, sem
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

from skclamp import (
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)

N, N_LABELS = 400, 4
NAMES = ["cat", "dog", "</script>", "bird"]


def problem(seed, n_samples=N):
    """Logits that are too large and too high, of labels that depend on each other and of which the third is hard."""
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=[3.0, 2.0, 0.5, 2.0], size=(n_samples, N_LABELS)) + rng.normal(size=(n_samples, 1))
    return 2 * z + 0.5, (rng.uniform(size=z.shape) < expit(z)).astype(float)


def halves():
    return *problem(0), *problem(1)


def some_known(seed, Y):
    rng = np.random.default_rng(seed)
    known = np.where(rng.uniform(size=Y.shape) < [0.5, 0.1, 0.0, 0.1], np.nan, Y)
    known[:20] = np.nan
    return known


CALIBRATORS = [TemperatureScaling(), PlattScaling()]


def compared(Z_cal, Y_cal, Z_test, Y_test, calibrators=CALIBRATORS, estimator=None, **options):
    options = {"random_state": SEED, **FEW, **options}
    return compare_calibrators(estimator, Z_cal, Y_cal, Z_test, Y_test, calibrators=calibrators, **options)


class TestScores:
    @pytest.mark.parametrize("unknown", [False, True])
    @pytest.mark.parametrize("name", ["uncalibrated", "PlattScaling"])
    def test_are_those_of_the_metrics(self, name, unknown):
        Z_cal, Y_cal, Z_test, Y_test = halves()
        if unknown:
            Y_cal, Y_test = some_known(0, Y_cal), some_known(1, Y_test)
        comparison = compared(Z_cal, Y_cal, Z_test, Y_test)
        proba = expit(Z_test) if name == "uncalibrated" else PlattScaling().fit(Z_cal, Y_cal).predict_proba(Z_test)
        together = partial(expected_calibration_error, average="micro")
        seed = np.random.RandomState(SEED).randint(2**31 - 1)
        interval = bootstrap_interval(together, Y_test, proba, n_resamples=50, random_state=seed)
        of_each = negative_log_likelihood(Y_test, proba, average=None)
        frequencies = np.tile(np.nanmean(Y_test, 0), (len(Y_test), 1))
        entropies = negative_log_likelihood(Y_test, frequencies, average=None)
        distances, spreads = (brier_score(Y_test, p, average=None) for p in (proba, frequencies))
        right = np.where(np.isnan(Y_test), np.nan, (proba >= 0.5) == Y_test)
        expected = {
            "accuracy": np.nanmean(right, 0).mean(),
            "nll": negative_log_likelihood(Y_test, proba),
            "d2_log_loss": np.mean(1 - of_each / entropies),
            "brier": brier_score(Y_test, proba),
            "d2_brier": np.mean(1 - distances / spreads),
            "ece": together(Y_test, proba),
            "ece_low": interval.low,
            "ece_high": interval.high,
            "aece": adaptive_expected_calibration_error(Y_test, proba, average="micro"),
            "sce": expected_calibration_error(Y_test, proba),
        }
        row = comparison[name]
        assert {key: getattr(row, key) for key in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)

    def test_standard_errors_are_those_of_samples(self):
        Z_cal, Y_cal, Z_test, Y_test = halves()
        comparison = compared(Z_cal, Y_cal, Z_test, Y_test)
        losses = [
            -np.log(np.where(Y_test > 0, p, 1 - p)).mean(1)
            for p in (expit(Z_test), comparison.calibrators["PlattScaling"].predict_proba(Z_test))
        ]
        row = comparison["uncalibrated"]
        assert row.nll_se == pytest.approx(sem(losses[0]))
        assert row.nll_difference_se == pytest.approx(sem(losses[0] - losses[1]))

    def test_labels_that_arent_known_count_nowhere(self):
        Z_cal, Y_cal, Z_test, Y_test = halves()
        known = some_known(1, Y_test)
        told = compared(Z_cal, Y_cal, Z_test, known)
        elsewhere = compared(Z_cal, Y_cal, np.where(np.isnan(known), 9.0, Z_test), known)
        without = compared(Z_cal, Y_cal, Z_test[20:], known[20:])
        for name in ("uncalibrated", "TemperatureScaling", "PlattScaling"):
            for field in ("accuracy", "nll", "nll_se", "nll_difference_se", "p_value", "ece", "aece", "sce", "auroc"):
                expected = getattr(told[name], field)
                assert getattr(elsewhere[name], field) == pytest.approx(expected)
                assert getattr(without[name], field) == pytest.approx(expected)

    def test_copies_of_a_sample_count_once(self):
        Z_cal, Y_cal, Z_test, Y_test = halves()
        once, twice = (compared(Z_cal, Y_cal, np.tile(Z_test, (k, 1)), np.tile(Y_test, (k, 1))) for k in (1, 2))
        name = "uncalibrated"
        assert twice[name].nll_difference_se == pytest.approx(once[name].nll_difference_se)


class TestCalibrators:
    def test_defaults_suit_labels(self):
        names = {*compared(*halves(), None).calibrators}
        assert {"TemperatureScaling", "PlattScaling", "BetaCalibration"} <= names
        assert not names & {"VectorScaling", "DirichletCalibration", "NeuralClampingCalibrator"}
        Z_cal, Y_cal, Z_test, Y_test = halves()
        Y_cal[:, 0] *= np.arange(N) < 50
        rare = {*compared(Z_cal, Y_cal, Z_test, Y_test, None).calibrators}
        assert rare == {"TemperatureScaling", "EnsembleTemperatureScaling", "PlattScaling"}

    @pytest.mark.parametrize(
        "classifier",
        [RandomForestClassifier(20, random_state=0), MultiOutputClassifier(LogisticRegression())],
        ids=repr,
    )
    def test_classifiers_fitted_and_not(self, classifier):
        (Z_cal, Y_cal), (Z_test, Y_test), (Z, Y) = (problem(seed) for seed in (0, 1, 2))
        fitted = classifier.fit(Z, Y)
        raw = np.column_stack([each[:, 1] for each in fitted.predict_proba(Z_test)])
        comparison = compared(Z_cal, Y_cal, Z_test, Y_test, estimator=fitted)
        assert comparison["uncalibrated"].nll == pytest.approx(negative_log_likelihood(Y_test, raw))
        crossed = compared(Z_cal, Y_cal, Z_test, Y_test, estimator=MultiOutputClassifier(LogisticRegression()), cv=3)
        assert crossed["PlattScaling"].nll < 0.7


class TestMistakes:
    def test_have_a_message(self):
        Z_cal, Y_cal, Z_test, Y_test = halves()
        frames = pd.DataFrame(Y_cal, columns=list("abcd")), pd.DataFrame(Y_test, columns=list("dcba"))
        with pytest.raises(
            ValueError, match=r"y_test must have its columns in the order of fit, \['a', 'b', 'c', 'd'\]"
        ):
            compared(Z_cal, frames[0], Z_test, frames[1])
        with pytest.raises(ValueError, match=r"got 4 columns for y_test of shape \(\d+, 3\)"):
            compared(Z_cal, Y_cal, Z_test, Y_test[:, :3])
        with pytest.raises(ValueError, match="y_cal has exactly one 1 in each row: .* give y_cal.argmax"):
            compared(Z_cal, np.eye(4)[Y_cal.argmax(1)], Z_test, Y_test)
        with pytest.raises(ValueError, match=r"y_test must be of shape \(n_samples, n_labels\)"):
            compared(Z_cal, Y_cal, Z_test, Y_test[:, 0])
        Y_test[:, 2] = np.nan
        with pytest.raises(ValueError, match=r"y_test must know each label of some sample; got NaN alone for \[2\]"):
            compared(Z_cal, Y_cal, Z_test, Y_test)
        with pytest.raises(ValueError, match="which VectorScaling doesn't take"):
            compared(*halves(), [VectorScaling()])

    def test_the_calibration_set_for_a_test_set_is_told(self):
        Z, Y = problem(0)
        with pytest.warns(CalibrationSetWarning, match="X_test holds samples of X_cal"):
            compared(Z, Y, Z, Y)


def framed():
    Z_cal, Y_cal, Z_test, Y_test = halves()
    Y_test = some_known(1, Y_test)
    return (
        compared(Z_cal, pd.DataFrame(Y_cal, columns=NAMES), Z_test, pd.DataFrame(Y_test, columns=NAMES)),
        Z_test,
        Y_test,
    )


class TestPage:
    def test_tells_names_and_the_worst_first(self, tmp_path):
        comparison, Z_test, Y_test = framed()
        data = read_page(comparison, tmp_path / "report.html").data
        cost = negative_log_likelihood(Y_test, expit(Z_test), average=None)
        assert data["classNames"] == ["all labels", *(NAMES[k] for k in np.argsort(-cost))]
        assert (data["event"], data["nClasses"], data["nSamples"]) == (0, 4, N)
        for row, answers in zip(data["rows"], data["answers"], strict=True):
            ends = [
                binomtest(own["hits"], own["count"]).proportion_ci(method="wilson").high for own in answers["classes"]
            ]
            assert ends == sorted(ends)
            if row["name"] == "uncalibrated":
                known, right = ~np.isnan(Y_test), (Z_test >= 0) == Y_test
                told = {own["name"]: (own["count"], own["hits"]) for own in answers["classes"]}
                assert told == dict(zip(NAMES, zip(known.sum(0), right.sum(0), strict=True), strict=True))

    def test_tells_samples_and_labels_of_wrong_answers(self, tmp_path):
        comparison, Z_test, Y_test = framed()
        data = read_page(comparison, tmp_path / "report.html").data
        (answers,) = (
            own for row, own in zip(data["rows"], data["answers"], strict=True) if row["name"] == "uncalibrated"
        )
        false = ((Z_test >= 0) != Y_test) & ~np.isnan(Y_test)
        surest = sorted(np.argwhere(false), key=lambda place: -abs(Z_test[tuple(place)]))[:12]
        assert [own["row"] for own in answers["wrong"]] == [int(row) for row, _ in surest]
        for own, (row, k) in zip(answers["wrong"], surest, strict=True):
            words = [f"no {NAMES[k]}", NAMES[k]]
            assert own["label"] == words[int(Y_test[row, k])]
            assert own["prediction"] == words[int(Z_test[row, k] >= 0)]
            assert own["confidence"] == pytest.approx(expit(abs(Z_test[row, k])), rel=1e-5)

    def test_of_many_labels_the_worst_have_diagrams(self):
        rng = np.random.default_rng(0)
        Z = rng.normal(scale=np.linspace(1, 4, 30), size=(400, 30))
        Y = (rng.uniform(size=Z.shape) < expit(Z)).astype(int)
        comparison = compared(Z[:200], Y[:200], Z[200:], Y[200:], [TemperatureScaling()])
        cost = negative_log_likelihood(Y[200:], expit(Z[200:]), average=None)
        assert comparison._content["classNames"][1:] == [str(k) for k in np.argsort(-cost)[:24]]

    def test_a_table_says_what_its_numbers_are_of(self):
        comparison, _, _ = framed()
        assert "are means over labels" in comparison.to_string(wide=True)
        assert "P(" not in comparison.to_string(wide=True)
        assert comparison.to_frame().loc["uncalibrated", "nll"] == comparison["uncalibrated"].nll


@pytest.mark.slow
def test_a_browser_shows_labels(open_page):
    comparison, _, _ = framed()
    page = open_page(comparison)
    assert page.locator("#event option").all_inner_texts() == comparison._content["classNames"]
    assert page.locator("#class-list .class-name").all_inner_texts() == comparison._content["classNames"][1:]
    told = page.locator("#left-figure").inner_text()
    assert f"ECE {100 * comparison['uncalibrated'].ece:.2f}" in told.replace("\u00a0", " ")
    page.locator("#class-list button").first.click()
    assert page.locator("#event").input_value() == "1"
    body = page.locator("body").inner_text()
    assert "class" not in body.replace("classifier", "")
    assert "Worst labels" in body
