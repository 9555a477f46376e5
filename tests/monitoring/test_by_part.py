"""Monitors that watch parts of a stream each by itself: what they name, at which level, and what they refuse."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import skclamp
from skclamp import CalibrationMonitor, RiskMonitor, SelectiveClassifier
from skclamp.display import MonitorDisplay
from skclamp.exceptions import CalibrationSetWarning

RNG = np.random.default_rng(0)
N = 2400
SITES = RNG.choice(list("ABCD"), N)
LOGITS = RNG.normal(scale=3.0, size=(N, 3))
DRAWS = RNG.gumbel(size=LOGITS.shape)
TRUE = (LOGITS + DRAWS).argmax(1)
# From label 1,200 on one site's classifier is over-confident.
CHANGED = (LOGITS / np.where((SITES == "C") & (np.arange(N) >= 1200), 3.0, 1.0)[:, None] + DRAWS).argmax(1)


def test_an_alarm_names_its_part():
    monitor = CalibrationMonitor().partial_fit(LOGITS, CHANGED, by=SITES)
    assert monitor.alarm_
    assert [name for name, told in monitor.parts_.items() if told["alarm"]] == ["C"]
    worst, told = next(iter(monitor.parts_.items()))
    assert worst == "C"
    assert told["temperature"] == pytest.approx(3.0, rel=0.3)
    n_before = (SITES[:1200] == "C").sum()
    assert told["since"] == pytest.approx(n_before, abs=40)
    assert told["p_value"] == monitor.p_value_ <= 0.01
    summary = monitor.summary()
    assert f"of {N:,} labels of all parts together" in summary
    assert "Alarm of 'C' after" in summary
    assert "'A'" not in summary


def test_without_a_change_there_is_no_alarm():
    monitor = CalibrationMonitor().partial_fit(LOGITS, TRUE, by=SITES)
    assert not monitor.alarm_
    assert "No alarm of any of 4 parts by itself." in monitor.summary()


def test_alpha_is_divided():
    """A part's evidence is that of a monitor of its own, which has an eighth of alpha where there are four."""
    monitor = CalibrationMonitor().partial_fit(LOGITS, CHANGED, by=SITES)
    for name, told in monitor.parts_.items():
        those = np.equal(SITES, name)
        own = CalibrationMonitor(alpha=0.01 / 8).partial_fit(LOGITS[those], CHANGED[those])
        assert told["log_e_value"] == own.log_e_value_
        assert told["p_value"] == pytest.approx(min(1, 8 * own.p_value_))
        assert (told["alarm"], told["since"], told["temperature"]) == (own.alarm_, own.since_, own.temperature_)
    together = CalibrationMonitor(alpha=0.005).partial_fit(LOGITS, CHANGED)
    assert (monitor.log_e_value_, monitor.since_) == (together.log_e_value_, together.since_)
    of_all = CalibrationMonitor().partial_fit(LOGITS / 3, TRUE, by=SITES)
    alone = CalibrationMonitor().partial_fit(LOGITS / 3, TRUE)
    assert of_all.p_value_ == 2 * alone.p_value_


def test_cuts_make_no_difference():
    whole = CalibrationMonitor().partial_fit(LOGITS, CHANGED, by=SITES)
    cut = CalibrationMonitor(by=list("ABCD"))
    for start in range(0, N, 7):
        cut.partial_fit(LOGITS[start : start + 7], CHANGED[start : start + 7], by=SITES[start : start + 7])
    assert list(cut.parts_) == list(whole.parts_)
    for name, told in whole.parts_.items():
        assert cut.parts_[name] == pytest.approx(told, abs=1e-9)


@pytest.mark.parametrize("way", ["pickle", "save"])
def test_the_watch_goes_on(way, tmp_path):
    whole = CalibrationMonitor().fit(LOGITS[:600], TRUE[:600], by=SITES[:600])
    whole.partial_fit(LOGITS[600:1800], CHANGED[600:1800], by=SITES[600:1800])
    if way == "pickle":
        copied = pickle.loads(pickle.dumps(whole))
    else:
        whole.save(tmp_path / "monitor")
        copied = skclamp.load(tmp_path / "monitor")
    assert copied.parts_ == whole.parts_
    rest = LOGITS[1800:], CHANGED[1800:]
    assert copied.partial_fit(*rest, by=SITES[1800:]).parts_ == whole.partial_fit(*rest, by=SITES[1800:]).parts_


def test_what_a_part_never_was_is_said_before_the_watch():
    late = slice(1200, None)
    with pytest.warns(CalibrationSetWarning, match="By part there is an alarm of 'C'"):
        monitor = CalibrationMonitor().fit(LOGITS[late], CHANGED[late], by=SITES[late])
    assert monitor.never_true_
    # The parts of fit are those that are known.
    monitor.partial_fit(LOGITS[:50], TRUE[:50], by=["A"] * 50)
    assert monitor.parts_["B"]["n_samples"] == 0
    with pytest.raises(ValueError, match="got 'E'"):
        monitor.partial_fit(LOGITS[:2], TRUE[:2], by=["A", "E"])


