"""Corruptions that others wrote: those of the package corrupt-tta, which redo ImageNet-C's, on images of any size."""

from unittest import mock

import numpy as np
import torch

# What the package has, in its own order: noise, blur, weather, then digital.
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"),
    *("fog", "frost", "snow", "spatter"),
    *("contrast", "brightness", "saturate", "jpeg_compression", "pixelate", "elastic_transform"),
)


def corrupt(images, seeds, name, severity):
    """Corrupted images.

    Parameters
    ----------
    images : tensor of shape (n, 3, height, width)
        In [0, 1]; 8 bits, which are what the package takes and what a file holds afterwards.
    seeds : array of int, shape (n,)
        An image's own: with the same one it is corrupted alike, whatever the others are.
    name : str
        One of `CORRUPTIONS`.
    severity : {1, 2, 3, 4, 5}
        As in the package.

    Returns
    -------
    tensor of shape (n, 3, height, width), float32
    """
    import corrupt_tta

    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    corruption = corrupt_tta.corruption_dict[name]
    corrupted = np.stack([_seeded(corruption, x, severity, seed) for x, seed in zip(pixels, seeds, strict=True)])
    corrupted = torch.from_numpy(corrupted.round().clip(0, 255).astype(np.uint8))
    return corrupted.permute(0, 3, 1, 2).contiguous().float().div_(255)


def _seeded(corruption, image, severity, seed):
    """One image, whose draws come from numpy's global state or, by way of scikit-image, from a new generator."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        with mock.patch("numpy.random.default_rng", return_value=np.random.default_rng(seed)):
            return corruption(image, severity)
    finally:
        np.random.set_state(state)  # noqa: NPY002
