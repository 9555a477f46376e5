"""Tables and figure of the benchmark of corruptions, from its file of results."""

from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from _corruption_methods import METHODS
from _corruptions import CORRUPTIONS
from _estimates import resampled_estimate

BASELINE, PARTIAL = "temperature", "fine_tuned"
TITLES = {"cifar10_resnet20": "ResNet-20", "cifar10_resnet32": "ResNet-32"}
# Marks that differ in shape and in lightness: the figure must do in grey, too.
MARKS = {
    "vector": {"marker": "D", "color": "0.55", "mfc": "white", "ms": 4.5, "label": "vector scaling"},
    "last_layer": {"marker": "s", "color": "0.55", "ms": 4.5, "label": "last layer anew"},
    "batch_norm": {"marker": "^", "color": "#c4661f", "mfc": "white", "ms": 5.5, "label": "batch norm adapted"},
    "clamping": {"marker": "o", "color": "#0b3c6f", "mfc": "white", "ms": 6, "label": "clamping"},
    "clamping_two_views": {"marker": "o", "color": "#0b3c6f", "ms": 6, "label": "clamping, two views"},
    "fine_tuned": {"marker": "x", "color": "black", "ms": 5.5, "label": "all weights (another network)"},
}


def against_temperature(results):
    """The results in the order of the benchmark, each with its NLL over temperature scaling's and points gained.

    Images that a method of the same network, severity and split hasn't seen yet are left out.
    """
    key = ["network", "severity", "seed", "corruption"]
    seen = (results.method != PARTIAL).groupby([results[name] for name in key]).transform("sum")
    results = results[seen == seen.groupby([results[name] for name in key[:-1]]).transform("max")]
    baseline = results[results.method == BASELINE].set_index(key)[["nll", "accuracy"]]
    joined = results.join(baseline.add_suffix("_temperature"), on=key, how="inner")
    joined["ratio"] = joined.nll / joined.nll_temperature
    joined["points"] = joined.accuracy - joined.accuracy_temperature
    for name, order in (("corruption", CORRUPTIONS), ("method", METHODS)):
        found = joined[name].unique()
        joined[name] = pd.Categorical(joined[name], sorted(found, key=[*order, *found].index))
    return joined


def settings_of(results):
    """Network, severity and results of each setting."""
    return [(network, severity, part) for (network, severity), part in results.groupby(["network", "severity"])]


def whole_seeds(part):
    """The results of one method that belong to splits with as many corruptions as any."""
    counts = part.groupby("seed").corruption.transform("size")
    return part[counts == counts.max()]


def mean_over_corruptions(part, column):
    """Mean over corruptions, then over splits, with the standard error of the latter."""
    return resampled_estimate(part.groupby("seed")[column].mean())


def means_rows(part):
    """A row for each method: scores against temperature scaling's, ECE and its floor, times, weights."""
    rows = []
    for method, own in part.groupby("method", observed=True):
        own = whole_seeds(own)
        rows.append(
            {
                "method": method,
                "splits": own.seed.nunique(),
                "corruptions": own.corruption.nunique(),
                "NLL": f"{own.nll.mean():.3f}",
                "NLL ratio": f"{mean_over_corruptions(own, 'ratio'):.3f}",
                "acc %": f"{own.accuracy.mean():.1f}",
                "points": f"{mean_over_corruptions(own, 'points'):+.1f}",
                "ECE % (floor)": f"{own.ece.mean():.2f} ({own.ece_floor.mean():.2f})",
                "above floor": f"{100 * (own.ece > own.ece_floor_95).mean():.0f} %",
                "fit": f"{own.fit_cpu.median():.1f}",
                "predict": f"{own.predict_cpu.median():.1f}",
                "weights": "changed" if own.changed.any() else "as they were",
                "worse than temperature": f"{(own.ratio > 1).sum()} of {len(own)}",
            }
        )
    return rows


def corruption_table(part):
    """A line for each corruption: NLL as a ratio to temperature scaling's, and points of accuracy."""
    rows = []
    for corruption, own in part.groupby("corruption", observed=True):
        row = {"corruption": corruption, "splits": own.seed.nunique()}
        row["TS acc / NLL"] = f"{own.accuracy_temperature.mean():.1f} / {own.nll_temperature.mean():.3f}"
        for method, each in own[own.method != BASELINE].groupby("method", observed=True):
            row[method] = f"{each.ratio.mean():.3f}, {each.points.mean():+.1f}"
        rows.append(row)
    return tabulate(rows, headers="keys", disable_numparse=True)


def report(results):
    """Print the tables of every network and severity."""
    results = against_temperature(results)
    for network, severity, part in settings_of(results):
        print(f"\n{network}, severity {severity}: means over corruptions and splits; times in plain passes (processor)")
        print(tabulate(means_rows(part), headers="keys", disable_numparse=True))
        print("\nNLL as a ratio to temperature scaling's, points of accuracy")
        print(corruption_table(part))
    shared = results[results.method != PARTIAL]
    if len(settings_of(shared)) > 1:
        print("\nall networks and severities: NLL as a ratio to temperature scaling's, points of accuracy")
        print(overall_table(shared))


def overall_table(results):
    """A line for each method, of the splits that every network and severity has."""
    seeds = [set(whole_seeds(part[part.method == BASELINE]).seed) for *_, part in settings_of(results)]
    common = results[results.seed.isin(set.intersection(*seeds))]
    rows = [
        {
            "method": method,
            "splits": part.seed.nunique(),
            "NLL ratio": f"{mean_over_corruptions(part, 'ratio'):.3f}",
            "points": f"{mean_over_corruptions(part, 'points'):+.1f}",
        }
        for method, part in common.groupby("method", observed=True)
    ]
    return tabulate(rows, headers="keys", disable_numparse=True)


def draw(results, path):
    """Draw a panel for each network and severity, a row for each corruption, and write a PNG file."""
    from matplotlib.figure import Figure

    results = against_temperature(results)
    settings = settings_of(results)
    means = results[results.method == "clamping"].groupby("corruption", observed=True).ratio.mean()
    order = list(means.sort_values().index)
    figure = Figure(figsize=(2.2 + 2.6 * len(settings), 1.6 + 0.28 * len(order)), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (network, severity, part) in zip(panels, settings, strict=True):
        draw_setting(axes, part, order)
        axes.set_title(f"{TITLES[network]}, severity {severity}", fontsize=10)
    panels[0].set_yticks(range(len(order)), [corruption.replace("_", " ") for corruption in order])
    panels[0].invert_yaxis()
    figure.supxlabel("test NLL, temperature scaling = 1", fontsize=10)
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = min(len(found), 1 + len(settings))
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)


def draw_setting(axes, part, order):
    """One panel: rows in the given order, temperature scaling as a line."""
    axes.axvline(1, color="black", lw=1, zorder=1)
    means = part.pivot_table("ratio", "corruption", "method", observed=True).reindex(order)
    for method, marks in MARKS.items():
        if method in means:
            axes.plot(means[method], np.arange(len(order)), ls="none", **marks)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
