"""
Street scenes of one drive, and of another
==========================================

A network segments what a car's camera sees, and the camera loses half of its contrast. The frames of one drive
calibrate. You see what that wins on the same drive, why another drive is another question, and what ``fit`` says where
it isn't told what the frames are.
"""

# %%
# Two drives, and a network
# -------------------------
# The drives are CamVid's (Brostow et al., 2009), eleven classes of theirs, seen through a window of 120 x 160 pixels.
# An ESPNet (Mehta et al., 2018) segments them. Both are read from the folder that ``SKCLAMP_DATA`` names. The frames'
# licence is for research and not for commerce, so none is shown. Where the folder isn't there, two made-up drives past
# brighter and darker ground take their place, and their numbers are other ones.

import os
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

folder = Path(os.environ.get("SKCLAMP_DATA", "")) / "camvid"
VOID = 11


def camvid(drive):
    """Frames of a drive, in 0..1, and the class of each pixel."""
    X, y = (
        np.stack([plt.imread(path)[120:240, 160:320] for path in sorted((folder / drive).glob(kind))])
        for kind in ("*.jpg", "*.png")
    )
    return np.moveaxis(X, 3, 1).astype(np.float32) / 255, np.round(255 * y).astype(int)


# sphinx_gallery_start_ignore
def made_up(n_frames, noise):
    """A window that moves along a strip of ground, whose classes are steps of brightness."""
    rng = np.random.default_rng(n_frames)
    ground = 0.5 + 8 * gaussian_filter(rng.normal(size=(120, 160 + 12 * n_frames)), 12)
    frames = np.stack([ground[:, 12 * k : 12 * k + 160] for k in range(n_frames)]).astype(np.float32)
    return frames[:, None] + noise * rng.normal(size=frames[:, None].shape), (11 * frames.clip(0, 0.99)).astype(int)


def nearest_step():
    """A class for each step of brightness."""
    network, steps = nn.Conv2d(1, 11, 1), (torch.arange(11) + 0.5) / 11
    network.weight.data, network.bias.data = 400 * steps.view(-1, 1, 1, 1), -200 * steps**2
    return network


# sphinx_gallery_end_ignore
if folder.is_dir():
    network = runpy.run_path(str(folder / "espnet.py"))["load"](folder / "espnet.pt")
    drives = camvid("Seq05VD"), camvid("0001TP")
else:
    network, drives = nearest_step(), (made_up(86, 0.06), made_up(31, 0.085))

# Half of the contrast.
(X, y), (X_other, y_other) = ((np.float32(0.5 * X + 0.25), y) for X, y in drives)
X_cal, y_cal = X[:55], y[:55]
judges = {"later": (X[55:], y[55:]), "another drive": (X_other, y_other)}

# %%
# Said to be independent
# ----------------------
# The frames are two seconds apart. ``groups`` says what is one observation: here each frame is its own. That is a claim
# about the use: what is learned is for this drive.

from skclamp import NeuralClampingCalibrator, TemperatureScaling

options = {"ignore_index": VOID, "classes": np.arange(VOID)}
temperature = TemperatureScaling(network, **options).fit(X_cal, y_cal)
clamping = NeuralClampingCalibrator(network, random_state=0, **options).fit(X_cal, y_cal, groups=np.arange(55))
print(clamping.summary())

# %%
# What it wins, and where
# -----------------------
# Later frames of the drive judge, and those of another drive at dusk. Here clamping wins on both, and on the drive
# more. Nothing promises that it wins on the other at all: behind noise and blur it did harm there
# (:doc:`/guide/dense`).

from skclamp.metrics import negative_log_likelihood

nll, accuracy = {}, {}
for judge, (X, y) in judges.items():
    for calibrator in (temperature, clamping):
        key = judge, type(calibrator).__name__
        nll[key] = negative_log_likelihood(y, calibrator.predict_proba(X), ignore_index=VOID)
        accuracy[key] = calibrator.score(X, y)
        print(*key, f"NLL {nll[key]:.2f}, accuracy {accuracy[key]:.1%}", sep=", ")

# %%
# Confidence is near the truth on the drive, and far above it on the other one. No frame of the first could have told.

from skclamp.display import ReliabilityDisplay

ax = None
for judge, (X, y) in judges.items():
    ax = ReliabilityDisplay.from_estimator(clamping, X, y, name=judge, n_bins=10, n_draws=0, ax=ax).ax_

# %%
# Nothing said
# ------------
# Without ``groups`` frames in their order are mostly known by their losses, which agree with those of their neighbours.
# ``fit`` warns and tries nothing, and temperature scaling is what is left. To calibrate for any drive, take many of
# them and give ``groups=drive``: of fewer than eight nothing is kept.

import warnings

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    in_order = NeuralClampingCalibrator(network, random_state=0, **options).fit(X_cal, y_cal)
print(told[0].message)
print(in_order.summary())
