"""Each output map against the package that has it too: paired NLL difference and fit time, on the same data and splits.

    python benchmarks/peers.py --data DIR
    python benchmarks/peers.py --data DIR --methods PlattScaling --records cifar100_lenet-5 --sizes 500 --out records
    python benchmarks/peers.py --summary

Stratified halves of 10,000 test images: one judges; the other, or 500 of it, calibrates. Fit times are processor time,
which other programs on the machine hardly lengthen: the least of some repetitions, all methods in turns, on one thread;
a fit of more than a second isn't repeated. Each method, ours or a peer's, has a file of its own with a row for each
split. Peers that aren't installed (group ``bench``) are left out with a line. The tables come from the files alone: a
difference is ours minus the peer's, below 0 where ours is better, with the corrected resampled standard error; a ratio
of times is the median over the splits.
"""

from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from tabulate import tabulate
from tqdm import tqdm

import skclamp
from _data import RECORDS, load_record, split_halves
from _estimates import paired_estimate
from _peers import PEERS
from _runner import RESULTS, ResultFile, benchmark
from _timing import measure
from skclamp.metrics import expected_calibration_error

KEY = ("record", "n", "seed")
COLUMNS = (*KEY, "nll", "ece", "accuracy", "seconds")
NAMES = (
    *("TemperatureScaling", "VectorScaling", "StructuredVectorScaling", "StructuredMatrixScaling", "MatrixScaling"),
    *("DirichletCalibration", "EnsembleTemperatureScaling", "PlattScaling", "BetaCalibration", "HistogramBinning"),
    *("BayesianBinningIntoQuantiles", "IsotonicCalibration", "AccuracyPreservingIsotonic", "VennAbersCalibration"),
    *("SplineCalibration", "ParameterizedTemperatureScaling", "IntraOrderPreservingCalibration"),
)
OURS = {
    **{name: getattr(skclamp, name)() for name in NAMES},
    "IntraOrderPreservingCalibration(order-preserving)": skclamp.IntraOrderPreservingCalibration(
        variant="order-preserving"
    ),
    "CalibratorSelector": skclamp.CalibratorSelector(),
}
# Ours by name, and the peers' names, or others of ours.
COMPARISONS = [
    (method, peer)
    for method, peers in {
        "TemperatureScaling": ["scikit-learn temperature"],
        "VectorScaling": ["probmetrics vector"],
        "StructuredVectorScaling": ["probmetrics SVS"],
        "StructuredMatrixScaling": ["probmetrics SMS"],
        "MatrixScaling": ["VectorScaling", "probmetrics matrix"],
        "DirichletCalibration": ["VectorScaling"],
        "EnsembleTemperatureScaling": ["probmetrics ETS(ce)"],
        "PlattScaling": ["scikit-learn sigmoid of log-odds", "scikit-learn sigmoid of log p"],
        "BetaCalibration": ["betacal one-vs-rest"],
        "HistogramBinning": ["netcal histogram binning", "probmetrics histogram binning"],
        "BayesianBinningIntoQuantiles": ["netcal BBQ"],
        "IsotonicCalibration": ["scikit-learn isotonic"],
        "AccuracyPreservingIsotonic": ["scikit-learn isotonic"],
        "VennAbersCalibration": ["venn-abers one-vs-rest"],
        "SplineCalibration": ["probmetrics spline"],
        "ParameterizedTemperatureScaling": ["TemperatureScaling"],
        "IntraOrderPreservingCalibration": ["probmetrics IOP"],
        "IntraOrderPreservingCalibration(order-preserving)": ["probmetrics IOP"],
        "CalibratorSelector": ["probmetrics SMS", "probmetrics IOP", "probmetrics vector"],
    }.items()
    for peer in peers
]
METHODS, THEIRS = (tuple(dict.fromkeys(names)) for names in zip(*COMPARISONS, strict=True))
# A fit of more seconds isn't repeated.
LONG = 1.0


class Split(NamedTuple):
    """Logits and labels of a record, and who is calibrated and tested on."""

    logits: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


class Outcome(NamedTuple):
    """Test NLL in nats, test ECE of 15 bins in per cent, test accuracy, and the processor seconds of the fit."""

    nll: float
    ece: float
    accuracy: float
    seconds: float


def run_of(name):
    """What fits a method of `OURS` or `PEERS` to a split, and returns the Outcome."""
    if name in OURS:
        return lambda split: run_ours(clone(OURS[name]), split)
    return partial(run_peer, PEERS[name]())


