"""Time of predict_proba beside a plain loop over the bare network, with the perturbation and T applied by hand.

Both run in one process on the same images in the same batches, in turn; the ratio is the median over rounds of
processor times.

    python benchmarks/predict_speed.py --data DIR
"""

from functools import partial

import numpy as np
import torch
from tabulate import tabulate

from _data import load_images
from _networks import RESNETS, load_resnet
from _runner import benchmark
from _shifts import SHIFTS
from _timing import measure
from skclamp import NeuralClampingCalibrator


def compare(network, images, labels, family, n_rounds):
    """Ratio of times, and the largest difference of probabilities."""
    # One step of a plain optimiser suffices: the perturbation's size has no bearing on the time.
    calibrator = NeuralClampingCalibrator(
        network, perturbation=family, optimizer="sgd", lr=1e-3, max_epochs=1, validation_fraction=None, random_state=0
    ).fit(images, labels)
    ways = partial(plain_loop, calibrator, network, images), partial(calibrator.predict_proba, images)
    rounds = np.array([[measure(way)[1].cpu for way in ways] for _ in range(n_rounds)])
    plain, ours = (way() for way in ways)
    return {
        "perturbation": family,
        "plain loop s": np.median(rounds[:, 0]),
        "predict_proba s": np.median(rounds[:, 1]),
        "ratio": np.median(rounds[:, 1] / rounds[:, 0]),
        "largest difference": np.abs(ours - plain).max(),
    }


@torch.no_grad()
def plain_loop(calibrator, network, images):
    """What one would write by hand."""
    logits = (network(calibrator.perturbation_(batch)) for batch in images.split(calibrator.batch_size))
    return torch.cat([torch.softmax(part / calibrator.temperature_, 1) for part in logits]).numpy()


@benchmark
def main(data=None, network: RESNETS = "cifar10_resnet20", size=1000, rounds=15):
    images, labels = load_images("cifar10_test", data)
    network, shifted = load_resnet(network, data), SHIFTS["darkness"](images[:size])
    rows = [compare(network, shifted, labels[:size], family, rounds) for family in ("full", "affine")]
    print(tabulate(rows, headers="keys", floatfmt=("", ".3f", ".3f", ".3f", ".1e")))
