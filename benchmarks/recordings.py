"""Standard errors of a mean loss over a recording, whose frames resemble their neighbours: by rows, and by stretches.

Probabilities of frames and the chances of their labels move steadily: neighbours correlate by `phi`. Every draw is a
recording of its own, so the spread of its Brier scores is known. `found` tells whether the order was taken for a
recording's, and of the same frames, shuffled, whether it was as well.

    python benchmarks/recordings.py --data DIR
    python benchmarks/recordings.py --lengths 2000 --draws 500 --out long.csv

The folder's camvid has three drives and an ESPNet that segments them, see drives.py. Of a drive `phi` is its name, and
each draw shuffles its frames anew.
"""

import runpy
import warnings
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.signal import lfilter
from scipy.special import softmax
from tabulate import tabulate

from _runner import RESULTS, benchmark, record
from drives import VOID, frames
from skclamp.metrics import bootstrap_interval, brier_score

N_CLASSES, TEMPERATURE = 5, 1.5
# Of CamVid, and how many frames each has.
DRIVES = {"0016E5": 101, "Seq05VD": 86, "0001TP": 31}
# Of rows and columns of pixels.
EVERY = 5
COLUMNS = ("n", "phi", "draw", "score", "by_rows", "by_stretches", "found", "found_shuffled")


def steady(rng, n, phi):
    """Columns of unit variance, each an autoregression."""
    noise = np.sqrt(1 - phi**2) * rng.normal(size=(n + 500, N_CLASSES))
    return lfilter([1], [1, -phi], noise, axis=0)[500:]


def interval(y, proba, groups=None):
    """The Brier score's, and whether the order looks like a recording."""
    metric = partial(brier_score, ignore_index=VOID)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = bootstrap_interval(metric, y, proba, n_resamples=200, groups=groups, random_state=0)
    return found, int(any("looks like a recording" in str(each.message) for each in caught))


def simulated(rng, n, phi):
    """Labels and probabilities of one recording."""
    logits = 2 * steady(rng, n, phi)
    return (logits / TEMPERATURE + steady(rng, n, phi)).argmax(1), softmax(logits / TEMPERATURE, 1)


@cache
def driven(folder, drive):
    """Labels and probabilities of some places of a drive's frames."""
    network = runpy.run_path(str(folder / "espnet.py"))["load"](folder / "espnet.pt")
    X, y = frames(folder, drive, (360, 480))
    some = np.s_[..., EVERY // 2 :: EVERY, EVERY // 2 :: EVERY]
    with torch.no_grad():
        proba = [network(torch.from_numpy(x[None]) / 255).double().softmax(1)[some] for x in X]
    return y[some], torch.cat(proba).numpy()


def measure(n, phi, draw, folder):
    """One recording."""
    rng = np.random.default_rng(draw)
    y, proba = driven(folder, phi) if phi in DRIVES else simulated(rng, n, phi)
    by_stretches, found = interval(y, proba)
    by_rows, _ = interval(y, proba, np.arange(len(y)))
    rows = rng.permutation(len(y))
    return {
        "score": by_rows.value,
        "by_rows": by_rows.standard_error,
        "by_stretches": by_stretches.standard_error,
        "found": found,
        "found_shuffled": interval(y[rows], proba[rows])[1],
    }


@benchmark
def main(data=None, lengths=(100, 300, 1000), phis=(0.5, 0.9, 0.95), draws=200, out=RESULTS / "recordings.csv"):
    drives = [] if data is None else [(n, drive, draw) for drive, n in DRIVES.items() for draw in range(draws)]
    folder = None if data is None else Path(data) / "camvid"
    results = record(out, COLUMNS, [*product(lengths, phis, range(draws)), *drives], partial(measure, folder=folder))
    rows = []
    for (n, phi), part in results.groupby(["n", "phi"], sort=False):
        row = {"n": n, "phi": phi, "runs": len(part), **part[["found", "found_shuffled"]].mean()}
        errors = {name: np.sqrt((part[name] ** 2).mean()) for name in ("by_rows", "by_stretches")}
        if phi in DRIVES:
            row["by_stretches / by_rows"] = errors["by_stretches"] / errors["by_rows"]
        else:
            row |= {f"error {name} / true": error / part.score.std() for name, error in errors.items()}
        rows.append(row)
    print(tabulate(rows, headers="keys", showindex=False, floatfmt=".3g"))
