"""Every output map on the same logits and the same splits: what the decision table of the user guide says.

    python benchmarks/choosing.py --data DIR --out choosing.csv
    python benchmarks/choosing.py --summary --out choosing.csv --overview benchmarks/results/choosing.csv

Half of 10,000 test images judges, the other half or a stratified part of it calibrates. The table shows the NLL less
temperature scaling's on the same splits (below 0 is better), and the processor time of a fit on one thread.
"""

from functools import lru_cache
from itertools import product
from pathlib import Path

import pandas as pd

from _data import RECORDS, load_record, split_halves
from _estimates import paired_estimate
from _runner import benchmark, record
from peers import OURS, Split, run_of

BASELINE = "TemperatureScaling"
# What a table's head calls the records, and those whose times it shows: 10 classes and 100.
SHORT = {
    "cifar10_resnet32": "ResNet-32",
    "cifar10_resnet20": "ResNet-20",
    "cifar100_wideresnet-16-4": "WideResNet",
    "cifar100_lenet-5": "LeNet",
}
TIMED = ("cifar10_resnet20", "cifar100_wideresnet-16-4")
COLUMNS = ("record", "n", "seed", "method", "nll", "ece", "accuracy", "seconds")


def overview_of(results):
    """One row per method, one column per record and size: differences of NLL, bracketed within two standard errors."""
    columns = {}
    for (name, n), part in results.groupby(["record", "n"], sort=False):
        nll = part.pivot(index="seed", columns="method", values="nll")
        found = {method: cell(paired_estimate(nll[method], nll[BASELINE])) for method in nll}
        columns[f"{SHORT.get(name, name)}, {n:,}"] = found
    largest = results[results.n == results.n.max()]
    for name in [name for name in TIMED if name in set(largest.record)]:
        seconds = largest[largest.record == name].groupby("method").seconds.median()
        columns[f"fit ms, {SHORT[name]}"] = {method: f"{1e3 * value:.0f}" for method, value in seconds.items()}
    frame = pd.DataFrame(columns)
    return frame.loc[[method for method in OURS if method in frame.index and method != BASELINE]]


def cell(value):
    text = f"{value.mean:+.3f}".replace("-", "\N{MINUS SIGN}")
    return f"({text})" if abs(value.mean) <= 2 * value.standard_error else text


@benchmark
def main(
    data=None,
    records: RECORDS = RECORDS,
    methods: OURS = tuple(OURS),
    sizes=(500, 5000),
    seeds=5,
    out=Path("choosing.csv"),
    summary=False,
    overview: Path = None,
):
    load = lru_cache(maxsize=1)(load_record)

    def run(name, n, seed, method):
        logits, labels = load(name, data)
        return run_of(method)(Split(logits, labels, *split_halves(labels, seed, n)))._asdict()

    cells = () if summary else product(records, sizes, range(seeds), methods)
    results = record(out, COLUMNS, cells, run)
    frame = overview_of(results)
    print(frame.to_markdown(disable_numparse=True))
    if overview:
        frame.to_csv(overview, index_label="method")
