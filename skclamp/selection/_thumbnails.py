"""Small pictures of a few test images, as they are and as neural clamping passes them on."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..clamping._base import BaseClamping

_MAX_PIXELS = 64
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Thumbnails:
    """Small pictures of test images, as PNG files.

    Attributes
    ----------
    before : dict of int to bytes
        Pictures by the images' rows in the test set.
    after : dict of str to dict
        By the name of each calibrator that perturbs images, pictures of some of them behind its perturbation.
    limits : list of [float, float]
        For each channel, what is black and what is white; what lies beyond is cut off.
    """

    before: dict[int, bytes]
    after: dict[str, dict[int, bytes]]
    limits: list[list[float]]


def thumbnails_of(reading, calibrators, rows, perturbed_rows):
    """Pictures of some rows of a test set, and of fewer behind each perturbation; None where inputs aren't images.

    `reading` is the test set as the estimator read it, `calibrators` are fitted ones by name.
    """
    if not reading.backbone.in_batches or reading.inputs.is_stream:
        return None
    # One that was fitted to logits perturbs these.
    perturbing = {
        name: own
        for name, own in calibrators.items()
        if isinstance(own, BaseClamping) and own.accepted_ and own.estimator is not None
    }
    keys = {name: own.module_.logits.input_key for name, own in perturbing.items()}
    key = next(iter(keys.values()), None)
    before: dict = {}
    after: dict = {name: {} for name, own in keys.items() if own == key}
    with torch.no_grad():
        for row, x in zip(rows, _images(reading, rows, key), strict=False):
            before[row] = _shrunk(x)
            for name in after if row in perturbed_rows else ():
                after[name][row] = _shrunk(_perturbed(perturbing[name], x))
    if not before:
        return None
    limits = _limits([*before.values()])
    drawn = {name: _drawn(own, limits) for name, own in after.items()}
    return Thumbnails(_drawn(before, limits), drawn, limits.tolist())


def _images(reading, rows, key):
    """The entry `key` of these rows, or the first that is an image, one by one: their sizes may differ."""
    for batch, _ in reading.inputs.take(rows).batches(1):
        x, others = reading.backbone.to_device(batch)
        entries = others if x is None else {reading.backbone.module.input_key: x, **others}
        found = [entries[key]] if key in entries else entries.values()
        image = next((own for own in found if _is_image(own)), None)
        if image is None:
            return
        yield image


def _is_image(x):
    return x.ndim == 4 and x.shape[1] in _CHANNELS and x.is_floating_point()


def _perturbed(calibrator, x):
    place = next(calibrator.perturbation_.parameters(), x)
    return calibrator.perturbation_(x.to(place.device)).to(x.dtype)


def _shrunk(x):
    """A batch of one image as an array of at most so many pixels along either side, channels last."""
    height, width = x.shape[2:]
    share = min(1.0, _MAX_PIXELS / max(height, width))
    size = [max(1, round(share * side)) for side in (height, width)]
    shrunk = F.interpolate(x.float(), size, mode="area") if share < 1 else x.float()
    return shrunk[0].permute(1, 2, 0).cpu().numpy()


def _limits(images):
    """What is black and white in each channel: 0 and 1 if all lies between, else the extremes."""
    low = np.min([image.min((0, 1)) for image in images], axis=0)
    high = np.max([image.max((0, 1)) for image in images], axis=0)
    if low.min() >= 0 and high.max() <= 1:
        low, high = np.zeros_like(low), np.ones_like(high)
    return np.stack([low, high], axis=1)


def _drawn(images, limits):
    low, high = limits.T
    width = np.where(high > low, high - low, 1.0)
    return {
        int(row): png(np.rint(255 * ((own - low) / width).clip(0, 1)).astype(np.uint8)) for row, own in images.items()
    }


def png(pixels):
    """A PNG file of an array of bytes of shape (height, width, 1 or 3)."""
    height, width, n_channels = pixels.shape
    # Each row begins with its filter: 1 says that a pixel holds the difference to the one on its left.
    differences = np.diff(pixels, axis=1, prepend=np.zeros_like(pixels[:, :1]))
    rows = np.column_stack([np.ones(height, np.uint8), differences.reshape(height, -1)])
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if n_channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
