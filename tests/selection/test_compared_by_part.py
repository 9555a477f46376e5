"""Calibrators compared by part of the test set: every number is that of the part's samples alone."""

import numpy as np
import pandas as pd
import pytest
from _report_pages import read_page
from scipy.special import expit, softmax

from skclamp import PlattScaling, TemperatureScaling, VectorScaling, compare_calibrators
from skclamp.metrics import calibration_noise_floor, expected_calibration_error, negative_log_likelihood

FEW = {"n_resamples": 50, "n_draws": 100, "verbose": 0}
RNG = np.random.default_rng(0)
N = 1200
LOGITS = RNG.normal(scale=3.0, size=(N, 3))
SITES = RNG.choice(["near", "far", "rare"], N, p=[0.5, 0.48, 0.02])
Y = (LOGITS / np.where(SITES == "far", 4.0, 1.0)[:, None] + RNG.gumbel(size=LOGITS.shape)).argmax(1)
HALVES = LOGITS[: N // 2], Y[: N // 2], LOGITS[N // 2 :], Y[N // 2 :]
BY = SITES[N // 2 :]


def compared(*data, calibrators=None, **options):
    calibrators = [TemperatureScaling()] if calibrators is None else calibrators
    return compare_calibrators(None, *data, calibrators=calibrators, **{**FEW, **options})


def of_part(comparison, name, part):
    return next(own for own in comparison.parts[name] if own.part == part)


@pytest.fixture(scope="module")
def comparison():
    return compared(*HALVES, calibrators=[TemperatureScaling(), VectorScaling()], by=BY)


def test_scores_are_those_of_the_part_alone(comparison):
    X, y = HALVES[2:]
    for name in comparison:
        calibrator = comparison.calibrators.get(name)
        proba = softmax(X, 1) if calibrator is None else calibrator.predict_proba(X)
        for part in np.unique(BY):
            own = np.equal(BY, part)
            found = of_part(comparison, name, part)
            nll, before = (negative_log_likelihood(y[own], each[own]) for each in (proba, softmax(X, 1)))
            assert found.n_samples == own.sum()
            assert found.nll == pytest.approx(nll)
            assert found.gain == pytest.approx(before - nll)
            gains = np.log(proba[own, y[own]]) - np.log(softmax(X, 1)[own, y[own]])
            assert found.gain_se == pytest.approx(gains.std(ddof=1) / np.sqrt(own.sum()))
            assert found.ece == pytest.approx(expected_calibration_error(y[own], proba[own]))
            floor = calibration_noise_floor(expected_calibration_error, proba[own], random_state=0)
            assert found.ece_floor == pytest.approx(floor.mean, rel=0.1)
            assert found.ece_floor_quantile == pytest.approx(floor.quantile, rel=0.15)


def test_the_rest_is_what_it_is_without_parts(comparison):
    without = compared(*HALVES, calibrators=[TemperatureScaling(), VectorScaling()])
    assert without.parts == {}
    for name in without:
        for score in ("nll", "nll_se", "ece", "ece_low", "ece_floor", "p_value"):
            assert getattr(comparison[name], score) == getattr(without[name], score)
    assert without.summary() == comparison.summary().partition(" Of 3 parts")[0]
    assert "part" not in without.to_string()


def test_the_worst_comes_first(comparison):
    for parts in comparison.parts.values():
        excesses = [own.ece - own.ece_floor_quantile for own in parts]
        assert excesses == sorted(excesses, reverse=True)
    assert comparison.parts["uncalibrated"][0].part == "far"
    # 12 samples have a large error by chance.
    assert comparison.parts["uncalibrated"][0].n_samples > 100


def test_words_and_tables(comparison):
    best = comparison.best
    worst = comparison.parts[best][0]
    summary = comparison.summary()
    assert f"The worst is {worst.part}: ECE {100 * worst.ece:.1f} %" in summary
    # One temperature for both is too high for the near ones.
    assert "Calibration makes 1 worse by more than two standard errors, most of all near: by 0." in summary
    text = comparison.to_string()
    assert max(map(len, text.splitlines())) <= 80
    assert f"{best}, by part, the worst first; gain on uncalibrated:" in text
    rows = text.splitlines()[-3:]
    assert [row.split()[0] for row in rows] == [own.part for own in comparison.parts[best]]
    wide = comparison.to_string(wide=True)
    assert wide.count(" rare ") == 3
    assert "by part, the worst first" in comparison._repr_html_()
    frame = comparison.to_frame(parts=True)
    assert frame.shape == (9, 7)
    assert frame.loc[("uncalibrated", "far"), "nll"] == of_part(comparison, "uncalibrated", "far").nll
    with pytest.raises(ValueError, match="parts must be False for a comparison without by; got True"):
        compared(*HALVES).to_frame(parts=True)


def test_the_page_has_them(comparison, tmp_path):
    data = read_page(comparison, tmp_path / "page.html").data
    assert data["nParts"] == 3
    assert [[own["part"] for own in parts] for parts in data["parts"]] == [
        [own.part for own in comparison.parts[name]] for name in comparison
    ]
    assert read_page(compared(*HALVES), tmp_path / "page.html").data["parts"] == [[], []]


def test_of_many_the_worst_are_shown(tmp_path):
    by = np.arange(N // 2) % 60
    found = compared(*HALVES, by=by)
    assert f"{found.best}, the 5 worst of 60 parts" in found.to_string()
    data = read_page(found, tmp_path / "page.html").data
    assert data["nParts"] == 60
    assert len(data["parts"][0]) == 50


def test_groups_count_once_in_their_parts():
    X, y = (np.repeat(each, 3, axis=0) for each in HALVES[2:])
    patient, by = (np.repeat(each, 3) for each in (np.arange(N // 2), BY))
    one = compared(*HALVES, by=BY)
    found = compared(*HALVES[:2], X, y, groups_test=patient, by=by)
    for name in one:
        for part in np.unique(BY):
            own, alone = of_part(found, name, part), of_part(one, name, part)
            assert (own.nll, own.gain, own.gain_se) == pytest.approx((alone.nll, alone.gain, alone.gain_se))
            assert own.ece == pytest.approx(alone.ece)
            assert own.ece_floor == pytest.approx(alone.ece_floor, rel=0.25)


def test_a_part_of_one_group_tells_nothing_of_chance(tmp_path):
    found = compared(*HALVES, groups_test=BY, by=BY)
    assert all(np.isnan([own.gain_se, own.ece_floor]).all() for own in found.parts[found.best])
    assert found.summary().endswith("Each part is of one group: what of its ECE is chance isn't known.")
    assert read_page(found, tmp_path / "page.html").data["parts"][0][0]["ece_floor"] is None


def test_two_classes_several_labels_and_places():
    z = RNG.normal(scale=2, size=(800, 2))
    labels = (RNG.random(z.shape) < expit(z / 2)).astype(float)
    by = np.repeat(["a", "b"], 200)
    labels[400:][by == "b", 1] = np.nan
    # Of a part one label alone is known.
    found = compared(z[:400], labels[:400], z[400:], labels[400:], calibrators=[PlattScaling()], by=by)
    own = found.calibrators["PlattScaling"].predict_proba(z[400:])[by == "b", 0]
    y = labels[400:][by == "b", 0]
    part = of_part(found, "PlattScaling", "b")
    assert part.n_samples == 200
    assert part.nll == pytest.approx(negative_log_likelihood(y, own))
    assert part.ece == pytest.approx(expected_calibration_error(y, own))

    two = np.stack([np.zeros(800), z[:, 0]], 1)
    y = np.nan_to_num(labels[:, 0]).astype(int)
    found = compared(two[:400], y[:400], two[400:], y[400:], by=by)
    own = softmax(two[400:], 1)[by == "a", 1]
    assert of_part(found, "uncalibrated", "a").ece == pytest.approx(expected_calibration_error(y[400:][by == "a"], own))

    places = LOGITS.reshape(-1, 4, 3).swapaxes(1, 2)
    y = Y.reshape(-1, 4)
    found = compared(places[:150], y[:150], places[150:], y[150:], by=["a", "b", "b"] * 50)
    a = of_part(found, "uncalibrated", "a")
    assert a.n_samples == 50
    own = np.arange(150, 300, 3)
    rows = LOGITS.reshape(-1, 4, 3)[own].reshape(-1, 3)
    assert a.nll == pytest.approx(negative_log_likelihood(y[own].ravel(), softmax(rows, 1)))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_frames_and_threads(n_jobs):
    found = compared(*HALVES, by=pd.Series(BY), n_jobs=n_jobs)
    assert {own.part for own in found.parts["uncalibrated"]} == {"near", "far", "rare"}


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (SITES, r"by must have shape \(600,\), a name or number a sample; got shape \(1200,\)"),
        (np.where(BY == "rare", None, BY), "by must name the part of every sample; got None"),
    ],
)
def test_bad_parts_are_named(by, words):
    with pytest.raises(ValueError, match=words):
        compared(*HALVES, by=by)
