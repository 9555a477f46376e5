"""Fits of neural clamping by several processes beside one process, on a CIFAR-10 network whose images are dark.

Every process has the same number of threads. One round is a fit by the first process to all the images, the others
waiting, then one by all processes to a part each; the ratio of their wall times is the median over rounds. Beside it:
the largest difference of delta (or of the perturbation's other parameters) and of T, and what a process sent.

    torchrun --nproc-per-node 2 benchmarks/distributed_speed.py --data DIR
"""

import copy

import numpy as np
import torch.distributed as dist
from tabulate import tabulate
from torch.nn.utils import parameters_to_vector

from _data import load_problem
from _networks import RESNETS
from _runner import benchmark
from _shifts import SHIFTS
from _timing import measure
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from skclamp.distributed import sharded

SETTINGS = {
    "temperature scaling": None,
    "affine": {"perturbation": "affine"},
    "auto": {},
    "reference, 3 epochs": {**REFERENCE_SETTINGS, "max_epochs": 3},
}


def compare(name, settings, network, data, n_rounds):
    """Wall times, the differences of what was learned, and what this process sent."""
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    edges = np.linspace(0, len(data[1]), n_ranks + 1).astype(int)
    own = [part[edges[rank] : edges[rank + 1]] for part in data]
    times = []
    for _ in range(n_rounds):
        expected, alone = fit(settings, network, data) if rank == 0 else (None, np.nan)
        dist.barrier()
        with sharded() as ranks:
            found, together = fit(settings, network, own)
        dist.barrier()
        times.append((alone, together))
    times, moved = np.array(times), 0.0
    if getattr(expected, "accepted_", False):
        vectors = [parameters_to_vector(fitted.perturbation_.parameters()) for fitted in (expected, found)]
        moved = (vectors[0] - vectors[1]).abs().max().item()
    return {
        "fit": name,
        "1 process s": np.median(times[:, 0]),
        f"{n_ranks} processes s": np.median(times[:, 1]),
        "ratio": np.median(times[:, 1] / times[:, 0]),
        "delta": moved,
        "T": abs(expected.temperature_ - found.temperature_) if expected else np.nan,
        "exchanges": ranks.n_collectives,
        "sent MB": ranks.n_bytes / 1e6,
    }


def fit(settings, network, data):
    """The fitted calibrator, and wall seconds."""
    calibrator = TemperatureScaling(network)
    if settings is not None:
        calibrator = NeuralClampingCalibrator(network, random_state=0, **settings)
    fitted, spent = measure(lambda: calibrator.fit(*data))
    return fitted, spent.wall


@benchmark
def main(data=None, network: RESNETS = "cifar10_resnet20", size=2000, rounds=3):
    dist.init_process_group("gloo")
    network, images, labels = load_problem(network, data)
    X, y = SHIFTS["darkness"](images[:size]), labels[:size]
    rows = [compare(name, settings, network, (X, y), rounds) for name, settings in SETTINGS.items()]
    # In float64 the many small steps of an optimiser magnify no rounding that one could see.
    doubled, name = copy.deepcopy(network).double(), "reference, 3 epochs"
    rows.append(compare(f"{name}, float64", SETTINGS[name], doubled, (X.double(), y), 1))
    if dist.get_rank() == 0:
        print(tabulate(rows, headers="keys", floatfmt=("", ".2f", ".2f", ".3f", ".1e", ".1e", ".0f", ".3f")))
    dist.destroy_process_group()
