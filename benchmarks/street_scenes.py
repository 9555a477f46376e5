"""Street scenes from cars whose camera has changed: what a fit on a drive is worth there, and on another drive.

    python benchmarks/street_scenes.py --data DIR
    python benchmarks/street_scenes.py --data DIR --designs recording --changes contrast --seeds 1
    python benchmarks/street_scenes.py --summary

The folder's camvid has an ESPNet and frames of three of CamVid's drives, see drives.py. Of each frame there are two
windows of 184 x 240 pixels, one to the left and one to the right, at heights that are drawn unless it is said. What
calibrates is one of these:

- "independent": the first 55 frames of the drive Seq05VD, shuffled and said to be independent of each other, which they
  aren't. Later frames of the drive judge, and another drive, 0001TP, at dusk.
- "recording": the left window of all its frames, at half height, in their order, and nothing said. 0001TP judges
  through the same window.
- "two drives": of all their frames, the drives as groups. The third judges.
"""

import runpy
import warnings
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature
from _shifts import contrast, darkness
from drives import AT_A_TIME, VOID, frames
from skclamp import CalibratorSelector, NeuralClampingCalibrator, StructuredVectorScaling, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import expected_calibration_error

DRIVES = ("0016E5", "Seq05VD", "0001TP")
SIZE, WINDOW, N_CALIBRATION = (360, 480), (184, 240), 55
METHODS = {
    "temperature": TemperatureScaling,
    "structured vector": StructuredVectorScaling,
    "selector": CalibratorSelector,
    "clamping": partial(NeuralClampingCalibrator, random_state=0),
    "features": partial(NeuralClampingCalibrator, perturbation="norm", random_state=0),
}
KEY = ("design", "change", "seed", "method", "judge")
COLUMNS = (*KEY, "n", "warned", "kept", "forward", "backward", "nll", "accuracy", "iou", "ece")


def noise(images, rng):
    """Of the sensor, anew in each image."""
    return (images + 0.1 * torch.from_numpy(rng.normal(size=images.shape))).float().clamp_(0, 1)


def blur(images, rng):
    """Mean over 3 x 3 pixels, borders repeated."""
    return functional.avg_pool2d(functional.pad(images, (1,) * 4, mode="replicate"), 3, stride=1)


CHANGES = {
    "contrast": lambda images, rng: contrast(images),
    "dark": lambda images, rng: darkness(images),
    "noise": noise,
    "blur": blur,
    "none": lambda images, rng: images,
}


class Part(NamedTuple):
    """Windows of frames, their masks, and the number of each one's frame."""

    X: np.ndarray
    y: np.ndarray
    frame: np.ndarray

    def take(self, rows):
        return Part(*(array[rows] for array in self))


def together(parts):
    return Part(*map(np.concatenate, zip(*parts, strict=True)))


