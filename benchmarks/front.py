"""The picture of the front page: corrupted images before and after the perturbation that neural clamping has learned.

Three corruptions of the package corrupt-tta on CIFAR-10, a frozen ResNet-20, 2,500 images to calibrate and 2,500 others
to judge, with the default settings. The scores are means over the splits of corruptions.csv; the images are the first
car, horse and ship of the test part of its first split. Needs the group `bench`; takes a minute for each corruption.

    python benchmarks/front.py --data DIR
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

from _data import load_problem
from _runner import RESULTS, benchmark
from _scores import beside_temperature
from _shifts import corrupt
from skclamp import NeuralClampingCalibrator

CHOSEN = ("fog", "zoom_blur", "pixelate")
NETWORK, SEVERITY, SEED = "cifar10_resnet20", 2, 50
# Cars, horses and ships, as CIFAR-10 numbers them.
SHOWN = (1, 7, 8)
N_SHOWN = len(SHOWN)
# As right and wrong, for those too who don't tell red from green.
RIGHT, WRONG = "#0072B2", "#D55E00"


def runs(results):
    """Clamping beside temperature scaling: a row for each split of the corruptions that are shown."""
    setting = "network == @NETWORK and severity == @SEVERITY and n_labels == 2500 and corruption in @CHOSEN"
    return beside_temperature(results.query(setting), ["corruption", "seed"]).query("method == 'clamping'")


def fit(network, images, labels, name, n):
    """Some corrupted images before and after the perturbation, each strip with who is right."""
    rows = np.concatenate(
        train_test_split(np.arange(len(labels)), train_size=n, test_size=n, stratify=labels, random_state=SEED)
    )
    X, y = corrupt(images[rows], rows, name, SEVERITY), labels[rows]
    shown = [n + int(np.argmax(y[n:] == label)) for label in SHOWN]
    calibrator = NeuralClampingCalibrator(network, random_state=SEED).fit(X[:n], y[:n])
    before = X[shown]
    with torch.no_grad():
        plain = network(before).argmax(1).numpy()
        after = calibrator.perturbation_(before).clamp(0, 1)
    return (before, plain == y[shown]), (after, calibrator.predict(before) == y[shown])


def draw(fitted, scores, path):
    """A row for each corruption: what the camera gives, what the network gets, and the scores in words."""
    from matplotlib.figure import Figure

    side, gap, words, head = 1.0, 0.3, 2.55, 0.62
    width, height = 2 * N_SHOWN * side + gap + words, len(fitted) * side + head
    figure = Figure(figsize=(width, height), facecolor="white")
    for row, (name, strips) in enumerate(fitted.items()):
        bottom = height - head - (row + 1) * side
        for column, (image, right) in enumerate(pair for strip in strips for pair in zip(*strip, strict=True)):
            left = column * side + gap * (column >= N_SHOWN)
            show(figure, image, right, (left / width, bottom / height, side / width, side / height))
        describe(figure, name, scores.loc[name], (width - words + 0.12) / width, bottom / height, side / height)
    top = 1 - head / 2 / height
    style = {"va": "center", "fontsize": 14.5, "color": "#333333"}
    figure.text(N_SHOWN * side / 2 / width, top, "what the camera gives", ha="center", **style)
    figure.text((1.5 * N_SHOWN * side + gap) / width, top, "after the learned perturbation", ha="center", **style)
    figure.text(
        (width - words + 0.12) / width, top, "temperature scaling\n→ neural clamping", **style, linespacing=1.15
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200, pil_kwargs={"optimize": True})


def show(figure, image, right, place):
    """One image, framed by whether the network's answer is right."""
    from matplotlib.patches import Rectangle

    axes = figure.add_axes(place)
    axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
    size = image.shape[-1]
    edge = size / 32
    span = (-0.5 - 1.7 * edge, size - 0.5 + 1.7 * edge)
    axes.set(xticks=[], yticks=[], xlim=span, ylim=span[::-1])
    for spine in axes.spines.values():
        spine.set_visible(False)
    corner, side = 2 * (-0.5 - 0.4 * edge,), size + 0.8 * edge
    axes.add_patch(Rectangle(corner, side, side, fill=False, lw=2.6, ec=RIGHT if right else WRONG))


def describe(figure, name, scores, left, bottom, height):
    """The corruption's name, accuracy and NLL before and after."""
    lines = (
        (name.replace("_", " "), {"fontsize": 14.5, "color": "#333333"}),
        (f"{scores.ts_accuracy:.0f} → {scores.accuracy:.0f} % right", {"fontsize": 17.5, "weight": "bold"}),
        (f"NLL {scores.ts_nll:.2f} → {scores.nll:.2f}", {"fontsize": 17.5, "weight": "bold"}),
    )
    for number, (text, style) in enumerate(lines):
        figure.text(left, bottom + height * (0.80 - 0.3 * number), text, va="center", **style)


@benchmark
def main(data=None, corruptions: CHOSEN = CHOSEN, n=2500, figure=Path("docs/images/front.png")):
    found = runs(pd.read_csv(RESULTS / "corruptions.csv")).groupby("corruption")
    scores = found[["ts_accuracy", "accuracy", "ts_nll", "nll"]].mean()
    problem = load_problem(NETWORK, data)
    draw({name: fit(*problem, name, n) for name in corruptions}, scores, figure)
    print(scores)
