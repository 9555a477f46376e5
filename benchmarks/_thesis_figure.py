"""The figures of Tang's (2022) experiments: calibrators side by side, the gamma sweep, sizes of the calibration set."""

import numpy as np

from _thesis_runs import CIFAR100
from _thesis_tables import select

# Colour-blind safe, and told apart by their marks in grey.
MARKS = {
    "temperature": {"color": "0.35", "marker": "s"},
    "vector": {"color": "#b8860b", "marker": "D"},
    "SMS": {"color": "#009e73", "marker": "v"},
    "order-invariant": {"color": "#cc79a7", "marker": "^"},
    "clamping": {"color": "#0b3c6f", "marker": "o"},
    "reference": {"color": "#d55e00", "marker": "X"},
}
# In nats: what differs by more is written, for the others would be one line.
MAX_DIFFERENCE = 0.03


def draw(results, path):
    """Draw the figures that the results of each network suffice for.

    Parameters
    ----------
    results : pandas.DataFrame
        As `read_results` returns them.
    path : path
        Of the results; figures are written beside it, with an ending to their names.

    Returns
    -------
    list of path
    """
    return [
        _save(function(rows), path.with_name(f"{path.stem}{'' if network == CIFAR100 else '_' + network}{ending}.png"))
        for network, own in results.groupby("network", sort=False)
        for ending, (function, part, varied) in FIGURES.items()
        if (rows := select(own, part))[varied].nunique() > 1
    ]


def draw_table(rows):
    """One line per method: NLL less temperature scaling's, and the ECE over its noise floor; both with intervals."""
    figure, (left, right) = _panels(sharey=True, height=1.2 + 0.3 * len(rows))
    places = np.arange(len(rows))
    marks = {"fmt": "o", "color": "#0b3c6f", "ms": 4.5, "lw": 1.2}
    shown = rows["nll_difference"].abs() < MAX_DIFFERENCE
    left.axvline(0, color="black", lw=1, zorder=1)
    left.errorbar(rows["nll_difference"][shown], places[shown], xerr=_arms(rows[shown], "nll_difference"), **marks)
    for place, value in zip(places[~shown], rows["nll_difference"][~shown], strict=True):
        left.annotate(f"{value:+.2f}", (0.98, place), xycoords=("axes fraction", "data"), ha="right", va="center")
    right.barh(places, rows["ece_floor_95"], height=0.8, color="0.88", label="noise floor, 95 %")
    right.hlines(places, rows["ece_low"], rows["ece_high"], color="#0b3c6f", lw=1.2)
    right.plot(rows["ece"], places, "o", color="#0b3c6f", ms=4.5, label="ECE, and interval of the true one")
    left.set_yticks(places, _names(rows))
    left.invert_yaxis()
    left.locator_params(axis="x", nbins=5)
    left.set_xlabel("test NLL − temperature scaling's")
    right.set_xlabel("ECE in %")
    figure.legend(loc="outside upper right", ncols=2, fontsize=8)
    return figure


def draw_gamma(rows):
    """Test NLL and ECE against gamma."""
    figure, panels = _panels()
    _draw_lines(panels, rows, "gamma")
    for axes in panels:
        axes.set_xlabel("gamma")
    return figure


def draw_size(rows):
    """Test NLL and ECE against the number of calibration samples."""
    figure, panels = _panels()
    _draw_lines(panels, rows, "n_calibration")
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xlabel("calibration samples")
        sizes = sorted(rows["n_calibration"].unique())
        axes.set_xticks(sizes, sizes)
        axes.minorticks_off()
    return figure


def _draw_lines(panels, rows, varied):
    """A line for each method and number of epochs: NLL on the left, ECE with its floor on the right."""
    for axes, score in zip(panels, ("nll", "ece"), strict=True):
        for (label, epochs), part in rows.groupby(["label", "epochs"], sort=False, dropna=False):
            part = part.sort_values(varied)
            name = label if np.isnan(epochs) else f"{label}, {epochs:.0f} epochs"
            axes.plot(part[varied], part[score], lw=1.2, ms=5, label=name, **MARKS[label])
    usual = rows[rows["label"] == "temperature"].sort_values(varied)
    panels[1].fill_between(usual[varied], 0, usual["ece_floor_95"], color="0.9", label="noise floor, 95 %")
    panels[0].set_ylabel("test NLL")
    panels[1].set_ylabel("ECE in %")
    panels[1].figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)


def _panels(*, sharey=False, height=3.4):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    panels = figure.subplots(1, 2, sharey=sharey)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
    return figure, panels


def _names(rows):
    """Methods, with epochs where they have some."""
    return [
        label if np.isnan(epochs) else f"{label}, {epochs:.0f} epochs"
        for label, epochs in zip(rows["label"], rows["epochs"], strict=True)
    ]


def _arms(rows, score):
    """Distances to the ends of an interval, as errorbar has them."""
    return np.abs([rows[score] - rows[f"{score}_low"], rows[f"{score}_high"] - rows[score]])


def _save(figure, path):
    figure.savefig(path, dpi=150)
    return path


# Endings of their names: what draws them, of which experiment, and what has to vary.
FIGURES = {
    "": (draw_table, "table", "method"),
    "_gamma": (draw_gamma, "gamma", "gamma"),
    "_size": (draw_size, "size", "n_calibration"),
}
