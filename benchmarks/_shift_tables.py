"""Tables of the shift suite: neural clamping against temperature scaling, paired, from the files of results."""

import numpy as np
import pandas as pd
from tabulate import tabulate

from _estimates import paired_estimate, ratio_estimate
from _shifts import SHIFTS
from _suite import Run
from _tabular import TABULAR_SHIFTS

MAIN_SIZE = 2500

# What "auto" has to reach on ResNet-20 with 2,500 images: NLL as a ratio to temperature scaling's, points of accuracy.
RESNET20_FLOORS = {
    "brightness": (0.93, 1.0),
    "darkness": (0.78, 3.0),
    "contrast": (0.68, 4.0),
    "color_cast": (0.64, 4.5),
    "normalization": (0.57, 7.0),
    "bgr": (0.66, 6.5),
    "stain": (0.95, 0.3),
}
# And everywhere else.
HARMLESS = (1.0, -0.05)


def read_results(paths):
    """The rows of some files, each run once, in the order of the suite.

    Returns
    -------
    pandas.DataFrame
    """
    results = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    return in_order(results.drop_duplicates([*Run._fields, "method"]))


def in_order(results):
    """Results in the order of the suite."""
    results = results.fillna({"families": ""})
    order = list(dict.fromkeys([*SHIFTS, *TABULAR_SHIFTS]))
    results["shift"] = pd.Categorical(results["shift"], [shift for shift in order if shift in set(results["shift"])])
    return results.sort_values([*Run._fields], kind="stable")


def pair(results):
    """One row per run: the scores of each method, and what "auto" did, side by side."""
    key = [*Run._fields, "n_test"]
    scores = results.pivot(index=key, columns="method", values=["nll", "accuracy", "ece"])
    scores.columns = [f"{score} {method}" for score, method in scores.columns]
    facts = results[results["method"] == "auto"].set_index(key)
    names = ["accepted", "forward", "backward", "relative_time", "relative_cpu"]
    return scores.join(facts[names].astype(float)).join(facts["families"]).reset_index()


def against_temperature(runs, method, score, estimate=paired_estimate):
    """An estimate of a method's score against temperature scaling's over runs that differ in their seed."""
    n_test, n_calibration = runs["n_test"].iloc[0], runs["n_calibration"].iloc[0]
    fraction = n_test / (n_test + n_calibration)
    return estimate(runs[f"{score} {method}"], runs[f"{score} temperature"], fraction)


def main_runs(runs):
    """Those of a network's runs with the size that tables and figures show: 2,500, or the nearest."""
    sizes = runs["n_calibration"].unique()
    return runs[runs["n_calibration"] == min(sizes, key=lambda size: abs(size - MAIN_SIZE))]


def by_shift(runs):
    """Yield each shift's name with its runs, in the order of the suite."""
    return runs.groupby("shift", observed=True)


def shift_table(runs):
    """One line per shift, from the runs of one network and size."""
    rows = []
    for shift, part in by_shift(runs):
        floor_ratio, floor_points = floors(part["network"].iloc[0], shift)
        rows.append(
            {
                "shift": shift,
                "runs": len(part),
                "TS acc": f"{part['accuracy temperature'].mean():.1f}",
                "TS NLL": f"{part['nll temperature'].mean():.3f}",
                "vector": f"{against_temperature(part, 'vector', 'nll', ratio_estimate).mean:.3f}",
                "NLL ratio": f"{against_temperature(part, 'auto', 'nll', ratio_estimate):.3f}",
                "floor": floor_ratio,
                "NLL diff": f"{against_temperature(part, 'auto', 'nll'):+.4f}",
                "acc points": f"{against_temperature(part, 'auto', 'accuracy'):+.2f}",
                "floor ": floor_points,
                "ECE TS → auto": f"{part['ece temperature'].mean():.2f} → {part['ece auto'].mean():.2f}",
                "accepted %": f"{100 * part['accepted'].mean():.0f}",
                "families": ", ".join(part["families"][part["families"] != ""].value_counts().index[:2]),
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def floors(network, shift):
    """NLL ratio and points of accuracy that "auto" must reach."""
    return RESNET20_FLOORS.get(shift, HARMLESS) if network == "cifar10_resnet20" else HARMLESS


def size_table(runs):
    """NLL ratio for each shift (rows) and size (columns), and the geometric mean over all that shift."""
    ratios = pd.DataFrame(
        {
            size: {shift: against_temperature(p, "auto", "nll", ratio_estimate).mean for shift, p in by_shift(part)}
            for size, part in runs.groupby("n_calibration")
        }
    )
    shifted = ratios.drop(index="none", errors="ignore")
    if len(shifted):
        ratios.loc["geometric mean"] = np.exp(np.log(shifted).mean())
    return tabulate(ratios, headers=["NLL ratio at n =", *ratios.columns], floatfmt=".3f")


def no_shift_table(runs):
    """One line per network and size where nothing shifted, and one for all runs: harm done, perturbations kept."""
    rows = []
    plain = runs[runs["shift"] == "none"]
    for (network, size), part in plain.groupby(["network", "n_calibration"]):
        rows.append(
            {
                "network": network,
                "n": size,
                "NLL diff": f"{against_temperature(part, 'auto', 'nll'):+.5f}",
                "acc points": f"{against_temperature(part, 'auto', 'accuracy'):+.3f}",
                "kept": f"{part['accepted'].sum():.0f} of {len(part)}",
            }
        )
    mean = (plain["nll auto"] - plain["nll temperature"]).mean()
    points = (plain["accuracy auto"] - plain["accuracy temperature"]).mean()
    kept = f"{plain['accepted'].sum():.0f} of {len(plain)}"
    rows.append({"network": "all", "n": "", "NLL diff": f"{mean:+.5f}", "acc points": f"{points:+.3f}", "kept": kept})
    return tabulate(rows, headers="keys", disable_numparse=True)


def cost_table(runs):
    """What fits cost: means of passes, medians of times, without shift and with one."""
    runs = runs.assign(shifted=np.where(runs["shift"] == "none", "no", "yes"))
    groups = runs.groupby(["network", "n_calibration", "shifted"])
    costs = groups[["forward", "backward"]].mean().join(groups[["relative_time", "relative_cpu"]].median())
    return tabulate(costs.reset_index(), headers="keys", showindex=False, floatfmt=".1f", intfmt="d")


def report(results):
    """Print every table."""
    runs = pair(results)
    for network, part in runs.groupby("network"):
        main = main_runs(part)
        print(f"\n{network}, {main['n_calibration'].iloc[0]} calibration samples: 'auto' against temperature scaling")
        print(shift_table(main))
        if part["n_calibration"].nunique() > 1:
            print(f"\n{network}, NLL of 'auto' as a ratio to temperature scaling's")
            print(size_table(part))
    if (runs["shift"] == "none").any():
        print("\nno shift")
        print(no_shift_table(runs))
    print("\ncost of a fit: passes over the network (means), time in plain float32 passes (medians; wall, processor)")
    print(cost_table(runs))
