"""Corruptions that others wrote, on CIFAR-10: clamping against what a user could do instead, retraining among it.

Every corruption of the package corrupt-tta, two severities, two ResNets, five splits: 2,500 images to calibrate, or
fewer of them, 2,500 others to judge. The order is such that what has been computed is balanced. All weights are
fine-tuned where it is asked for, since it takes so long; of several ways to do so that were tried on seed 49, which
judges nothing, the tables have the one that did best there. Needs the group `bench`.

    python benchmarks/corruptions.py --data DIR --out corruptions.csv
    python benchmarks/corruptions.py --data DIR --corruptions noise_and_blur --methods fine_tuned temperature
    python benchmarks/corruptions.py --data DIR --corruptions noise_and_blur --n 500 --seeds 49 --methods temperature \
        fine_tuned fine_tuned_20 fine_tuned_40 fine_tuned_fast fine_tuned_20_fast fine_tuned_40_fast
    python benchmarks/corruptions.py --data DIR --corruptions fog frost --severities 2 --seeds 50 --out few.csv
    python benchmarks/corruptions.py --summary --out corruptions.csv --figure corruptions.png
"""

import copy
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from tabulate import tabulate

from _corruption_methods import FINE_TUNED, METHODS, make_task
from _data import load_images, split_off
from _estimates import Estimate, resampled_estimate
from _networks import load_resnet
from _ratio_figure import draw as draw_ratios
from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature, evaluate, fit_temperature, scaled
from _shifts import CORRUPTIONS, corrupt

NETWORKS = {"cifar10_resnet20": "ResNet-20", "cifar10_resnet32": "ResNet-32"}
# Draws with smaller seeds helped to choose the defaults.
SEEDS, CHOOSING_SEED = range(50, 55), 49
KEY = ("seed", "severity", "network", "corruption", "n_labels", "method")
COLUMNS = (
    *KEY,
    *("n", "nll", "brier", "accuracy", "ece", "ece_floor", "ece_floor_95", "aece", "sce"),
    *("fit_time", "fit_cpu", "predict_time", "predict_cpu", "changed"),
    *("accepted", "families", "n_views", "temperature", "forward", "backward", "excess", "excess_se"),
)
NOISE_AND_BLUR = CORRUPTIONS[:9]
CHOICES = (*CORRUPTIONS, "noise_and_blur")
# Marks that differ in shape and in lightness: the figure must do in grey, too.
MARKS = {
    "vector": {"marker": "D", "color": "0.55", "mfc": "white", "ms": 4.5, "label": "vector scaling"},
    "last_layer": {"marker": "s", "color": "0.55", "ms": 4.5, "label": "last layer anew"},
    "batch_norm": {"marker": "^", "color": "#c4661f", "mfc": "white", "ms": 5.5, "label": "batch norm adapted"},
    "input_clamping": {"marker": "v", "color": "#0b3c6f", "mfc": "white", "ms": 5.5, "label": "clamping, input alone"},
    "norm": {"marker": "P", "color": "#0b3c6f", "mfc": "white", "ms": 5.5, "label": "clamping, features alone"},
    "clamping": {"marker": "o", "color": "#0b3c6f", "mfc": "white", "ms": 6, "label": "clamping"},
    "clamping_two_views": {"marker": "o", "color": "#0b3c6f", "ms": 6, "label": "clamping, two views"},
    "fine_tuned": {"marker": "x", "color": "black", "ms": 5.5, "label": "all weights (another network)"},
}


def measure(task, method):
    """The row of a method; "excess" is its NLL less temperature scaling's, with the standard error over images."""
    before = copy.deepcopy(task.network.state_dict())
    answer = METHODS[method](task)
    after = answer.network.state_dict()
    y, temperature = task.test.labels, fit_temperature(task.calibration.logits, task.calibration.labels)
    excess = (scaled(task.test.logits, temperature) - answer.log_proba)[np.arange(len(y)), y]
    row = {"n": len(y), **evaluate(y, answer.log_proba)}
    row |= {"excess": excess.mean(), "excess_se": excess.std(ddof=1) / len(y) ** 0.5}
    row["changed"] = int(any(not torch.equal(before[name], after[name]) for name in before))
    for what, spent in (("fit", answer.fit), ("predict", answer.predict)):
        row |= {f"{what}_time": spent.wall, f"{what}_cpu": spent.cpu}
    return row | answer.facts


def against_temperature(results, whole=True):
    """The results in the order of the benchmark, each with its NLL over temperature scaling's and points gained.

    Images that a method of the same network, severity and split hasn't seen yet are left out, unless `whole` is false.
    """
    key = ["network", "severity", "n_labels", "seed", "corruption"]
    # Files from before there were fewer labels: as many images calibrated as judged.
    n_labels = results.get("n_labels", results.n)
    results = best_fine_tuned(results.reindex(columns=COLUMNS).assign(n_labels=n_labels))
    seen = (~results.method.isin(FINE_TUNED)).groupby([results[name] for name in key]).transform("sum")
    if whole:
        results = results[seen == seen.groupby([results[name] for name in key[:-1]]).transform("max")]
    joined = beside_temperature(results, key)
    for name, order in (("corruption", CORRUPTIONS), ("method", METHODS)):
        found = joined[name].unique()
        joined[name] = pd.Categorical(joined[name], sorted(found, key=[*order, *found].index))
    return joined


