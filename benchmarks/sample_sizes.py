"""How many samples a calibrator needs: its NLL by the size of the calibration set, without a shift and with one.

    python benchmarks/sample_sizes.py --data DIR
    python benchmarks/sample_sizes.py --summary

Half of 10,000 test images judges; of the other half the first n of a shuffled order calibrate, so that each size holds
the smaller ones, and a class may be missing. Records are the logits of two ResNets and the probabilities of a
WideResNet, ten draws; and ResNet-20 on images in the dark, three draws, where neural clamping takes part. The table has
the NLL less that of temperature scaling fitted to the whole half, of as many images as the largest size, with corrected
resampled standard errors. Every fit is appended to a CSV file as it is done; what the file has already is left out.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _data import load_images, split_halves
from _estimates import paired_estimate
from _networks import compute_logits, load_resnet
from _records import load_record
from _result_file import ResultFile
from _shifts import darkness
from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    StructuredMatrixScaling,
    TemperatureScaling,
    VectorScaling,
)

MAPS = {
    "temperature": TemperatureScaling(),
    "vector": VectorScaling(),
    "structured matrix": StructuredMatrixScaling(),
    "selector": CalibratorSelector(),
}
UNCALIBRATED, EVERYTHING, CLAMPING = "uncalibrated", "temperature, all", "clamping"
DARK = "cifar10_resnet20, dark"
RECORDS = {
    "cifar10_resnet20": "10 classes, ResNet-20",
    "cifar100_resnet20": "100 classes, ResNet-20",
    "cifar100_wideresnet-16-4": "100 classes, WideResNet",
    DARK: "10 classes, in the dark",
}
COLUMNS = ("record", "n", "seed", "method", "nll", "accuracy", "kept")
OUT = Path("benchmarks/results/sample_sizes.csv")


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(1)
    if not options.summary:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compute(options)
    print(table(pd.read_csv(options.out)).to_markdown(index=False, disable_numparse=True))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of networks, images and probabilities")
    parser.add_argument("--records", nargs="+", choices=RECORDS, default=list(RECORDS), help="default: all")
    parser.add_argument(
        "--methods", nargs="+", choices=[*MAPS, CLAMPING], default=[*MAPS, CLAMPING], help="default: all"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 500, 1000, 2000, 5000])
    parser.add_argument("--largest-dark", type=int, default=1000, help="size in the dark (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=10, help="default: %(default)s; 3 at most in the dark")
    parser.add_argument("--out", type=Path, default=OUT, help="CSV file to append to (default: %(default)s)")
    parser.add_argument("--summary", action="store_true", help="only print the table of this file")
    return parser.parse_args(arguments)


def compute(options):
    """Compute and write the fits that the file doesn't have yet."""
    file = ResultFile(options.out, COLUMNS, n_key=4)
    for record in options.records:
        runs = [run for run in runs_of(record, options) if (record, *run) not in file]
        if not runs:
            continue
        network, X, logits, labels = load(record, options.data)
        for n, seed, method in tqdm(runs, desc=record, disable=None):
            half, test = split_halves(labels, seed)
            rows = np.random.default_rng(seed).permutation(half)[:n]
            score = clamped if method == CLAMPING else mapped
            found = score(method, network, X, logits, labels, rows, test, seed)
            file.append([dict(zip(COLUMNS, (record, n, seed, method, *found), strict=True))])


def runs_of(record, options):
    """(n, seed, method) of a record; what n doesn't matter to has the largest size, that of the half."""
    dark = record == DARK
    sizes = [n for n in options.sizes if not dark or 100 <= n <= options.largest_dark]
    methods = [method for method in options.methods if dark or method != CLAMPING]
    for seed in range(min(options.draws, 3) if dark else options.draws):
        yield from ((5000, seed, method) for method in (UNCALIBRATED, EVERYTHING))
        yield from ((n, seed, method) for n in sizes for method in methods)


def load(record, data):
    """Network, images (None where only outputs are there), logits and labels."""
    if record not in (DARK, "cifar100_resnet20"):
        return None, None, *load_record(record, data)
    name, images = ("cifar10_resnet20", "cifar10_test") if record == DARK else (record, "cifar100_test")
    network, (X, labels) = load_resnet(name, data), load_images(images, data)
    X = darkness(X) if record == DARK else X
    return network, X, compute_logits(network, X).numpy(), labels


def mapped(method, network, X, logits, labels, rows, test, seed):
    """Scores on the test half of a map of the outputs, or of the outputs as they are."""
    if method == UNCALIBRATED:
        return *scores(torch.log_softmax(torch.from_numpy(logits[test]).double(), 1).numpy(), labels[test]), ""
    calibrator = clone(MAPS["temperature" if method == EVERYTHING else method])
    calibrator.set_params(classes=np.arange(logits.shape[1])).fit(logits[rows], labels[rows])
    return *scores(calibrator.predict_log_proba(logits[test]), labels[test]), ""


def clamped(method, network, X, logits, labels, rows, test, seed):
    """Scores of neural clamping, and whether it kept a perturbation."""
    calibrator = NeuralClampingCalibrator(network, random_state=seed, classes=np.arange(logits.shape[1]))
    calibrator.fit(X[rows], labels[rows])
    return *scores(calibrator.predict_log_proba(X[test]), labels[test]), int(calibrator.accepted_)


def scores(log_proba, labels):
    """NLL in nats, accuracy in per cent."""
    return -log_proba[np.arange(len(labels)), labels].mean(), 100 * (log_proba.argmax(1) == labels).mean()


def table(results):
    """One row per record and method, one column per size: NLL less that of temperature scaling on the whole half."""
    rows = {}
    for record in [record for record in RECORDS if record in set(results.record)]:
        part = results[results.record == record]
        fixed = part[part.method.isin([UNCALIBRATED, EVERYTHING])]
        nll = fixed.pivot(index="seed", columns="method", values="nll")
        fitted = part.drop(fixed.index)
        for method in [method for method in (*MAPS, CLAMPING) if method in set(fitted.method)]:
            by_size = fitted[fitted.method == method].groupby("n")
            found = {n: cell(own.set_index("seed").nll, nll[EVERYTHING]) for n, own in by_size}
            rows[f"{RECORDS[record]}: {method}"] = found
        rows[f"{RECORDS[record]}: {UNCALIBRATED}"] = dict.fromkeys(fitted.n, cell(nll[UNCALIBRATED], nll[EVERYTHING]))
    frame = pd.DataFrame(rows).T.sort_index(axis=1).fillna("")
    return frame.rename(columns="{:,}".format).rename_axis("data: method").reset_index()


def cell(nll, baseline):
    found = paired_estimate(nll, baseline[nll.index])
    return f"{found.mean:+.3f} ± {found.standard_error:.3f}".replace("-", "\N{MINUS SIGN}")


if __name__ == "__main__":
    main()
