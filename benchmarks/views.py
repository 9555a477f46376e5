"""Views: several passes a prediction against one, without a shift, under shifts, and where no view can help.

Each cell fits temperature scaling and neural clamping, defaults but for `max_views`, to the same samples and judges
them on others. The part "warps" is "plain" with turned and enlarged images among the candidates, all of which may join.

    python benchmarks/views.py --data DIR --out views.csv
    python benchmarks/views.py --data DIR --out views.csv --parts plain --networks cifar10_resnet20 --max-views 2
    python benchmarks/views.py --out views.csv --summary
"""

import math
from functools import cache
from itertools import product

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from _data import load_problem, split_off
from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature
from _shifts import SEVEN, SHIFTS
from _timing import measure_relative
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import negative_log_likelihood
from skclamp.perturbations import HorizontalFlip, ImageShift

NETWORKS = ("cifar10_resnet20", "cifar10_resnet32", "cifar100_resnet20")
PARTS = ("plain", "warps", "nothing", "shift", "time")
# Without a shift.
UNSHIFTED = ("plain", "warps")
KEY = ("part", "network", "shift", "n", "seed", "max_views")
TIMES = ("fit_time", "fit_cpu", "predict_time", "predict_cpu")
COLUMNS = (
    *KEY,
    *("nll_temperature", "nll", "accuracy_temperature", "accuracy", "perturbed", "n_views", "views", "forward"),
    *TIMES,
)


class Warp(nn.Module):
    """Images turned by some degrees and enlarged by a factor, the border repeated, and mirrored if asked for."""

    def __init__(self, degrees=0.0, zoom=1.0, flip=False):
        super().__init__()
        self.degrees, self.zoom, self.flip = degrees, zoom, flip

    @property
    def title(self):
        turned = f"turn {self.degrees:+g}" if self.degrees else f"zoom {self.zoom:g}"
        return f"{'flipped ' * self.flip}{turned}"

    def forward(self, x):
        """Warped batch, of the same shape."""
        angle = math.radians(self.degrees)
        cosine, sine = math.cos(angle) / self.zoom, math.sin(angle) / self.zoom
        matrix = x.new_tensor([[cosine, -sine, 0], [sine, cosine, 0]]).expand(len(x), 2, 3)
        grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
        warped = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return warped.flip(-1) if self.flip else warped


def candidates():
    """The usual views of small images, and those that were left out of them: turned either way, enlarged or reduced."""
    moves = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    usual = [HorizontalFlip(), *(ImageShift(*move, flip) for flip in (False, True) for move in moves)]
    warps = [{"degrees": 8.0}, {"degrees": -8.0}, {"zoom": 1.08}, {"zoom": 0.92}]
    return [*usual, *(Warp(**warp, flip=flip) for warp, flip in product(warps, (False, True)))]


def cells_of(part, networks, shifts, max_views, seeds, repetitions):
    """Cells of a part: no shift; digits, of which no mirror image is one, and labels drawn from the network; shifts."""
    if part == "warps":
        max_views = [1 + len(candidates())]
    if part in UNSHIFTED:
        return [(part, name, "none", 2500, seed, v) for name in networks for v in max_views for seed in seeds]
    if part == "nothing":
        draws = range(seeds[0], seeds[0] + repetitions)
        settings = product(("none", "random labels"), (500, 1000), draws)
        return [(part, "digits", what, n, seed, 2) for what, n, seed in settings]
    if part == "shift":
        return [(part, NETWORKS[0], shift, 2500, seed, v) for seed in seeds for shift in shifts for v in (1, 2)]
    return [(part, NETWORKS[0], shift, 5000, 0, v) for shift in ("none", "darkness") for v in (1, 2, 4)]


@cache
def digits_problem():
    """A small network trained on a few digits, and the digits that it hasn't seen."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    train, rest = split_off(labels, 400, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU(), nn.Flatten()
        network = nn.Sequential(*layers, nn.Linear(216, 10))
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(20):
            for rows in torch.from_numpy(train)[torch.randperm(len(train))].split(64):
                optimizer.zero_grad()
                functional.cross_entropy(network(images[rows]), torch.from_numpy(labels)[rows]).backward()
                optimizer.step()
    return network.eval(), images[rest], labels[rest]


def random_labels(network, images, seed):
    """Drawn from what the network says, at a temperature."""
    with torch.no_grad():
        proba = (network(images).double() / 1.7).softmax(1)
    return torch.multinomial(proba, 1, generator=torch.Generator().manual_seed(seed))[:, 0].numpy()


def measure(problem, part, shift, n, seed, max_views):
    """A row."""
    network, X, y = problem
    if shift == "random labels":
        y = random_labels(network, X, seed)
    here, there = split_off(y, n, seed)
    X, y, X_test, y_test = X[here], y[here], X[there], y[there]
    names = {"classes": np.arange(10)} if part == "nothing" else {}
    plain = TemperatureScaling(network, **names).fit(X, y)
    views = candidates() if part == "warps" else max_views
    clamped = NeuralClampingCalibrator(network, max_views=views, random_state=seed, **names)
    times = {}
    if part == "time":
        _, fitted = measure_relative(lambda: clamped.fit(X, y), network, X)
        _, predicted = measure_relative(lambda: clamped.predict_proba(X), network, X)
        times = dict(zip(TIMES, (*fitted, *predicted), strict=True))
    else:
        clamped.fit(X, y)
    scores = {}
    for suffix, fitted in (("_temperature", plain), ("", clamped)):
        proba = fitted.predict_proba(X_test)
        scores["nll" + suffix] = negative_log_likelihood(y_test, proba, labels=np.arange(proba.shape[1]))
        scores["accuracy" + suffix] = 100 * (proba.argmax(1) == y_test).mean()
    kept = {"perturbed": int(clamped.accepted_), "n_views": len(clamped.views_), "views": repr(clamped.views_)}
    return {**scores, **kept, "forward": clamped.cost_["forward"], **times}


def beside_one_view(results):
    """The results beside temperature scaling's, which has one view."""
    plain = {"nll_temperature": "ts_nll", "accuracy_temperature": "ts_accuracy"}
    return beside_temperature(results.rename(columns=plain))


@benchmark
def main(
    data=None,
    parts: PARTS = PARTS,
    networks: NETWORKS = NETWORKS,
    shifts: SHIFTS = SEVEN,
    max_views=(2, 4),
    seeds=range(50, 55),
    repetitions=20,
    out=RESULTS / "views.csv",
    summary=False,
):
    @cache
    def problem(name, shift):
        if name == "digits":
            return digits_problem()
        network, images, labels = load_problem(name, data)
        return network, SHIFTS[shift](images), labels

    def run(part, name, shift, *setting):
        return measure(problem(name, "none" if shift == "random labels" else shift), part, shift, *setting)

    cells = [cell for part in parts for cell in cells_of(part, networks, shifts, max_views, seeds, repetitions)]
    results = beside_one_view(record(out, COLUMNS, () if summary else cells, run))
    values = ["ratio", "over", "points", "perturbed", "n_views", "forward", *TIMES]
    show(results, [name for name in KEY if name != "seed"], values)
