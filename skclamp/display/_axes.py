"""Axes of figures, and the room on them; matplotlib (the extra ``plot``) is imported where it draws."""

import numpy as np


def pyplot():
    """matplotlib.pyplot, or an ImportError that says what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'skclamp[plot]'") from error
    return plt


def new_axes(n_rows=1, n_columns=1, *, figsize=(6, 7), **kwargs):
    """Axes of a new figure, an array of shape (n_rows, n_columns), or one alone."""
    axes = pyplot().subplots(n_rows, n_columns, figsize=figsize, layout="constrained", squeeze=False, **kwargs)[1]
    return axes.item() if axes.size == 1 else axes


def panels(n_panels, *, n_columns=3, size=(3.0, 3.0), **kwargs):
    """Axes of a new figure for some panels, row by row; places that are left over are hidden."""
    n_columns = balanced(n_panels, n_columns)
    n_rows = -(-n_panels // n_columns)
    figsize = (size[0] * n_columns, size[1] * n_rows)
    axes = np.atleast_1d(new_axes(n_rows, n_columns, figsize=figsize, **kwargs)).ravel()
    for ax in axes[n_panels:]:
        ax.set_visible(False)
    return axes[:n_panels]


def balanced(n_panels, n_columns):
    """As many columns, at most those given, as fill the rows most evenly."""
    n_rows = -(-n_panels // n_columns)
    return -(-n_panels // n_rows)


def split_off_lower(ax):
    """New axes on the lower part of the room that `ax` had, below the same horizontal axis."""
    share, space = 0.27, 0.04
    spec = ax.get_subplotspec()
    if spec is None:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position([left, bottom + (share + space) * height, width, (1 - share - space) * height])
        return ax.figure.add_axes([left, bottom, width, share * height], sharex=ax)
    grid = spec.subgridspec(2, 1, height_ratios=(1 - share, share), hspace=space)
    ax.set_subplotspec(grid[0])
    return ax.figure.add_subplot(grid[1], sharex=ax)


def legend_above(ax, title=None):
    """The legend above axes and off their bars, within the room that they had."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "frameon": False, "borderaxespad": 0.2}
    legend = ax.legend(title=title, alignment="left", fontsize="small", **place)
    if ax.figure.get_layout_engine() is None:
        left, bottom, width, height = ax.get_position().bounds
        share = legend.get_window_extent().height / ax.figure.bbox.height
        ax.set_position([left, bottom, width, max(height - share, 0.2 * height)])


def without_frame(*axes):
    """Take the upper and right lines off axes."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)


def figure_legend(ax):
    """Draw one legend for some axes above all axes of their figure, in as many columns as it has room for."""
    figure, (handles, labels) = ax.figure, ax.get_legend_handles_labels()
    for n_columns in range(len(labels), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside upper left", ncols=n_columns, frameon=False, fontsize="small"
        )
        if n_columns == 1 or legend.get_window_extent().width <= 0.92 * figure.bbox.width:
            return
        legend.remove()
