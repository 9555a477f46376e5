"""How well calibrators do on CIFAR without any shift: several splits, paired with temperature scaling.

For each network and each seed the test images are split into stratified halves, one to calibrate on and one to judge
by. Tables show means over the splits with corrected standard errors, and differences to temperature scaling on the
same splits; the CSV file has every single result.

    python benchmarks/quality.py --data DIR
    python benchmarks/quality.py --data DIR --methods temperature reference --epochs 100
"""

import argparse
import csv
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from _data import add_data_argument, load_images, split_halves
from _estimates import paired_estimate, resampled_estimate
from _networks import RESNETS, compute_logits, load_resnet
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
)

BASELINE = "temperature"
METHODS = ("uncalibrated", "temperature", "clamping", "reference")
PERCENTAGES = ("accuracy", "ece", "aece", "sce")
SCORES = ("nll", "brier", *PERCENTAGES)


class Split(NamedTuple):
    """What a method is given: the network, and calibration and test data as images and as the network's logits."""

    network: torch.nn.Module
    images: torch.Tensor
    logits: torch.Tensor
    labels: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    seed: int


# Methods: each takes a Split and returns log-probabilities of its test part.


def uncalibrated(split):
    return torch.log_softmax(split.logits[split.test].double(), 1).numpy()


def temperature(split):
    calibrator = TemperatureScaling().fit(split.logits[split.calibration], split.labels[split.calibration])
    return calibrator.predict_log_proba(split.logits[split.test])


def clamping(split, **parameters):
    calibrator = NeuralClampingCalibrator(split.network, random_state=split.seed, **parameters)
    calibrator.fit(split.images[split.calibration], split.labels[split.calibration])
    return calibrator.predict_log_proba(split.images[split.test])


def methods_of(options):
    """The chosen methods by name; those that others are compared with come first."""
    methods = {
        "uncalibrated": uncalibrated,
        "temperature": temperature,
        "clamping": clamping,
        "reference": partial(clamping, **{**REFERENCE_SETTINGS, "max_epochs": options.epochs}),
    }
    return {name: method for name, method in methods.items() if name in options.methods}


def evaluate(y, log_proba):
    """Scores of log-probabilities (n, K) against labels; percentages and the noise floor under the ECE in per cent."""
    proba = np.exp(log_proba)
    floor = calibration_noise_floor(expected_calibration_error, proba, random_state=0)
    return {
        "nll": -log_proba[np.arange(len(y)), y].mean(),
        "brier": brier_score(y, proba),
        "accuracy": 100 * (log_proba.argmax(1) == y).mean(),
        "ece": 100 * expected_calibration_error(y, proba),
        "ece_floor": 100 * floor.mean,
        "ece_floor_95": 100 * floor.quantile,
        "aece": 100 * adaptive_expected_calibration_error(y, proba),
        "sce": 100 * classwise_calibration_error(y, proba),
    }


def run(options):
    """Every result: one dict for each network, seed and method."""
    results = []
    n_runs = len(options.networks) * options.seeds * len(options.methods)
    with tqdm(total=n_runs, disable=None) as progress:
        for name in options.networks:
            network, images, labels = load_problem(name, options)
            logits = compute_logits(network, images)
            for seed in range(options.seeds):
                split = Split(network, images, logits, labels, *split_halves(labels, seed), seed)
                for method_name, method in methods_of(options).items():
                    progress.set_description(f"{name}, seed {seed}, {method_name}")
                    scores = run_method(method, split)
                    results.append({"network": name, "seed": seed, "method": method_name, **scores})
                    progress.update()
    return results


def load_problem(name, options):
    images, labels = load_images(name.split("_")[0] + "_test", options.data)
    return load_resnet(name, options.data), images[: options.n_images], labels[: options.n_images]


def run_method(method, split):
    start = time.perf_counter()
    log_proba = method(split)
    seconds = time.perf_counter() - start
    return {**evaluate(split.labels[split.test], log_proba), "seconds": seconds}


def column(results, network, method, score):
    """One score over the seeds."""
    return [row[score] for row in results if (row["network"], row["method"]) == (network, method)]


def means_table(results, network, methods):
    """Means over the splits with standard errors; beside the ECE its noise floor, mean and 95 % quantile."""
    rows = []
    for method in methods:
        of = partial(column, results, network, method)
        row = {"method": method, **{score: f"{resampled_estimate(of(score)):{digits(score)}}" for score in SCORES}}
        row["ece floor"] = f"{np.mean(of('ece_floor')):.2f} ({np.mean(of('ece_floor_95')):.2f})"
        rows.append({**row, "s": f"{np.median(of('seconds')):.1f}"})
    return tabulate(rows, headers="keys")


def differences_table(results, network, methods):
    """Differences to temperature scaling on the same splits."""
    rows = []
    for method in methods:
        if method == BASELINE:
            continue
        row = {"method": f"{method} − {BASELINE}"}
        for score in SCORES:
            of = partial(column, results, network, score=score)
            row[score] = f"{paired_estimate(of(method=method), of(method=BASELINE)):+{digits(score)}}"
        rows.append(row)
    return tabulate(rows, headers="keys")


def digits(score):
    return ".2f" if score in PERCENTAGES else ".4f"


def write_csv(results, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(results[0]))
        writer.writeheader()
        writer.writerows(results)


def report(results, options):
    methods = methods_of(options)
    for network in options.networks:
        print(f"\n{network}, {options.seeds} splits: means ± corrected standard errors; accuracy, ece, aece, sce in %")
        print(means_table(results, network, methods))
        if BASELINE in methods and len(methods) > 1:
            print("\npaired differences")
            print(differences_table(results, network, methods))


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    networks = ["cifar10_resnet20", "cifar10_resnet32"]
    parser.add_argument("--networks", nargs="+", choices=RESNETS, default=networks)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS[:3], help="default: all but reference")
    parser.add_argument("--epochs", type=int, default=REFERENCE_SETTINGS["max_epochs"], help="epochs of reference")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: %(default)s)")
    parser.add_argument("--n-images", type=int, help="use the first images only, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/quality.csv"), help="CSV file")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    results = run(options)
    write_csv(results, options.output)
    report(results, options)
    print(f"\nevery result: {options.output}")


if __name__ == "__main__":
    main()
