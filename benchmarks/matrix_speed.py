"""Matrix scaling against probmetrics' where classes are few: processor time of a fit, and test NLL, on made-up logits.

    python benchmarks/matrix_speed.py --out benchmarks/results/matrix_speed.csv

Ours chooses two penalties by cross-validation, probmetrics' has none. Ours and the peer's take turns on one thread, and
the least time of some repetitions counts. Needs the group ``bench``.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from _runner import benchmark
from peers import Split, run_in_turns

HEADERS = ("classes", "samples", "ms", "peer's ms", "ratio", "NLL less the peer's")
FORMATS = ("", "", ".1f", ".1f", ".2f", "+.4f")
N_TEST = 5000


def compare(n_classes, n_samples, repeats):
    """A row of the table, from logits that are twice too large and labels with a bias to the later classes."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3.0, size=(n_samples + N_TEST, n_classes)).astype(np.float32)
    labels = (logits / 2 + np.linspace(0, 1, n_classes) + rng.gumbel(size=logits.shape)).argmax(1)
    split = Split(logits, labels, *np.split(np.arange(len(labels)), [n_samples]))
    ours, theirs = run_in_turns(["MatrixScaling", "probmetrics matrix"], split, repeats).values()
    times = 1e3 * ours.seconds, 1e3 * theirs.seconds, ours.seconds / theirs.seconds
    return n_classes, n_samples, *times, ours.nll - theirs.nll


@benchmark
def main(classes=(2, 4, 10), samples=(500, 5000), repeats=5, out: Path = None):
    frame = pd.DataFrame([compare(*case, repeats) for case in product(classes, samples)], columns=HEADERS)
    print(tabulate(frame, headers="keys", showindex=False, floatfmt=FORMATS))
    if out:
        frame.to_csv(out, index=False)
