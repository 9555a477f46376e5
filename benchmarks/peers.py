"""Each output map against the package that has it too: paired NLL difference and fit time, on the same data and splits.

    python benchmarks/peers.py --data DIR
    python benchmarks/peers.py --data DIR --methods PlattScaling --records cifar100_lenet-5 --out peers.csv

Stratified halves of 10,000 test images: one calibrates, the other tests. A difference is ours minus the peer's, below
0 where ours is better, with the corrected resampled standard error. Fit times are processor time, which other programs
on the machine hardly lengthen: the least of some repetitions, ours and the peer's in turns, on one thread; their ratio
is the median over the splits. Peers that aren't installed (extra ``bench``) are left out with a line. With ``--out``,
comparisons that the file holds already are left out.
"""

import argparse
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from tabulate import tabulate
from threadpoolctl import threadpool_limits

from _data import add_data_argument, split_halves
from _estimates import paired_estimate
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
MEASURES = ("nll", "peer_nll", "difference", "standard_error", "ece", "peer_ece", "fit_ms", "peer_ms", "ratio")
COLUMNS = ("record", *Comparison._fields, *MEASURES)
FORMATS = ("", "", "", ".4f", ".4f", "+.5f", ".5f", ".2f", ".2f", ".1f", ".1f", ".2f")


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
    torch.set_num_threads(1)
    file = ResultFile(options.out, COLUMNS, n_key=3) if options.out else None
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = list(compare_all(options, file))
    print(
        f"{options.seeds} stratified halves, one thread; difference: NLL less the peer's; ece: %; ratio: of fit times"
    )
    print(tabulate([[row[name] for name in COLUMNS] for row in rows], headers=COLUMNS, floatfmt=FORMATS))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=sorted({c.method for c in COMPARISONS}), help="default: all")
    parser.add_argument("--peers", nargs="+", choices=sorted({c.peer for c in COMPARISONS}), help="default: all")
    parser.add_argument("--records", nargs="+", choices=RECORDS, default=RECORDS, help="default: all")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: 5)")
    parser.add_argument("--repeats", type=int, default=3, help="fits of which the fastest counts (default: 3)")
    parser.add_argument("--out", metavar="CSV", help="file to append the results to")
    return parser.parse_args(arguments)


def compare_all(options, file=None):
    """Yield a row for each comparison and record, those in the file excepted."""
    for record in options.records:
        asked = [c for c in wanted(options) if file is None or (record, *c) not in file]
        if not asked:
            continue
        logits, labels = load_record(record, options.data)
        splits = [Split(logits, labels, *split_halves(labels, seed)) for seed in range(options.seeds)]
        for comparison in asked:
            try:
                row = {"record": record, **compare(comparison, splits, options.repeats)}
            except ImportError as error:
                print(f"{comparison.peer} is left out: {error}")
                continue
            if file is not None:
                file.append([row])
            yield row


def wanted(options):
    """Comparisons of the methods and with the peers that were asked for."""
    return [
        comparison
        for comparison in COMPARISONS
        if comparison.method in (options.methods or OURS) and comparison.peer in (options.peers or {**PEERS, **OURS})
    ]


def compare(comparison, splits, repeats):
    """The row of one comparison."""
    pairs = [run_pair(comparison, split, repeats) for split in splits]
    ours, theirs = (Outcome(*map(np.array, zip(*outcomes, strict=True))) for outcomes in zip(*pairs, strict=True))
    difference = paired_estimate(ours.nll, theirs.nll)
    return {
        **comparison._asdict(),
        "nll": ours.nll.mean(),
        "peer_nll": theirs.nll.mean(),
        "difference": difference.mean,
        "standard_error": difference.standard_error,
        "ece": ours.ece.mean(),
        "peer_ece": theirs.ece.mean(),
        "fit_ms": 1e3 * np.median(ours.seconds),
        "peer_ms": 1e3 * np.median(theirs.seconds),
        "ratio": np.median(ours.seconds / theirs.seconds),
    }


def run_pair(comparison, split, repeats):
    """Outcomes of both on one split, fitted in turns."""
    runs = [run_of(comparison.method), run_of(comparison.peer)]
    turns = zip(*([run(split) for run in runs] for _ in range(repeats)), strict=True)
    return [min(same, key=lambda outcome: outcome.seconds) for same in turns]


def run_of(name):
    """What fits a method of `OURS` or `PEERS` to a split, and returns the Outcome."""
    if name in OURS:
        return lambda split: run_ours(clone(OURS[name]), split)
    make = PEERS[name]
    return lambda split: run_peer(make(), split)


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
