"""Calibration under shift by others, of the last years, beside clamping: the same images, labels and judges.

A CIFAR-10 and a CIFAR-100 ResNet-20 and five corruptions of severity 2. A thousand images of the camera have no labels,
0, 100 or 500 others have, and 2,000 judge. Without labels temperature scaling, the selector, SMART and noise-refined
temperature scaling learn from 500 images of before the change, and what trains weights is left out, as clamping is.
NLL is over that of temperature scaling on the same split. rivals.csv has the CIFAR-10 network and one split. Needs the
group `bench`.

    python benchmarks/rivals.py --data DIR
    python benchmarks/rivals.py --data DIR --corruptions fog --n-labels 100 --seeds 1 --methods temperature smart head
    python benchmarks/rivals.py --data DIR --summary
"""

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from tabulate import tabulate

from _corruption_methods import make_task
from _data import load_problem
from _estimates import Estimate
from _rival_methods import WITH_LABELS, WITHOUT_LABELS, Setting, fitted_clamping
from _runner import RESULTS, benchmark, record
from _scores import beside_temperature, evaluate, facts, predicted
from _shifts import CORRUPTIONS, corrupt

NETWORKS = ("cifar10_resnet20", "cifar100_resnet20")
METHODS = (*dict.fromkeys((*WITHOUT_LABELS, *WITH_LABELS)), "clamping")
# Of noise, blur, weather and what is digital, before any result.
COMPARED = ("gaussian_noise", "defocus_blur", "fog", "contrast", "pixelate")
SEVERITY, N_BEFORE = 2, 500
KEY = ("seed", "corruption", "network", "n_labels", "method")
COLUMNS = (*KEY, "nll", "accuracy", "ece", "ece_floor", "accepted", "families", "temperature", "forward", "backward")


def setting_of(seed, corruption, network, n_labels, n_unlabelled, n_test, data):
    """What a method is given: no image is in two of its parts."""
    network, images, y = load_problem(network, data)
    order = np.random.default_rng(seed).permutation(len(y))
    test, unlabelled, labelled = np.split(order, [n_test, n_test + n_unlabelled])
    labelled = labelled[: n_labels or N_BEFORE]
    changed = [corrupt(images[rows], rows, corruption, SEVERITY) for rows in (test, unlabelled)]
    calibration = corrupt(images[labelled], labelled, corruption, SEVERITY) if n_labels else images[labelled]
    rows = np.concatenate([labelled, test])
    task = make_task(network, torch.cat([calibration, changed[0]]), y[rows], seed, len(labelled))
    return Setting(task, changed[1], n_labels > 0)


def measure(setting, method):
    """A row of a method."""
    test = setting.task.test
    if method != "clamping":
        methods = WITH_LABELS if setting.labelled else WITHOUT_LABELS
        return evaluate(test.labels, methods[method](setting))
    clamping = fitted_clamping(setting)
    return {**evaluate(test.labels, predicted(clamping, test.images, test.logits)), **facts(clamping)}


def possible(n_labels, method):
    """Whether a method can do with so many labels, and learns from them."""
    return method in ((*WITH_LABELS, "clamping") if n_labels else WITHOUT_LABELS)


def table(results):
    """A row for each network, number of labels and method: means and standard errors over corruptions, after splits."""
    joined = beside_temperature(results, [name for name in KEY if name != "method"])
    for network, n_labels, method in product(NETWORKS, sorted(joined.n_labels.unique()), METHODS):
        own = joined.query("network == @network and n_labels == @n_labels and method == @method")
        if len(own):
            means = own.groupby("corruption")[["ratio", "points"]].mean()
            ratio, points = (Estimate(means[column].mean(), means[column].sem()) for column in means)
            yield {
                "network": network,
                "labels": n_labels,
                "method": method,
                "runs": len(own),
                "NLL ratio": f"{ratio:.3f}",
                "points": f"{points:+.1f}",
                "ECE % (floor)": f"{own.ece.mean():.1f} ({own.ece_floor.mean():.1f})",
            }


@benchmark
def main(
    data=None,
    corruptions: CORRUPTIONS = COMPARED,
    networks: NETWORKS = NETWORKS,
    n_labels=(0, 100, 500),
    methods: METHODS = METHODS,
    seeds=3,
    n_unlabelled=1000,
    n_test=2000,
    out=RESULTS / "rivals.csv",
    summary=False,
):
    setting = lru_cache(maxsize=1)(lambda *cell: setting_of(*cell, n_unlabelled, n_test, data))
    cells = product(range(seeds), corruptions, networks, n_labels, methods)
    cells = [] if summary else [cell for cell in cells if possible(*cell[3:])]
    results = record(out, COLUMNS, cells, lambda *cell: measure(setting(*cell[:-1]), cell[-1]))
    print(tabulate(table(results), headers="keys", disable_numparse=True))
