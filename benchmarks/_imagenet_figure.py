"""The picture of the benchmark on ImageNet images: before and after clamping, and what the network says of them.

It shows images that are for research only, so it isn't kept in the repository.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from _corruption_methods import clamping_calibrator, temperature

TITLES = {"darkness": "a quarter of the light", "haze": "haze", "cast": "a colour cast"}
N_IMAGES = 2
RIGHT, WRONG = ("✓", "#14663b"), ("✗", "#a3241c")
# Of the palette: a PNG file of photographs in full colour is five times as large.
N_COLOURS = 255


class Verdicts(NamedTuple):
    """Images as they came in, as the network gets them, and probabilities of the test part before and after."""

    images: torch.Tensor
    perturbed: torch.Tensor
    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray


def verdicts_of(task):
    """Clamping, fitted to the calibration part, against temperature scaling."""
    calibrator = clamping_calibrator(task).fit(task.calibration.images, task.calibration.labels)
    images = task.test.images
    with torch.no_grad():
        perturbed = calibrator.perturbation_(images).clamp(0, 1) if calibrator.accepted_ else images
    log_probas = temperature(task).log_proba, calibrator.predict_log_proba(images)
    return Verdicts(images, perturbed, *map(np.exp, log_probas), task.test.labels)


def draw(results, changes, task_of, names, path):
    """Draw images of some changes before and after, and write a PNG file.

    Parameters
    ----------
    results : DataFrame
        Of the benchmark, for the same split: the scores come from it.
    changes : sequence of str
        Of `TITLES`, one beside the other, as `results` have them.
    task_of : callable
        From a change to its Task.
    names : sequence of str
        Of the classes.
    path : path
        To write to.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.5 * len(changes), 5.0), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    panels = figure.subfigures(1, len(changes), wspace=0.03, squeeze=False)[0]
    for panel, change in zip(panels, changes, strict=True):
        scores = results[results.corruption == change].set_index("method")
        draw_change(panel, change, scores, verdicts_of(task_of(change)), names)
    write(figure, path)


def draw_change(panel, change, scores, verdicts, names):
    """Some images of one change: above as they came in, below after the learned perturbation."""
    right_before, right_after = ((p.argmax(1) == verdicts.labels) for p in (verdicts.before, verdicts.after))
    mended, spoilt = right_after & ~right_before, right_before & ~right_after
    counts = f"of {len(mended)} images {mended.sum()} put right, {spoilt.sum()} made wrong"
    panel.suptitle(f"{TITLES[change]}\n{counts}", fontsize=10)
    rows = (
        ("as the camera gives them", "temperature", verdicts.images, verdicts.before),
        ("after the learned perturbation", "clamping", verdicts.perturbed, verdicts.after),
    )
    chosen = most_gained(verdicts, mended)
    for axes, (title, method, images, proba) in zip(panel.subplots(2, N_IMAGES), rows, strict=True):
        own = scores.loc[method]
        axes[0].set_title(f"{title}\naccuracy {own.accuracy:.1f} %, NLL {own.nll:.3f}", fontsize=9, loc="left")
        for ax, i in zip(axes, chosen, strict=False):
            said = proba[i].argmax()
            ax.imshow(images[i].permute(1, 2, 0).numpy())
            mark, color = RIGHT if said == verdicts.labels[i] else WRONG
            ax.set_xlabel(f"{mark} {names[said]}, {100 * proba[i, said]:.0f} %", color=color, fontsize=9)
        for ax in axes:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)


def most_gained(verdicts, mended):
    """Those of the images that were put right whose true class gained the most probability."""
    of_truth = np.arange(len(verdicts.labels)), verdicts.labels
    gained = np.where(mended, verdicts.after[of_truth] - verdicts.before[of_truth], -np.inf)
    return [i for i in np.argsort(-gained)[:N_IMAGES] if mended[i]]


def write(figure, path):
    """Write a PNG file with a palette."""
    from PIL import Image

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    with Image.open(path) as image:
        quantised = image.convert("RGB").quantize(N_COLOURS)
    quantised.save(path, optimize=True)
