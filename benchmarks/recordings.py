"""Standard errors of a mean loss over a recording, whose frames resemble their neighbours: by rows, and by stretches.

Probabilities of frames and the chances of their labels move steadily: neighbours correlate by `phi`. Every draw is a
recording of its own, so the spread of its Brier scores is known. `found` tells whether the order was taken for a
recording's, and of the same frames, shuffled, whether it was as well.

    python benchmarks/recordings.py
    python benchmarks/recordings.py --lengths 2000 --draws 500 --out long.csv
"""

import warnings
from itertools import product

import numpy as np
from scipy.signal import lfilter
from scipy.special import softmax
from tabulate import tabulate

from _runner import RESULTS, benchmark, record
from skclamp.metrics import bootstrap_interval, brier_score

N_CLASSES, TEMPERATURE = 5, 1.5
COLUMNS = ("n", "phi", "draw", "score", "by_rows", "by_stretches", "found", "found_shuffled")


def steady(rng, n, phi):
    """Columns of unit variance, each an autoregression."""
    noise = np.sqrt(1 - phi**2) * rng.normal(size=(n + 500, N_CLASSES))
    return lfilter([1], [1, -phi], noise, axis=0)[500:]


def interval(y, proba, groups=None):
    """The Brier score's, and whether the order looks like a recording."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = bootstrap_interval(brier_score, y, proba, n_resamples=200, groups=groups, random_state=0)
    return found, int(any("looks like a recording" in str(each.message) for each in caught))


def measure(n, phi, draw):
    """One recording."""
    rng = np.random.default_rng(draw)
    logits = 2 * steady(rng, n, phi)
    y, proba = (logits / TEMPERATURE + steady(rng, n, phi)).argmax(1), softmax(logits / TEMPERATURE, 1)
    by_stretches, found = interval(y, proba)
    by_rows, _ = interval(y, proba, np.arange(n))
    rows = rng.permutation(n)
    return {
        "score": by_rows.value,
        "by_rows": by_rows.standard_error,
        "by_stretches": by_stretches.standard_error,
        "found": found,
        "found_shuffled": interval(y[rows], proba[rows])[1],
    }


@benchmark
def main(lengths=(100, 300, 1000), phis=(0.5, 0.9, 0.95), draws=200, out=RESULTS / "recordings.csv"):
    results = record(out, COLUMNS, product(lengths, phis, range(draws)), measure)
    rows = []
    for (n, phi), part in results.groupby(["n", "phi"], sort=False):
        row = {"n": n, "phi": phi, "runs": len(part), **part[["found", "found_shuffled"]].mean()}
        for name in ("by_rows", "by_stretches"):
            row[f"error {name} / true"] = np.sqrt((part[name] ** 2).mean()) / part.score.std()
        rows.append(row)
    print(tabulate(rows, headers="keys", showindex=False, floatfmt=".3g"))
