"""Calibrate a small network on scikit-learn's digits: for the camera it was trained for, and for a fogged one.

The network of `skclamp.datasets.load_fogged_digits`, trained on 300 images, is right about 14 times in 15 and too sure
of itself. Two calibrators repair that on 600 other images, and 897 more judge them. On the clear camera neural clamping
finds nothing to do to the images that demonstrably helps, and pools maps of the logits. Then the camera fogs up: the
network, frozen, gets grey images, and the calibrators are fitted anew on what the camera sees now. Temperature scaling
can only make the network less sure; neural clamping wins the lost accuracy back, by a change of the images or, where
held-out images say that this does as well, by maps of the logits.

Prints a table and writes reliability.png. Takes some seconds.
"""

import argparse
import warnings
from functools import partial

import matplotlib.pyplot as plt
import torch
from skorch import NeuralNetClassifier
from tabulate import tabulate
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.datasets import load_fogged_digits
from skclamp.display import ReliabilityDisplay
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import brier_score, calibration_noise_floor, expected_calibration_error, neg_log_likelihood_scorer

# With 897 test images fifteen bins would be noisy.
N_BINS = 10


def main(arguments=None):
    """Calibrate for both cameras, print and draw."""
    options = parse_options(arguments)
    torch.set_num_threads(1)  # the network is too small for more
    # That no temperature can mend the fog is what this shows.
    warnings.filterwarnings("ignore", message="class frequencies are off", category=CalibrationSetWarning)
    rows, fitted = [], {}
    for camera, fog in (("clear", 0), ("fogged", 0.5)):
        data = load_fogged_digits(fog=fog)
        net = NeuralNetClassifier(data.network, criterion=nn.CrossEntropyLoss, classes=range(10)).initialize()
        models = {
            "uncalibrated": net,
            "temperature scaling": TemperatureScaling(net).fit(data.X_cal, data.y_cal),
            "neural clamping": NeuralClampingCalibrator(net, random_state=0).fit(data.X_cal, data.y_cal),
        }
        for name, model in models.items():
            rows.append({"camera": camera, "calibrator": name, **evaluate(model, data.X_test, data.y_test)})
            fitted[camera, name] = model, data.X_test
    print(tabulate(rows, headers="keys", floatfmt=("", "", ".1f", ".3f", ".3f", ".1f")))
    print("")
    for camera in ("clear", "fogged"):
        print(f"{camera} camera: {fitted[camera, 'neural clamping'][0].verdict_}")
    print(
        "\nNLL (negative log-likelihood) and Brier score decide. The floor is the ECE (expected calibration error) that"
        "\nperfectly calibrated probabilities like these would show on as many samples: its mean, and 95 % quantile."
    )
    draw(fitted, data.y_test, options.output)
    print(f"\nReliability diagrams: {options.output}")


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="reliability.png", help="picture to write (default: %(default)s)")
    return parser.parse_args(arguments)


def evaluate(model, X, y):
    """One row of the table: scores of a classifier, percentages where the name says so."""
    proba = model.predict_proba(X)
    error = partial(expected_calibration_error, n_bins=N_BINS)
    floor = calibration_noise_floor(error, proba, random_state=0)
    return {
        "accuracy %": 100 * model.score(X, y),
        "NLL": -neg_log_likelihood_scorer(model, X, y),
        "Brier": brier_score(y, proba),
        "ECE %": 100 * error(y, proba),
        "floor %": f"{100 * floor.mean:.1f} ({100 * floor.quantile:.1f})",
    }


def draw(fitted, y, path):
    """Reliability diagrams: a row for each camera, a column for each calibrator."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 12), layout="constrained")
    with plt.rc_context({"legend.fontsize": "small", "legend.title_fontsize": "small"}):
        for ax, ((camera, name), (model, X)) in zip(axes.flat, fitted.items(), strict=True):
            ReliabilityDisplay.from_estimator(model, X, y, n_bins=N_BINS, name=f"{camera} camera: {name}", ax=ax)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
