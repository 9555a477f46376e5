"""Class frequencies that change after calibration: what correcting them wins, and what it leaves alone.

A calibrator is fitted to labelled images, adapts to unlabelled ones, and is judged by others, against temperature
scaling. "classes" draws class frequencies from a Dirichlet distribution (alpha 0.3), and images without replacement:
the class that most are wanted of bounds their number. "none" draws images as they come. All else changes the images
and keeps the frequencies, but for "classes, darker" and the like, which change images a little beside the frequencies.
Every draw is appended to a CSV file as it is computed; what the file has is left out.

    python benchmarks/prior_shift.py --data DIR
    python benchmarks/prior_shift.py --data DIR --network cifar100_resnet20 --sizes 2000 --out cifar100.csv
    python benchmarks/prior_shift.py --data DIR --labelled 200 --sizes 500 --changes "classes, darker" --out mixed.csv
    python benchmarks/prior_shift.py --summary
"""

import argparse
import warnings
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _data import add_data_argument, load_images
from _networks import RESNETS, compute_logits, load_resnet
from _result_file import ResultFile
from _shifts import SHIFTS
from skclamp import PriorShiftCorrection
from skclamp.exceptions import CalibrationWarning
from skclamp.metrics import negative_log_likelihood

N_JUDGING = 500
ALPHA = 0.3
README_SHIFTS = ("brightness", "darkness", "contrast", "color_cast", "normalization", "bgr", "stain")
DRAWS = {"classes": 30, "none": 30, **dict.fromkeys((*README_SHIFTS, "noise"), 20)}
N_MIXED = 40
# Of temperature scaling's NLL.
HARMFUL = 1.01
# Draws with smaller seeds helped to choose the tests.
SEED0 = 1000


class Cell(NamedTuple):
    """One draw: which network, how many labelled and unlabelled images, what changed, which seed."""

    network: str
    n_labelled: int
    n_unlabelled: int
    change: str
    seed: int


class Draw(NamedTuple):
    """Indices of the images that are labelled, unlabelled, and that judge."""

    labelled: np.ndarray
    unlabelled: np.ndarray
    judging: np.ndarray


COLUMNS = (
    *Cell._fields,
    "n",
    "kept",
    "nll",
    "ts_nll",
    "accuracy",
    "ts_accuracy",
    "p_value",
    "fit_p_value",
    "inputs_changed",
)


def noise(images, *, sd=0.1, seed=0):
    """Gaussian noise anew in every pixel."""
    generator = torch.Generator().manual_seed(seed)
    return (images + sd * torch.randn(images.shape, generator=generator)).clamp_(0, 1)


CHANGES = {
    "classes": SHIFTS["none"],
    "none": SHIFTS["none"],
    "noise": noise,
    **{name: SHIFTS[name] for name in README_SHIFTS},
    "classes, darker": partial(SHIFTS["darkness"], factor=0.8),
    "classes, brighter": partial(SHIFTS["brightness"], amount=0.08),
    "classes, noisier": partial(noise, sd=0.03),
}


def cells_of(options):
    """All cells, those of the same images one after the other."""
    return [
        Cell(options.network, options.labelled, n, change, seed)
        for change, n in product(options.changes, options.sizes)
        for seed in range(options.seed0, options.seed0 + (options.draws or DRAWS.get(change, N_MIXED)))
    ]


def compute(options):
    """Compute and write what the file doesn't have yet."""
    results = ResultFile(options.out, COLUMNS, len(Cell._fields))
    pending = [cell for cell in cells_of(options) if cell not in results]
    if not pending:
        return
    images, labels = load_images(f"{options.network.partition('_')[0]}_test", options.data)
    images, labels = images[: options.n_images], labels[: options.n_images]
    network = load_resnet(options.network, options.data)
    clean = compute_logits(network, images).numpy()
    with tqdm(total=len(pending), disable=None) as progress:
        for change, group in groupby(pending, key=lambda cell: cell.change):
            same = change in ("classes", "none")
            logits = clean if same else compute_logits(network, CHANGES[change](images)).numpy()
            for cell in group:
                results.append([run(cell, clean, logits, labels)])
                progress.update()


