"""Small pictures of a few test images, as they are and as neural clamping passes them on."""

import base64
import io

import numpy as np
import torch
from torch.nn import functional as F

from ..clamping._base import BaseClamping
from ..perturbations._norm import changes_inputs

_MAX_PIXELS = 64
_CHANNELS = (1, 3)


@torch.no_grad()
def thumbnails_of(samples, calibrators, rows, perturbed_rows):
    """Pictures of some rows of a test set, and of fewer behind each perturbation; None where inputs aren't images.

    Their files' bytes, in base64, are by the images' rows: "before", and "after" by the name of each calibrator that
    perturbs images. "limits" are, for each channel, what is black and what is white; what lies beyond is cut off.
    """
    try:
        from PIL import Image
    except ImportError:
        # It comes with matplotlib; a page does without.
        return None
    if not samples.backbone.in_batches or samples.inputs.is_stream:
        return None
    # One that was fitted to logits perturbs these, and one that clamps features leaves images as they are.
    perturbing = {
        name: calibrator
        for name, calibrator in calibrators.items()
        if isinstance(calibrator, BaseClamping)
        and changes_inputs(calibrator.perturbation_)
        and calibrator.estimator is not None
    }
    keys = {name: calibrator.module_.logits.input_key for name, calibrator in perturbing.items()}
    key = next(iter(keys.values()), None)
    before: dict = {}
    after: dict = {name: {} for name in keys if keys[name] == key}
    for row, x in zip(rows.tolist(), _images(samples, rows, key), strict=False):
        before[row] = _shrunk(x)
        for name in after if row in perturbed_rows else ():
            perturbation = perturbing[name].perturbation_
            place = next(perturbation.parameters(), x)
            after[name][row] = _shrunk(perturbation(x.to(place.device)))
    if not before:
        return None
    # Black and white in each channel: 0 and 1 if all lies between, else the extremes.
    low = np.min([image.min((0, 1)) for image in before.values()], axis=0)
    high = np.max([image.max((0, 1)) for image in before.values()], axis=0)
    if low.min() >= 0 and high.max() <= 1:
        low, high = np.zeros_like(low), np.ones_like(high)

    def png(image):
        share = (image - low) / np.where(high > low, high - low, 1.0)
        pixels, file = np.rint(255 * share.clip(0, 1)).astype(np.uint8), io.BytesIO()
        # Of one channel it takes two axes alone.
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode()

    return {
        "before": {row: png(image) for row, image in before.items()},
        "after": {name: {row: png(image) for row, image in images.items()} for name, images in after.items()},
        "limits": np.stack([low, high], axis=1).tolist(),
    }


def _images(samples, rows, key):
    """The entry `key` of these rows, or the first that is an image, one by one: their sizes may differ."""
    for batch, _ in samples.inputs.take(rows).batches(1):
        x, others = samples.backbone.to_device(batch)
        entries = others if x is None else {samples.backbone.module.input_key: x, **others}
        candidates = [entries[key]] if key in entries else entries.values()
        images = (x for x in candidates if x.ndim == 4 and x.shape[1] in _CHANNELS and x.is_floating_point())
        image = next(images, None)
        if image is None:
            return
        yield image


def _shrunk(x):
    """A batch of one image as an array of at most so many pixels along either side, channels last."""
    height, width = x.shape[2:]
    share = min(1.0, _MAX_PIXELS / max(height, width))
    size = [max(1, round(share * side)) for side in (height, width)]
    shrunk = F.interpolate(x.float(), size, mode="area") if share < 1 else x.float()
    return shrunk[0].permute(1, 2, 0).cpu().numpy()
