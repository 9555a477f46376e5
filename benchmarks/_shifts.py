"""The shift suite: what deployed cameras and image pipelines do to images, each a function of a few parameters.

Each takes images (n, 3, height, width), float32 in [0, 1], and returns shifted ones of the same shape, clipped to
[0, 1] unless it says otherwise; the input stays as it is. What a camera has for good, a stain, is the same for
every image. Noise depends on nothing but its `seed`.
"""

import io
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

from _networks import IMAGENET_STATISTICS


def none(images):
    """No shift: the images as they are."""
    return images.clone()


def brightness(images, *, amount=0.25):
    """Exposure too long: a constant added, highlights clipped."""
    return (images + amount).clamp_(0, 1)


def darkness(images, *, factor=0.35):
    """Exposure too short: every value multiplied by `factor`."""
    return (images * factor).clamp_(0, 1)


def contrast(images, *, factor=0.5):
    """Flat picture: distances from mid-grey multiplied by `factor`."""
    return (0.5 + factor * (images - 0.5)).clamp_(0, 1)


def color_cast(images, *, offsets=(0.15, -0.1, 0.05)):
    """Coloured light: one offset for each channel."""
    return (images + _per_channel(offsets)).clamp_(0, 1)


def normalization(images, *, used=((0.5,) * 3, (0.5,) * 3), expected=IMAGENET_STATISTICS):
    """The pipeline normalises with the wrong mean and std, `used`; the network's own are `expected`. Not clipped."""
    used_mean, used_std = map(_per_channel, used)
    mean, std = map(_per_channel, expected)
    # What has to enter a network that normalises by itself so that it sees (images − used_mean) / used_std.
    return mean + std * (images - used_mean) / used_std


def bgr(images):
    """The decoder yields blue, green, red; the network expects red, green, blue."""
    return images.flip(1)


def stain(images, *, center=(0.45, 0.55), radius=0.2, softness=0.05, opacity=0.8):
    """A dark stain on the lens: centre and radius as shares of the side, an edge `softness` wide."""
    row, column = _coordinates(images)
    distance = torch.hypot(row - center[0], column - center[1])
    return images * (1 - opacity * torch.sigmoid((radius - distance) / softness))


def sensor_noise(images, *, read=0.015, shot=0.03, seed=0):
    """High ISO: noise anew in every image, of variance read² + shot² · value."""
    rng = torch.Generator().manual_seed(seed)
    std = (read**2 + shot**2 * images).sqrt_()
    return (images + std * torch.randn(images.shape, generator=rng)).clamp_(0, 1)


def jpeg(images, *, quality=75):
    """JPEG compression, as Pillow does it, at `quality` (1 to 95)."""
    from PIL import Image

    def compress(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    compressed = np.stack([compress(image) for image in pixels])
    return torch.from_numpy(compressed).permute(0, 3, 1, 2).contiguous().float().div_(255)


def defocus(images, *, radius=0.8):
    """Out of focus: the mean over a disc of `radius` pixels, its rim smoothed, borders repeated."""
    reach = int(np.ceil(radius))
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = (radius + 0.5 - torch.hypot(steps[:, None], steps[None, :])).clamp_(0, 1)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1, -1)
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    return functional.conv2d(padded, kernel, groups=images.shape[1]).clamp_(0, 1)


def _per_channel(values):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _coordinates(images):
    """Row and column of each pixel's centre as shares of the sides, (height, 1) and (1, width)."""
    height, width = images.shape[-2:]
    return (torch.arange(height)[:, None] + 0.5) / height, (torch.arange(width)[None, :] + 0.5) / width


CHANGES = (none, brightness, darkness, contrast, color_cast, normalization, bgr, stain)
SHIFTS = {shift.__name__: shift for shift in (*CHANGES, sensor_noise, jpeg, defocus)}
# What is measured most.
SEVEN = tuple(SHIFTS)[1 : len(CHANGES)]


# Corruptions that others wrote: those of the package corrupt-tta, which redo ImageNet-C's, on images of any size.
# In its own order: noise, blur, weather, then digital.
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"),
    *("fog", "frost", "snow", "spatter"),
    *("contrast", "brightness", "saturate", "jpeg_compression", "pixelate", "elastic_transform"),
)


def corrupt(images, seeds, name, severity):
    """Corrupted images of 8 bits; with the same seed an image is corrupted alike, whatever the others are."""
    import corrupt_tta

    corruption = corrupt_tta.corruption_dict[name]
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
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
