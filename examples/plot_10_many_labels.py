"""
Several labels a picture
========================

A network tells which of ten digits appear in a mosaic: ten labels that don't exclude each other, a sigmoid each. You
see what calibration by pooled Platt scaling does, what happens when the scanner fades, and how neural clamping takes
that back.
"""

# %%
# Mosaics, and a network with ten sigmoids
# ----------------------------------------

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32).reshape(-1, 8, 8)
order = np.random.default_rng(0).permutation(len(images))


def mosaics(n_samples, digits, seed):
    rng = np.random.default_rng(seed)
    X, Y = np.zeros((n_samples, 1, 16, 16), np.float32), np.zeros((n_samples, 10), int)
    for row in range(n_samples):
        for top in (0, 8):
            for left in (0, 8):
                if rng.random() < 0.75:
                    digit = rng.choice(digits)
                    X[row, 0, top : top + 8, left : left + 8] = images[digit]
                    Y[row, labels[digit]] = 1
    return X, Y


X_train, Y_train = mosaics(2000, order[:900], seed=0)
X_cal, Y_cal = mosaics(500, order[900:], seed=1)
X_test, Y_test = mosaics(1000, order[900:], seed=2)

torch.manual_seed(0)
net = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for _ in range(20):
    for rows in torch.randperm(2000).split(64):
        targets = torch.from_numpy(Y_train[rows]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(net(torch.from_numpy(X_train[rows])), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
net.eval()

figure, axes = plt.subplots(2, 6, figsize=(8, 3), layout="constrained")
for k, (clear, faded) in enumerate(axes.T):
    shown = ", ".join(map(str, np.flatnonzero(Y_test[k])))
    clear.imshow(X_test[k, 0], cmap="gray_r", vmin=0, vmax=1)
    clear.set_title(shown, fontsize=9)
    faded.imshow(0.5 * X_test[k, 0], cmap="gray_r", vmin=0, vmax=1)
    for axis in (clear, faded):
        axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("clear")
axes[1, 0].set_ylabel("faded")
plt.show()

# %%
# Ten labels, one of which may be rare
# ------------------------------------
# ``PlattScaling`` gives each label a gain and an offset, drawn to a pair that all labels share. ``y`` has a column for
# each label, and so have the probabilities.

from skclamp import NeuralClampingCalibrator, PlattScaling
from skclamp.display import ReliabilityDisplay
from skclamp.metrics import negative_log_likelihood

platt = PlattScaling(net).fit(X_cal, Y_cal)
with torch.no_grad():
    uncalibrated = net(torch.from_numpy(X_test)).sigmoid().numpy()
print(f"uncalibrated:  NLL {negative_log_likelihood(Y_test, uncalibrated):.3f}")
print(f"Platt scaling: NLL {negative_log_likelihood(Y_test, platt.predict_proba(X_test)):.3f}")

# %%
# The scanner fades
# -----------------
# Half of the contrast is gone. A map of the outputs can only say that the network is less sure of everything; neural
# clamping finds the gain that the inputs lost, and proves it on mosaics that it didn't learn from.

X_cal, X_test = 0.5 * X_cal, 0.5 * X_test
platt = PlattScaling(net).fit(X_cal, Y_cal)
clamping = NeuralClampingCalibrator(net, random_state=0).fit(X_cal, Y_cal)
for calibrator in (platt, clamping):
    loss = negative_log_likelihood(Y_test, calibrator.predict_proba(X_test))
    print(f"{type(calibrator).__name__}: NLL {loss:.3f}")
print(clamping.summary())

# %%
# All labels' events in one diagram each: uncalibrated, and behind neural clamping.

figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
with torch.no_grad():
    uncalibrated = net(torch.from_numpy(X_test)).sigmoid().numpy()
ReliabilityDisplay.from_predictions(Y_test, uncalibrated, name="uncalibrated", ax=axes[0])
ReliabilityDisplay.from_estimator(clamping, X_test, Y_test, ax=axes[1])
plt.show()
