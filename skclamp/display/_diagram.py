"""Parts of a reliability diagram: bars, intervals, the smoothed curve and a histogram, on given axes."""

import numpy as np

from ._axes import BARS, COLORS, LINE, STYLES, legend_above, without_frame

# Dark bars under a light hatched gap differ in print without colours, too.
_GAP = {"facecolor": (0.96, 0.70, 0.56, 0.75), "edgecolor": "#9c2f10", "hatch": "////", "linewidth": 0.8}
_FEW = "#c3c8cf"
# As on the page of a comparison.
FEW = 10
# By which lines of diagrams are known.
_GID = "reliability"


def words_of(event):
    """Labels of the vertical and horizontal axis and of the gap: of the most probable class, or an event's name."""
    if event is None:
        return "accuracy", "confidence"
    return (f"share of class {event}", f"probability of class {event}") if event else ("share of 1", "probability of 1")


def draw_diagram(ax, display, ref_line=True):
    """The diagram of a display; returns the bars of the accuracies and those of the gaps.

    Of bins that it calls few, or that hold fewer than ten samples, both are grey: they say next to nothing.
    """
    bins = display.bins
    level = f"{100 * display.confidence_level:g} %"
    filled = bins.count > 0
    left, width = (each[filled] for each in _places(bins))
    accuracy = bins.accuracy[filled]
    few = np.asarray(bins.count < FEW if display.few is None else display.few)[filled]
    bars = ax.bar(left, accuracy, width, align="edge", **BARS)
    gaps = ax.bar(left, -bins.gap[filled], width, accuracy, align="edge", **_GAP)
    for k in np.flatnonzero(few):
        bars[k].set_color(_FEW)
        gaps[k].set(facecolor=_FEW, alpha=0.5)
    # The first bar may be grey.
    ax.bar(0, 0, 0, label=words_of(display.event)[0], **BARS)
    ax.bar(0, 0, 0, label=f"gap to {_mean_name(display.event)}", **_GAP)
    if few.any():
        ax.bar(0, 0, 0, label=f"fewer than {FEW} samples", color=_FEW)
    if ref_line:
        ax.plot([0, 1], [0, 1], "k:", linewidth=1.5, label="perfect calibration")
    if display.intervals is not None:
        ax.vlines(left + width / 2, *display.intervals[:, filled], color="black", label=f"{level} interval")
    curve = display.curve
    if curve is not None:
        if curve.low is not None:
            ax.fill_between(
                curve.confidence,
                curve.low,
                curve.high,
                label=f"{level} band",
                color="black",
                alpha=0.2,
                linewidth=0,
            )
        ax.plot(curve.confidence, curve.accuracy, "k", label="smoothed accuracy")
    without_frame(ax)
    ax.set(xlim=(0, 1), ylim=(0, 1.01))
    return bars, gaps


def _mean_name(event):
    return "mean confidence" if event is None else "mean probability"


def draw_line(ax, lower, display, histogram, label, ref_line):
    """The diagram of a display as one line through its bins, whose place says which of those on `ax` it is.

    Beneath, on `lower`, a line of the histogram shows where the samples are. Returns the line above.
    """
    bins = display.bins
    filled = bins.count > 0
    n_before = sum(line.get_gid() == _GID for line in ax.lines) + 2 * bool(ax.patches)
    color = COLORS[n_before % len(COLORS)]
    style = {"color": color, "linestyle": STYLES[n_before % len(STYLES)]}
    confidence = bins.confidence[filled]
    if not n_before and ref_line:
        ax.plot([0, 1], [0, 1], color="#8a8a8a", linewidth=1)
    if display.intervals is not None:
        ax.vlines(confidence, *display.intervals[:, filled], color=color, alpha=0.4, linewidth=1.2)
    (line,) = ax.plot(confidence, bins.accuracy[filled], label=label, gid=_GID, marker="o", markersize=4, **style)
    curve = display.curve
    if curve is not None:
        line.set_linestyle("none")
        ax.plot(curve.confidence, curve.accuracy, **style)
        if curve.low is not None:
            ax.fill_between(curve.confidence, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
    lower.stairs(100 * histogram.share, histogram.edges, **style)
    without_frame(ax, lower)
    ax.set(xlim=(0, 1), ylim=(0, 1.01))
    _name_axes_below(lower, display.event, display.counted)
    return line


def draw_histogram(ax, bins, event, counted):
    """Where the samples, or their places, are, their accuracy and their mean confidence."""
    left, width = _places(bins)
    ax.bar(left, 100 * bins.share, width, align="edge", color="#b4bcc6", edgecolor="white")
    accuracy, confidence = (100 * (bins.share * values).sum() for values in (bins.accuracy, bins.confidence))
    ax.axvline(accuracy / 100, label=f"{words_of(event)[0]} {accuracy:.1f} %", **LINE)
    ax.axvline(
        confidence / 100,
        label=f"{_mean_name(event)} {confidence:.1f} %",
        color="#9c2f10",
        linestyle="--",
        linewidth=1.8,
    )
    without_frame(ax)
    _name_axes_below(ax, event, counted)
    legend_above(ax)


def _name_axes_below(ax, event, counted):
    ax.set(xlabel=words_of(event)[1], ylabel="labels (%)" if event == "" else f"{counted} (%)")
    # Further histograms on these axes may be higher.
    ax.set_ylim(bottom=0, auto=None)


def _places(bins):
    """Left end and width of each bar; bins of equal mass may be too narrow to be seen."""
    width = np.maximum(bins.upper - bins.lower, 0.004)
    return bins.upper - width, width
