"""Calibrate a small network on scikit-learn's digits: for the camera it was trained for, and for a fogged one.

A convolutional network trained on 300 images is right about 14 times in 15 and too sure of itself. Two calibrators
repair that on 600 other images, and 897 more judge them. On the clear camera neural clamping finds nothing to do to the
images that demonstrably helps, and is temperature scaling. Then the camera fogs up: the network, frozen, gets grey
images, and the calibrators are fitted anew on what the camera sees now. Temperature scaling can only make the network
less sure; neural clamping learns what to do to the images, and wins the lost accuracy back.

Prints a table and writes reliability.png, and the folder demo: the network and what the fogged camera sees, which the
README's first lines load. Takes some seconds.
"""

import argparse
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from tabulate import tabulate
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.display import ReliabilityDisplay
from skclamp.metrics import brier_score, calibration_noise_floor, expected_calibration_error, neg_log_likelihood_scorer

# With 897 test images fifteen bins would be noisy.
N_BINS = 10


def main(arguments=None):
    """Train, calibrate for both cameras, print and draw."""
    options = parse_options(arguments)
    torch.set_num_threads(1)  # the network is too small for more
    (X_train, y_train), (X_val, y_val), (X_test, y_test) = load_splits()
    net = train_network(X_train, y_train)
    rows, fitted = [], {}
    for camera, shift in (("clear", clear), ("fogged", fogged)):
        models = {
            "uncalibrated": net,
            "temperature scaling": TemperatureScaling(net).fit(shift(X_val), y_val),
            "neural clamping": NeuralClampingCalibrator(net, random_state=0).fit(shift(X_val), y_val),
        }
        for name, model in models.items():
            rows.append({"camera": camera, "calibrator": name, **evaluate(model, shift(X_test), y_test)})
            fitted[camera, name] = model, shift(X_test)
    print(tabulate(rows, headers="keys", floatfmt=("", "", ".1f", ".3f", ".3f", ".1f")))
    print("")
    for camera in ("clear", "fogged"):
        print(f"{camera} camera: {describe(fitted[camera, 'neural clamping'][0])}")
    print(
        "\nNLL (negative log-likelihood) and Brier score decide. The floor is the ECE (expected calibration error) that"
        "\nperfectly calibrated probabilities like these would show on as many samples: its mean, and 95 % quantile."
    )
    draw(fitted, y_test, options.output)
    print(f"\nReliability diagrams: {options.output}")
    write(net.module_.eval(), (fogged(X_val), y_val, fogged(X_test), y_test), options.folder)
    print(f"The network, and images from the fogged camera: {options.folder}")


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="reliability.png", help="picture to write (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default="demo", help="folder of the network (default: %(default)s)")
    return parser.parse_args(arguments)


def load_splits():
    """Digits in [0, 1], of shape (n, 1, 8, 8): 300 images to train on, 600 to calibrate on, 897 to test on."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
    X_val, X_test, y_val, y_test = train_test_split(X_rest, y_rest, train_size=600, stratify=y_rest, random_state=0)
    return (X_train, y_train), (X_val, y_val), (X_test, y_test)


def train_network(X, y):
    """A skorch classifier, trained until it is sure of everything it has seen."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=2e-3,
        max_epochs=40,
        batch_size=32,
        train_split=None,
        verbose=0,
    )
    return net.fit(X, y)


def clear(X):
    """The camera that the network was trained for."""
    return X


def fogged(X):
    """The lens has fogged up: black is dark grey, white is light grey."""
    return 0.25 + 0.5 * X


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


def describe(calibrator):
    """What neural clamping decided on held-out parts of the calibration data."""
    if not calibrator.accepted_:
        return "no change of the images demonstrably helps, neural clamping is temperature scaling"
    verdict = calibrator.verdict_
    gain = f"{verdict.difference:+.3f} ± {verdict.standard_error:.3f}"
    return f"neural clamping changes the images; NLL on held-out calibration data against temperature scaling {gain}"


def draw(fitted, y, path):
    """Reliability diagrams: a row for each camera, a column for each calibrator."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 12), layout="constrained")
    with plt.rc_context({"legend.fontsize": "small", "legend.title_fontsize": "small"}):
        for ax, ((camera, name), (model, X)) in zip(axes.flat, fitted.items(), strict=True):
            ReliabilityDisplay.from_estimator(model, X, y, n_bins=N_BINS, name=f"{camera} camera: {name}", ax=ax)
    figure.savefig(path, dpi=80)


def write(module, arrays, folder):
    """A network as it is, with what `torch.load` needs to build it, and tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(module, folder / "network.pt")
    torch.save([torch.as_tensor(array) for array in arrays], folder / "fogged.pt")


if __name__ == "__main__":
    main()
