"""Several reliability diagrams in one figure: each shows what it would show alone."""

import numpy as np
import pytest
from _digits import calibration_and_test, convolutional_network, shifted
from sklearn.linear_model import Perceptron

from skclamp import TemperatureScaling, VectorScaling
from skclamp.display import ReliabilityDisplay, ReliabilityGridDisplay
from skclamp.metrics import classwise_calibration_error, expected_calibration_error, smooth_calibration_error

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def held_out():
    X, y = calibration_and_test(0)[1]
    return shifted(X, "gain and offset"), y


@pytest.fixture(scope="module")
def fitted():
    """Two calibrators of a network whose camera is off."""
    X, y = calibration_and_test(0)[0]
    X = shifted(X, "gain and offset")
    make = {"temperature": TemperatureScaling, "vector": VectorScaling}
    return {name: own(convolutional_network()).fit(X, y) for name, own in make.items()}


@pytest.fixture(scope="module")
def proba(fitted, held_out):
    return {name: calibrator.predict_proba(held_out[0]) for name, calibrator in fitted.items()}


def test_panels_are_the_diagrams_of_each(fitted, proba, held_out):
    X, y = held_out
    grid = ReliabilityGridDisplay.from_estimators(fitted, X, y, n_bins=8, n_draws=10)
    assert len(grid.axes_) == 2 and grid.figure_ is grid.axes_[0].figure
    for (name, own), display, ax in zip(proba.items(), grid.displays, grid.axes_, strict=True):
        alone = ReliabilityDisplay.from_predictions(y, own, n_bins=8, n_draws=10)
        heights = [bar.get_height() for bar in ax.containers[0]]
        np.testing.assert_allclose(heights, [bar.get_height() for bar in alone.bars_])
        assert display.bins.expected_gap() == alone.bins.expected_gap()
        ece, floor = 100 * expected_calibration_error(y, own, n_bins=8), 100 * alone.noise_floor.quantile
        assert ax.get_title("left") == f"{name}\nECE {ece:.2f} % (floor {floor:.2f} %)"
    grid.figure_.canvas.draw()
    listed = ReliabilityGridDisplay.from_estimators(list(fitted.values()), X, y, n_draws=0)
    assert [own.estimator_name for own in listed.displays] == ["TemperatureScaling", "VectorScaling"]


def test_overlay_shows_each_curve(proba, held_out):
    y = held_out[1]
    grid = ReliabilityGridDisplay.from_predictions(y, proba, overlay=True, n_draws=0, n_resamples=20)
    upper, lower = grid.axes_
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    assert labels == [
        f"{name}, ECE {100 * expected_calibration_error(y, own):.2f} %, "
        f"smooth ECE {100 * smooth_calibration_error(y, own):.2f} %"
        for name, own in proba.items()
    ]
    curves = [line for line in upper.lines if len(line.get_xdata()) > 100]
    for display, curve, below in zip(grid.displays, curves, lower.patches, strict=True):
        np.testing.assert_array_equal(curve.get_ydata(), display.curve.accuracy)
        np.testing.assert_array_equal(below.get_data().values, 100 * display.histogram.share)
    styles = [(line.get_linestyle(), line.get_color()) for line in curves]
    assert len(set(styles)) == len(curves) == 2
    plain = ReliabilityGridDisplay(ReliabilityGridDisplay.from_predictions(y, proba, n_draws=0).displays)
    assert all(display.line_ is not None for display in plain.plot(overlay=True).displays)
    own = plt.figure().add_subplot()
    assert ReliabilityGridDisplay.from_predictions(y, proba, overlay=True, n_draws=0, ax=own).axes_[0] is own


def test_classes_are_shown_each_against_the_rest(proba, held_out):
    y, own = held_out[1], proba["temperature"]
    names = np.array([f"digit {k}" for k in range(10)])
    grid = ReliabilityGridDisplay.from_classes(names[y], own, labels=names, n_bins=6, n_resamples=15, smooth=True)
    errors = classwise_calibration_error(y, own, n_bins=6, average=None)
    order = np.argsort(-errors, kind="stable")
    assert [display.estimator_name for display in grid.displays] == list(names[order])
    for k, display in zip(order, grid.displays, strict=True):
        assert display.bins.expected_gap() == pytest.approx(errors[k])
        one_vs_rest = np.column_stack([1 - own[:, k], own[:, k]])
        inside = (own[:, k] > 0.5) & (own[:, k] <= 4 / 6)
        assert display.bins.count[3] == inside.sum()
        if inside.any():
            assert display.bins.accuracy[3] == pytest.approx((y[inside] == k).mean())
        assert display.curve.error == pytest.approx(
            smooth_calibration_error((y == k).astype(int), one_vs_rest, mode="classwise")
        )
    chosen = ReliabilityGridDisplay.from_classes(y, own, columns=[7, 2], n_bins=6)
    assert [display.estimator_name for display in chosen.displays] == ["7", "2"]


def test_shows_at_most_twelve_classes_unasked():
    random = np.random.default_rng(0)
    grid = ReliabilityGridDisplay.from_classes(random.integers(20, size=200), random.dirichlet(np.ones(20), 200))
    assert len(grid.axes_) == 12 and len(grid.figure_.axes) == 12


def test_refuses_bad_input(proba, held_out, fitted):
    X, y = held_out
    with pytest.raises(TypeError, match="y_proba must be a dict of probabilities by name; got ndarray"):
        ReliabilityGridDisplay.from_predictions(y, proba["vector"])
    with pytest.raises(ValueError, match="displays must hold at least one; got none"):
        ReliabilityGridDisplay.from_predictions(y, {})
    with pytest.raises(TypeError, match="estimators must be a list, or a dict by name; got 'vector'"):
        ReliabilityGridDisplay.from_estimators("vector", X, y)
    with pytest.raises(ValueError, match="estimators must hold at least one; got none"):
        ReliabilityGridDisplay.from_estimators([], X, y)
    with pytest.raises(TypeError, match="estimator must have predict_proba; got Perceptron"):
        ReliabilityGridDisplay.from_estimators({"p": Perceptron()}, X, y)
    with pytest.raises(ValueError, match="estimators must have names of their own"):
        ReliabilityGridDisplay.from_estimators([("vector", fitted["vector"])] * 2, X, y)
    with pytest.raises(ValueError, match="n_columns must be a whole number of at least 1; got 0"):
        ReliabilityGridDisplay.from_predictions(y, proba, n_draws=0, n_columns=0)
    with pytest.raises(IndexError, match="index 10 is out of bounds"):
        ReliabilityGridDisplay.from_classes(y, proba["vector"], columns=[10])
    with pytest.raises(ValueError, match="overlay must be False for more than 6 lines; got 7"):
        many = {str(k): proba["vector"] for k in range(7)}
        ReliabilityGridDisplay.from_predictions(y, many, overlay=True, n_draws=0)