def test_groups_count_once_in_each_part():
    twice = np.repeat(np.arange(N), 2)
    once = CalibrationMonitor().partial_fit(LOGITS, CHANGED, by=SITES)
    found = CalibrationMonitor().partial_fit(LOGITS[twice], CHANGED[twice], by=SITES[twice], groups=twice)
    for name, told in once.parts_.items():
        assert found.parts_[name] == pytest.approx(told)


def test_missing_labels_have_no_part_in_it():
    y = np.where(SITES == "B", np.nan, TRUE)
    monitor = CalibrationMonitor().partial_fit(LOGITS, y, by=SITES)
    assert monitor.parts_["B"]["n_samples"] == 0
    assert monitor.n_samples_ == sum(told["n_samples"] for told in monitor.parts_.values())


def test_several_labels_and_places():
    labels = (np.random.default_rng(1).random((N, 3)) < 1 / (1 + np.exp(-LOGITS))).astype(float)
    monitor = CalibrationMonitor().partial_fit(LOGITS, labels, by=SITES)
    assert not monitor.alarm_
    assert monitor.parts_["A"]["n_samples"] == (SITES == "A").sum()
    places = torch.from_numpy(LOGITS).reshape(N // 4, 4, 3).movedim(2, 1)
    dense = CalibrationMonitor().partial_fit(places, TRUE.reshape(-1, 4), by=SITES[: N // 4])
    assert dense.parts_["A"]["n_samples"] == (SITES[: N // 4] == "A").sum()


def test_risk_by_part():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(5000, 2))
    y = (X[:, 0] + 0.5 * rng.normal(size=5000) > 0).astype(int)
    sites = rng.choice(["near", "far"], 5000)
    classifier = LogisticRegression().fit(X[:500], y[:500])
    selective = SelectiveClassifier(classifier, target_risk=0.05).fit(X[500:2000], y[500:2000])
    changed = np.where(sites == "far", rng.integers(2, size=5000), y)
    monitor = RiskMonitor(selective).partial_fit(X[2000:], y[2000:], by=sites[2000:])
    assert not monitor.alarm_
    monitor.partial_fit(X[2000:], changed[2000:], by=sites[2000:])
    assert [monitor.parts_[name]["alarm"] for name in ("far", "near")] == [True, False]
    assert "Alarm of 'far'" in monitor.summary()
    assert "the risk 0." in monitor.summary()
    # Nothing has been answered in a part without samples.
    fresh = RiskMonitor(selective, by=["near", "far", "new"]).partial_fit(X[2000:], y[2000:], by=sites[2000:])
    assert np.isnan(fresh.parts_["new"]["risk"])


def test_the_picture_has_the_line_of_all_samples():
    plt = pytest.importorskip("matplotlib.pyplot")
    monitor = CalibrationMonitor(alpha=0.02).partial_fit(LOGITS, TRUE, by=SITES)
    display = MonitorDisplay.from_estimator(monitor)
    assert display.alpha == 0.01
    plt.close(display.figure_)


@pytest.mark.parametrize(
    ("known", "by", "words"),
    [
        (None, SITES[1:], rf"by must have shape \({N},\), a name or number a sample; got shape \({N - 1},\)"),
        (None, np.where(SITES == "A", None, SITES), "by must name the part of every sample; got None"),
        (["A", "B"], SITES, r"by must name parts that were known .*, \['A', 'B'\]; got '[CD]'"),
        (["A", "B"], None, r"by must name the part of each sample, one of \['A', 'B'\]; got None"),
        (["A", "A"], SITES, "by must hold each name once; got 'A' more than once"),
        ([], SITES, r"by must hold the names of the parts; got \[\]. .* partial_fit\(X, y, by=...\)"),
        ("site", SITES, "'by' parameter of CalibrationMonitor must be an array-like or None"),
    ],
)
def test_bad_parts_are_named(known, by, words):
    with pytest.raises(ValueError, match=words):
        CalibrationMonitor(by=known).partial_fit(LOGITS, TRUE, by=by)


def test_parts_come_from_the_first_sample_on():
    monitor = CalibrationMonitor().partial_fit(LOGITS[:9], TRUE[:9])
    assert not hasattr(monitor, "parts_")
    with pytest.raises(ValueError, match="by must be given from the first samples on"):
        monitor.partial_fit(LOGITS, TRUE, by=SITES)
    monitor.fit(LOGITS, TRUE, by=SITES)
    with pytest.raises(ValueError, match="by must name the part of each sample"):
        monitor.partial_fit(LOGITS, TRUE)
    assert monitor.n_samples_ == N
