"""How long fits take, by the side of the images and their number: passes, and time over that of a plain forward pass.

    python benchmarks/fit_times.py

The network is torchvision's ShuffleNet at half its width, which learns 600 enlarged digits in seconds; others, each
with grain of its own, calibrate, with half of their contrast. Or nothing changes, and labels are drawn from what the
network says, half as sure.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, interpolate

from _networks import compute_logits
from _runner import RESULTS, benchmark, record, show
from _scores import draw_labels, facts
from _timing import measure_relative
from skclamp import NeuralClampingCalibrator, TemperatureScaling

CHANGES = ("none", "contrast")
METHODS = ("temperature", "clamping")
COLUMNS = ("side", "n", "change", "method", "forward", "backward", "relative_time", "relative_cpu", "accepted")
N_TRAIN, N_EPOCHS = 600, 8


def digits(rows, side):
    """Digits in three channels, each with grain of its own."""
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))[rows]
    images = torch.from_numpy((X[rows] / 16).astype(np.float32)).reshape(-1, 1, 8, 8).expand(-1, 3, -1, -1)
    images = interpolate(images, size=(side, side), mode="bilinear")
    return images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(len(rows))), y[rows]


@lru_cache(maxsize=1)
def trained(side):
    from torchvision.models import shufflenet_v2_x0_5

    X, y = digits(np.arange(N_TRAIN), side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = shufflenet_v2_x0_5(num_classes=10)
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(N_EPOCHS):
            for rows in torch.randperm(N_TRAIN).split(30):
                loss = cross_entropy(network(X[rows]), torch.from_numpy(y[rows]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval()


def measure(side, n, change, method):
    """Passes and times of a fit; temperature scaling's own pass is what it costs."""
    network = trained(side)
    X, y = digits(N_TRAIN + np.arange(n) % 1100, side)
    if change == "none":
        y = draw_labels(compute_logits(network, X), 2.0, seed=0)
    else:
        X = 0.5 * X + 0.25
    scaling = method == "temperature"
    calibrator = TemperatureScaling(network) if scaling else NeuralClampingCalibrator(network, random_state=0)
    fitted, spent = measure_relative(lambda: calibrator.fit(X, y), network, X)
    told = {"forward": 1.0, "backward": 0.0, "accepted": 0} if scaling else facts(fitted)
    return {**told, "relative_time": spent.wall, "relative_cpu": spent.cpu}


@benchmark
def main(
    sides=(32, 64, 128),
    sizes=(500, 2000),
    changes: CHANGES = CHANGES,
    methods: METHODS = METHODS,
    out=RESULTS / "fit_times.csv",
):
    results = record(out, COLUMNS, product(sides, sizes, changes, methods), measure)
    show(results, ["change", "method", "side", "n"], ["forward", "backward", "relative_time", "accepted"])
