"""Street scenes of one drive calibrate a network for another: full frames, memory, passes and NLL.

    python benchmarks/drives.py --data DIR
    python benchmarks/drives.py --data DIR --methods temperature clamping --size 120 160

The folder's camvid has an ESPNet, and frames of 360 x 480 pixels of CamVid's drives (Brostow et al., 2009). A clip of
101 frames calibrates, and 86 frames of another drive judge. Each method has a process of its own: its memory is what
that takes at its peak beyond what it took before the fit.
"""

import multiprocessing
import runpy
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional

from _runner import RESULTS, benchmark, record
from many_places import peak
from skclamp import CalibratorSelector, NeuralClampingCalibrator, StructuredVectorScaling, TemperatureScaling

CALIBRATION, TEST = "0016E5", "Seq05VD"
METHODS = {
    "temperature": TemperatureScaling,
    "structured vector": StructuredVectorScaling,
    "selector": CalibratorSelector,
    "clamping": partial(NeuralClampingCalibrator, random_state=0),
    "clamping, frames as groups": partial(NeuralClampingCalibrator, random_state=0),
}
COLUMNS = ("method", "height", "width", "frames", "kept", "forward", "backward", "gigabytes", "nll", "accuracy")
AT_A_TIME, VOID = 4, 11


def frames(folder, drive, size):
    """Images as bytes, channels first, and masks, shrunk to a size."""
    images = [plt.imread(path) for path in sorted((folder / drive).glob("*.jpg"))]
    masks = [np.round(255 * plt.imread(path)) for path in sorted((folder / drive).glob("*.png"))]
    X, y = torch.from_numpy(np.stack(images)).movedim(-1, 1), torch.from_numpy(np.stack(masks))
    if X.shape[2:] != size:
        X = functional.interpolate(X.float(), size, mode="area").round().byte()
        y = functional.interpolate(y[:, None], size, mode="nearest")[:, 0]
    return X.numpy(), y.numpy().astype(np.int64)


def scores(calibrator, X, y):
    """Mean NLL and accuracy of the pixels that aren't void, a few frames at a time."""
    losses, hits = [], []
    for start in range(0, len(X), AT_A_TIME):
        log_proba = torch.from_numpy(calibrator.predict_log_proba(X[start : start + AT_A_TIME]))
        labels = torch.from_numpy(y[start : start + AT_A_TIME])
        known = labels != VOID
        losses.append(functional.nll_loss(log_proba, labels.where(known, -100), reduction="none")[known])
        hits.append((log_proba.argmax(1) == labels)[known])
    return torch.cat(losses).mean().item(), 100 * torch.cat(hits).double().mean().item()


def measure(method, height, width, n_frames, folder, threads):
    """One row."""
    torch.set_num_threads(threads)
    network = runpy.run_path(str(folder / "espnet.py"))["load"](folder / "espnet.pt")
    X, y = frames(folder, CALIBRATION, (height, width))
    calibrator = METHODS[method](network, integer_scale=1 / 255, ignore_index=VOID, classes=np.arange(VOID))
    before = peak()
    # Says that frames are independent, which those of a clip aren't: what a search then costs.
    told = {"groups": np.arange(n_frames)} if method.endswith("frames as groups") else {}
    calibrator.fit(X[:n_frames], y[:n_frames], **told)
    row = {"gigabytes": peak() - before, "kept": "", **getattr(calibrator, "cost_", {})}
    if hasattr(calibrator, "accepted_"):
        row["kept"] = int(calibrator.accepted_)
    nll, accuracy = scores(calibrator, *frames(folder, TEST, (height, width)))
    return {**row, "nll": nll, "accuracy": accuracy}


def apart(*cell, **options):
    """The row of a cell, from a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *cell, **options).result()


@benchmark
def main(data=None, methods: METHODS = tuple(METHODS), size=(360, 480), n_frames=101, out=RESULTS / "drives.csv"):
    cells = [(method, *size, n_frames) for method in methods]
    options = {"folder": Path(data) / "camvid", "threads": torch.get_num_threads()}
    results = record(out, COLUMNS, cells, partial(apart, **options))
    print(results.round(4).to_markdown(index=False))
