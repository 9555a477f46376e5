"""A benchmark as those of the package are: cells that go on where they stopped, a CSV, and a table with its errors.

In the package it is a file of ``benchmarks``, whose runner does the rest: options, threads, progress.

    python examples/templates/proof_full.py --seeds 5 --out proof.csv
"""

import sys
from itertools import product
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from _estimates import paired_estimate
from _runner import benchmark, record
from skclamp import StructuredVectorScaling, TemperatureScaling, VectorScaling
from skclamp.metrics import negative_log_likelihood

METHODS = {"temperature": TemperatureScaling, "vector": VectorScaling, "structured vector": StructuredVectorScaling}
KEY = ("n", "seed", "method")


def measure(n, seed, method):
    """A row of the file: what a calibrator reaches on one split."""
    X, y = load_digits(return_X_y=True)
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, random_state=seed)
    X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=n, random_state=seed)
    classifier = LogisticRegression(max_iter=2000).fit(X_train, y_train)
    calibrator = METHODS[method](classifier).fit(X_cal, y_cal)
    return {"nll": negative_log_likelihood(y_test, calibrator.predict_proba(X_test))}


def table(results):
    """A row for each method: its NLL over that of temperature scaling, paired split by split."""
    by_method = results.pivot_table(index=["n", "seed"], columns="method", values="nll")
    for (n, method), own in by_method.stack().groupby(level=["n", "method"]):
        baseline = by_method.loc[n, "temperature"]
        yield {"n": n, "method": method, "splits": len(own), "over": f"{paired_estimate(own, baseline):+.4f}"}


@benchmark
def main(sizes=(200, 500), methods: METHODS = tuple(METHODS), seeds=5, out=Path("proof.csv")):
    """Measure what the file lacks, and print the table."""
    results = record(out, (*KEY, "nll"), product(sizes, range(seeds), methods), measure)
    print(tabulate(table(results), headers="keys", disable_numparse=True))
