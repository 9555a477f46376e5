"""Every output map on the same logits and the same splits: what the decision table of the user guide says.

    python benchmarks/choosing.py --data DIR --out choosing.csv
    python benchmarks/choosing.py --summary choosing.csv --overview benchmarks/results/choosing.csv

Half of 10,000 test images judges, the other half or a stratified part of it calibrates. The tables show the NLL less
temperature scaling's on the same splits (below 0 is better) with corrected resampled standard errors, the change of
accuracy in points, the ECE of 15 bins, and the processor time of a fit on one thread. What the file has already is left
out.
"""

import argparse
import warnings
from itertools import product

import pandas as pd
import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _data import add_data_argument, split_halves
from _estimates import paired_estimate
from _records import RECORDS, load_record
from _result_file import ResultFile
from peers import OURS, Split, run_ours

BASELINE = "TemperatureScaling"
# What a table's head calls the records, and those whose times it shows: 10 classes and 100.
SHORT = {
    "cifar10_resnet20": "ResNet-20",
    "cifar10_resnet32": "ResNet-32",
    "cifar100_wideresnet-16-4": "WideResNet",
    "cifar100_lenet-5": "LeNet",
}
TIMED = ("cifar10_resnet20", "cifar100_wideresnet-16-4")
COLUMNS = ("record", "n", "seed", "method", "nll", "ece", "accuracy", "seconds")


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(1)
    if options.summary is None:
        file = ResultFile(options.out, COLUMNS, n_key=4)
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_all(options, file)
    results = pd.read_csv(options.summary or options.out)
    print(summary(results))
    if options.overview:
        overview(results).to_csv(options.overview, index_label="method")


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--records", nargs="+", choices=RECORDS, default=RECORDS, help="default: all")
    parser.add_argument("--methods", nargs="+", choices=list(OURS), default=list(OURS), help="default: all")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5000], help="calibration images (500 and 5,000)")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: 5)")
    parser.add_argument("--out", metavar="CSV", default="choosing.csv", help="file to append to (default: %(default)s)")
    parser.add_argument("--summary", metavar="CSV", help="only print the tables of this file")
    parser.add_argument("--overview", metavar="CSV", help="file for one table of all differences, which the docs show")
    return parser.parse_args(arguments)


def run_all(options, file):
    for record in options.records:
        logits, labels = load_record(record, options.data)
        runs = product(options.sizes, range(options.seeds), options.methods)
        for n, seed, method in tqdm([run for run in runs if (record, *run) not in file], desc=record):
            split = Split(logits, labels, *split_halves(labels, seed, n))
            found = run_ours(clone(OURS[method]), split)
            file.append([dict(zip(COLUMNS, (record, n, seed, method, *found), strict=True))])


def summary(results):
    """A table in Markdown for each record and size, the lowest NLL first."""
    return "\n\n".join(
        f"## {record}, {n:,} calibration images\n\n{table(part)}"
        for (record, n), part in results.groupby(["record", "n"], sort=False)
    )


def table(part):
    """Means over the splits, and paired differences to temperature scaling."""
    rows = [
        {
            "method": method,
            "NLL": f"{own.nll.mean():.4f}",
            "less temperature scaling's": f"{difference(own, part):+.4f}",
            "accuracy, points": f"{100 * difference(own, part, 'accuracy').mean:+.2f}",
            "ECE %": f"{own.ece.mean():.2f}",
            "fit, ms": f"{1e3 * own.seconds.median():.0f}",
        }
        for method, own in sorted(part.groupby("method"), key=lambda item: item[1].nll.mean())
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def difference(own, part, score="nll"):
    """Of a method's scores to temperature scaling's on the same splits."""
    both = own.merge(part[part.method == BASELINE], on="seed", suffixes=("", "_baseline"))
    return paired_estimate(both[score], both[f"{score}_baseline"])


def overview(results):
    """One row per method, one column per record and size: differences of NLL, bracketed within two standard errors."""
    columns = {}
    for (record, n), part in results.groupby(["record", "n"], sort=False):
        found = {method: difference(own, part) for method, own in part.groupby("method")}
        columns[f"{SHORT.get(record, record)}, {n:,}"] = {method: cell(value) for method, value in found.items()}
    largest = results[results.n == results.n.max()]
    for record in [record for record in TIMED if record in set(largest.record)]:
        seconds = largest[largest.record == record].groupby("method").seconds.median()
        columns[f"fit ms, {SHORT[record]}"] = {method: f"{1e3 * value:.0f}" for method, value in seconds.items()}
    frame = pd.DataFrame(columns)
    return frame.loc[[method for method in OURS if method in frame.index and method != BASELINE]]


def cell(value):
    text = f"{value.mean:+.3f}".replace("-", "\N{MINUS SIGN}")
    return f"({text})" if abs(value.mean) <= 2 * value.standard_error else text


if __name__ == "__main__":
    main()