def draw(cell, labels):
    """Draw images without replacement; those that aren't labelled have new class frequencies if these change."""
    rng = np.random.default_rng(cell.seed)
    order = rng.permutation(len(labels))
    labelled, rest = np.split(order, [cell.n_labelled])
    n_chosen = cell.n_unlabelled + N_JUDGING
    if cell.change.startswith("classes"):
        rest = with_frequencies(labels, rest, n_chosen, rng)
    n_unlabelled = len(rest) * cell.n_unlabelled // n_chosen if len(rest) < n_chosen else cell.n_unlabelled
    return Draw(labelled, rest[:n_unlabelled], rest[n_unlabelled : n_unlabelled + N_JUDGING])


def with_frequencies(labels, rows, n_wanted, rng):
    """Of shuffled rows so many that classes have frequencies drawn from a Dirichlet distribution."""
    n_classes = labels.max() + 1
    frequencies = rng.dirichlet(np.full(n_classes, ALPHA))
    there = np.bincount(labels[rows], minlength=n_classes)
    n = min(n_wanted, int((there / np.maximum(frequencies, 1e-12)).min()))
    counts = np.minimum(rng.multinomial(n, frequencies), there)
    return rng.permutation(np.concatenate([rows[labels[rows] == k][:count] for k, count in enumerate(counts)]))


def run(cell, clean, logits, labels):
    """The result of one draw."""
    rows = draw(cell, labels)
    X, y = logits[rows.judging], labels[rows.judging]
    calibrator = PriorShiftCorrection(classes=range(logits.shape[1])).fit(clean[rows.labelled], labels[rows.labelled])
    before = scores(calibrator, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        verdict = calibrator.adapt(logits[rows.unlabelled]).verdict_
    after = scores(calibrator, X, y)
    return {
        **cell._asdict(),
        "n": verdict.n_samples,
        "kept": int(verdict.accepted),
        **after,
        **{f"ts_{name}": value for name, value in before.items()},
        "p_value": f"{verdict.p_value:.3g}",
        "fit_p_value": f"{verdict.fit_p_value:.3g}",
        "inputs_changed": int(verdict.inputs_changed),
    }


def scores(calibrator, X, y):
    proba = calibrator.predict_proba(X)
    nll = negative_log_likelihood(y, proba, labels=calibrator.classes_)
    return {"nll": round(nll, 6), "accuracy": round(float((proba.argmax(1) == y).mean()), 5)}


def report(path):
    """Print a table: a row for each network, change and number of images."""
    results = pd.read_csv(path)
    results["ratio"] = results["nll"] / results["ts_nll"]
    groups = results.groupby([*Cell._fields[:-1]], sort=False)
    table = groups.agg(
        draws=("kept", "size"),
        unlabelled=("n", "mean"),
        kept=("kept", "sum"),
        ratio=("ratio", "mean"),
        harmful=("ratio", lambda own: (own > HARMFUL).sum()),
        worst=("ratio", "max"),
        accuracy_before=("ts_accuracy", "mean"),
        accuracy_after=("accuracy", "mean"),
    )
    print(tabulate(table.reset_index().round(4), headers="keys", tablefmt="github", showindex=False))


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--network", choices=RESNETS, default="cifar10_resnet20")
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(DRAWS), metavar="CHANGE")
    parser.add_argument("--labelled", type=int, default=2500, help="labelled images (default: %(default)s)")
    parser.add_argument("--sizes", nargs="+", type=int, default=(500, 200, 2000), help="unlabelled images")
    parser.add_argument("--seed0", type=int, default=SEED0, help="the first seed (default: %(default)s)")
    parser.add_argument("--draws", type=int, help="of each (default: 30 or, where images change, 20; 40 where both do)")
    parser.add_argument("--n-images", type=int, help="use the first images only, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/prior_shift.csv"), help="CSV file")
    parser.add_argument("--summary", action="store_true", help="compute nothing: the table of the file")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    if not options.summary:
        torch.set_num_threads(options.threads)
        with threadpool_limits(options.threads):
            compute(options)
    report(options.out)


if __name__ == "__main__":
    main()
