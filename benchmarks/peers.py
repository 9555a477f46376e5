"""Each output map against the package that has it too: paired NLL difference and fit time, on the same data and splits.

    python benchmarks/peers.py --data DIR
    python benchmarks/peers.py --data DIR --methods PlattScaling --records cifar100_lenet-5 --sizes 500 --out records
    python benchmarks/peers.py --summary

Stratified halves of 10,000 test images: one judges; the other, or 500 of it, calibrates. Fit times are processor time,
which other programs on the machine hardly lengthen: the least of some repetitions, all methods in turns, on one thread;
a fit of more than a second isn't repeated. Each method, ours or a peer's, has a file of its own with a row for each
split. What the files have already is left out. Peers that aren't installed (extra ``bench``) are left out with a line.
The tables come from the files alone: a difference is ours minus the peer's, below 0 where ours is better, with the
corrected resampled standard error; a ratio of times is the median over the splits.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _data import add_data_argument, split_halves
from _peer_tables import COLUMNS, KEY, file_name, read_records, report
from _peers import PEERS
from _records import RECORDS, load_record
from _result_file import ResultFile
from skclamp import (
    AccuracyPreservingIsotonic,
    BayesianBinningIntoQuantiles,
    BetaCalibration,
    CalibratorSelector,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    HistogramBinning,
    IntraOrderPreservingCalibration,
    IsotonicCalibration,
    MatrixScaling,
    ParameterizedTemperatureScaling,
    PlattScaling,
    SplineCalibration,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
    VennAbersCalibration,
)
from skclamp.metrics import expected_calibration_error


class Comparison(NamedTuple):
    """Ours by name, and the peer's name in `PEERS`, or another of ours."""

    method: str
    peer: str


OURS = {
    "TemperatureScaling": TemperatureScaling(),
    "VectorScaling": VectorScaling(),
    "StructuredVectorScaling": StructuredVectorScaling(),
    "StructuredMatrixScaling": StructuredMatrixScaling(),
    "MatrixScaling": MatrixScaling(),
    "DirichletCalibration": DirichletCalibration(),
    "EnsembleTemperatureScaling": EnsembleTemperatureScaling(),
    "PlattScaling": PlattScaling(),
    "BetaCalibration": BetaCalibration(),
    "HistogramBinning": HistogramBinning(),
    "BayesianBinningIntoQuantiles": BayesianBinningIntoQuantiles(),
    "IsotonicCalibration": IsotonicCalibration(),
    "AccuracyPreservingIsotonic": AccuracyPreservingIsotonic(),
    "VennAbersCalibration": VennAbersCalibration(),
    "SplineCalibration": SplineCalibration(),
    "ParameterizedTemperatureScaling": ParameterizedTemperatureScaling(),
    "IntraOrderPreservingCalibration": IntraOrderPreservingCalibration(),
    "IntraOrderPreservingCalibration(order-preserving)": IntraOrderPreservingCalibration(variant="order-preserving"),
    "CalibratorSelector": CalibratorSelector(),
}
COMPARISONS = [
    Comparison("TemperatureScaling", "scikit-learn temperature"),
    Comparison("VectorScaling", "probmetrics vector"),
    Comparison("StructuredVectorScaling", "probmetrics SVS"),
    Comparison("StructuredMatrixScaling", "probmetrics SMS"),
    Comparison("MatrixScaling", "VectorScaling"),
    Comparison("MatrixScaling", "probmetrics matrix"),
    Comparison("DirichletCalibration", "VectorScaling"),
    Comparison("EnsembleTemperatureScaling", "probmetrics ETS(ce)"),
    Comparison("PlattScaling", "scikit-learn sigmoid of log-odds"),
    Comparison("PlattScaling", "scikit-learn sigmoid of log p"),
    Comparison("BetaCalibration", "betacal one-vs-rest"),
    Comparison("HistogramBinning", "netcal histogram binning"),
    Comparison("HistogramBinning", "probmetrics histogram binning"),
    Comparison("BayesianBinningIntoQuantiles", "netcal BBQ"),
    Comparison("IsotonicCalibration", "scikit-learn isotonic"),
    Comparison("AccuracyPreservingIsotonic", "scikit-learn isotonic"),
    Comparison("VennAbersCalibration", "venn-abers one-vs-rest"),
    Comparison("SplineCalibration", "probmetrics spline"),
    Comparison("ParameterizedTemperatureScaling", "TemperatureScaling"),
    Comparison("IntraOrderPreservingCalibration", "probmetrics IOP"),
    Comparison("IntraOrderPreservingCalibration(order-preserving)", "probmetrics IOP"),
    Comparison("CalibratorSelector", "probmetrics SMS"),
    Comparison("CalibratorSelector", "probmetrics IOP"),
    Comparison("CalibratorSelector", "probmetrics vector"),
]
# A longer fit isn't repeated.
LONG = 1.0


