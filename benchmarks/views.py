"""Views: several passes a prediction against one, without a shift, under shifts, and where no view can help.

Each cell fits temperature scaling and neural clamping, defaults but for `max_views`, to the same samples and judges
them on others. Cells are appended to a CSV file as they are computed; what the file has already is left out. In the
parts "plain" and "warps", which is the same with turned and enlarged images among the candidates, the network, in
float32, remembers its logits of images that it has seen, and all cells share them.

    python benchmarks/views.py --data DIR --out views.csv
    python benchmarks/views.py --data DIR --out views.csv --parts plain --networks cifar10_resnet20 --max-views 2
    python benchmarks/views.py --out views.csv --summary
"""

import argparse
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tabulate import tabulate
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from _data import add_data_argument, load_images
from _networks import load_resnet
from _relative_time import measure_relative
from _result_file import ResultFile
from _shifts import SHIFTS
from _warps import warps
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import negative_log_likelihood
from skclamp.perturbations._views import views_of

NETWORKS = ("cifar10_resnet20", "cifar10_resnet32", "cifar100_resnet20")
SEVEN = ("brightness", "darkness", "contrast", "color_cast", "normalization", "bgr", "stain")
KEY = ("part", "network", "shift", "n", "seed", "max_views")
COLUMNS = (
    *KEY,
    *("nll_temperature", "nll", "accuracy_temperature", "accuracy", "perturbed", "n_views", "views", "forward"),
    *("fit_time", "fit_cpu", "predict_time", "predict_cpu"),
)


class Remembering(nn.Module):
    """A network that computes its logits of an image once, as long as no gradients are asked for."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.known = _Shared()

    def forward(self, x):
        """Logits."""
        if torch.is_grad_enabled():
            return self.network(x)
        keys = [image.tobytes() for image in x.detach().contiguous().numpy()]
        new = [k for k, key in enumerate(keys) if hash(key) not in self.known]
        if new:
            logits = self.network(x[new])
            self.known.update((hash(keys[k]), row) for k, row in zip(new, logits, strict=True))
        return torch.stack([self.known[hash(key)] for key in keys])


class _Shared(dict):
    """What copies of a network remember together."""

    def __deepcopy__(self, memo):
        return self


def plain_cells(options, part="plain"):
    """No shift: ResNets on the images of their own test sets."""
    return [
        (part, name, "none", 2500, seed, v)
        for name in options.networks
        for v in options.max_views
        for seed in options.seeds
    ]


def shift_cells(options):
    """Shifts that clamping repairs."""
    return [
        ("shift", "cifar10_resnet20", shift, 2500, seed, v)
        for seed in options.seeds
        for shift in options.shifts
        for v in (1, 2)
    ]


def nothing_cells(options):
    """Digits, of which no mirror image is one, and labels drawn from what the network says: nothing to gain."""
    seeds = range(options.seeds[0], options.seeds[0] + options.repetitions)
    return [
        ("nothing", "digits", what, n, seed, 2)
        for what in ("none", "random labels")
        for n in (500, 1000)
        for seed in seeds
    ]


def time_cells(options):
    """Times as multiples of a plain pass of the network."""
    return [("time", "cifar10_resnet20", shift, 5000, 0, v) for shift in ("none", "darkness") for v in (1, 2, 4)]


PARTS = {
    "plain": plain_cells,
    "warps": partial(plain_cells, part="warps"),
    "nothing": nothing_cells,
    "shift": shift_cells,
    "time": time_cells,
}
# In these the network is asked for the same images again and again.
REPEATING = ("plain", "warps")


@cache
def image_problem(name, shift, data, remember):
    """A ResNet, images and labels."""
    images, labels = load_images("cifar100_test" if name.startswith("cifar100") else "cifar10_test", data)
    network = load_resnet(name, data)
    return Remembering(network).eval() if remember else network, SHIFTS[shift](images), labels


@cache
def digits_problem():
    """A small network trained on a few digits, and the digits that it hasn't seen."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    train, rest = train_test_split(np.arange(len(labels)), train_size=400, stratify=labels, random_state=0)
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


