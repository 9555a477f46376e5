"""A temperature of 100 million pixels: passes over the network, memory and time, beside all pixels in one torch loop.

    python benchmarks/many_places.py
    python benchmarks/many_places.py --samples 10 --side 500 --out ""

A network of one convolution makes logits of two classes from images that are drawn as they are read. Memory is what the
process takes at its peak beyond what it took before the fit.
"""

import resource
import time

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset

from _runner import RESULTS, benchmark
from skclamp import TemperatureScaling

TRUE_TEMPERATURE = 2.0
COLUMNS = ("method", "temperature", "passes", "gigabytes", "seconds")


class Scenes(Dataset):
    """Images of one channel, drawn when they are read, and masks drawn from a network's probabilities over T = 2."""

    def __init__(self, n_samples, side, with_masks=True):
        self.n_samples, self.side, self.with_masks, self.n_read = n_samples, side, with_masks, 0

    def __len__(self):
        return self.n_samples

    def __getitem__(self, index):
        self.n_read += 1
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(1, self.side, self.side, generator=generator)
        if not self.with_masks:
            return x
        p = torch.sigmoid(3 * x[0] / TRUE_TEMPERATURE)
        return x, (torch.rand(p.shape, generator=generator) < p).to(torch.uint8)


def network():
    """Logits of which the difference of the second to the first is three times a pixel."""
    net = nn.Conv2d(1, 2, 1)
    net.weight.data = torch.tensor([-1.5, 1.5]).view(2, 1, 1, 1)
    net.bias.data.zero_()
    return net.eval()


def peak():
    """Largest memory of the process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def of_all_places(net, data):
    """The temperature of all pixels by Newton steps, each a pass over the network."""
    beta, n_passes = 1.0, 0
    for _ in range(6):
        slope = curvature = 0.0
        for k in range(len(data)):
            x, y = data[k]
            with torch.no_grad():
                z = net(x[None])[0].double()
            margin = z[1] - z[0]
            p = torch.sigmoid(beta * margin)
            slope += ((p - y) * margin).sum().item()
            curvature += (p * (1 - p) * margin.square()).sum().item()
        n_passes += 1
        step = slope / curvature
        beta -= step
        if abs(step) < 1e-6 * beta:
            break
    return 1 / beta, n_passes


@benchmark
def main(samples=100, side=1000, out=RESULTS / "many_places.csv"):
    torch.set_num_threads(1)
    net, scenes, before, start = network(), Scenes(samples, side), peak(), time.perf_counter()
    calibrator = TemperatureScaling(net, batch_size=1).fit(scenes)
    rows = [("TemperatureScaling", calibrator.temperature_, scenes.n_read / samples, peak() - before)]
    rows[0] += (time.perf_counter() - start,)
    start = time.perf_counter()
    temperature, n_passes = of_all_places(net, Scenes(samples, side))
    rows.append(("Newton steps on all pixels", temperature, n_passes, np.nan, time.perf_counter() - start))
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(calibrator.summary())
    print(table.round(5).to_markdown(index=False))
    if str(out) not in ("", "."):
        table.round(5).to_csv(out, index=False)
