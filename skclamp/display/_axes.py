"""Axes of figures, and the room on them; matplotlib (the extra ``plot``) is imported where it draws."""

import numpy as np

# Lines that differ without colours, too.
COLORS = ("#1d3f66", "#c4561e", "#4f9a72", "#8d6bb0", "#111111", "#b0903a")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 0.6)))
# Of what a display shows, alone on its axes.
LINE = {"color": "#1d3f66", "linewidth": 1.8}
BARS = {"color": "#3a6ea5", "edgecolor": "white", "linewidth": 0.8}


def line_after(ax, gid):
    """Style of a line, by how many of its kind, `gid`, axes have."""
    n_before = sum(line.get_gid() == gid for line in ax.lines)
    return {**LINE, "color": COLORS[n_before % len(COLORS)], "linestyle": STYLES[n_before % len(STYLES)], "gid": gid}


def new_axes(n_panels=1, n_columns=1, *, size, heights=None):
    """Axes of a new figure for some panels of one size, row by row; `heights` are the rows' parts of it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'skclamp[plot]'") from error
    n_columns = min(n_panels, n_columns)
    n_rows = -(-n_panels // n_columns)
    heights = [1.0] * n_rows if heights is None else heights
    figure = plt.figure(figsize=(size[0] * n_columns, size[1] * sum(heights)), layout="constrained")
    grid = figure.add_gridspec(n_rows, n_columns, height_ratios=heights)
    return np.array([figure.add_subplot(grid[place]) for place in range(n_panels)])


def is_drawn_on(ax):
    """Return whether axes have a diagram, which wasn't cleared away."""
    return hasattr(ax, "_split_off") and bool(ax.patches or ax.lines)


def split_off_lower(ax):
    """New axes on the lower part of the room that `ax` had, below the same horizontal axis; once for each `ax`."""
    lower = getattr(ax, "_split_off", None)
    if lower is not None and lower.figure is not None:
        if not is_drawn_on(ax):
            lower.clear()
        return lower
    spec = ax.get_subplotspec()
    if spec is None:
        left, bottom, right, top = ax.get_position().extents
        (spec,) = ax.figure.add_gridspec(1, 1, left=left, bottom=bottom, right=right, top=top)
    grid = spec.subgridspec(2, 1, height_ratios=(0.73, 0.27), hspace=0.04)
    ax.set_subplotspec(grid[0])
    ax._split_off = ax.figure.add_subplot(grid[1], sharex=ax)
    return ax._split_off


def legend_above(ax, title=None, ncols=2):
    """The legend above axes and off their bars, within the room that they had; without a title it keeps the former."""
    former = ax.get_legend()
    title = former.get_title().get_text() if title is None and former else title
    legend = ax.legend(
        title=title,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        ncols=ncols,
        fontsize="small",
        frameon=False,
    )
    if ax.figure.get_layout_engine() is None:
        # The first legend's: a later one, for more lines, takes its place.
        left, bottom, width, height = ax._room = getattr(ax, "_room", ax.get_position().bounds)
        share = legend.get_window_extent().height / ax.figure.bbox.height
        ax.set_position([left, bottom, width, max(height - share, 0.2 * height)])


def without_frame(*axes):
    """Take the upper and right lines off axes."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