def windows_of(X, y, left, rng, steady):
    """One window of each frame and of its mask, at a height that is drawn or, steady, in the middle."""
    rows, columns = WINDOW
    free = SIZE[0] - rows
    tops = np.full(len(X), free // 2) if steady else rng.integers(free + 1, size=len(X))
    windows = [np.s_[..., top : top + rows, left : left + columns] for top in tops]
    return [np.stack([each[window] for each, window in zip(array, windows, strict=True)]) for array in (X, y)]


class Drives:
    """The network and the drives of a folder, seen by a camera."""

    def __init__(self, folder):
        self.network = runpy.run_path(str(folder / "espnet.py"))["load"](folder / "espnet.pt")
        self.frames = {drive: frames(folder, drive, SIZE) for drive in DRIVES}

    def seen(self, drive, change, seed, steady=False):
        """The left windows in the order of the frames, and then the right ones."""
        X, y = self.frames[drive]
        rng = np.random.default_rng([seed, DRIVES.index(drive)])
        windows = [windows_of(X, y, left, rng, steady) for left in (0, SIZE[1] - WINDOW[1])]
        X, y = map(np.concatenate, zip(*windows, strict=True))
        images = CHANGES[change](torch.from_numpy(X).float() / 255, rng)
        return Part(images.numpy(), y, np.tile(np.arange(len(X) // 2), 2))


def independent(drives, change, seed):
    """Frames of a drive that are said to be independent."""
    own = drives.seen("Seq05VD", change, seed)
    first = np.flatnonzero(own.frame < N_CALIBRATION)
    cal = own.take(np.random.default_rng(seed).permutation(first))
    judges = {"later": own.take(own.frame >= N_CALIBRATION), "0001TP": drives.seen("0001TP", change, seed)}
    return cal, cal.frame, judges


def recording(drives, change, seed):
    """All frames of a drive, in their order, through one window."""
    seen = {drive: drives.seen(drive, change, seed, steady=True) for drive in ("Seq05VD", "0001TP")}
    left = {drive: part.take(slice(len(part.X) // 2)) for drive, part in seen.items()}
    return left["Seq05VD"], None, {"0001TP": left["0001TP"]}


def two_drives(drives, change, seed):
    """Another drive judges with each seed."""
    judge = DRIVES[-1 - seed % len(DRIVES)]
    parts = [drives.seen(drive, change, seed) for drive in DRIVES if drive != judge]
    groups = np.repeat([0, 1], [len(part.X) for part in parts])
    return together(parts), groups, {judge: drives.seen(judge, change, seed)}


DESIGNS = {"independent": independent, "recording": recording, "two drives": two_drives}


def scores(calibrator, part):
    """Of the pixels that aren't void."""
    proba, labels = [], []
    for start in range(0, len(part.X), AT_A_TIME):
        y = part.y[start : start + AT_A_TIME]
        known = y != VOID
        proba.append(np.moveaxis(calibrator.predict_proba(part.X[start : start + AT_A_TIME]), 1, -1)[known])
        labels.append(y[known])
    proba, y = np.concatenate(proba), np.concatenate(labels)
    predicted, n_classes = proba.argmax(1), proba.shape[1]
    pairs = np.bincount(n_classes * y + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    hits = np.diag(pairs)
    union = pairs.sum(0) + pairs.sum(1) - hits
    least = np.finfo(proba.dtype).tiny
    return {
        "nll": -np.log(np.maximum(proba[np.arange(len(y)), y], least), dtype=np.float64).mean(),
        "accuracy": 100 * hits.sum() / len(y),
        "iou": 100 * (hits[union > 0] / union[union > 0]).mean(),
        "ece": 100 * expected_calibration_error(y, proba),
    }


def measure(drives, design, change, seed, method):
    """A row for each part that judges."""
    cal, groups, judges = DESIGNS[design](drives, change, seed)
    calibrator = METHODS[method](drives.network, ignore_index=VOID, classes=np.arange(VOID))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(cal.X, cal.y, groups=groups)
    told = {
        "n": len(cal.X),
        "warned": sum(issubclass(each.category, CalibrationSetWarning) for each in caught),
        "kept": int(getattr(calibrator, "accepted_", False)),
        **getattr(calibrator, "cost_", {}),
    }
    return [{"judge": judge, **told, **scores(calibrator, part)} for judge, part in judges.items()]


@benchmark
def main(
    data=None,
    designs: DESIGNS = tuple(DESIGNS),
    changes: CHANGES = tuple(CHANGES),
    methods: METHODS = tuple(METHODS),
    seeds=3,
    out=RESULTS / "street_scenes.csv",
    summary=False,
):
    cells = () if summary else list(product(designs, changes, range(seeds), methods))
    drives = Drives(Path(data) / "camvid") if cells else None
    results = record(out, COLUMNS, cells, partial(measure, drives))
    results = beside_temperature(results, ["design", "change", "seed", "judge"])
    show(results, ["design", "judge", "change", "method"], ["ratio", "over", "points", "ece", "warned", "kept"])
