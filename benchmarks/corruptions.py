"""Corruptions that others wrote, on CIFAR-10: clamping against what a user could do instead, retraining among it.

Every corruption of the package corrupt-tta, two severities, two ResNets, five splits: 2,500 images to calibrate, 2,500
others to judge. All weights are fine-tuned for one network, severity and split alone, since it takes so long. Every
method's result is appended to a CSV file as it is computed; what the file has already is left out, so an interrupted
run goes on. The order is such that what has been computed is balanced. Needs the extra `bench`.

    python benchmarks/corruptions.py --data DIR --out corruptions.csv
    python benchmarks/corruptions.py --data DIR --corruptions fog frost --severities 2 --seeds 50 --out few.csv
    python benchmarks/corruptions.py --summary --out corruptions.csv --figure corruptions.png
"""

import argparse
import copy
import warnings
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _corruption_methods import METHODS, make_task
from _corruption_tables import draw, report
from _corruptions import CORRUPTIONS, corrupt
from _data import add_data_argument, load_images
from _networks import load_resnet
from _result_file import ResultFile
from quality import evaluate
from skclamp.exceptions import CalibrationWarning

NETWORKS = ("cifar10_resnet20", "cifar10_resnet32")
# Draws with smaller seeds helped to choose the defaults.
SEEDS = range(50, 55)


class Cell(NamedTuple):
    """Who does what on which images."""

    seed: int
    severity: int
    network: str
    corruption: str
    method: str


COLUMNS = (
    *Cell._fields,
    *("n", "nll", "brier", "accuracy", "ece", "ece_floor", "ece_floor_95", "aece", "sce"),
    *("fit_time", "fit_cpu", "predict_time", "predict_cpu", "changed"),
    *("accepted", "families", "n_views", "temperature", "forward", "backward"),
)
FINE_TUNED = {"seed": 50, "severity": 2, "network": "cifar10_resnet20"}


def cells_of(options):
    """All cells in the order of computation, those on the same images one after the other."""
    axes = (options.seeds, options.severities, options.networks, options.corruptions, options.methods)
    cells = [Cell(*values) for values in product(*axes)]
    return [cell for cell in cells if cell.method != "fine_tuned" or FINE_TUNED.items() <= cell._asdict().items()]


def compute(cells, path, load_data, task_of):
    """Compute and write what the file doesn't have yet; `task_of` makes a task of a cell and the loaded data."""
    results = ResultFile(path, COLUMNS, len(Cell._fields))
    pending = [cell for cell in cells if cell not in results]
    data = load_data() if pending else None
    with tqdm(total=len(pending), disable=None) as progress:
        for _, group in groupby(pending, key=lambda cell: cell[:-1]):
            task = None
            for cell in group:
                progress.set_description(" ".join(map(str, cell)))
                task = task or task_of(cell, data)
                results.append([run(cell, task)])
                progress.update()


def compute_cifar(options):
    """What `options` ask for."""
    compute(
        cells_of(options),
        options.out,
        lambda: load_images("cifar10_test", options.data),
        lambda cell, data: task_of(cell, *data, options),
    )


def task_of(cell, images, labels, options):
    """A network and the corrupted images of a stratified draw."""
    sizes = {"train_size": options.n, "test_size": options.n}
    rows = np.concatenate(train_test_split(np.arange(len(labels)), **sizes, stratify=labels, random_state=cell.seed))
    corrupted = corrupt(images[rows], rows, cell.corruption, cell.severity)
    return make_task(load_resnet(cell.network, options.data), corrupted, labels[rows], cell.seed)


def run(cell, task):
    """The row of a cell."""
    before = copy.deepcopy(task.network.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        answer = METHODS[cell.method](task)
    after = answer.network.state_dict()
    row = {**cell._asdict(), "n": len(task.test.labels), **evaluate(task.test.labels, answer.log_proba)}
    row["changed"] = int(any(not torch.equal(before[name], after[name]) for name in before))
    for what, spent in (("fit", answer.fit), ("predict", answer.predict)):
        row |= {f"{what}_time": spent.wall, f"{what}_cpu": spent.cpu}
    return row | answer.facts


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--corruptions", nargs="+", choices=CORRUPTIONS, default=CORRUPTIONS, metavar="NAME")
    parser.add_argument("--severities", nargs="+", type=int, choices=range(1, 6), default=(2, 4))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="splits (default: 50 to 54)")
    parser.add_argument("--n", type=int, default=2500, help="images to calibrate, and to judge (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch's and numpy's (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/corruptions.csv"), help="CSV file to append to"
    )
    parser.add_argument("--summary", action="store_true", help="compute nothing: tables of the file")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the figure, too")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    if not options.summary:
        with threadpool_limits(options.threads):
            compute_cifar(options)
    results = pd.read_csv(options.out)
    report(results)
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
