"""The digits of the README without fog and with it, for each `random_state` of neural clamping; and their reliability.

Nothing else is random there.

    python benchmarks/demo.py --figure docs/images/before_after.png
"""

from functools import cache
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from _runner import RESULTS, benchmark, record, show
from _scores import evaluate, scaled
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.datasets import load_fogged_digits
from skclamp.display import ReliabilityDisplay

CALIBRATORS = ("uncalibrated", "TemperatureScaling", "NeuralClampingCalibrator")
COLUMNS = ("fog", "calibrator", "seed", "nll", "accuracy", "brier", "ece", "ece_floor")


@cache
def log_proba(fog, calibrator, seed):
    """Labels to judge by, and log-probabilities of their images."""
    data = load_fogged_digits(fog=fog)
    if calibrator == "uncalibrated":
        with torch.no_grad():
            return data.y_test, scaled(data.network(torch.from_numpy(data.X_test)))
    if calibrator == "TemperatureScaling":
        fitted = TemperatureScaling(data.network)
    else:
        fitted = NeuralClampingCalibrator(data.network, random_state=seed)
    return data.y_test, fitted.fit(data.X_cal, data.y_cal).predict_log_proba(data.X_test)


def draw(path, fog=0.5):
    """Reliability before and after."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 6.4), layout="constrained")
    for ax, name in zip(axes, ("uncalibrated", "NeuralClampingCalibrator"), strict=True):
        y, found = log_proba(fog, name, 0)
        ReliabilityDisplay.from_predictions(y, np.exp(found), n_bins=10, name=name, ax=ax)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


@benchmark
def main(fogs=(0.0, 0.5), seeds=12, out=RESULTS / "demo.csv", figure: Path = None):
    results = record(out, COLUMNS, product(fogs, CALIBRATORS, range(seeds)), lambda *cell: evaluate(*log_proba(*cell)))
    show(results, ["fog", "calibrator"], ["nll", "accuracy", "brier", "ece", "ece_floor"])
    if figure:
        draw(figure)
