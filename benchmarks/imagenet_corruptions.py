"""Corrupted and shifted ImageNet images: clamping against what a user could do instead, with one image of each class.

EfficientNet-Lite0 and a thousand images, five splits: 500 images to calibrate, 500 others to judge. They are shown as
they are, through a camera or pipeline that is dark, hazy or off in colour (the shifts of imagenet_sample.py), and under
three corruptions of the package corrupt-tta, one of weather, of blur and of compression each, chosen before any result.

No class is in both halves. So whatever has parameters of each class (vector and structured matrix scaling, a last layer
fitted anew) learns from the calibration half that the classes of the other half never occur: it can't be judged here.
Fine-tuning all weights, which would learn that too, is left out with them, and corruptions.py has them all. What is
compared has parameters that all classes share: temperature scaling, batch norm adapted to the new images with T, and
neural clamping.

Every result is appended to a CSV file as it is computed; what the file has already is left out, so an interrupted run
goes on. The order is such that what has been computed is balanced; clamping with two views comes last. Needs the extra
`bench`.

    python benchmarks/imagenet_corruptions.py --data DIR --out imagenet.csv
    python benchmarks/imagenet_corruptions.py --data DIR --methods temperature clamping --seeds 50 --out few.csv
    python benchmarks/imagenet_corruptions.py --data DIR --summary --out imagenet.csv --figure imagenet.png
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from _corruption_methods import make_task
from _corruption_tables import report
from _corruptions import corrupt
from _imagenet import LITE0, imagenet_names
from _imagenet_figure import TITLES, draw
from corruptions import SEEDS, Cell, compute
from imagenet_sample import Sample, shifted

# What is done to the images, and the column `severity`: the shifts come in one strength.
CHANGES = {
    "darkness": 1,
    "haze": 1,
    "cast": 1,
    "fog": 3,
    "defocus_blur": 3,
    "jpeg_compression": 3,
    "none": 0,
}
METHODS = ("temperature", "batch_norm", "clamping", "clamping_two_views")


def cells_of(options):
    """All cells in the order of computation: split by split, two views, which take longest, after all else."""
    late = [method for method in options.methods if method == "clamping_two_views"]
    early = [method for method in options.methods if method not in late]
    return [
        Cell(seed, CHANGES[change], LITE0, change, method)
        for methods in (early, late)
        for seed, change, method in product(options.seeds, options.changes, methods)
    ]


def task_of(cell, sample, n):
    """The network, and the changed images of a split."""
    calibration, test = sample.split(cell.seed, n)
    rows = np.concatenate([calibration, test[:n]])
    return make_task(sample.network, changed(sample.images[rows], rows, cell), sample.labels[rows], cell.seed)


def changed(images, rows, cell):
    """Images in [0, 1], shifted or corrupted."""
    if cell.severity <= 1:
        return shifted(images, cell.corruption)
    return corrupt(images.float() / 255, rows, cell.corruption, cell.severity)


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", required=True, help="folder of imagenet_sample, a subfolder for each class"
    )
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="splits (default: 50 to 54)")
    parser.add_argument("--n", type=int, default=500, help="images to calibrate, and to judge (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch's and numpy's (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/imagenet.csv"), help="CSV file to append to"
    )
    parser.add_argument("--summary", action="store_true", help="compute nothing: tables of the file")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="fit clamping to the first split's shifts and draw")
    return parser.parse_args(arguments)


def draw_first_split(options, results):
    """Images of the shifts before and after clamping."""
    seed, sample = options.seeds[0], Sample(options.data)
    own = results[results.seed == seed]

    def task_of_change(change):
        return task_of(Cell(seed, CHANGES[change], LITE0, change, "clamping"), sample, options.n)

    changes = [change for change in TITLES if change in set(own.corruption[own.method == "clamping"])]
    draw(own, changes, task_of_change, imagenet_names(), options.figure)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        if not options.summary:
            compute(
                cells_of(options),
                options.out,
                lambda: Sample(options.data),
                lambda cell, sample: task_of(cell, sample, options.n),
            )
        results = pd.read_csv(options.out)
        report(results)
        if options.figure:
            draw_first_split(options, results)


if __name__ == "__main__":
    main()
