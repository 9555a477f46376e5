"""How well calibrators do on CIFAR without any shift: several splits, paired with temperature scaling.

For each network and each seed the test images are split into stratified halves, one to calibrate on and one to judge
by. Tables show means over the splits with corrected standard errors, and differences to temperature scaling on the
same splits.

    python benchmarks/quality.py --data DIR
    python benchmarks/quality.py --data DIR --methods temperature reference --epochs 100
"""

from functools import lru_cache
from itertools import product

import numpy as np
from tabulate import tabulate

from _data import load_images, split_halves
from _estimates import paired_estimate, resampled_estimate
from _networks import RESNETS, compute_logits, load_resnet
from _runner import RESULTS, benchmark, record
from _scores import evaluate, fit_temperature, scaled
from _timing import measure
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator

BASELINE = "temperature"
METHODS = ("uncalibrated", "temperature", "clamping", "reference")
# Digits of the tables; percentages have two.
SCORES = {"nll": ".4f", "brier": ".4f", "accuracy": ".2f", "ece": ".2f", "aece": ".2f", "sce": ".2f"}
COLUMNS = ("network", "seed", "method", *SCORES, "ece_floor", "ece_floor_95", "seconds")


def log_probabilities(method, network, images, logits, labels, calibration, test, seed, epochs):
    """Of the test part."""
    if method == "uncalibrated":
        return scaled(logits[test])
    if method == "temperature":
        return scaled(logits[test], fit_temperature(logits[calibration], labels[calibration]))
    parameters = {**REFERENCE_SETTINGS, "max_epochs": epochs} if method == "reference" else {}
    calibrator = NeuralClampingCalibrator(network, random_state=seed, **parameters)
    return calibrator.fit(images[calibration], labels[calibration]).predict_log_proba(images[test])


def report(results):
    for network, own in results.groupby("network", sort=False):
        scores = own.pivot(index="seed", columns="method")
        rows, differences = [], []
        for method in own.method.unique():
            means = {score: f"{resampled_estimate(scores[score, method]):{spec}}" for score, spec in SCORES.items()}
            floor = f"{scores['ece_floor', method].mean():.2f} ({scores['ece_floor_95', method].mean():.2f})"
            seconds = f"{scores['seconds', method].median():.1f}"
            rows.append({"method": method, **means, "ece floor": floor, "s": seconds})
            if method != BASELINE and BASELINE in scores["nll"]:
                less = {
                    score: f"{paired_estimate(scores[score, method], scores[score, BASELINE]):+{spec}}"
                    for score, spec in SCORES.items()
                }
                differences.append({"method": f"{method} − {BASELINE}", **less})
        print(f"\n{network}, {len(scores)} splits: means ± corrected standard errors; accuracy, ece, aece, sce in %")
        print(tabulate(rows, headers="keys"))
        print(f"\npaired differences\n{tabulate(differences, headers='keys')}")


@benchmark
def main(
    data=None,
    networks: RESNETS = ("cifar10_resnet20", "cifar10_resnet32"),
    methods: METHODS = METHODS[:3],
    epochs=REFERENCE_SETTINGS["max_epochs"],
    seeds=5,
    n_images: int = None,
    out=RESULTS / "quality.csv",
):
    @lru_cache(maxsize=1)
    def problem(name):
        images, labels = load_images(f"{name.partition('_')[0]}_test", data)
        network, images, labels = load_resnet(name, data), images[:n_images], labels[:n_images]
        return network, images, compute_logits(network, images), labels

    def run(name, seed, method):
        network, images, logits, labels = problem(name)
        calibration, test = split_halves(labels, seed)
        log_proba, spent = measure(
            lambda: log_probabilities(method, network, images, logits, labels, calibration, test, seed, epochs)
        )
        return {**evaluate(labels[test], np.asarray(log_proba)), "seconds": spent.wall}

    # What others are compared with comes first.
    chosen = [method for method in METHODS if method in methods]
    report(record(out, COLUMNS, product(networks, range(seeds), chosen), run))
