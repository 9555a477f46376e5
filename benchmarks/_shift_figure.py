"""The figure of the shift suite: NLL as a ratio to temperature scaling's, shift by shift."""

from pathlib import Path

from _estimates import ratio_estimate
from _shift_tables import against_temperature, by_shift, main_runs, pair

# Marks that differ in shape and in lightness: the figure must do in grey, too.
MARKS = {
    "vector": {"fmt": "D", "color": "0.55", "mfc": "white", "ms": 4.5, "label": "vector scaling"},
    "auto": {"fmt": "o", "color": "#0b3c6f", "ms": 6, "label": "neural clamping"},
}
TITLES = {"cifar10_resnet20": "ResNet-20", "cifar10_resnet32": "ResNet-32"}


def draw(results, path):
    """Draw the networks side by side, a dot with its standard error for each shift, and write a PNG file."""
    from matplotlib.figure import Figure

    runs = pair(results)
    runs = runs[runs["network"].isin(TITLES)]
    networks = sorted(runs["network"].unique())
    if not networks:
        raise ValueError(f"the figure shows {', '.join(TITLES)}; got results of {sorted(results['network'].unique())}")
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, sharex=True, squeeze=False)[0]
    order = shifts_in_order(main_runs(runs[runs["network"] == networks[0]]))
    for axes, network in zip(panels, networks, strict=True):
        draw_network(axes, main_runs(runs[runs["network"] == network]), order)
        axes.set_title(TITLES[network])
    panels[0].set_yticks(range(len(order)), [shift.replace("_", " ") for shift in order])
    panels[0].invert_yaxis()
    figure.supxlabel("test NLL, temperature scaling = 1 (± standard error)", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)


def draw_network(axes, runs, order):
    """One panel: rows in the given order, temperature scaling as a line."""
    axes.axvline(1, color="black", lw=1, zorder=1)
    parts = dict(iter(by_shift(runs)))
    for method, marks in MARKS.items():
        found = {
            row: against_temperature(parts[shift], method, "nll", ratio_estimate)
            for row, shift in enumerate(order)
            if shift in parts
        }
        means, errors = zip(*found.values(), strict=True)
        axes.errorbar(means, list(found), xerr=errors, lw=1.2, ls="none", **marks)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def shifts_in_order(runs):
    """No shift first, then the others, those that clamping repairs best on top."""
    ratios = {shift: against_temperature(part, "auto", "nll", ratio_estimate).mean for shift, part in by_shift(runs)}
    return sorted(ratios, key=lambda shift: (shift != "none", ratios[shift]))
