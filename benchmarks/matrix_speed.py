"""Matrix scaling against probmetrics' where classes are few: processor time of a fit, and test NLL, on made-up logits.

    python benchmarks/matrix_speed.py --out benchmarks/results/matrix_speed.csv

Ours chooses two penalties by cross-validation, probmetrics' has none. Ours and the peer's take turns on one thread, and
the least time of some repetitions counts. Needs the extra ``bench``.
"""

import argparse
import warnings
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from tabulate import tabulate
from threadpoolctl import threadpool_limits

from _peers import PEERS
from peers import OURS, Split, run_ours, run_peer

HEADERS = ("classes", "samples", "ms", "peer's ms", "ratio", "NLL less the peer's")
FORMATS = ("", "", ".1f", ".1f", ".2f", "+.4f")
N_TEST = 5000


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [compare(*case, options.repeats) for case in product(options.classes, options.samples)]
    print(tabulate(rows, headers=HEADERS, floatfmt=FORMATS))
    if options.out:
        pd.DataFrame(rows, columns=HEADERS).to_csv(options.out, index=False)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 4, 10], help="(default: 2, 4 and 10)")
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 5000], help="(default: 500 and 5,000)")
    parser.add_argument("--repeats", type=int, default=5, help="of each fit (default: %(default)s)")
    parser.add_argument("--out", metavar="CSV", help="file for the table")
    return parser.parse_args(arguments)


def compare(n_classes, n_samples, repeats):
    """A row of the table."""
    split = made_up(n_classes, n_samples)
    pairs = [
        (run_ours(clone(OURS["MatrixScaling"]), split), run_peer(PEERS["probmetrics matrix"](), split))
        for _ in range(repeats)
    ]
    ours, theirs = (min(same, key=lambda outcome: outcome.seconds) for same in zip(*pairs, strict=True))
    times = 1e3 * ours.seconds, 1e3 * theirs.seconds, ours.seconds / theirs.seconds
    return n_classes, n_samples, *times, ours.nll - theirs.nll


def made_up(n_classes, n_samples):
    """Logits that are twice too large, labels with a bias to the later classes."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3.0, size=(n_samples + N_TEST, n_classes)).astype(np.float32)
    labels = (logits / 2 + np.linspace(0, 1, n_classes) + rng.gumbel(size=logits.shape)).argmax(1)
    rows = np.arange(len(labels))
    return Split(logits, labels, rows[:n_samples], rows[n_samples:])


if __name__ == "__main__":
    main()
