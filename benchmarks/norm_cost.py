"""What a gain and an offset after each normalisation layer cost: passes, time, memory, a file, and prediction.

Families side by side in one process, on images that are noisy and as they are. "memory" is the peak of a fit above what
there was before it, less that of plain passes, forward and back to the inputs, in batches of the same size (Linux alone
tells it); prediction's time is the median ratio of `predict_proba` to a plain loop over the bare network, in turn.

    python benchmarks/norm_cost.py --data DIR
    python benchmarks/norm_cost.py --data DIR --networks efficientnet_lite0 --shifts noise --families norm --rounds 1
"""

import copy
import tempfile
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from _data import load_problem
from _imagenet import LITE0, Sample
from _networks import compute_logits
from _runner import RESULTS, benchmark, record, show
from _scores import facts
from _shifts import SHIFTS
from _timing import at_once, measure, measure_relative
from skclamp import NeuralClampingCalibrator

FAMILIES = ("affine", "norm", "auto")
NETWORKS = ("cifar10_resnet20", "cifar10_resnet32", LITE0)
KEY = ("network", "shift", "n", "seed", "family")
COLUMNS = (
    *(*KEY, "accepted", "families", "forward", "backward", "relative_time", "relative_cpu"),
    *("predict_ratio", "file_kb", "memory_mb", "temperature"),
)
SHIFT = {"noise": partial(SHIFTS["sensor_noise"], read=0.1), "none": SHIFTS["none"]}


def peak_mb(function):
    """What a function returns, and the most memory it took above what there was; NaN where that isn't told."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not forget.exists():
        return function(), np.nan

    def told(name):
        return int(status.read_text(encoding="ascii").split(f"{name}:")[1].split()[0]) / 1024

    forget.write_text("5", encoding="ascii")
    before = told("VmRSS")
    return function(), told("VmHWM") - before


def back_and_forth(network, images, size):
    """Plain passes, forward and back to the inputs, in batches."""
    network = copy.deepcopy(network).requires_grad_(False)
    for batch in images.split(size):
        x = batch.clone().requires_grad_()
        torch.autograd.grad(network(x).sum(), x)


def fit_and_predict(network, images, labels, seed, family, rounds):
    """The row of a family."""
    calibrator = NeuralClampingCalibrator(network, perturbation=family, random_state=seed)
    size, test = at_once(images), images[:500]
    _, passes = peak_mb(lambda: back_and_forth(network, images, size))
    (_, relative), fit = peak_mb(lambda: measure_relative(lambda: calibrator.fit(images, labels), network, images))
    ways = partial(compute_logits, network, test, size), partial(calibrator.predict_proba, test)
    times = np.array([[measure(way)[1].cpu for way in ways] for _ in range(rounds + 1)])[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibrator.safetensors"
        calibrator.save(path)
        n_bytes = path.stat().st_size
    return {
        **facts(calibrator),
        **{"relative_time": relative.wall, "relative_cpu": relative.cpu},
        **{"predict_ratio": np.median(times[:, 1] / times[:, 0]), "file_kb": n_bytes / 1000},
        "memory_mb": fit - passes,
    }


@benchmark
def main(
    data: Path,
    networks: NETWORKS = NETWORKS[:1],
    shifts: SHIFT = tuple(SHIFT),
    families=FAMILIES,
    n=2500,
    seeds=(51,),
    rounds=7,
    out=RESULTS / "norm_cost.csv",
):
    @cache
    def problem(name):
        if name != LITE0:
            return load_problem(name, data)
        sample = Sample(data)
        return sample.network, sample.images.float() / 255, sample.labels

    def run(name, shift, n, seed, family):
        network, images, labels = problem(name)
        # Of too few images some come twice, with noise of their own.
        rows = np.resize(np.random.default_rng(seed).permutation(len(labels)), n)
        return fit_and_predict(network, SHIFT[shift](images[rows]), labels[rows], seed, family, rounds)

    results = record(out, COLUMNS, product(networks, shifts, [n], seeds, families), run)
    show(results, [*KEY], ["accepted", "forward", "backward", "relative_cpu", "predict_ratio", "file_kb", "memory_mb"])
