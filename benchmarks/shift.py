"""The shift suite: calibrators on images that a deployed camera or pipeline has changed, and on drifting sensors.

For each network, shift, number of calibration samples and seed, calibrators are fitted to some of the shifted samples
and judged by all the others. Every result is appended to a CSV file as it is computed; what the file has already is
left out, so an interrupted run goes on, and several processes can take different parts. Tables and the figure come
from such files.

    python benchmarks/shift.py --data DIR --out shift.csv
    python benchmarks/shift.py --data DIR --out shift.csv --shifts none darkness --sizes 2500 --seeds 1
    python benchmarks/shift.py --tabular --out tabular.csv
    python benchmarks/shift.py --summary --figure docs/images/shift.png
    python benchmarks/shift.py --summary shift.csv tabular.csv
"""

import argparse
from itertools import groupby, product
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from _data import add_data_argument, load_images
from _networks import compute_logits, load_resnet
from _result_file import ResultFile
from _shift_figure import draw
from _shift_tables import read_results, report
from _shifts import SHIFTS
from _suite import COLUMNS, Run, Split, compare
from _tabular import TABLES, TABULAR_SHIFTS, train_mlp

NETWORKS = ("cifar10_resnet20", "cifar10_resnet32")
SIZES = (500, 1000, 2500, 5000)


def image_runs(options):
    """All runs on images, those on the same shifted images one after the other."""
    return [Run(*run) for run in product(options.networks, options.shifts, options.sizes, seeds(options))]


def image_splits(runs, options):
    """Yield each run with its split; a network sees a shifted test set only once."""
    images, labels = load_images("cifar10_test", options.data)
    images, labels = images[: options.n_images], labels[: options.n_images]
    for (name, shift), group in groupby(runs, key=lambda run: (run.network, run.shift)):
        network, shifted = load_resnet(name, options.data), SHIFTS[shift](images)
        logits = compute_logits(network, shifted)
        for run in group:
            yield run, Split(network, shifted, logits, labels, *split_off(labels, run.n_calibration, run.seed))


def tabular_runs(options):
    """All runs on tables, those with the same network one after the other."""
    return [
        Run(name, shift, TABLES[name][2], seed) for name, seed, shift in product(TABLES, seeds(options), TABULAR_SHIFTS)
    ]


def tabular_splits(runs, options):
    """Yield each run with its split; each seed trains its own network."""
    for (name, seed), group in groupby(runs, key=lambda run: (run.network, run.seed)):
        network, X, y = train_mlp(name, seed)
        for run in group:
            shifted = torch.from_numpy(TABULAR_SHIFTS[run.shift](X, seed))
            logits = compute_logits(network, shifted)
            yield run, Split(network, shifted, logits, y, *split_off(y, run.n_calibration, seed))


def split_off(labels, n_calibration, seed):
    """Indices of a stratified calibration set, and of all the others."""
    return train_test_split(np.arange(len(labels)), train_size=n_calibration, stratify=labels, random_state=seed)


def seeds(options):
    return range(options.seed0, options.seed0 + options.seeds)


def compute(options):
    """Compute and write the results that the file doesn't have yet."""
    results = ResultFile(options.out, COLUMNS, len(Run._fields))
    runs = tabular_runs(options) if options.tabular else image_runs(options)
    pending = [run for run in runs if run not in results]
    splits = (tabular_splits if options.tabular else image_splits)(pending, options)
    for run, split in tqdm(splits, total=len(pending), disable=None):
        results.append(compare(run, split))


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--shifts", nargs="+", choices=SHIFTS, default=list(SHIFTS), metavar="SHIFT")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="calibration images")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: %(default)s)")
    parser.add_argument("--seed0", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--tabular", action="store_true", help="drifting sensors instead of images")
    parser.add_argument("--n-images", type=int, help="use the first images only, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/shift.csv"), help="CSV file to append to")
    parser.add_argument(
        "--summary",
        nargs="*",
        type=Path,
        metavar="CSV",
        help="compute nothing: tables of these, else of --out",
    )
    parser.add_argument("--figure", type=Path, metavar="PNG", help="with --summary: draw the figure, too")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    if options.summary is None:
        compute(options)
    results = read_results(options.summary or [options.out])
    report(results)
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
