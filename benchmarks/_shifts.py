"""The shift suite: what deployed cameras and image pipelines do to images, each a function of a few parameters.

Each takes images (n, 3, height, width), float32 in [0, 1], and returns shifted ones of the same shape, clipped to
[0, 1] unless it says otherwise; the input stays as it is. What a camera has for good (a stain, a noise pattern) is
the same for every image. Random shifts depend on nothing but their `seed`.
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


def vignette(images, *, strength=0.8):
    """Corners darker than the centre: the light falls by `strength` with the squared distance, up to the corner."""
    row, column = _coordinates(images)
    return images * (1 - strength * 2 * ((row - 0.5) ** 2 + (column - 0.5) ** 2))


def fixed_pattern(images, *, gain=0.04, offset=0.015, column_offset=0.01, seed=0):
    """Fixed-pattern noise: each pixel of the sensor has a gain and an offset, each column an offset (std given)."""
    rng = torch.Generator().manual_seed(seed)
    shape = images.shape[1:]
    gains = 1 + gain * torch.randn(shape, generator=rng)
    offsets = offset * torch.randn(shape, generator=rng)
    columns = column_offset * torch.randn(1, 1, shape[-1], generator=rng)
    return (images * gains + offsets + columns).clamp_(0, 1)


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


def transfer_curve(images, *, exponent=2.2):
    """Linear light given to a network that expects display values: values to the power of `exponent`."""
    return images.clamp(0, 1) ** exponent


def white_balance(images, *, gains=(1.4, 1.0, 0.6)):
    """White balance set for other light: one gain for each channel."""
    return (images * _per_channel(gains)).clamp_(0, 1)


def video_range(images, *, black=16, white=235):
    """Limited-range video levels read as full range: 0 … 1 becomes black / 255 … white / 255."""
    return (black + (white - black) * images) / 255


def defocus(images, *, radius=0.8):
    """Out of focus: the mean over a disc of `radius` pixels, its rim smoothed, borders repeated."""
    reach = int(np.ceil(radius))
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = (radius + 0.5 - torch.hypot(steps[:, None], steps[None, :])).clamp_(0, 1)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1, -1)
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    return functional.conv2d(padded, kernel, groups=images.shape[1]).clamp_(0, 1)


def haze(images, *, density=0.35, airlight=(0.8, 0.85, 0.9)):
    """Haze: a share `density` of the light comes from a bright, bluish veil."""
    return ((1 - density) * images + density * _per_channel(airlight)).clamp_(0, 1)


def flare(images, *, center=(0.1, 0.85), width=0.35, strength=0.7):
    """The sun beside the picture: a warm Gaussian glow added around `center` (shares of the side)."""
    row, column = _coordinates(images)
    glow = strength * torch.exp(-((row - center[0]) ** 2 + (column - center[1]) ** 2) / (2 * width**2))
    return (images + glow * _per_channel((1.0, 0.9, 0.7))).clamp_(0, 1)


def dead_columns(images, *, n_columns=2, seed=0):
    """`n_columns` columns of the sensor read black in every image."""
    rng = torch.Generator().manual_seed(seed)
    shifted = images.clone()
    shifted[..., torch.randperm(images.shape[-1], generator=rng)[:n_columns]] = 0
    return shifted


def quantization(images, *, bits=4):
    """A cheap converter: values rounded to 2 ** bits levels."""
    steps = 2**bits - 1
    return (images.clamp(0, 1) * steps).round_() / steps


def desaturation(images, *, amount=0.7):
    """Faded colours: each pixel moved by a share `amount` towards its luma (ITU-R BT.601)."""
    luma = (images * _per_channel((0.299, 0.587, 0.114))).sum(dim=1, keepdim=True)
    return images.lerp(luma, amount)


def _per_channel(values):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _coordinates(images):
    """Row and column of each pixel's centre as shares of the sides, (height, 1) and (1, width)."""
    height, width = images.shape[-2:]
    return (torch.arange(height)[:, None] + 0.5) / height, (torch.arange(width)[None, :] + 0.5) / width


# The shifts of the first measurements, then what else happens to cameras and pipelines.
SHIFTS = {
    shift.__name__: shift
    for shift in (
        none,
        brightness,
        darkness,
        contrast,
        color_cast,
        normalization,
        bgr,
        stain,
        vignette,
        fixed_pattern,
        sensor_noise,
        jpeg,
        transfer_curve,
        white_balance,
        video_range,
        defocus,
        haze,
        flare,
        dead_columns,
        quantization,
        desaturation,
    )
}
# What is measured most.
SEVEN = ("brightness", "darkness", "contrast", "color_cast", "normalization", "bgr", "stain")


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
