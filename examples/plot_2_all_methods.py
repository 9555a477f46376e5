"""
All methods on one network
==========================

The package has some twenty calibrators. ``compare_calibrators`` fits those that suit the data and says which are best,
and which can't be told from the best: of those, take the simplest.
"""

# %%
# A network to calibrate
# ----------------------
# 300 digits to train on, 600 to calibrate with, 897 to compare on.

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

# %%
# One call
# --------
# The network's logits are computed once for all. The lowest negative log-likelihood (NLL) comes first.

from skclamp import compare_calibrators

comparison = compare_calibrators(network, X_cal, y_cal, X_test, y_test, n_bins=10)
print(comparison)

# %%
# Which to take
# -------------
# "tied" are those whose NLL a paired test doesn't tell from the best one's. Here there are more digits to calibrate
# with than to train on, so maps with a weight for every pair of classes have something to learn, and raise the accuracy
# too. A temperature can't, but its one parameter needs hardly any data. Neural clamping has the same row wherever it
# finds no change of the images that helps. The ECE ranks nothing: nearly all are around the noise floor.

print("tied with the best:", ", ".join(comparison.tied))
calibrator = comparison.calibrators["TemperatureScaling"]  # fitted, ready for use
print("T =", round(calibrator.temperature_, 2))

# %%
# The same as a picture: on the left filled circles are tied with the best, on the right an ECE within the grey bar is
# within the noise.

figure = comparison.plot()
