"""Tang's (2022) experiments as tables and figures: which methods they compare, and which results belong to them."""

import numpy as np
import pandas as pd
from tabulate import tabulate

CIFAR100 = "cifar100_resnet20"
# Maps of the logits, which need the network no more, and then what goes through it.
OUTPUT_ONLY = (
    *("uncalibrated", "temperature", "temperature, ECE", "vector", "MS-ODIR", "Dir-ODIR", "ETS", "IRM"),
    *("spline", "PTS", "SMS", "order-invariant", "order-preserving"),
)
REFERENCE = ("reference", "reference, augmented", "reference, input only")
METHODS = (*OUTPUT_ONLY, "clamping", *REFERENCE)
# The focal loss's gamma, where a method has one.
GAMMAS = {"temperature": 0.0, "clamping": 0.0, **dict.fromkeys(REFERENCE, 1.0)}
TABLE = tuple(method for method in METHODS if method != "reference, input only")
# Output only is temperature scaling by the same loss.
ABLATION = {"input only": "reference, input only", "output only": "temperature", "joint": "reference"}
ABLATION_GAMMA = 1.0
SWEPT = ("temperature", "clamping", "reference")
# Those of the sizes, and how figures draw them: colour-blind safe, and told apart by their marks in grey.
SIZED = {
    "temperature": {"color": "0.35", "marker": "s"},
    "vector": {"color": "#b8860b", "marker": "D"},
    "SMS": {"color": "#009e73", "marker": "v"},
    "order-invariant": {"color": "#cc79a7", "marker": "^"},
    "clamping": {"color": "#0b3c6f", "marker": "o"},
    "reference": {"color": "#d55e00", "marker": "X"},
}
SETTINGS = ["network", "method", "gamma", "n_calibration", "epochs"]
# Of each experiment the title, and what has to vary.
TITLES = {
    "table": ("calibrators", "method"),
    "ablation": (f"ablation, gamma = {ABLATION_GAMMA:g}", "label"),
    "gamma": ("gamma of the focal loss", "gamma"),
    "size": ("calibration samples", "n_calibration"),
}
# Columns of the results, how many digits they have, and what they are called.
WITH_INTERVAL = (
    ("accuracy", 2, "accuracy %"),
    ("nll", 4, "NLL"),
    ("nll_difference", 4, "NLL − temperature"),
    ("brier", 4, "Brier"),
    ("entropy", 3, "entropy"),
)
WITH_FLOOR = (("ece", 2, "ECE %"), ("aece", 2, "AECE %"), ("sce", 3, "SCE %"))
# Settings, left out where no row has any, or all are of one size.
VARIED = (("gamma", "gamma"), ("n_calibration", "n"), ("epochs", "epochs"))
EXPLANATION = (
    "Test scores with 95 % bootstrap intervals in brackets, means over the seeds. Intervals of calibration errors are "
    "of the true error: they may lie below the value, which noise enlarges. In parentheses the noise floor: the mean, "
    "and the 95 % quantile, of a perfectly calibrated classifier's error with these probabilities."
)


def means(results):
    """Results averaged over seeds, one row for each setting, in the order of the methods, with `n_seeds`."""
    results = results.assign(method=pd.Categorical(results["method"], METHODS))
    groups = results.groupby(SETTINGS, dropna=False, observed=True, sort=True)
    means = groups.mean(numeric_only=True).drop(columns="seed")
    means["n_seeds"] = groups.size()
    return means.reset_index()


def select(results, part):
    """The rows of one network's results that belong to an experiment, named in a column `label`."""
    method, gamma = results["method"].astype(str), results["gamma"]
    usual = (gamma == method.map(GAMMAS)) | gamma.isna()
    whole = results["n_calibration"] == results["n_calibration"].max()
    if part == "table":
        return results[usual & whole & method.isin(TABLE)].assign(label=method)
    if part == "ablation":
        names = {value: key for key, value in ABLATION.items()}
        rows = results[whole & (gamma == ABLATION_GAMMA) & method.isin(names)]
        return rows.assign(label=rows["method"].astype(str).map(names)).sort_values("label", kind="stable")
    if part == "gamma":
        return results[whole & method.isin(SWEPT)].assign(label=method)
    return results[usual & method.isin(SIZED)].assign(label=method)


def table_means(results):
    """The rows of the table of calibrators, by method."""
    return select(means(results), "table").set_index("label")


def report(results):
    """All tables, as Markdown."""
    parts = [EXPLANATION]
    for network, own in results.groupby("network", sort=False):
        for part, (title, varied) in TITLES.items():
            rows = select(own, part)
            if rows[varied].nunique() > (part != "table"):
                parts.append(f"## {network}: {title}\n\n{table(rows)}")
    return "\n\n".join(parts) + "\n"


def table(rows):
    """A line for each row, in GitHub's format: proper scores with intervals, errors with intervals and floors."""

    def text(value, spec):
        return "" if pd.isna(value) else f"{value:{spec}}"

    def numbers(row, spec, *names):
        return ", ".join(f"{row[name]:{spec}}" for name in names)

    lines = []
    for row in rows.to_dict("records"):
        line = {"method": row["label"]}
        line |= {title: text(row[name], "g") for name, title in VARIED if rows[name].nunique() > (title == "n")}
        for score, digits, title in (*WITH_INTERVAL, *WITH_FLOOR):
            spec = f".{digits}f"
            line[title] = f"{row[score]:{spec}} [{numbers(row, spec, f'{score}_low', f'{score}_high')}]"
            if f"{score}_floor" in row:
                line[title] += f" ({numbers(row, spec, f'{score}_floor', f'{score}_floor_95')})"
        lines.append(
            line | {"T": text(row["temperature"], ".3f"), "seeds": row["n_seeds"], "fit s": text(row["seconds"], ".1f")}
        )
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def draw(results, path):
    """Write the figure of the sizes, a line for each method: its NLL, and its ECE above the noise floor."""
    from matplotlib.figure import Figure

    rows = select(results, "size")
    sizes = sorted(rows["n_calibration"].unique())
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    both = figure.subplots(1, 2)
    for axes, score, title in zip(both, ("nll", "ece"), ("test NLL", "ECE in %"), strict=True):
        for (label, epochs), part in rows.groupby(["label", "epochs"], sort=False, dropna=False):
            name = label if np.isnan(epochs) else f"{label}, {epochs:.0f} epochs"
            part = part.sort_values("n_calibration")
            axes.plot(part["n_calibration"], part[score], lw=1.2, ms=5, label=name, **SIZED[label])
        axes.set(xlabel="calibration samples", ylabel=title, xscale="log")
        axes.set_xticks(sizes, sizes)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
    usual = rows[rows["label"] == "temperature"].sort_values("n_calibration")
    both[1].fill_between(usual["n_calibration"], 0, usual["ece_floor_95"], color="0.9", label="noise floor, 95 %")
    figure.legend(*both[1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=150)