def problem_of(cell, options):
    """Network, inputs, labels."""
    part, name, shift, *_ = cell
    if name != "digits":
        return image_problem(name, shift, options.data, part in REPEATING)
    network, images, labels = digits_problem()
    if shift == "random labels":
        with torch.no_grad():
            proba = (network(images).double() / 1.7).softmax(1)
        generator = torch.Generator().manual_seed(cell[4])
        labels = torch.multinomial(proba, 1, generator=generator)[:, 0].numpy()
    return network, images, labels


def compute_cell(cell, options):
    """A row."""
    part, _, _, n, seed, max_views = cell
    network, X, y = problem_of(cell, options)
    here, there = train_test_split(np.arange(len(y)), train_size=n, stratify=y, random_state=seed)
    X, y, X_test, y_test = X[here], y[here], X[there], y[there]
    names = {"classes": np.arange(10)} if part == "nothing" else {}
    plain = TemperatureScaling(network, **names).fit(X, y)
    views = [*views_of(X.shape[1:]), *warps()] if part == "warps" else "auto"
    precision = "float32" if part in REPEATING else "auto"
    clamped = NeuralClampingCalibrator(
        network, max_views=max_views, views=views, random_state=seed, precision=precision, **names
    )
    fit_spent = predict_spent = None
    if part == "time":
        _, fit_spent = measure_relative(lambda: clamped.fit(X, y), network, X)
        _, predict_spent = measure_relative(lambda: clamped.predict_proba(X), network, X)
    else:
        clamped.fit(X, y)
    scores = {}
    for suffix, each in (("_temperature", plain), ("", clamped)):
        proba = each.predict_proba(X_test)
        scores["nll" + suffix] = negative_log_likelihood(y_test, proba, labels=np.arange(proba.shape[1]))
        scores["accuracy" + suffix] = 100 * (proba.argmax(1) == y_test).mean()
    row = dict(zip(KEY, cell, strict=True)) | scores
    row |= {"perturbed": int(clamped.accepted_), "n_views": len(clamped.views_), "views": repr(clamped.views_)}
    row["forward"] = clamped.cost_["forward"]
    for what, spent in (("fit", fit_spent), ("predict", predict_spent)):
        row |= {f"{what}_time": spent and spent.wall, f"{what}_cpu": spent and spent.cpu}
    return row


def report(results):
    """One line for each part, network, shift, size and number of views: means over seeds."""
    results = results.assign(
        ratio=results.nll / results.nll_temperature,
        difference=results.nll - results.nll_temperature,
        points=results.accuracy - results.accuracy_temperature,
    )
    keys = [key for key in KEY if key != "seed"]
    columns = ["ratio", "difference", "points", "perturbed", "n_views", "forward", "fit_time", "fit_cpu"]
    grouped = results.groupby(keys, sort=False)
    table = grouped[[*columns, "predict_time", "predict_cpu"]].mean()
    table.insert(0, "seeds", grouped.size())
    return tabulate(table.reset_index(), headers="keys", showindex=False, floatfmt=".4g")


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="without a shift")
    parser.add_argument("--shifts", nargs="+", choices=SHIFTS, default=SEVEN, metavar="SHIFT")
    parser.add_argument("--max-views", nargs="+", type=int, default=(2, 4), help="without a shift")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(50, 55), help="splits (default: 50 to 54)")
    parser.add_argument("--repetitions", type=int, default=20, help="splits of the part nothing (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/views.csv"), help="CSV file to append to")
    parser.add_argument("--summary", action="store_true", help="compute nothing: a table of the file")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    if not options.summary:
        results = ResultFile(options.out, COLUMNS, len(KEY))
        cells = [cell for part in options.parts for cell in PARTS[part](options)]
        for cell in tqdm([cell for cell in cells if cell not in results], disable=None):
            results.append([compute_cell(cell, options)])
    print(report(pd.read_csv(options.out)))


if __name__ == "__main__":
    main()
