"""The reliability display: what it draws is what the metrics say."""

import sys

import numpy as np
import pytest
import torch
from _metrics import draw
from scipy.stats import binomtest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from skclamp.display import ReliabilityDisplay
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    calibration_noise_floor,
    expected_calibration_error,
)

plt = pytest.importorskip("matplotlib.pyplot")
METRICS = {"uniform": expected_calibration_error, "quantile": adaptive_expected_calibration_error}


def _legend(ax):
    legend = ax.get_legend()
    return legend.get_title().get_text(), [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("strategy", METRICS)
@pytest.mark.parametrize("k", [2, 4])
def test_bars_are_the_bins(strategy, k):
    y, proba = draw(300, k)
    display = ReliabilityDisplay.from_predictions(y, proba, n_bins=8, strategy=strategy, n_draws=5)
    # Of two classes the second one's probability is shown.
    value, bins = METRICS[strategy](y, proba[:, 1] if k == 2 else proba, n_bins=8, return_bins=True)
    held = bins.count > 0
    assert len(display.bars_) == len(display.gaps_) == held.sum()
    tops = [bar.get_height() for bar in display.bars_]
    np.testing.assert_allclose(tops, bins.accuracy[held])
    gaps = [bar.get_y() + bar.get_height() for bar in display.gaps_]
    np.testing.assert_allclose(gaps, bins.confidence[held])
    np.testing.assert_allclose([bar.get_x() + bar.get_width() for bar in display.bars_], bins.upper[held])
    assert display.bins.expected_gap() == value


@pytest.mark.parametrize(("strategy", "metric_name"), [("uniform", "ECE"), ("quantile", "AECE")])
def test_legend_tells_the_metric_and_its_noise_floor(strategy, metric_name):
    y, proba = draw(300, 4)
    display = ReliabilityDisplay.from_predictions(y, proba, strategy=strategy, n_draws=30, random_state=4, name="net")
    value = 100 * METRICS[strategy](y, proba)
    mean, quantile = calibration_noise_floor(METRICS[strategy], proba, n_draws=30, random_state=4)
    title, entries = _legend(display.ax_)
    expected = f"net\n{metric_name} {value:.2f} %\nnoise floor {100 * mean:.2f} % (95 %: {100 * quantile:.2f} %)"
    assert title == expected
    assert set(entries) - {"fewer than 10 samples"} == {
        "perfect calibration",
        "accuracy",
        "gap to mean confidence",
        "95 % interval",
    }


@pytest.mark.parametrize("given", ["two columns", "one dimension"])
def test_of_two_classes_shows_the_event(given):
    y, proba = draw(300, 2)
    names = np.array(["ok", "fraud"])
    display = ReliabilityDisplay.from_predictions(
        names[y], proba if given == "two columns" else proba[:, 1], labels=names, n_draws=5
    )
    title, entries = _legend(display.ax_)
    assert title.startswith(f"ECE of P(fraud) {100 * expected_calibration_error(y, proba[:, 1]):.2f} %")
    assert {"share of class fraud", "gap to mean probability"} < set(entries)
    assert display.ax_.get_ylabel() == "share of class fraud"
    assert display.histogram_ax_.get_xlabel() == "probability of class fraud"
    share, mean = 100 * y.mean(), 100 * proba[:, 1].mean()
    assert _legend(display.histogram_ax_)[1] == [
        f"share of class fraud {share:.1f} %",
        f"mean probability {mean:.1f} %",
    ]
    # Without labels they are sorted.
    assert ReliabilityDisplay.from_predictions(names[y], proba, n_draws=0).event == "ok"


@pytest.mark.parametrize("weight", [None, 0.5])
def test_bins_of_few_samples_are_grey_and_all_have_wilsons_intervals(weight):
    proba = np.repeat([[0.05, 0.95], [0.35, 0.65]], [40, 9], axis=0)
    proba = np.hstack([proba, np.zeros((49, 1))])
    y = np.r_[np.ones(36), np.zeros(4), np.ones(3), np.zeros(6)].astype(int)
    weights = None if weight is None else np.full(49, weight)
    display = ReliabilityDisplay.from_predictions(y, proba, n_bins=10, n_draws=0, sample_weight=weights)
    few, many = display.bars_
    blue, grey = (bar.get_facecolor()[:3] for bar in (many, few))
    assert np.ptp(grey) < 0.1 < np.ptp(blue)
    assert "fewer than 10 samples" in _legend(display.ax_)[1]
    for k, (hits, n) in {6: (3, 9), 9: (36, 40)}.items():
        ends = binomtest(hits, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(display.intervals[:, k], [ends.low, ends.high])
    assert np.isnan(np.delete(display.intervals, [6, 9], axis=1)).all()


@pytest.mark.parametrize("names", [None, ["setosa", "versicolor", "virginica"]])
def test_from_estimator_is_from_predictions(names):
    X, y = load_iris(return_X_y=True)
    y = y if names is None else np.array(names)[y]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    weight = np.random.default_rng(0).random(len(y))
    display = ReliabilityDisplay.from_estimator(model, X[:90], y[:90], sample_weight=weight[:90], n_draws=5)
    expected, bins = expected_calibration_error(
        y[:90], model.predict_proba(X[:90]), labels=model.classes_, sample_weight=weight[:90], return_bins=True
    )
    assert display.bins.expected_gap() == expected
    np.testing.assert_array_equal(display.bins.count, bins.count)
    assert display.estimator_name == "Pipeline" and _legend(display.ax_)[0].startswith("Pipeline\nECE")
    assert ReliabilityDisplay.from_estimator(model, X, y, name="mine", n_draws=0).estimator_name == "mine"


def test_floor_band_and_intervals_repeat_without_touching_the_global_random_state():
    shared = check_random_state(None)
    before = shared.get_state()[1].copy()
    options = {"n_draws": 10, "n_resamples": 20, "smooth": True}
    first, second = (ReliabilityDisplay.from_predictions(*draw(300, 4), **options) for _ in range(2))
    assert first.noise_floor == second.noise_floor
    np.testing.assert_array_equal(first.intervals, second.intervals)
    np.testing.assert_array_equal(first.curve.low, second.curve.low)
    np.testing.assert_array_equal(shared.get_state()[1], before)


@pytest.mark.parametrize("in_grid", [True, False])
def test_shares_the_room_of_given_axes(in_grid):
    """The diagram is above the histogram, and with their legends both fill the room."""
    ax = plt.subplots(1, 2)[1][1] if in_grid else plt.figure().add_axes([0.2, 0.1, 0.5, 0.8])
    n_axes, (left, bottom, width, height) = len(ax.figure.axes), ax.get_position().bounds
    display = ReliabilityDisplay.from_predictions(*draw(300, 4), n_draws=0, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure and len(ax.figure.axes) == n_axes + 1
    upper, lower = display.ax_.get_position(), display.histogram_ax_.get_position()
    legend = display.ax_.get_legend().get_window_extent().transformed(display.figure_.transFigure.inverted())
    assert lower.y0 == pytest.approx(bottom) and legend.y1 == pytest.approx(bottom + height, abs=0.02)
    assert lower.y1 < upper.y0 < upper.y1 <= legend.y0 + 1e-9 and upper.height > lower.height
    for box in (upper, lower):
        assert (box.x0, box.width) == pytest.approx((left, width))
    assert display.ax_.get_xlim() == display.histogram_ax_.get_xlim() == (0, 1)


@pytest.mark.parametrize("strategy", METRICS)
@pytest.mark.parametrize(
    ("y", "proba"),
    [([0], [[0.3, 0.7]]), ([0, 1, 2], np.eye(3)), ([1] * 9, torch.full((9, 3), 1 / 3)), ([0, 1], [0.5, 0.5])],
)
def test_degenerate_data_are_drawn_without_a_warning(strategy, y, proba):
    options = {"strategy": strategy, "n_draws": 3, "n_resamples": 5, "smooth": True}
    display = ReliabilityDisplay.from_predictions(y, proba, **options)
    display.figure_.canvas.draw()
    assert np.isfinite(display.curve.accuracy).any()
    assert len(display.bars_) >= 1
    for bar in (*display.bars_, *display.gaps_):
        assert bar.get_width() > 0 and np.isfinite([bar.get_x(), bar.get_y(), bar.get_height()]).all()


def test_says_what_to_install_without_matplotlib(monkeypatch):
    y, proba = draw(300, 4)
    _, bins = expected_calibration_error(y, proba, return_bins=True)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"drawing needs matplotlib: pip install 'skclamp\[plot\]'"):
        ReliabilityDisplay(bins).plot()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"strategy": "equal"}, ValueError, r"strategy must be one of \('uniform', 'quantile'\); got 'equal'"),
        ({"y_proba": np.full((300, 4), 0.1)}, ValueError, "each row must sum to 1"),
        ({"n_draws": -1}, ValueError, "n_draws must be a whole number of at least 0; got -1"),
        ({"n_resamples": -1}, ValueError, "n_resamples must be a whole number of at least 0; got -1"),
        ({"n_resamples": 2.5}, TypeError, "n_resamples must be a whole number of at least 0; got 2.5"),
        ({"confidence_level": 1.5}, ValueError, "confidence_level must be .*; got 1.5"),
        ({"pos_label": "x"}, ValueError, r"pos_label must be among the labels \[0, 1, 2, 3\]; got 'x'"),
        ({"y_true": np.ones((300, 4)), "pos_label": 1}, ValueError, "pos_label must be None for several labels"),
        ({"bins": 3}, TypeError, "unexpected keyword argument 'bins'"),
    ],
)
def test_refuses_bad_parameters(options, error, match):
    y, proba = draw(300, 4)
    with pytest.raises(error, match=match):
        ReliabilityDisplay.from_predictions(**{"y_true": y, "y_proba": proba, **options})


