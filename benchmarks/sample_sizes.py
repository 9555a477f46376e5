"""How many samples a calibrator needs: its NLL by the size of the calibration set, without a shift and with one.

    python benchmarks/sample_sizes.py --data DIR
    python benchmarks/sample_sizes.py --summary

Half of 10,000 test images judges; of the other half the first n of a shuffled order calibrate, so that each size holds
the smaller ones, and a class may be missing. Records are the logits of two ResNets and the probabilities of a
WideResNet, ten draws; and ResNet-20 on images in the dark, three draws, where neural clamping takes part. The table has
the NLL less that of temperature scaling fitted to the whole half, of as many images as the largest size, with corrected
resampled standard errors.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.base import clone

import skclamp
from _data import load_problem, load_record, split_halves
from _estimates import paired_estimate
from _networks import compute_logits
from _runner import RESULTS, benchmark, record
from _scores import nll_and_accuracy, scaled
from _shifts import darkness

MAPS = {
    "temperature": skclamp.TemperatureScaling(),
    "vector": skclamp.VectorScaling(),
    "structured matrix": skclamp.StructuredMatrixScaling(),
    "selector": skclamp.CalibratorSelector(),
}
UNCALIBRATED, EVERYTHING, CLAMPING = "uncalibrated", "temperature, all", "clamping"
METHODS = (*MAPS, CLAMPING)
DARK = "cifar10_resnet20, dark"
RECORDS = {
    "cifar10_resnet20": "10 classes, ResNet-20",
    "cifar100_resnet20": "100 classes, ResNet-20",
    "cifar100_wideresnet-16-4": "100 classes, WideResNet",
    DARK: "10 classes, in the dark",
}
COLUMNS = ("record", "n", "seed", "method", "nll", "accuracy", "kept")


def cells_of(name, sizes, methods, draws, largest_dark):
    """Cells of a record; what n doesn't matter to has the largest size, that of the half."""
    dark = name == DARK
    for seed in range(min(draws, 3) if dark else draws):
        yield from ((name, 5000, seed, method) for method in (UNCALIBRATED, EVERYTHING))
        for n in sizes:
            if not dark or 100 <= n <= largest_dark:
                yield from ((name, n, seed, method) for method in methods if dark or method != CLAMPING)


def load(name, data):
    """Network and images (None where only outputs are needed), logits and labels."""
    if name != DARK:
        return None, None, *load_record(name, data)
    network, images, labels = load_problem("cifar10_resnet20", data)
    images = darkness(images)
    return network, images, compute_logits(network, images).numpy(), labels


def measure(problem, n, seed, method):
    """NLL and accuracy on the test half, and whether clamping kept a perturbation."""
    network, X, logits, labels = problem
    half, test = split_halves(labels, seed)
    rows, kept = np.random.default_rng(seed).permutation(half)[:n], ""
    classes = np.arange(logits.shape[1])
    if method == UNCALIBRATED:
        log_proba = scaled(logits[test])
    elif method == CLAMPING:
        calibrator = skclamp.NeuralClampingCalibrator(network, random_state=seed, classes=classes).fit(
            X[rows], labels[rows]
        )
        log_proba, kept = calibrator.predict_log_proba(X[test]), int(calibrator.accepted_)
    else:
        calibrator = clone(MAPS["temperature" if method == EVERYTHING else method]).set_params(classes=classes)
        log_proba = calibrator.fit(logits[rows], labels[rows]).predict_log_proba(logits[test])
    return {**nll_and_accuracy(log_proba, labels[test]), "kept": kept}


def table(results):
    """One row per record and method, one column per size: NLL less that of temperature scaling on the whole half."""
    rows = {}
    for name in [name for name in RECORDS if name in set(results.record)]:
        part = results[results.record == name]
        fixed = part[part.method.isin([UNCALIBRATED, EVERYTHING])]
        nll = fixed.pivot(index="seed", columns="method", values="nll")
        fitted = part.drop(fixed.index)
        for method in [method for method in METHODS if method in set(fitted.method)]:
            by_size = fitted[fitted.method == method].groupby("n")
            found = {n: cell(own.set_index("seed").nll, nll[EVERYTHING]) for n, own in by_size}
            rows[f"{RECORDS[name]}: {method}"] = found
        rows[f"{RECORDS[name]}: {UNCALIBRATED}"] = dict.fromkeys(fitted.n, cell(nll[UNCALIBRATED], nll[EVERYTHING]))
    frame = pd.DataFrame(rows).T.sort_index(axis=1).fillna("")
    return frame.rename(columns="{:,}".format).rename_axis("data: method").reset_index()


def cell(nll, baseline):
    found = paired_estimate(nll, baseline[nll.index])
    return f"{found.mean:+.3f} ± {found.standard_error:.3f}".replace("-", "\N{MINUS SIGN}")


@benchmark
def main(
    data=None,
    records: RECORDS = tuple(RECORDS),
    methods: METHODS = METHODS,
    sizes=(50, 100, 200, 500, 1000, 2000, 5000),
    largest_dark=1000,
    draws=10,
    out=RESULTS / "sample_sizes.csv",
    summary=False,
):
    problem = lru_cache(maxsize=1)(lambda name: load(name, data))
    chosen = () if summary else records
    cells = [cell for name in chosen for cell in cells_of(name, sizes, methods, draws, largest_dark)]
    results = record(out, COLUMNS, cells, lambda name, *run: measure(problem(name), *run))
    print(table(results).to_markdown(index=False, disable_numparse=True))
