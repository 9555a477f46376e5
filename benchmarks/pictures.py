"""Two pictures of a corruption: what a pass over the calibration set buys, and where in the network a clamp acts.

The first is drawn of corruptions.csv. For the second a ResNet-20 is clamped behind each of its normalisation layers;
the quantiles of each layer's gains and offsets go to a CSV file.

    python benchmarks/pictures.py --data DIR --figure docs/images
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

from _data import load_images
from _networks import load_resnet
from _runner import RESULTS, benchmark, record
from _shifts import CORRUPTIONS, corrupt
from corruptions import MARKS, SEEDS
from skclamp import NeuralClampingCalibrator

NETWORK, SEVERITY = "cifar10_resnet20", 2
QUANTILES = {"least": 0.0, "lower": 0.25, "median": 0.5, "upper": 0.75, "most": 1.0}
COLUMNS = ("corruption", "seed", "n", "layer", "number", "what", *QUANTILES)
NOTHING, INK = {"gain": 1, "offset": 0}, "#0b3c6f"
TEMPERATURE = {"temperature": {"marker": "*", "color": "black", "ms": 9, "label": "temperature scaling"}}


def layers(corruption, seed, n, data):
    """A row for the gains of each layer and one for its offsets, those next to the input first."""
    images, labels = load_images("cifar10_test", data)
    rows, _ = train_test_split(np.arange(len(labels)), train_size=n, stratify=labels, random_state=seed)
    clamp = NeuralClampingCalibrator(load_resnet(NETWORK, data), perturbation="norm", random_state=seed)
    clamp.fit(corrupt(images[rows], rows, corruption, SEVERITY), labels[rows])
    # Refused, it does nothing in any layer.
    refused = [(SimpleNamespace(name="all"), *(torch.full((1,), float(value)) for value in NOTHING.values()))]
    by_layer = clamp.perturbation_[0].by_layer() if clamp.accepted_ else refused
    for number, (layer, *values) in enumerate(by_layer):
        for what, value in zip(NOTHING, values, strict=True):
            found = np.quantile(value.detach().numpy(), [*QUANTILES.values()])
            yield {"layer": layer.name, "number": number, "what": what, **dict(zip(QUANTILES, found, strict=True))}


def draw_passes(path, results):
    """A method's mark at what its fit costs and at its NLL; the line has no method below it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    marks = {**TEMPERATURE, **MARKS}
    costs = results[results.method.isin(marks)].set_index("method")[["fit_cpu", "nll"]].sort_values("fit_cpu")
    for method, mark in marks.items():
        if method in costs.index:
            axes.plot(*costs.loc[method], ls="none", **mark)
    axes.step(costs.fit_cpu, costs.nll.cummin(), where="post", color="0.8", lw=1, zorder=0)
    axes.set(xscale="log", xlabel="fit, in passes over the calibration set", ylabel="test NLL")
    axes.set_xticks([1, 2, 5, 10, 20, 40], [1, 2, 5, 10, 20, 40], minor=False)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, dpi=160, pil_kwargs={"optimize": True})


def draw_depth(path, results):
    """The range of each layer's values, their middle half and median."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    for axes, (what, own) in zip(figure.subplots(1, 2), results.groupby("what"), strict=True):
        axes.axhline(NOTHING[what], color="0.6", lw=1)
        axes.vlines(own.number, own.least, own.most, color=INK, lw=1)
        axes.vlines(own.number, own.lower, own.upper, color=INK, lw=5, alpha=0.4)
        axes.plot(own.number, own["median"], "o", color=INK, ms=3.5)
        axes.set(title=f"{what} by layer", xlabel="normalisation layer, from the input on")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=160, pil_kwargs={"optimize": True})


@benchmark
def main(
    data=None,
    corruption: CORRUPTIONS = "impulse_noise",
    seed=SEEDS[1],
    n=2500,
    out=RESULTS / "depth.csv",
    figure: Path = None,
):
    depth = record(out, COLUMNS, [(corruption, seed, n)], lambda *cell: list(layers(*cell, data)))
    print(depth.to_string(index=False))
    if figure:
        figure.mkdir(parents=True, exist_ok=True)
        results = pd.read_csv(RESULTS / "corruptions.csv")
        own = results[(results.corruption == corruption) & (results.n_labels == results.n_labels.max())]
        own = own[(own.network == NETWORK) & (own.severity == SEVERITY) & (own.seed == seed)]
        draw_passes(figure / "passes.png", own)
        draw_depth(figure / "depth.png", depth[depth.corruption == corruption])
