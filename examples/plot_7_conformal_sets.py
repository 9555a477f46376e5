"""
Conformal sets on calibrated probabilities
==========================================

Where one answer isn't sure enough, a classifier can give a set of classes that holds the true one in 19 of 20 cases.
You see how such sets break the promise of uncalibrated probabilities, that calibrated ones keep it, that conformal sets
hold the level in either case, and that only a better classifier makes sets small.
"""

# %%
# A network that has to work in a bad light
# -----------------------------------------
# It is trained on clear pictures and used in an evening light, where 300 pictures serve to calibrate it.

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32").reshape(-1, 1, 8, 8)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
evening = X_rest / 2 + 0.2
X_cal, X_rest, y_cal, y_rest = train_test_split(evening, y_rest, train_size=300, stratify=y_rest, random_state=0)

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
for _ in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(torch.from_numpy(X_train)), torch.from_numpy(y_train)).backward()
    optimizer.step()

# %%
# The probabilities of the same pictures, three times.

from skclamp import NeuralClampingCalibrator, TemperatureScaling

with torch.no_grad():
    uncalibrated = network(torch.from_numpy(X_rest)).double().softmax(1).numpy()
probabilities = {
    "uncalibrated": uncalibrated,
    "temperature scaling": TemperatureScaling(network).fit(X_cal, y_cal).predict_proba(X_rest),
    "neural clamping": NeuralClampingCalibrator(network, random_state=0).fit(X_cal, y_cal).predict_proba(X_rest),
}

# %%
# Sets that take the probabilities at their word
# ----------------------------------------------
# The most probable classes are taken until their probabilities add up to 95 %. What a set promises is that sum. Whether
# it keeps the promise is seen over all pictures: the true class should be in as many sets as the sums say on average.

LEVEL = 0.95


def sum_before(proba):
    """For each class, the sum of the probabilities greater than its own."""
    own, other = proba[:, :, None], proba[:, None, :]
    return np.where(other > own, other, 0).sum(axis=2)


promised, kept, sizes = {}, {}, {}
for name, proba in probabilities.items():
    sets = sum_before(proba) < LEVEL
    promised[name] = (sets * proba).sum(axis=1).mean()
    kept[name] = sets[np.arange(len(y_rest)), y_rest].mean()
    sizes[name, "plain"] = sets.sum(axis=1).mean()
    print(f"{name:<20} promised {100 * promised[name]:.1f} %, kept {100 * kept[name]:.1f} %", end=", ")
    print(f"classes in a set {sizes[name, 'plain']:.2f}")

# %%
# Conformal sets
# --------------
# Adaptive prediction sets (APS; Romano, Sesia and Candès, 2020) don't trust the probabilities. On 200 pictures they
# look up the sum at which the true class had come up in 95 % of cases, and stop there instead. That holds the level
# whatever the probabilities are worth, on average over draws of the 200: here over 200 such draws.

from sklearn.model_selection import ShuffleSplit

covered = {}
for name, proba in probabilities.items():
    before = sum_before(proba)
    own = before[np.arange(len(y_rest)), y_rest]
    shares, numbers = [], []
    for looked_up, used in ShuffleSplit(200, train_size=200, random_state=0).split(before):
        rank = int(np.ceil((len(looked_up) + 1) * LEVEL))
        threshold = np.sort(own[looked_up])[rank - 1]
        shares.append((own[used] <= threshold).mean())
        numbers.append((before[used] <= threshold).sum(axis=1).mean())
    covered[name], sizes[name, "conformal"] = np.mean(shares), np.mean(numbers)
    print(f"{name:<20} covered {100 * covered[name]:.1f} %, classes in a set {sizes[name, 'conformal']:.2f}")

# %%
# What calibration is good for
# ----------------------------
# On the left, calibrated probabilities keep about what they promise; uncalibrated ones don't. Conformal sets hold the
# level (dotted) with either. On the right, honest sets of an unsure network are large. Temperature scaling hardly
# changes the size of conformal sets: it leaves the order of the classes as it was. Neural clamping makes the network
# right more often, and that is what makes sets small.

import matplotlib.pyplot as plt

places = np.arange(len(probabilities))
figure, (left, right) = plt.subplots(1, 2, figsize=(6.5, 3), layout="constrained", sharey=True)
left.hlines(places - 0.15, *(100 * np.array([list(kept.values()), list(promised.values())])), color="#7a8594")
left.plot(100 * np.array(list(promised.values())), places - 0.15, "o", mfc="white", color="#c4561e", label="promised")
left.plot(100 * np.array(list(kept.values())), places - 0.15, "o", color="#c4561e", label="kept")
left.plot(100 * np.array(list(covered.values())), places + 0.15, "D", color="#1d3f66", label="conformal")
left.axvline(100 * LEVEL, color="black", linestyle=":")
left.set(xlim=(None, 101), xlabel="true class in the set (%)", yticks=places, yticklabels=probabilities)
left.invert_yaxis()
for kind, offset, style in (("plain", -0.17, {"color": "#e9b898"}), ("conformal", 0.17, {"color": "#1d3f66"})):
    bars = right.barh(places + offset, [sizes[name, kind] for name in probabilities], height=0.3, label=kind, **style)
    right.bar_label(bars, fmt=" %.2f")
right.set(xlabel="classes in a set", xlim=(0, 1.25 * max(sizes.values())))
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=3, frameon=False, handlelength=1, columnspacing=0.8)
