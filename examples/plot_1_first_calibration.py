"""
A first calibration
===================

A small network reads handwritten digits and is surer than it is right. You see how to notice that, how one number, the
temperature, repairs most of it in two lines, and how to tell a calibration error from mere noise.
"""

# %%
# A network that is too sure of itself
# ------------------------------------
# 300 digits to train on, 600 others to calibrate with, and the rest to judge by. Calibration data must be unseen: on
# what it was trained on the network is right about everything, and there would be nothing to learn.

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32").reshape(-1, 1, 8, 8)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=600, stratify=y_rest, random_state=0)

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

with torch.no_grad():
    before = network(torch.from_numpy(X_test)).softmax(1)
print(f"right: {100 * (before.argmax(1).numpy() == y_test).mean():.1f} %")
print(f"sure:  {100 * before.max(1).values.mean():.1f} % on average")

# %%
# One temperature
# ---------------
# All logits are divided by the same T, which is fitted to the calibration data. Above 1 it takes confidence away. The
# order of the classes stays, and so does the accuracy; the network itself isn't touched.

from skclamp import TemperatureScaling

calibrator = TemperatureScaling(network).fit(X_cal, y_cal)
after = calibrator.predict_proba(X_test)
print(f"T = {calibrator.temperature_:.2f}")

# %%
# Better, or just luckier?
# ------------------------
# The negative log-likelihood (NLL) decides: it is the least for the true probabilities. The expected calibration error
# (ECE) explains: it is the mean gap between confidence and accuracy. But a finite sample has gaps even if the
# probabilities are perfect. How large those would be is the noise floor. An ECE below its 95 % quantile is no evidence
# against the probabilities, and of two such values neither is the better one.

from functools import partial

from skclamp.metrics import calibration_noise_floor, expected_calibration_error, negative_log_likelihood

ece = partial(expected_calibration_error, n_bins=10)
for name, proba in {"before": before, "after": after}.items():
    floor = calibration_noise_floor(ece, proba, random_state=0)
    print(
        f"{name:>6}: NLL {negative_log_likelihood(y_test, proba):.3f}, ECE {100 * ece(y_test, proba):.1f} %, "
        f"noise floor {100 * floor.mean:.1f} % (95 %: {100 * floor.quantile:.1f} %)"
    )

# %%
# The reliability diagram shows the same bin by bin. A hatched gap above a bar is over-confidence. The intervals say how
# far a bar may be off by chance: most bins hold few digits, since of most digits the network is sure.

from skclamp.display import ReliabilityGridDisplay

display = ReliabilityGridDisplay.from_predictions(
    y_test, {"before": before, "after temperature scaling": after}, n_bins=10, n_resamples=500
)
