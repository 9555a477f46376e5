"""Scenes of digits on textured ground, with the class of each pixel, and a small network that segments them."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_digits
from torch import nn

# The ground, and the digits 0 to 4.
N_CLASSES, SIZE, N_EPOCHS = 6, 32, 8

images, labels = load_digits(n_class=N_CLASSES - 1, return_X_y=True)
images = np.stack([zoom(image.reshape(8, 8) / 16, 2, order=1) for image in images]).astype(np.float32)
order = np.random.default_rng(0).permutation(len(images))


def scenes(n_samples, digits, seed):
    """Two or three digits a scene, which may overlap; y is 0 where there is ground."""
    rng = np.random.default_rng(seed)
    X = np.stack([gaussian_filter(rng.normal(size=(SIZE, SIZE)), 2) for _ in range(n_samples)])
    X = (0.3 + 0.6 * X + 0.06 * rng.normal(size=X.shape)).astype(np.float32)
    y = np.zeros((n_samples, SIZE, SIZE), int)
    for scene, classes in zip(X, y, strict=True):
        for digit in rng.choice(digits, rng.integers(2, 4)):
            top, left = rng.integers(0, SIZE - 15, 2)
            window, strength = np.s_[top : top + 16, left : left + 16], rng.uniform(0.5, 1.0)
            scene[window] += strength * images[digit]
            classes[window][images[digit] > 0.4] = 1 + labels[digit]
    return X[:, None], y


# Digits of other writers' hands to train with than to calibrate with and to judge by.
X_train, y_train = scenes(600, order[:450], seed=0)
X_cal, y_cal = scenes(200, order[450:], seed=1)
X_test, y_test = scenes(200, order[450:], seed=2)


class UNet(nn.Module):
    """Three scales, the finer ones beside what comes up from the coarser."""

    def __init__(self, n_classes, width=10, n_channels=1):
        super().__init__()
        self.down = nn.ModuleList([_block(n_channels, width), _block(width, 2 * width), _block(2 * width, 2 * width)])
        self.up = nn.ModuleList([_block(4 * width, width), _block(2 * width, width)])
        self.head = nn.Conv2d(width, n_classes, 1)

    def forward(self, x):
        """Logits of each pixel."""
        fine = self.down[0](x)
        middle = self.down[1](nn.functional.max_pool2d(fine, 2))
        x = self.down[2](nn.functional.max_pool2d(middle, 2))
        x = self.up[0](torch.cat([middle, nn.functional.interpolate(x, scale_factor=2)], 1))
        return self.head(self.up[1](torch.cat([fine, nn.functional.interpolate(x, scale_factor=2)], 1)))


def _block(n_in, n_out):
    layers = [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU())


torch.manual_seed(0)
net = UNet(N_CLASSES)
optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=N_EPOCHS * len(X_train) // 20)
for epoch in range(N_EPOCHS):
    # New scenes of the same digits each time.
    X_train, y_train = scenes(len(X_train), order[:450], seed=100 + epoch)
    for rows in torch.randperm(len(X_train)).split(20):
        loss = nn.functional.cross_entropy(net(torch.from_numpy(X_train[rows])), torch.from_numpy(y_train[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
net.eval()
