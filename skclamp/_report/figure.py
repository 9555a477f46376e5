"""The figure of a comparison: differences of NLL, and the ECE with its interval and noise floor."""

import numpy as np

from ..display._axes import legend_above, new_axes, without_frame

_MARKER = {"color": "#1d3f66", "marker": "o", "linestyle": "none"}


def draw_comparison(rows, axes, error_name):
    """Draw rows of CalibratorScores, best first, from the top down; `axes` are a pair for the NLL and for the ECE."""
    if axes is None:
        axes = new_axes(2, 2, size=(4, 1.4 + 0.3 * len(rows)))
    left, right = axes
    places = np.arange(len(rows))
    # A scale that is linear near 0 and logarithmic beyond.
    difference, error, tied = (_column(rows, name) for name in ("nll_difference", "nll_difference_se", "tied"))
    left.errorbar(difference, places, xerr=1.96 * error, fmt="none", ecolor="#7a8594")
    left.plot(difference[tied], places[tied], label="tied with best", **_MARKER)
    left.plot(difference[~tied], places[~tied], label="worse", markerfacecolor="white", **_MARKER)
    left.set_xscale("symlog", linthresh=max(np.median(error) / 10, 1e-4))
    left.xaxis.set_major_formatter("{x:g}")
    left.axvline(0, color="black", linewidth=1, linestyle=":")
    left.set_xlabel("NLL above the best")
    legend_above(left)
    names = ("ece_floor_quantile", "ece_low", "ece", "ece_high")
    floor, low, ece, high = (100 * _column(rows, name) for name in names)
    right.barh(places, floor, label="noise floor", color="#d5dae0")
    right.hlines(places, low, high, color="#7a8594", label="95 % interval")
    right.plot(ece, places, "D", color="#9c2f10", label="ECE")
    right.set_xlim(left=0)
    right.set_xlabel(f"{error_name} (%)")
    legend_above(right, ncols=3)
    left.set_yticks(places, [row.name for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    right.sharey(left)
    right.tick_params(axis="y", left=False, labelleft=False)
    without_frame(*axes)
    return left.figure


def _column(rows, name):
    return np.array([getattr(row, name) for row in rows])
