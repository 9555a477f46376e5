"""
A class at each pixel
=====================

A small U-Net tells digits from textured ground. You see what calibration does at each pixel, where confidence is wrong,
and what neural clamping takes back when the camera's contrast fades.
"""

# %%
# Scenes, and a network that segments them
# ----------------------------------------

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_digits
from torch import nn

images, labels = load_digits(n_class=5, return_X_y=True)
images = np.stack([zoom(image.reshape(8, 8) / 16, 2, order=1) for image in images]).astype(np.float32)
order = np.random.default_rng(0).permutation(len(images))


def scenes(n_samples, digits, seed):
    rng = np.random.default_rng(seed)
    X = np.stack([gaussian_filter(rng.normal(size=(32, 32)), 2) for _ in range(n_samples)])
    X = (0.3 + 0.6 * X + 0.06 * rng.normal(size=X.shape)).astype(np.float32)
    y = np.zeros((n_samples, 32, 32), int)
    for scene, classes in zip(X, y, strict=True):
        for digit in rng.choice(digits, rng.integers(2, 4)):
            top, left = rng.integers(0, 17, 2)
            window, strength = np.s_[top : top + 16, left : left + 16], rng.uniform(0.5, 1.0)
            scene[window] += strength * images[digit]
            classes[window][images[digit] > 0.4] = 1 + labels[digit]
    return X[:, None], y


class UNet(nn.Module):
    """Three scales, the finer ones beside what comes up from the coarser."""

    def __init__(self, n_classes, width=16):
        super().__init__()
        self.down = nn.ModuleList([block(1, width), block(width, 2 * width), block(2 * width, 2 * width)])
        self.up = nn.ModuleList([block(4 * width, width), block(2 * width, width)])
        self.head = nn.Conv2d(width, n_classes, 1)

    def forward(self, x):
        """Logits of each pixel."""
        fine = self.down[0](x)
        middle = self.down[1](nn.functional.max_pool2d(fine, 2))
        x = self.down[2](nn.functional.max_pool2d(middle, 2))
        x = self.up[0](torch.cat([middle, nn.functional.interpolate(x, scale_factor=2)], 1))
        return self.head(self.up[1](torch.cat([fine, nn.functional.interpolate(x, scale_factor=2)], 1)))


def block(n_in, n_out):
    layers = [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU())


torch.manual_seed(0)
net = UNet(6)
optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=8 * 40)
for epoch in range(8):
    X_train, y_train = scenes(800, order[:450], seed=100 + epoch)
    for rows in torch.randperm(800).split(20):
        loss = nn.functional.cross_entropy(net(torch.from_numpy(X_train[rows])), torch.from_numpy(y_train[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
net.eval()

# Scenes of other digits than the network has learned from.
X_cal, y_cal = scenes(300, order[450:], seed=1)
X_test, y_test = scenes(300, order[450:], seed=2)

# %%
# The contrast fades
# ------------------
# ``y`` has a class for each pixel, and so have the probabilities, of shape (n, 6, 32, 32). Maps of the outputs can only
# say how sure to be. Neural clamping finds what the inputs lost, and proves it on images that it didn't learn from.

from skclamp import NeuralClampingCalibrator, StructuredVectorScaling

X_cal, X_test = 0.5 * X_cal + 0.25, 0.5 * X_test + 0.25
of_outputs = StructuredVectorScaling(net).fit(X_cal, y_cal)
clamping = NeuralClampingCalibrator(net, random_state=0).fit(X_cal, y_cal)
nll, accuracy = {}, {}
for name, calibrator in (("structured vector", of_outputs), ("neural clamping", clamping)):
    log_proba = calibrator.predict_log_proba(X_test)
    nll[name] = -np.take_along_axis(log_proba, y_test[:, None], axis=1).mean()
    accuracy[name] = (log_proba.argmax(1) == y_test).mean()
    print(f"{name}: NLL {nll[name]:.3f}, accuracy {accuracy[name]:.1%}")
print(clamping.summary())

# %%
# Images, masks, and where confidence was wrong
# ---------------------------------------------
# Dark pixels of the last two rows were given to the wrong class with confidence.

figure, axes = plt.subplots(4, 6, figsize=(8, 5.6), layout="constrained")
wrong = []
for calibrator in (of_outputs, clamping):
    proba = calibrator.predict_proba(X_test[:6])
    wrong.append(proba.max(1) * (proba.argmax(1) != y_test[:6]))
for k, column in enumerate(axes.T):
    column[0].imshow(X_test[k, 0], cmap="gray", vmin=0, vmax=1)
    column[1].imshow(y_test[k], cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
    for axis, confidence in zip(column[2:], wrong, strict=True):
        axis.imshow(confidence[k], cmap="gray_r", vmin=0, vmax=1)
    for axis in column:
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[:, 0], ["image", "mask", "vector", "clamping"], strict=True):
    axis.set_ylabel(title)
plt.show()
