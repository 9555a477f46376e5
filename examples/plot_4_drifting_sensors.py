"""
Tabular sensors that drifted
============================

A scikit-learn pipeline reads a pad of 16 pressure sensors. Months later three of them have lost their zero. You see how
neural clamping repairs a classifier of tables without training it again, and which sensors it corrects; and, on two
classes, when a simpler method does as well.
"""

# %%
# A pad of sensors
# ----------------
# Each sensor measures the mean of 2 x 2 pixels of a handwritten digit, from 0 to 16. The classifier is a plain
# pipeline, trained before the drift.

from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=400, stratify=y, random_state=0)
X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=600, stratify=y_rest, random_state=0)

pipeline = make_pipeline(StandardScaler(), MLPClassifier(64, max_iter=1000, random_state=0)).fit(X_train, y_train)

# %%
# Three sensors lose their zero
# -----------------------------

import numpy as np

drift = np.zeros(16)
drift[[5, 9, 14]] = 5, -4, -3
print(f"accuracy before the drift: {100 * pipeline.score(X_test, y_test):.1f} %")
X_cal, X_test = X_cal + drift, X_test + drift
print(f"accuracy after the drift:  {100 * pipeline.score(X_test, y_test):.1f} %")

# %%
# Calibrated on what the sensors say now
# --------------------------------------
# ``perturbation="channel"`` is one offset for each sensor: what a lost zero needs. Without it neural clamping would
# choose between offsets, gains and tone curves by itself.

from skclamp import NeuralClampingCalibrator, PlattScaling, TemperatureScaling, VectorScaling, compare_calibrators

clamping = NeuralClampingCalibrator(perturbation="channel", random_state=0)
pad = compare_calibrators(
    pipeline, X_cal, y_cal, X_test, y_test, calibrators=[TemperatureScaling(), VectorScaling(), clamping]
)
for row in pad.rows:
    print(f"{row.name:<25} accuracy {100 * row.accuracy:.1f} %, NLL {row.nll:.3f}")

# %%
# Of two classes a simpler method may do
# --------------------------------------
# Two classes have one logit, and what a drift does to that is mostly a shift. Platt scaling, a gain and a bias of the
# logit, can take that back about as well as a change of the inputs, and needs fewer samples. Here biopsies are measured
# under a microscope whose magnification fell: lengths are read at 70 %, areas at 49 %.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=120, stratify=y, random_state=0)
pipeline = make_pipeline(StandardScaler(), MLPClassifier(64, max_iter=2000, random_state=0)).fit(X_train, y_train)
X_rest[:, [0, 2, 10, 12, 20, 22]] *= 0.7  # radius and perimeter: mean, standard error, worst
X_rest[:, [3, 13, 23]] *= 0.7**2  # area
X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=300, stratify=y_rest, random_state=0)

clamping = NeuralClampingCalibrator(random_state=0)
biopsies = compare_calibrators(
    pipeline, X_cal, y_cal, X_test, y_test, calibrators=[TemperatureScaling(), PlattScaling(), clamping]
)
for row in biopsies.rows:
    print(f"{row.name:<25} accuracy {100 * row.accuracy:.1f} %, NLL {row.nll:.3f}")

# %%
# Which sensors?
# --------------
# Back to the pad, and to what was learned for it. Where a sensor drifted the correction goes against it, and is larger
# than elsewhere on the whole. The others are moved as well: neighbours feel the same stroke of the pen, so one can
# stand in for another, and the network doesn't tell which was wrong.

import matplotlib.pyplot as plt

correction = pad.calibrators["NeuralClampingCalibrator"].perturbation_.offset.detach().numpy()
sensors = np.arange(16)
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.bar(sensors - 0.2, drift, width=0.4, color="#c9cfd6", edgecolor="black", hatch="////", label="drift")
ax.bar(sensors + 0.2, correction, width=0.4, color="#1d3f66", label="learned correction")
ax.axhline(0, color="black", linewidth=0.8)
ax.set(xlabel="sensor", ylabel="sensor units", xticks=sensors)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
