"""
A fog that comes slowly
=======================

A calibrated network reads digits through a window that mists over. Nobody sees the day on which its probabilities stop
being true. A monitor does, from the labels that come in one by one: you see the evidence mount, the alarm, the refit by
neural clamping, and the silence after it.
"""

# %%
# Calibrated on a clear day
# -------------------------
# The network is trained on 400 pictures and calibrated on 300 others.

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skclamp import CalibrationMonitor, NeuralClampingCalibrator, TemperatureScaling

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32").reshape(-1, 1, 8, 8)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=400, stratify=y, random_state=0)
X_cal, X_new, y_cal, y_new = train_test_split(X_rest, y_rest, train_size=300, stratify=y_rest, random_state=0)

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
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(torch.from_numpy(X_train)), torch.from_numpy(y_train)).backward()
    optimizer.step()

calibrator = TemperatureScaling(network).fit(X_cal, y_cal)

# %%
# The watch
# ---------
# 25 pictures a day, each of which somebody labels in the end. Eight days are clear; then a little more fog lies over
# the pictures every day. A false alarm, on whatever day, has a probability of at most 1 %.


def fogged(X, density):
    return (1 - density) * X + np.float32(0.8 * density)


days = np.array_split(np.random.default_rng(1).permutation(len(X_new)), len(X_new) // 25)
density = np.clip(0.06 * (np.arange(len(days)) - 7), 0, 1)

monitor = CalibrationMonitor(calibrator, alpha=0.01)
for day, rows in enumerate(days):
    monitor.partial_fit(fogged(X_new[rows], density[day]), y_new[rows])
    if monitor.alarm_:
        break
print(f"alarm on day {day}, in a fog of density {density[day]:.2f}")

# %%
# What the monitor says. Fog makes the network see some digits more often than they are there; bets on class frequencies
# noticed first. The monitor knows that the calibration is broken. Two hundred clear labels are too few to tell that it
# was true at first, and nothing tells that it was fog.

print(monitor.summary())

# %%
# A log e-value above the dashed line is evidence of a hundred to one, however often one has looked.

monitor.plot()

# %%
# The refit
# ---------
# The fog stays as it is. Ten more days give 250 labelled pictures to learn from: neural clamping takes the fog off the
# network's input, and sets T anew.

then = fogged(X_new, density[day])
refit_rows, rest = np.concatenate(days[day + 1 : day + 11]), np.concatenate(days[day + 11 :])
refitted = NeuralClampingCalibrator(network, random_state=0).fit(then[refit_rows], y_new[refit_rows])
print(refitted.verdict_.reason)
print(f"accuracy in the fog: before {calibrator.score(then[rest], y_new[rest]):.3f}, ", end="")
print(f"after {refitted.score(then[rest], y_new[rest]):.3f}")

# %%
# The silence after it
# --------------------
# A new monitor watches the new calibrator on the days that are left; the old one, had nothing been done, would have had
# ever more to say.

after = CalibrationMonitor(refitted).partial_fit(then[rest], y_new[rest])
without = CalibrationMonitor(calibrator).partial_fit(then[rest], y_new[rest])
print(f"p value after the refit {after.p_value_:.2g}, without it {without.p_value_:.2g}")

display = after.plot(name="the refitted calibrator")
_ = without.plot(ax=display.ax_, name="the old one", color="#9c2f10")
