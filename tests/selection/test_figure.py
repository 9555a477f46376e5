"""The figure of a comparison: it draws the comparison's numbers, on scales where all of them can be seen."""

import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def axes(digits):
    figure = digits[0].plot()
    figure.canvas.draw()
    yield figure.axes
    plt.close("all")


def _columns(rows, *names):
    return [np.array([getattr(row, name) for row in rows]) for name in names]


def test_plots_what_it_holds(digits, axes):
    rows, (left, right) = digits[0].rows, axes
    difference, error, is_tied = _columns(rows, "nll_difference", "nll_difference_se", "tied")
    assert {*is_tied} == {True, False}
    assert [label.get_text() for label in left.get_yticklabels()] == [row.name for row in rows]
    assert left.get_ylim()[0] > len(rows) - 1 > 0 > left.get_ylim()[1], "the best on top"
    tied, worse, zero = left.lines
    for marks, chosen in ((tied, is_tied), (worse, ~is_tied)):
        np.testing.assert_array_equal(marks.get_xydata(), np.c_[difference, range(len(rows))][chosen])
    assert [*zero.get_xdata()] == [0, 0]
    intervals = np.array(left.collections[0].get_segments())[:, :, 0]
    np.testing.assert_allclose(intervals, np.c_[difference - 1.96 * error, difference + 1.96 * error])
    low, ece, high, floor = _columns(rows, "ece_low", "ece", "ece_high", "ece_floor_quantile")
    np.testing.assert_allclose(right.lines[0].get_xydata(), np.c_[100 * ece, range(len(rows))])
    np.testing.assert_allclose(np.array(right.collections[0].get_segments())[:, :, 0], 100 * np.c_[low, high])
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], 100 * floor)
    assert right.get_xlim()[0] == 0


def test_the_scale_shows_every_interval_and_where_it_turns_logarithmic(digits, axes):
    difference, error = _columns(digits[0].rows, "nll_difference", "nll_difference_se")
    left, furthest = axes[0], (difference + 1.96 * error).max()
    assert left.get_xlim()[0] < 0
    assert furthest < left.get_xlim()[1]
    assert left.xaxis.get_transform().linthresh == pytest.approx(np.median(error) / 10)
