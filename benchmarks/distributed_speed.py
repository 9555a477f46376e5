"""Fits of neural clamping by several processes beside one process, on a CIFAR-10 network whose images are dark.

Every process has the same number of threads. One round is a fit by the first process to all the images, the others
waiting, then one by all processes to a part each; the ratio of their wall times is the median over rounds. Beside it:
the largest difference of delta (or of the perturbation's other parameters) and of T, and what a process sent.

    torchrun --nproc-per-node 2 benchmarks/distributed_speed.py --data DIR
"""

import argparse
import copy
import time

import numpy as np
import torch
import torch.distributed as dist
from tabulate import tabulate
from torch.nn.utils import parameters_to_vector

from _data import add_data_argument, load_images
from _networks import RESNETS, load_resnet
from _shifts import SHIFTS
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from skclamp.distributed import sharded

PRECISION = {"precision": "float32"}
SETTINGS = {
    "temperature scaling": None,
    "affine": {"perturbation": "affine", **PRECISION},
    "auto": PRECISION,
    "reference, 3 epochs": {**REFERENCE_SETTINGS, "max_epochs": 3},
}
# In float64 the many small steps of an optimiser magnify no rounding that one could see.
DOUBLE = "reference, 3 epochs, float64"


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    dist.init_process_group("gloo")
    images, labels = load_images("cifar10_test", options.data)
    network = load_resnet(options.network, options.data).eval()
    data = SHIFTS["darkness"](images[: options.size]), labels[: options.size]
    rows = [compare(name, SETTINGS[name], network, data, options.rounds) for name in SETTINGS]
    doubled = copy.deepcopy(network).double(), (data[0].double(), data[1])
    rows.append(compare(DOUBLE, SETTINGS["reference, 3 epochs"], *doubled, 1))
    if dist.get_rank() == 0:
        print(tabulate(rows, headers="keys", floatfmt=("", ".2f", ".2f", ".3f", ".1e", ".1e", ".0f", ".3f")))
    dist.destroy_process_group()


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--network", choices=sorted(RESNETS), default="cifar10_resnet20")
    parser.add_argument("--size", type=int, default=2000, help="images of all processes (default: 2000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads of each process (default: 1)")
    return parser.parse_args(arguments)


def compare(name, settings, network, data, n_rounds):
    """Wall times, the differences of what was learned, and what this process sent."""
    rounds = [one_round(settings, network, data) for _ in range(n_rounds)]
    times = np.array([(alone, together) for alone, together, *_ in rounds])
    _, _, expected, found, ranks = rounds[-1]
    return {
        "fit": name,
        "1 process s": np.median(times[:, 0]),
        f"{dist.get_world_size()} processes s": np.median(times[:, 1]),
        "ratio": np.median(times[:, 1] / times[:, 0]),
        "delta": largest_difference(expected, found),
        "T": abs(expected.temperature_ - found.temperature_) if expected else np.nan,
        "exchanges": ranks.n_collectives,
        "sent MB": ranks.n_bytes / 1e6,
    }


def one_round(settings, network, data):
    alone, expected = timed(settings, network, data) if dist.get_rank() == 0 else (np.nan, None)
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    edges = np.linspace(0, len(data[1]), n_ranks + 1).astype(int)
    own = slice(edges[rank], edges[rank + 1])
    dist.barrier()
    with sharded() as ranks:
        together, found = timed(settings, network, [part[own] for part in data])
    dist.barrier()
    return alone, together, expected, found, ranks


def timed(settings, network, data):
    """Seconds, and the fitted calibrator."""
    start = time.perf_counter()
    if settings is None:
        calibrator = TemperatureScaling(network).fit(*data)
    else:
        calibrator = NeuralClampingCalibrator(network, random_state=0, **settings).fit(*data)
    return time.perf_counter() - start, calibrator


def largest_difference(expected, found):
    """Between the perturbations' parameters."""
    if not getattr(expected, "accepted_", False):
        return 0.0
    vectors = [parameters_to_vector(fitted.perturbation_.parameters()) for fitted in (expected, found)]
    return (vectors[0] - vectors[1]).abs().max().item()


if __name__ == "__main__":
    main()
