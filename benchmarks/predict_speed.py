"""Time of predict_proba beside a plain loop over the bare network, with the perturbation and T applied by hand.

Both run in one process on the same images in the same batches, in turn; the ratio is the median over rounds of
processor times.

    python benchmarks/predict_speed.py --data DIR
"""

import argparse
import time

import numpy as np
import torch
from tabulate import tabulate

from _data import add_data_argument, load_images
from _networks import RESNETS, load_resnet
from _shifts import SHIFTS
from skclamp import NeuralClampingCalibrator


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    images, labels = load_images("cifar10_test", options.data)
    network = load_resnet(options.network, options.data).eval()
    shifted = SHIFTS["darkness"](images[: options.size])
    rows = [compare(network, shifted, labels[: options.size], family, options.rounds) for family in ("full", "affine")]
    print(tabulate(rows, headers="keys", floatfmt=("", ".3f", ".3f", ".3f", ".1e")))


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--network", choices=sorted(RESNETS), default="cifar10_resnet20")
    parser.add_argument("--size", type=int, default=1000, help="images (default: 1000)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: 1)")
    return parser.parse_args(arguments)


def compare(network, images, labels, family, n_rounds):
    """Ratio of times, and the largest difference of probabilities."""
    # One step of a plain optimiser suffices: the perturbation's size has no bearing on the time.
    calibrator = NeuralClampingCalibrator(
        network, perturbation=family, optimizer="sgd", lr=1e-3, max_epochs=1, validation_fraction=None, random_state=0
    ).fit(images, labels)
    rounds = np.array([paired_times(calibrator, network, images) for _ in range(n_rounds)])
    ours, plain = calibrator.predict_proba(images), plain_loop(calibrator, network, images)
    return {
        "perturbation": family,
        "plain loop s": np.median(rounds[:, 0]),
        "predict_proba s": np.median(rounds[:, 1]),
        "ratio": np.median(rounds[:, 1] / rounds[:, 0]),
        "largest difference": np.abs(ours - plain).max(),
    }


def paired_times(calibrator, network, images):
    start = time.process_time()
    plain_loop(calibrator, network, images)
    between = time.process_time()
    calibrator.predict_proba(images)
    return between - start, time.process_time() - between


def plain_loop(calibrator, network, images):
    """What one would write by hand."""
    perturbation, parts = calibrator.perturbation_, []
    with torch.no_grad():
        for batch in images.split(calibrator.batch_size):
            parts.append(torch.softmax(network(perturbation(batch)) / calibrator.temperature_, 1))
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