def run_ours(calibrator, split):
    calibrator.set_params(classes=np.arange(split.logits.shape[1]))
    _, spent = measure(lambda: calibrator.fit(split.logits[split.calibration], split.labels[split.calibration]))
    return outcome(calibrator.predict_log_proba(split.logits[split.test]), split.labels[split.test], spent.cpu)


def run_peer(calibrator, split):
    proba = np.exp(log_softmax(split.logits.astype(np.float64), axis=1))
    _, spent = measure(lambda: calibrator.fit(proba[split.calibration], split.labels[split.calibration]))
    found = np.asarray(calibrator.predict_proba(proba[split.test]), dtype=np.float64)
    # Some peers give probability 0: it counts as in scikit-learn's log_loss.
    found = np.maximum(found, np.finfo(np.float64).eps)
    return outcome(np.log(found), split.labels[split.test], spent.cpu)


def outcome(log_proba, labels, seconds):
    nll = -log_proba[np.arange(len(labels)), labels].mean()
    ece = expected_calibration_error(labels, softmax(log_proba, axis=1))
    return Outcome(nll, 100 * ece, (log_proba.argmax(1) == labels).mean(), seconds)


def run_in_turns(names, split, repeats):
    """The outcome of each method's fastest fit to one split."""
    best = {name: run_of(name)(split) for name in names}
    for _ in range(repeats - 1):
        for name in names:
            if best[name].seconds < LONG:
                best[name] = min(best[name], run_of(name)(split), key=lambda outcome: outcome.seconds)
    return best


def installed(names):
    """Those of the methods that can be made here."""
    for name in names:
        try:
            run_of(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            yield name


def file_name(method):
    """Of a method's records."""
    return f"{method.replace(' ', '_').replace('(', '_').rstrip(')')}.csv"


def read_records(folder):
    """The records of all methods in a folder, a frame each by file name."""
    return {path.name: pd.read_csv(path) for path in sorted(Path(folder).glob("*.csv"))}


def compare(records, method, peer):
    """One row for each record and size: both methods' scores, the paired difference, and the times."""
    if not {file_name(method), file_name(peer)} <= set(records):
        return pd.DataFrame()
    both = records[file_name(method)].merge(records[file_name(peer)], on=list(KEY), suffixes=("", "_peer"))
    rows = []
    for (record, n), part in both.groupby(["record", "n"], sort=False):
        difference = paired_estimate(part.nll, part.nll_peer)
        scores = {"nll": part.nll.mean(), "peer_nll": part.nll_peer.mean(), "difference": difference.mean}
        scores |= {
            "standard_error": difference.standard_error,
            "ece": part.ece.mean(),
            "peer_ece": part.ece_peer.mean(),
        }
        times = {"fit_ms": 1e3 * part.seconds.median(), "peer_ms": 1e3 * part.seconds_peer.median()}
        times["ratio"] = np.median(part.seconds / part.seconds_peer)
        rows.append({"record": record, "n": n, "method": method, "peer": peer, "splits": len(part), **scores, **times})
    return pd.DataFrame(rows)


@benchmark
def main(
    data=None,
    methods: METHODS = METHODS,
    peers: THEIRS = THEIRS,
    records: RECORDS = RECORDS,
    sizes=(500, 5000),
    seeds=5,
    repeats=3,
    out=RESULTS / "records",
    summary=False,
):
    comparisons = [(method, peer) for method, peer in COMPARISONS if method in methods and peer in peers]
    names = list(installed(dict.fromkeys(name for pair in comparisons for name in pair)))
    files = {name: ResultFile(out / file_name(name), COLUMNS, len(KEY)) for name in names if not summary}
    for record in records:
        cells = [(record, *cell) for cell in product(sizes, range(seeds))]
        pending = {cell: [name for name, file in files.items() if cell not in file] for cell in cells}
        logits, labels = load_record(record, data) if any(pending.values()) else (None, None)
        for cell, missing in tqdm(pending.items(), desc=record, disable=None):
            if missing:
                split = Split(logits, labels, *split_halves(labels, cell[2], cell[1]))
                for name, found in run_in_turns(missing, split, repeats).items():
                    files[name].append([{**dict(zip(KEY, cell, strict=True)), **found._asdict()}])
    print("stratified halves, one thread; difference: NLL less the peer's; ece: %; ratio: of fit times")
    found = read_records(out)
    rows = pd.concat([compare(found, *pair) for pair in comparisons], ignore_index=True)
    formats = ("", "", "", "", "", ".4f", ".4f", "+.5f", ".5f", ".2f", ".2f", ".1f", ".1f", ".2f")
    print(tabulate(rows, headers="keys", showindex=False, floatfmt=formats))
