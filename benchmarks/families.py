"""Whether "auto" sees what a family proves by its name: its NLL beside that of each family, on shifted images.

For each network, shift, number of calibration images and split, "auto" and the families are fitted to the same images
and judged by the others. Every fit is appended to a CSV file as it is done; what the file has already is left out.

    python benchmarks/families.py --data DIR
    python benchmarks/families.py --data DIR --networks cifar10_resnet20 --shifts none --families full --seeds 10
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tabulate import tabulate
from tqdm import tqdm

from _data import add_data_argument
from _estimates import paired_estimate
from _relative_time import measure_relative
from _result_file import ResultFile
from _shift_tables import RESNET20_FLOORS
from _shifts import SHIFTS
from _suite import Run, evaluate, facts, predict, temperature
from shift import NETWORKS, image_splits, seeds
from skclamp import NeuralClampingCalibrator

FAMILIES = ("auto", "affine", "color", "filter", "grid")
COLUMNS = (
    *("family", *Run._fields, "n_test", "nll", "ts_nll", "accuracy", "ts_accuracy"),
    *("accepted", "families", "relative_time"),
)


def compute(options):
    """Compute and write the fits that the file doesn't have yet."""
    results = ResultFile(options.out, COLUMNS, 1 + len(Run._fields))
    runs = [Run(*run) for run in product(options.networks, options.shifts, options.sizes, seeds(options))]
    pending = {run: [family for family in options.families if (family, *run) not in results] for run in runs}
    pending = {run: families for run, families in pending.items() if families}
    for run, split in tqdm(image_splits(list(pending), options), total=len(pending), disable=None):
        plain = evaluate(split, temperature(split)[0])
        for family in pending[run]:
            results.append([fit(family, run, split, plain)])


def fit(family, run, split, plain):
    """The row of one fit."""
    clamping = NeuralClampingCalibrator(
        split.network, perturbation=family, random_state=run.seed, classes=np.arange(split.logits.shape[1])
    )
    images, labels = split.inputs[split.calibration], split.labels[split.calibration]
    _, relative = measure_relative(lambda: clamping.fit(images, labels), split.network, images)
    scores, found = evaluate(split, predict(clamping, split)), facts(clamping)
    return {
        **{"family": family, **run._asdict(), "n_test": len(split.test)},
        **{"nll": scores["nll"], "ts_nll": plain["nll"]},
        **{"accuracy": scores["accuracy"], "ts_accuracy": plain["accuracy"]},
        **{name: found[name] for name in ("accepted", "families")},
        "relative_time": relative.wall,
    }


def family_table(results):
    """One line per network, size, shift and family: NLL minus temperature scaling's and over it, and what it cost."""
    rows = []
    for (network, n, shift, family), part in results.groupby(
        ["network", "n_calibration", "shift", "family"], sort=False
    ):
        fraction = part.n_test.iloc[0] / (part.n_test.iloc[0] + n)
        rows.append(
            {
                "network": network,
                "n": n,
                "shift": shift,
                "family": family,
                "kept": f"{part.accepted.sum()} of {len(part)}",
                "NLL ratio": f"{(part.nll / part.ts_nll).mean():.3f}",
                "NLL diff": f"{paired_estimate(part.nll, part.ts_nll, fraction):+.4f}",
                "acc points": f"{paired_estimate(part.accuracy, part.ts_accuracy, fraction):+.1f}",
                "relative time": f"{part.relative_time.median():.1f}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def table(results):
    """One line per network, size and shift: NLL over temperature scaling's of "auto" and of the best family by name.

    The best is the one with the least mean over the splits, so that chance has a part in how good it looks.
    """
    results = results.assign(ratio=results.nll / results.ts_nll)
    results = results.groupby(["network", "n_calibration", "shift"]).filter(
        lambda part: {"auto", *FAMILIES[1:]} <= set(part.family)
    )
    rows = []
    for (network, n, shift), part in results.groupby(["network", "n_calibration", "shift"], sort=False):
        ratios = part.pivot(index="seed", columns="family", values="ratio")
        best = ratios.drop(columns="auto").mean().idxmin()
        fraction = part.n_test.iloc[0] / (part.n_test.iloc[0] + n)
        difference = paired_estimate(ratios["auto"], ratios[best], fraction)
        named = part[part.family == best]
        auto = part[part.family == "auto"]
        rows.append(
            {
                "network": network,
                "n": n,
                "shift": shift,
                "splits": len(ratios),
                "auto": f"{ratios['auto'].mean():.3f}",
                "kept": f"{auto.accepted.sum()}",
                "families": ", ".join(sorted({str(name) for name in auto.families if isinstance(name, str) and name})),
                "best": f"{best} {ratios[best].mean():.3f}",
                "best kept": f"{named.accepted.sum()}",
                "auto minus best": f"{difference:+.3f}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--shifts", nargs="+", choices=SHIFTS, default=list(RESNET20_FLOORS), metavar="SHIFT")
    parser.add_argument("--families", nargs="+", default=FAMILIES, help="default: %(default)s")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 2500], help="calibration images")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits (default: %(default)s)")
    parser.add_argument("--seed0", type=int, default=50, help="the first seed (default: %(default)s)")
    parser.add_argument("--n-images", type=int, help="use the first images only, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/families.csv"), help="CSV file to append to"
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    compute(options)
    results = pd.read_csv(options.out)
    print(family_table(results))
    print(table(results))


if __name__ == "__main__":
    main()
