"""Speed of neural clamping in multiples of one plain float32 forward pass of the network over the same images.

Fits of one family and of "auto", the guard included, without and with a shift, beside a plain loop with the published
settings, of which a few epochs are measured and the rest extrapolated; NeuralClampingCalibratorCV beside a
GridSearchCV over the same grid and folds; and what the optimisers reach for their passes. All in one process; factors
are of processor times.

    python benchmarks/clamping_speed.py --data DIR
    python benchmarks/clamping_speed.py --data DIR --size 1000 --parts fit --shifts darkness
"""

import argparse
import csv
from pathlib import Path

import torch
from sklearn.model_selection import train_test_split
from tabulate import tabulate

from _data import add_data_argument, load_images
from _networks import RESNETS, load_resnet
from _shifts import SHIFTS
from _speed_fit import fit_rows
from _speed_optimizers import optimizer_rows
from _speed_search import search_rows

PARTS = {
    "fit": ("shift", "what", "precision", "relative_time", "relative_cpu", "forward", "backward", "kept", "factor"),
    "optimizers": ("shift", "what", "precision", "relative_time", "relative_cpu", "forward", "backward", "nll_ratio"),
    "search": (
        *("shift", "what", "relative_time", "relative_cpu", "factor"),
        *("choice", "lead", "same_choice", "score_difference"),
    ),
}
# Images that the optimisers are judged by.
N_TEST = 2000
COLUMNS = ("part", "n", *dict.fromkeys(name for columns in PARTS.values() for name in columns))


def compute(options):
    """Yield a row for each thing measured."""
    network = load_resnet(options.network, options.data)
    if "fit" in options.parts:
        images, labels = calibration_images(options.size, options)
        shifted = {shift: SHIFTS[shift](images) for shift in options.shifts}
        yield from fit_rows(network, shifted, labels, epochs=options.epochs)
    if "search" in options.parts:
        images, labels = calibration_images(options.search_size, options)
        for shift in options.search_shifts:
            yield from search_rows(network, SHIFTS[shift](images), labels, shift)
    if "optimizers" in options.parts:
        images, labels = calibration_images(options.search_size + N_TEST, options)
        n = options.search_size
        for shift in options.search_shifts:
            shifted = SHIFTS[shift](images)
            yield from optimizer_rows(network, (shifted[:n], labels[:n]), (shifted[n:], labels[n:]), shift)


def calibration_images(n, options):
    """A stratified part of the test images."""
    images, labels = load_images("cifar10_test", options.data)
    rows, _ = train_test_split(range(len(labels)), train_size=n, stratify=labels, random_state=0)
    return images[rows], labels[rows]


def report(rows, options):
    for part, columns in PARTS.items():
        chosen = [row for row in rows if row["part"] == part]
        if chosen:
            print(f"\n{part}: {chosen[0]['n']} images, {options.network}, {options.threads} thread(s)")
            print(tabulate([[row[name] for name in columns] for row in chosen], headers=columns, floatfmt=".4g"))


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--network", choices=RESNETS, default="cifar10_resnet20")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--size", type=int, default=5000, help="images of a fit (default: %(default)s)")
    parser.add_argument("--shifts", nargs="+", choices=SHIFTS, default=["none", "darkness"], metavar="SHIFT")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of the plain loop to measure")
    parser.add_argument(
        "--search-size", type=int, default=1200, help="images of a search, and for optimizers (default: %(default)s)"
    )
    parser.add_argument("--search-shifts", nargs="+", choices=SHIFTS, default=["darkness"], metavar="SHIFT")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/clamping_speed.csv"), help="CSV file")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    sizes = {"fit": options.size, "search": options.search_size, "optimizers": options.search_size}
    rows = []
    for row in compute(options):
        rows.append({**row, "n": sizes[row["part"]]})
        write(options.out, rows)
    report(rows, options)


if __name__ == "__main__":
    main()
