"""Few labels and many images without any, of a camera that has changed: what learns from the latter.

CIFAR-10 through a ResNet-20: 2,000 images as they were are the reference, 2,000 others are corrupted, of which a draw
has labels, and 2,500 judge. "none" leaves the images as they were, and "frequencies" changes those of the classes
alone, by a draw of Dirichlet(0.3). What is compared: temperature scaling; batch norm adapted, and Tent (Wang et al.,
ICLR 2021), both with T from the labels; neural clamping of the labelled images alone, with the others (its default),
and with what these teach alone. Needs the group `bench`.

    python benchmarks/unlabelled.py --data DIR
    python benchmarks/unlabelled.py --data DIR --n-labels 100 --draws 20 --methods temperature taught
    python benchmarks/unlabelled.py --data DIR --summary
"""

import copy
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from tabulate import tabulate
from torch.nn.modules.batchnorm import _BatchNorm

from _corruption_methods import with_statistics_of
from _data import load_problem
from _estimates import resampled_estimate
from _networks import compute_logits
from _runner import RESULTS, benchmark, record
from _scores import beside_temperature, facts, fit_temperature, nll_and_accuracy, scaled
from _shifts import CORRUPTIONS, corrupt
from _timing import measure_relative
from skclamp import NeuralClampingCalibrator

# No shift, and other class frequencies.
UNSHIFTED = ("none", "frequencies")
CONCENTRATION = 0.3
KEY = ("corruption", "severity", "n_labels", "draw", "method")
COLUMNS = (*KEY, "nll", "accuracy", "taught", "accepted", "families", "forward", "relative_time")
# Tent's own rate and batch.
TENT_RATE, TENT_BATCH = 1e-3, 200


class Camera:
    """Images of a camera as it was and as it is, and a network."""

    def __init__(self, data, corruption, severity, draw, n_unlabelled, n_test):
        self.network, images, labels = load_problem("cifar10_resnet20", data)
        order = np.random.default_rng(0).permutation(len(labels))
        reference, pool, test = order[:n_unlabelled], order[n_unlabelled : 2 * n_unlabelled], order[-n_test:]
        if corruption == "frequencies":
            rng = np.random.default_rng(draw)
            weight = rng.dirichlet(np.full(10, CONCENTRATION))
            # Some of each class, so that there are labels of it.
            weight = (weight + 0.002)[labels] / np.bincount(labels)[labels]
            pool, test = (
                rng.choice(rows, len(rows) // 2, p=weight[rows] / weight[rows].sum()) for rows in (pool, test)
            )
        self.reference = images[reference]
        self.pool, self.test = (
            images[rows] if corruption in UNSHIFTED else corrupt(images[rows], rows, corruption, severity)
            for rows in (pool, test)
        )
        self.pool_labels, self.test_labels = labels[pool], labels[test]

    def labelled(self, n_labels, draw):
        """Rows of the pool that have labels, and those that have none."""
        rows = np.random.default_rng(1000 + draw).permutation(len(self.pool))
        return rows[:n_labels], rows[n_labels:]


def tent(images, network):
    """A copy of a network whose batch norms minimise the entropy of its predictions, in one pass, as Tent does."""
    network = with_statistics_of(images, network)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    network.requires_grad_(False)
    for norm in norms:
        # Of each batch.
        norm.train().requires_grad_(True)
    optimizer = torch.optim.Adam([p for norm in norms for p in norm.parameters()], lr=TENT_RATE)
    for batch in images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))].split(TENT_BATCH):
        log_proba = network(batch).log_softmax(1)
        optimizer.zero_grad()
        (-(log_proba.exp() * log_proba).sum(1)).mean().backward()
        optimizer.step()
    return with_statistics_of(images, network.eval())


def another_network(adapt, camera, rows, rest, draw):
    network = adapt(camera.pool, copy.deepcopy(camera.network))
    temperature = fit_temperature(compute_logits(network, camera.pool[rows]), camera.pool_labels[rows])
    return scaled(compute_logits(network, camera.test), temperature), {}


def clamping(camera, rows, rest, draw, *, unlabelled=True, **parameters):
    given = {"X_unlabelled": camera.pool[rest], "X_reference": camera.reference} if unlabelled else {}
    calibrator = NeuralClampingCalibrator(camera.network, random_state=draw, classes=np.arange(10), **parameters)
    images, labels = camera.pool[rows], camera.pool_labels[rows]
    _, spent = measure_relative(lambda: calibrator.fit(images, labels, **given), camera.network, images)
    verdict = getattr(calibrator, "unlabelled_verdict_", None)
    found = {name: facts(calibrator)[name] for name in ("accepted", "families", "forward")}
    told = {"taught": int(verdict is not None and verdict.accepted), "relative_time": spent.cpu}
    return calibrator.predict_log_proba(camera.test), found | told


METHODS = {
    "temperature": lambda *args: another_network(lambda images, network: network, *args),
    "batch_norm": lambda *args: another_network(with_statistics_of, *args),
    "tent": lambda *args: another_network(tent, *args),
    "clamping": lambda *args: clamping(*args, unlabelled=False),
    "taught": lambda *args: clamping(*args, perturbation=None),
    "unlabelled": clamping,
}


def table(results):
    """A row for each number of labels and method: means over corruptions, then over draws; what was kept, and harm."""
    joined = beside_temperature(results, [name for name in KEY if name != "method"])
    joined["images"] = joined.corruption.where(joined.corruption.isin(UNSHIFTED), "corrupted")
    for (images, n_labels, method), own in joined.groupby(["images", "n_labels", "method"], sort=False):
        by_draw = own.groupby("draw")
        yield {
            "images": images,
            "labels": n_labels,
            "method": method,
            "cells": len(own),
            "NLL ratio": f"{resampled_estimate(by_draw['ratio'].mean()):.3f}",
            "points": f"{resampled_estimate(by_draw['points'].mean()):+.1f}",
            "taught": f"{own.taught.sum():.0f}",
            "worse by more than .02": int((own.over > 0.02).sum()),
            "worst": f"{own.over.max():+.3f}",
        }


@benchmark
def main(
    data=None,
    corruptions: (*CORRUPTIONS, *UNSHIFTED) = (*CORRUPTIONS, *UNSHIFTED),
    severities: range(1, 6) = (2,),
    n_labels=(100, 500),
    methods: METHODS = tuple(METHODS),
    draws=2,
    n_unlabelled=2000,
    n_test=2500,
    out=RESULTS / "unlabelled.csv",
    summary=False,
):
    @lru_cache(maxsize=1)
    def camera(corruption, severity, draw):
        return Camera(data, corruption, severity, draw, n_unlabelled, n_test)

    def run(corruption, severity, n, draw, method):
        seen = camera(corruption, severity, draw if corruption == "frequencies" else 0)
        log_proba, known = METHODS[method](seen, *seen.labelled(n, draw), draw)
        return {**nll_and_accuracy(log_proba, seen.test_labels), **known}

    cells = product(range(draws), corruptions, severities, n_labels, methods)
    cells = [] if summary else [(c, s, n, draw, method) for draw, c, s, n, method in cells]
    print(tabulate(table(record(out, COLUMNS, cells, run)), headers="keys", disable_numparse=True))
