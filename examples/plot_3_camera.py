"""
A camera whose light changed
============================

A frozen network reads chalk on a blackboard. Then the sun is low: there is less light, and some of it shines into the
lens. Temperature scaling can only make the network less sure; neural clamping learns what to do to the pictures, and
wins the accuracy back. You also see the case in which nothing changed, and nothing is what it does.
"""

# %%
# The same digits in two lights
# -----------------------------
# A blackboard is dark, chalk is white in all three colours. In the evening the chalk is a third as bright, and a warm
# veil lies over everything.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

VEIL = np.array([0.5, 0.35, 0.1], dtype="float32").reshape(3, 1, 1)  # red, green, blue


def noon(X):
    return X


def evening(X):
    return X / 3 + VEIL


X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32").reshape(-1, 1, 8, 8).repeat(3, axis=1)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=800, stratify=y, random_state=0)
X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=300, stratify=y_rest, random_state=0)

# %%
# A network for daylight, trained on 800 pictures.

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 16, kernel_size=3, stride=2, padding=1),
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

# %%
# Calibrated in either light
# --------------------------
# Each calibrator sees 300 labelled pictures of the light that it is for; the network isn't trained again. Vector
# scaling, a gain and a bias for each class, stands for what can be done to the outputs alone. In the evening it wins
# accuracy back, too; but it takes no look whether that is needed, and on so few pictures it overfits a little. To see
# what the perturbation does, neural clamping has a temperature alone behind it here (``output=None``), no pool of
# output maps.

from skclamp import NeuralClampingCalibrator, TemperatureScaling, VectorScaling
from skclamp.metrics import negative_log_likelihood

nll, clamped = {}, {}
for light in (noon, evening):
    calibrators = {
        "temperature scaling": TemperatureScaling(network),
        "vector scaling": VectorScaling(network),
        "neural clamping": NeuralClampingCalibrator(network, output=None, random_state=0),
    }
    for name, calibrator in calibrators.items():
        proba = calibrator.fit(light(X_cal), y_cal).predict_proba(light(X_test))
        accuracy = calibrator.score(light(X_test), y_test)
        nll[light.__name__, name] = negative_log_likelihood(y_test, proba)
        print(f"{light.__name__:<8}{name:<20} accuracy {100 * accuracy:.1f} %", end=", ")
        print(f"NLL {nll[light.__name__, name]:.3f}")
    clamped[light.__name__] = calibrator

# %%
# Kept, or refused
# ----------------
# A perturbation is kept only where it lowers the negative log-likelihood (NLL), beyond doubt, on parts of the
# calibration data that it wasn't fitted to. Where it is refused, what remains is temperature scaling.

for light, calibrator in clamped.items():
    verdict = calibrator.verdict_
    print(f"{light:<8}{'kept' if verdict.accepted else 'refused'}: held-out NLL against temperature scaling", end=" ")
    print(f"{verdict.difference:+.3f} ± {verdict.standard_error:.3f}")

# %%
# What the network gets to see
# ----------------------------
# The fitted perturbation is a small torch module. In its output the digits stand out again as the network is used to.
# Its colours needn't be natural: it is fitted to what the network makes of them, not to our eyes.

with torch.no_grad():
    seen = clamped["evening"].perturbation_(torch.from_numpy(evening(X_test))).numpy()

rows = {"noon": X_test, "evening": evening(X_test), "evening,\nclamped": seen}
figure, axes = plt.subplots(3, 7, figsize=(6, 2.5), layout="constrained")
for (name, pictures), row in zip(rows.items(), axes, strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for picture, ax in zip(pictures, row, strict=False):
        ax.imshow(picture.transpose(1, 2, 0).clip(0, 1))
        ax.set(xticks=[], yticks=[])

# %%
# And what that is worth: at noon nothing, in the evening most of what the light had cost.

figure, axes = plt.subplots(1, 2, figsize=(6, 2.2), layout="constrained", sharey=True)
for light, ax in zip(clamped, axes, strict=True):
    values = [nll[light, name] for name in calibrators]
    bars = ax.barh(list(calibrators), values, color=["#b4bcc6", "#b4bcc6", "#1d3f66"])
    ax.bar_label(bars, fmt=" %.3f")
    ax.set(title=light, xlabel="NLL on test digits", xlim=(0, 1.3 * max(nll.values())))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()