def test_refuses_what_has_no_probabilities():
    y, proba = draw(300, 4)
    y, proba = draw(300, 4)
    with pytest.raises(TypeError, match="estimator must have predict_proba; got Perceptron, which has none"):
        ReliabilityDisplay.from_estimator(Perceptron().fit(proba, y), proba, y)


def test_a_second_display_joins_the_first_as_a_line():
    y, proba = draw(300, 4)
    first = ReliabilityDisplay.from_predictions(y, proba, n_draws=0, name="one")
    second = ReliabilityDisplay.from_predictions(
        y, proba**2 / (proba**2).sum(1, keepdims=True), ax=first.ax_, name="two"
    )
    assert (second.ax_, second.histogram_ax_) == (first.ax_, first.histogram_ax_) and len(first.figure_.axes) == 2
    assert second.bars_ is None and first.line_ is None
    filled = second.bins.count > 0
    np.testing.assert_allclose(second.line_.get_xdata(), second.bins.confidence[filled])
    np.testing.assert_allclose(second.line_.get_ydata(), second.bins.accuracy[filled])
    title, entries = _legend(first.ax_)
    assert title.startswith("one\nECE") and any(entry.startswith("two, ECE ") for entry in entries)


def test_pos_label_is_the_class_shown():
    y, proba = draw(300, 4)
    names = np.array(["ant", "bee", "cow", "dog"])
    display = ReliabilityDisplay.from_predictions(names[y], torch.from_numpy(proba), pos_label="cow", n_draws=0)
    rest = np.where(names == "cow", "the others", names)
    same = ReliabilityDisplay.from_predictions(rest[y], proba, labels=rest, pos_label="the others", n_draws=0)
    assert same.event == "the others"
    np.testing.assert_array_equal(same.bins.accuracy, display.bins.accuracy)
    _, bins = expected_calibration_error((y == 2).astype(int), proba[:, 2], return_bins=True)
    np.testing.assert_array_equal(display.bins.accuracy, bins.accuracy)
    assert display.ax_.get_ylabel() == "share of class cow"
    flags, two = names[y] == "cow", np.stack([1 - proba[:, 2], proba[:, 2]], 1)
    for given in (two, two[:, 1]):
        other = ReliabilityDisplay.from_predictions(flags, given, pos_label=True, n_draws=0)
        np.testing.assert_array_equal(other.bins.accuracy, bins.accuracy)
    other = ReliabilityDisplay.from_predictions(flags, two, pos_label=False, n_draws=0)
    assert (other.event, other.bins.expected_gap()) == ("False", expected_calibration_error(~flags, two[:, 0]))
    model = LogisticRegression().fit(np.log(proba), names[y])
    assert ReliabilityDisplay.from_estimator(model, np.log(proba), names[y], pos_label="ant", n_draws=0).event == "ant"
