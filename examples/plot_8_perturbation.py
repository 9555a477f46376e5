"""
Reading the perturbation as a picture
=====================================

Neural clamping learns a few numbers about what happened to the inputs, and ``PerturbationDisplay`` draws them. You see
how a stain on the lens, a wrong tone curve and a lens out of focus look in it, and what is shown where nothing was
kept.
"""

# %%
# A network and three accidents
# -----------------------------
# Ink on paper, from 0 (black) to 1 (white). Each accident happens to the camera after training.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

X, y = load_digits(return_X_y=True)
X = (1 - X / 16).astype("float32").reshape(-1, 1, 8, 8)
X_train, X_cal, y_train, y_cal = train_test_split(X, y, train_size=800, stratify=y, random_state=0)

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(128, 10),
)
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(torch.from_numpy(X_train)), torch.from_numpy(y_train)).backward()
    optimizer.step()

# sphinx_gallery_thumbnail_number = 2
row, column = np.mgrid[:8, :8]
shade = 0.8 * np.exp(-((row - 2) ** 2 + (column - 4) ** 2) / 4)
stained = X_cal * (1 - shade).astype("float32")
washed_out = X_cal**0.4
blurred = gaussian_filter(X_cal, sigma=(0, 0, 0.7, 0.7), mode="nearest")

pictures = {"as trained": X_cal, "stained": stained, "washed out": washed_out, "blurred": blurred}
figure, axes = plt.subplots(1, 4, figsize=(6, 1.9), layout="constrained")
for (name, X_seen), ax in zip(pictures.items(), axes, strict=True):
    ax.imshow(X_seen[0, 0], cmap="gray", vmin=0, vmax=1)
    ax.set(title=name, xticks=[], yticks=[])

# %%
# A stain: gains and offsets on a grid
# ------------------------------------
# Each cell of a coarse map has a gain and an offset. The gain is the largest where the stain swallows light. Towards
# the left and right borders there is nothing but white paper, and gain and offset can stand in for each other: don't
# read much into those. The family is named here; by default, "auto", neural clamping chooses.

from skclamp import NeuralClampingCalibrator
from skclamp.display import PerturbationDisplay
from skclamp.perturbations import GridPerturbation

grid = GridPerturbation((1, 8, 8), size=4)
stain = NeuralClampingCalibrator(network, perturbation=grid, random_state=0).fit(stained, y_cal)
display = PerturbationDisplay.from_estimator(stain, show_history=False)

# %%
# A wrong tone curve
# ------------------
# The values were raised to the power of 0.4. What the network gets to see is bent the other way. The dashed curve is
# the exact inverse, which a quadratic one can only come near to; dotted, nothing would change.

tone = NeuralClampingCalibrator(network, perturbation="curve", random_state=0).fit(washed_out, y_cal)
display = PerturbationDisplay.from_estimator(tone, channel_names=["learned"], show_history=False)
values = np.linspace(0, 1)
display.axes_[0].plot(values, values**2.5, color="black", linestyle="--", label="exact inverse")
legend = display.axes_[0].legend()

# %%
# Out of focus
# ------------
# A filter with a large positive weight in the middle and negative ones beside it: it sharpens. The offset hardly
# counts.

focus = NeuralClampingCalibrator(network, perturbation="filter", random_state=0).fit(blurred, y_cal)
display = PerturbationDisplay.from_estimator(focus, channel_names=["grey"], show_history=False)

# %%
# Nothing happened
# ----------------
# On pictures as the network knows them no change of theirs helps beyond doubt, and the display says so.

nothing = NeuralClampingCalibrator(network, random_state=0).fit(X_cal, y_cal)
display = PerturbationDisplay.from_estimator(nothing)
print("kept:", nothing.accepted_)