def best_fine_tuned(results):
    """Of each number of labels the way of fine-tuning that was best on the seed to choose by, without that seed."""
    chosen = results[results.seed == CHOOSING_SEED]
    nll = chosen[chosen.method.isin(FINE_TUNED)].groupby(["n_labels", "method"]).nll.mean()
    results = results[results.seed != CHOOSING_SEED]
    for n_labels, means in nll.groupby("n_labels"):
        tuned = (results.n_labels == n_labels) & results.method.isin(FINE_TUNED)
        results = results[~tuned | (results.method == means.idxmin()[1])]
        results = results.assign(method=results.method.mask(tuned, "fine_tuned"))
    return results


def settings_of(results):
    """Title and results of each network, severity and number of labels."""
    most = results.n_labels.max()
    for (network, severity, n_labels), part in results.groupby(["network", "severity", "n_labels"]):
        few = f", {n_labels:,} labels" if n_labels < most else ""
        yield f"{NETWORKS.get(network, network)}, severity {severity}{few}", part


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
                "NLL ratio": f"{mean_over_corruptions(own, 'ratio'):.3f}",
                "points": f"{mean_over_corruptions(own, 'points'):+.1f}",
                "ECE % (floor)": f"{own.ece.mean():.2f} ({own.ece_floor.mean():.2f})",
                "fit": f"{own.fit_cpu.median():.1f}",
                "predict": f"{own.predict_cpu.median():.1f}",
                "weights": "changed" if own.changed.any() else "as they were",
                "worse than temperature": f"{(own.ratio > 1).sum()} of {len(own)}",
                "by two errors": int((own.excess > 2 * own.excess_se).sum()),
                "refused": f"{(own.accepted == 0).sum()} of {len(own)}",
            }
        )
    return rows


def report(results, whole=True):
    """Print the tables of every network and severity."""
    for title, part in settings_of(against_temperature(results, whole)):
        for what, own in {"": part, ", noise and blur": part[part.corruption.isin(NOISE_AND_BLUR)]}.items():
            print(f"\n{title}{what}: means over corruptions and splits; times in plain passes (processor)")
            print(tabulate(means_rows(own), headers="keys", disable_numparse=True))
        show(part, "corruption", ["ratio", "points"], across="method")


def estimates(part):
    """The NLL ratio of one method on each corruption, with its standard error over splits."""
    by_corruption = part.groupby("corruption", observed=True).ratio
    return pd.DataFrame({name: resampled_estimate(ratio) for name, ratio in by_corruption}, Estimate._fields).T


def draw(results, path):
    """Draw a panel for each network and severity, those corruptions first on which clamping helps most.

    Of a network and severity the methods that have as many splits as any.
    """
    results = against_temperature(results)
    splits = results.groupby(["network", "severity", "n_labels", "method"], observed=True).seed.transform("nunique")
    results = results[splits == splits.max()]
    panels = {
        title: {method: estimates(own) for method, own in part.groupby("method", observed=True) if method in MARKS}
        for title, part in settings_of(results)
    }
    order = results[results.method == "clamping"].groupby("corruption", observed=True).ratio.mean().sort_values()
    size = (2.2 + 2.6 * len(panels), 1.6 + 0.28 * len(order))
    draw_ratios(path, panels, list(order.index), MARKS, size, "test NLL, temperature scaling = 1 (± standard error)")


@benchmark
def main(
    data=None,
    corruptions: CHOICES = CORRUPTIONS,
    severities: range(1, 6) = (2, 4),
    networks: NETWORKS = tuple(NETWORKS),
    methods: METHODS = tuple(method for method in METHODS if method not in FINE_TUNED),
    seeds=SEEDS,
    n=2500,
    n_test=2500,
    out=RESULTS / "corruptions.csv",
    summary=False,
    figure: Path = None,
):
    @lru_cache(maxsize=1)
    def task(seed, severity, network, corruption, n):
        images, labels = load_images("cifar10_test", data)
        sizes = {"train_size": max(n, n_test), "test_size": n_test, "stratify": labels, "random_state": seed}
        calibration, test = train_test_split(np.arange(len(labels)), **sizes)
        # The same judges, whatever n.
        few = split_off(labels[calibration], n, seed)[0] if n < len(calibration) else slice(None)
        rows = np.concatenate([calibration[few], test])
        corrupted = corrupt(images[rows], rows, corruption, severity)
        return make_task(load_resnet(network, data), corrupted, labels[rows], seed, n)

    corruptions = NOISE_AND_BLUR if "noise_and_blur" in corruptions else corruptions
    cells = [] if summary else product(seeds, severities, networks, corruptions, [n], methods)
    results = record(out, COLUMNS, cells, lambda *cell: measure(task(*cell[:-1]), cell[-1]))
    report(results)
    if figure:
        draw(results, figure)
