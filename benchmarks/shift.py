"""The shift suite: calibrators on images that a deployed camera or pipeline has changed, and on drifting sensors.

For each network, shift, number of calibration samples and seed, calibrators are fitted to some of the shifted samples
and judged by all the others.

    python benchmarks/shift.py --data DIR --out shift.csv
    python benchmarks/shift.py --data DIR --out shift.csv --shifts none darkness --sizes 2500 --seeds 1
    python benchmarks/shift.py --tabular --out tabular.csv
    python benchmarks/shift.py --summary --figure docs/images/shift.png
"""

from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from _data import load_problem, split_off
from _estimates import paired_estimate, ratio_estimate
from _networks import compute_logits
from _ratio_figure import draw as draw_ratios
from _runner import RESULTS, benchmark, record, show
from _scores import facts, fit_temperature, nll_and_accuracy, predicted, scaled
from _shifts import SHIFTS
from _tabular import TABLES, TABULAR_SHIFTS, train_mlp
from _timing import measure_relative
from skclamp import NeuralClampingCalibrator, VectorScaling
from skclamp.metrics import expected_calibration_error

NETWORKS = {"cifar10_resnet20": "ResNet-20", "cifar10_resnet32": "ResNet-32"}
METHODS = ("uncalibrated", "temperature", "vector", "auto")
KEY = ("network", "shift", "n_calibration", "seed")
COSTS = ("forward", "backward", "relative_time", "relative_cpu")
COLUMNS = (
    *KEY,
    *("n_test", "method", "nll", "accuracy", "ece"),
    *("accepted", "families", "temperature", *COSTS),
)
# The figure shows this size, or the nearest.
MAIN_SIZE = 2500
# Marks that differ in shape and in lightness: the figure must do in grey, too.
MARKS = {
    "vector": {"marker": "D", "color": "0.55", "mfc": "white", "ms": 4.5, "label": "vector scaling"},
    "auto": {"marker": "o", "color": "#0b3c6f", "ms": 6, "label": "neural clamping"},
}


class Split(NamedTuple):
    """A network, shifted inputs and the network's logits of them, labels, and who is calibrated and tested on."""

    network: torch.nn.Module
    inputs: torch.Tensor
    logits: torch.Tensor
    labels: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


def image_splits(data):
    """What gives the split of a network's name, shift, size and seed; a network sees shifted images only once."""

    @lru_cache(maxsize=1)
    def shifted(name, shift):
        network, images, labels = load_problem(name, data)
        images = SHIFTS[shift](images)
        return network, images, compute_logits(network, images), labels

    def split(name, shift, n, seed):
        problem = shifted(name, shift)
        return Split(*problem, *split_off(problem[-1], n, seed))

    return split


def tabular_splits():
    """The same of tables; each seed trains its own network."""
    train = lru_cache(maxsize=1)(train_mlp)

    def split(name, shift, n, seed):
        network, X, y = train(name, seed)
        X = torch.from_numpy(TABULAR_SHIFTS[shift](X, seed))
        return Split(network, X, compute_logits(network, X), y, *split_off(y, n, seed))

    return split


def fit_clamping(split, seed, **parameters):
    """A fitted calibrator, and its time in plain passes."""
    classes = np.arange(split.logits.shape[1])
    calibrator = NeuralClampingCalibrator(split.network, random_state=seed, classes=classes, **parameters)
    inputs, labels = split.inputs[split.calibration], split.labels[split.calibration]
    return measure_relative(lambda: calibrator.fit(inputs, labels), split.network, inputs)


def compare(split, seed):
    """The rows of a run, one for each of `METHODS`: scores on the test part; of "auto", what it did and cost."""
    logits, labels = split.logits[split.calibration], split.labels[split.calibration]
    test, y = split.logits[split.test], split.labels[split.test]
    temperature = fit_temperature(logits, labels)
    vector = VectorScaling(classes=np.arange(test.shape[1])).fit(logits, labels)
    clamping, relative = fit_clamping(split, seed)
    found = {
        "uncalibrated": (scaled(test), {}),
        "temperature": (scaled(test, temperature), {"temperature": temperature}),
        "vector": (vector.predict_log_proba(test), {}),
        "auto": (
            predicted(clamping, split.inputs[split.test], test),
            {**facts(clamping), "relative_time": relative.wall, "relative_cpu": relative.cpu},
        ),
    }
    for method, (log_proba, what) in found.items():
        ece = 100 * expected_calibration_error(y, np.exp(log_proba))
        yield {"n_test": len(y), "method": method, **nll_and_accuracy(log_proba, y), "ece": ece, **what}


def by_shift(results):
    """Each shift's name with its results, in the order of the suite."""
    for name in dict.fromkeys([*SHIFTS, *TABULAR_SHIFTS]):
        part = results[results["shift"] == name]
        if len(part):
            yield name, part


def against_temperature(part, method, score, estimate=paired_estimate):
    """An estimate of a method's score against temperature scaling's over runs that differ in their seed."""
    scores = part.pivot(index="seed", columns="method", values=score)
    n_test, n_calibration = part["n_test"].iloc[0], part["n_calibration"].iloc[0]
    return estimate(scores[method], scores["temperature"], n_test / (n_test + n_calibration))


def draw(results, path):
    """Draw the networks side by side, a dot with its standard error for each shift."""
    panels = {}
    for name in [name for name in NETWORKS if name in set(results["network"])]:
        own = results[results["network"] == name]
        size = min(own["n_calibration"], key=lambda size: abs(size - MAIN_SIZE))
        parts = dict(by_shift(own[own["n_calibration"] == size]))
        panels[NETWORKS[name]] = {
            method: pd.DataFrame(
                [against_temperature(part, method, "nll", ratio_estimate) for part in parts.values()], index=[*parts]
            )
            for method in MARKS
        }
    auto = next(iter(panels.values()))["auto"]["mean"]
    # No shift first, then those that clamping repairs best.
    order = sorted(auto.index, key=lambda shift: (shift != "none", auto[shift]))
    draw_ratios(path, panels, order, MARKS, (6, 6.4), "test NLL, temperature scaling = 1 (± standard error)")


@benchmark
def main(
    data=None,
    networks: NETWORKS = tuple(NETWORKS),
    shifts: SHIFTS = tuple(SHIFTS),
    sizes=(500, 1000, 2500, 5000),
    seeds=5,
    seed0=0,
    tabular=False,
    out=RESULTS / "shift.csv",
    summary=False,
    figure: Path = None,
):
    seeds = range(seed0, seed0 + seeds)
    if tabular:
        split_of = tabular_splits()
        cells = [(name, shift, TABLES[name][2], seed) for name, seed, shift in product(TABLES, seeds, TABULAR_SHIFTS)]
    else:
        split_of = image_splits(data)
        cells = product(networks, shifts, sizes, seeds)
    results = record(out, COLUMNS, () if summary else cells, lambda *run: compare(split_of(*run), run[-1]))
    setting = ["network", "n_calibration", "shift"]
    show(results, setting, ["nll", "accuracy", "ece"], across="method")
    show(results[results.method == "auto"], setting, ["accepted", *COSTS])
    if figure:
        draw(results, figure)
