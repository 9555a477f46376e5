"""How many errors temperature scaling needs: T and the NLL by the number of wrong answers, and by that of samples.

    python benchmarks/errors_needed.py --data DIR
    python benchmarks/errors_needed.py --summary

One half of a record judges. Samples of the other, in random order, calibrate: up to the one with which they hold so
many errors, or so many of them. Beside the T that they give stands the one that is best on the half that judges.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import pandas as pd

from _data import load_record, split_halves
from _runner import RESULTS, benchmark, record
from _scores import fit_temperature, nll_and_accuracy, scaled
from strong_networks import sensors

STRONG = ("cifar10_resnet34", "cifar100_resnet50")
STORED = ("cifar100_wideresnet-16-4", "cifar10_resnet20", "cifar10_resnet32")
RECORDS = (*STORED, *STRONG, "gas sensors")
COLUMNS = ("record", "by", "count", "seed", "n", "errors", "accuracy", "temperature", "best_temperature", "nll", "best")


def load(name, data):
    """Logits and labels."""
    if name == "gas sensors":
        return sensors(data)
    if name not in STRONG:
        return load_record(name, data)
    with np.load(data / "strong_networks.npz") as file:
        return file[f"{name}_logits"], file[f"{name}_labels"].astype(np.int64)


def table(results):
    """A row for each count: of every record T's error, a root mean square, and the NLL above the best, in per cent."""
    rows = {}
    for (by, count, name), part in results.groupby(["by", "count", "record"], sort=False):
        off = np.log(part.temperature / part.best_temperature)
        over = 100 * (part.nll / part.best - 1).mean()
        rows.setdefault(f"{count:,} {by}", {})[name] = f"{100 * np.sqrt((off**2).mean()):.0f}, {over:+.1f}"
    return pd.DataFrame(rows).T


@benchmark
def main(
    data=None,
    records: RECORDS = RECORDS,
    errors=(3, 10, 30, 100, 300),
    samples=(100, 300, 1000, 3000),
    seeds=20,
    out=RESULTS / "errors_needed.csv",
    summary=False,
):
    problem = lru_cache(maxsize=1)(lambda name: load(name, data))

    @lru_cache(maxsize=1)
    def halves(name, seed):
        logits, y = problem(name)
        half, test = split_halves(y, seed)
        best = fit_temperature(logits[test], y[test])
        return np.random.default_rng(seed).permutation(half), test, best

    def measure(name, seed, by, count):
        logits, y = problem(name)
        half, test, best = halves(name, seed)
        wrong = logits[half].argmax(1) != y[half]
        if count > (len(half) if by == "samples" else wrong.sum()):
            return []
        n = count if by == "samples" else np.flatnonzero(wrong)[count - 1] + 1
        temperature = fit_temperature(logits[half[:n]], y[half[:n]])
        found = {T: nll_and_accuracy(scaled(logits[test], T), y[test]) for T in (temperature, best)}
        told = {"n": n, "errors": wrong[:n].sum(), "temperature": temperature, "best_temperature": best}
        return {**told, **found[temperature], "best": found[best]["nll"]}

    counts = [*product(["errors"], errors), *product(["samples"], samples)]
    order = [(name, *cell, seed) for name in records for seed in range(seeds) for cell in counts]
    cells = () if summary else order
    results = record(out, COLUMNS, cells, lambda name, by, count, seed: measure(name, seed, by, count))
    print(table(results).to_markdown())
