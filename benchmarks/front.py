"""The picture of the front page: corrupted images before and after the perturbation that neural clamping has learned.

Three corruptions of the package corrupt-tta on CIFAR-10, a frozen ResNet-20, 2,500 images to calibrate and 2,500 others
to judge: the first split of `corruptions.py`, with the default settings. The scores go to a CSV file, and onto the
picture. Its images are the first car, horse and ship of the test part. Needs the group `bench`; takes a minute for each
corruption.

    python benchmarks/front.py --data DIR
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from _data import load_problem
from _runner import RESULTS, benchmark
from _shifts import CORRUPTIONS, corrupt
from skclamp import NeuralClampingCalibrator, TemperatureScaling

NETWORK, SEVERITY, SEED = "cifar10_resnet20", 2, 50
# Cars, horses and ships, as CIFAR-10 numbers them.
SHOWN = (1, 7, 8)
N_SHOWN = len(SHOWN)
# As right and wrong, for those too who don't tell red from green.
RIGHT, WRONG = "#0072B2", "#D55E00"


def fit(network, images, labels, name, n):
    """The scores of both calibrators on corrupted images, and some of these: (before, right), (after, right)."""
    rows = np.concatenate(
        train_test_split(np.arange(len(labels)), train_size=n, test_size=n, stratify=labels, random_state=SEED)
    )
    X, y = corrupt(images[rows], rows, name, SEVERITY), labels[rows]
    calibrators = {
        "temperature": TemperatureScaling(network),
        "clamping": NeuralClampingCalibrator(network, random_state=SEED),
    }
    scores = {"network": NETWORK, "severity": SEVERITY, "seed": SEED, "n": n}
    shown = [int(np.argmax(y[n:] == label)) for label in SHOWN]
    strips = []
    for key, calibrator in calibrators.items():
        proba = calibrator.fit(X[:n], y[:n]).predict_proba(X[n:])
        predicted = proba.argmax(axis=1)
        scores |= {f"{key}_accuracy": 100 * accuracy_score(y[n:], predicted), f"{key}_nll": log_loss(y[n:], proba)}
        strips.append([X[n:][shown], predicted[shown] == y[n:][shown]])
    with torch.no_grad():
        strips[1][0] = calibrators["clamping"].perturbation_(strips[1][0]).clamp(0, 1)
    return scores, strips


def draw(fitted, path):
    """A row for each corruption: what the camera gives, what the network gets, and the scores in words."""
    side, gap, words, head = 1.0, 0.3, 2.55, 0.62
    width, height = 2 * N_SHOWN * side + gap + words, len(fitted) * side + head
    figure = plt.figure(figsize=(width, height), facecolor="white")
    for row, (name, (scores, strips)) in enumerate(fitted.items()):
        bottom = height - head - (row + 1) * side
        for column, (image, right) in enumerate(pair for strip in strips for pair in zip(*strip, strict=True)):
            left = column * side + gap * (column >= N_SHOWN)
            show(figure, image, right, (left / width, bottom / height, side / width, side / height))
        describe(figure, name, scores, (width - words + 0.12) / width, bottom / height, side / height)
    top = 1 - head / 2 / height
    style = {"va": "center", "fontsize": 14.5, "color": "#333333"}
    figure.text(N_SHOWN * side / 2 / width, top, "what the camera gives", ha="center", **style)
    figure.text((1.5 * N_SHOWN * side + gap) / width, top, "after the learned perturbation", ha="center", **style)
    figure.text(
        (width - words + 0.12) / width, top, "temperature scaling\n→ neural clamping", **style, linespacing=1.15
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200, pil_kwargs={"optimize": True})
    plt.close(figure)


def show(figure, image, right, place):
    """One image, framed by whether the network's answer is right."""
    axes = figure.add_axes(place)
    axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
    size = image.shape[-1]
    edge = size / 32
    span = (-0.5 - 1.7 * edge, size - 0.5 + 1.7 * edge)
    axes.set(xticks=[], yticks=[], xlim=span, ylim=span[::-1])
    for spine in axes.spines.values():
        spine.set_visible(False)
    corner, side = 2 * (-0.5 - 0.4 * edge,), size + 0.8 * edge
    axes.add_patch(plt.Rectangle(corner, side, side, fill=False, lw=2.6, ec=RIGHT if right else WRONG))


def describe(figure, name, scores, left, bottom, height):
    """The corruption's name, accuracy and NLL before and after."""
    accuracy, nll = ([scores[f"{key}_{what}"] for key in ("temperature", "clamping")] for what in ("accuracy", "nll"))
    lines = (
        (name.replace("_", " "), {"fontsize": 14.5, "color": "#333333"}),
        ("{:.0f} → {:.0f} % right".format(*accuracy), {"fontsize": 17.5, "weight": "bold"}),
        ("NLL {:.2f} → {:.2f}".format(*nll), {"fontsize": 17.5, "weight": "bold"}),
    )
    for number, (text, style) in enumerate(lines):
        figure.text(left, bottom + height * (0.80 - 0.3 * number), text, va="center", **style)


@benchmark
def main(
    data=None,
    corruptions: CORRUPTIONS = ("fog", "zoom_blur", "pixelate"),
    n=2500,
    out=RESULTS / "front.csv",
    figure=Path("docs/images/front.png"),
):
    problem = load_problem(NETWORK, data)
    fitted = {name: fit(*problem, name, n) for name in corruptions}
    rows = pd.DataFrame([{"corruption": name, **scores} for name, (scores, _) in fitted.items()])
    out.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(out, index=False)
    draw(fitted, figure)
    print(rows.to_string(index=False))
