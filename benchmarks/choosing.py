"""Every output map on the same logits and the same splits: what the decision table of the user guide says.

    python benchmarks/peers.py --data DIR
    python benchmarks/choosing.py

Half of 10,000 test images judges, the other half or a stratified part of it calibrates. The table, of the records of
`peers.py`, shows the NLL less temperature scaling's on the same splits (below 0 is better), and the processor time of
a fit on one thread.
"""

import pandas as pd

from _data import RECORDS
from _estimates import paired_estimate
from _runner import RESULTS, benchmark
from peers import OURS, file_name, read_records

BASELINE = "TemperatureScaling"
# What a table's head calls the records, and those whose times it shows: 10 classes and 100.
SHORT = {
    "cifar10_resnet20": "ResNet-20",
    "cifar10_resnet32": "ResNet-32",
    "cifar100_wideresnet-16-4": "WideResNet",
    "cifar100_lenet-5": "LeNet",
}
TIMED = ("cifar10_resnet20", "cifar100_wideresnet-16-4")


def overview_of(results):
    """One row per method, one column per record and size: differences of NLL, bracketed within two standard errors."""
    columns = {}
    for (name, n), part in results.groupby(["record", "n"], sort=False):
        # Without the methods that some splits lack.
        nll = part.pivot(index="seed", columns="method", values="nll").dropna(axis="columns")
        found = {method: cell(paired_estimate(nll[method], nll[BASELINE])) for method in nll}
        columns[f"{SHORT[name]}, {n:,}"] = found
    largest = results[results.n == results.n.max()]
    for name in TIMED:
        seconds = largest[largest.record == name].groupby("method").seconds.median()
        columns[f"fit ms, {SHORT[name]}"] = {method: f"{1e3 * value:.0f}" for method, value in seconds.items()}
    return pd.DataFrame(columns).reindex([method for method in OURS if method != BASELINE]).fillna("")


def cell(value):
    text = f"{value.mean:+.3f}".replace("-", "\N{MINUS SIGN}")
    return f"({text})" if abs(value.mean) <= 2 * value.standard_error else text


@benchmark
def main(folder=RESULTS / "records", out=RESULTS / "choosing.csv"):
    records = read_records(folder)
    names = {method: file_name(method) for method in OURS}
    results = [records[file].assign(method=method) for method, file in names.items() if file in records]
    results = pd.concat(results).sort_values("record", key=lambda own: own.map(RECORDS.index), kind="stable")
    frame = overview_of(results)
    print(frame.to_markdown(disable_numparse=True))
    frame.to_csv(out, index_label="method")