class Split(NamedTuple):
    """Logits and labels of a record, and who is calibrated and tested on."""

    logits: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


class Outcome(NamedTuple):
    """Test NLL in nats, test ECE of 15 bins in per cent, test accuracy, and the seconds of the fit."""

    nll: float
    ece: float
    accuracy: float
    seconds: float


def main(arguments=None):
    options = parse(arguments)
    comparisons = [c for c in COMPARISONS if c.method in options.methods and c.peer in options.peers]
    if not options.summary:
        torch.set_num_threads(1)
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compute(installed(dict.fromkeys(name for comparison in comparisons for name in comparison)), options)
    print("stratified halves, one thread; difference: NLL less the peer's; ece: %; ratio: of fit times")
    print(report(read_records(options.out), comparisons))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    methods, peers = ([*dict.fromkeys(names)] for names in zip(*COMPARISONS, strict=True))
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods, help="default: all")
    parser.add_argument("--peers", nargs="+", choices=peers, default=peers, help="default: all")
    parser.add_argument("--records", nargs="+", choices=RECORDS, default=RECORDS, help="default: all")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5000], help="calibration images (500 and 5,000)")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: 5)")
    parser.add_argument("--repeats", type=int, default=3, help="fits of which the fastest counts (default: 3)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks/results/records"),
        metavar="DIR",
        help="folder of the CSV files to append to (default: %(default)s)",
    )
    parser.add_argument("--summary", action="store_true", help="compute nothing: the table of the files")
    return parser.parse_args(arguments)


def installed(names):
    """Those of the methods that can be made here."""
    found = []
    for name in names:
        try:
            run_of(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            found.append(name)
    return found


def compute(names, options):
    """Compute and write the splits that the methods' files don't have yet."""
    files = {name: ResultFile(options.out / file_name(name), COLUMNS, len(KEY)) for name in names}
    cells = [(n, seed) for n in options.sizes for seed in range(options.seeds)]
    for record in options.records:
        pending = {cell: [name for name in names if (record, *cell) not in files[name]] for cell in cells}
        if not any(pending.values()):
            continue
        logits, labels = load_record(record, options.data)
        for (n, seed), missing in tqdm(pending.items(), desc=record, disable=None):
            split = Split(logits, labels, *split_halves(labels, seed, n))
            for name, found in run_in_turns(missing, split, options.repeats).items():
                files[name].append([{**dict(zip(KEY, (record, n, seed), strict=True)), **found._asdict()}])


def run_in_turns(names, split, repeats):
    """The outcome of each method's fastest fit to one split."""
    best = {name: run_of(name)(split) for name in names}
    for _ in range(repeats - 1):
        for name in names:
            if best[name].seconds < LONG:
                best[name] = min(best[name], run_of(name)(split), key=lambda outcome: outcome.seconds)
    return best


def run_of(name):
    """What fits a method of `OURS` or `PEERS` to a split, and returns the Outcome."""
    if name in OURS:
        return lambda split: run_ours(clone(OURS[name]), split)
    peer = PEERS[name]()
    return lambda split: run_peer(peer, split)


def run_ours(calibrator, split):
    calibrator.set_params(classes=np.arange(split.logits.shape[1]))
    seconds = timed(calibrator.fit, split.logits[split.calibration], split.labels[split.calibration])
    return outcome(calibrator.predict_log_proba(split.logits[split.test]), split.labels[split.test], seconds)


def run_peer(calibrator, split):
    proba = np.exp(log_softmax(split.logits.astype(np.float64), axis=1))
    seconds = timed(calibrator.fit, proba[split.calibration], split.labels[split.calibration])
    found = np.asarray(calibrator.predict_proba(proba[split.test]), dtype=np.float64)
    # Some peers give probability 0: it counts as in scikit-learn's log_loss.
    found = np.maximum(found, np.finfo(np.float64).eps)
    return outcome(np.log(found), split.labels[split.test], seconds)


def timed(function, *arguments):
    """Seconds of processor time that a call takes."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def outcome(log_proba, labels, seconds):
    nll = -log_proba[np.arange(len(labels)), labels].mean()
    ece = expected_calibration_error(labels, softmax(log_proba, axis=1))
    return Outcome(nll, 100 * ece, (log_proba.argmax(1) == labels).mean(), seconds)


if __name__ == "__main__":
    main()
