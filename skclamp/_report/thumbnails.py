"""Small pictures of a few test images, as they are, and as neural clamping passes them on."""

import base64
import io
from importlib.util import find_spec

import numpy as np
import torch
from torch.nn import functional as F

from ..clamping import NeuralClampingCalibrator
from ..display._perturbation_panels import black_and_white, stretched
from ..perturbations._norm import changes_inputs


@torch.no_grad()
def thumbnails_of(samples, calibrators, perturbed_rows, other_rows):
    """Pictures of some rows of a test set; None where inputs aren't images.

    Their files' bytes, in base64, are by the images' rows: "before" of all, and "after" of `perturbed_rows`, by the
    name of each calibrator that perturbs images. "limits" are what is black and what is white; what lies beyond is cut
    off.
    """
    # It comes with matplotlib; a page does without.
    if find_spec("PIL") is None or not samples.backbone.in_batches or samples.inputs.is_stream:
        return None
    before: dict = {}
    after: dict = {}
    rows = sorted({*perturbed_rows, *other_rows})
    for row, (key, x) in zip(rows, _images(samples, rows), strict=False):
        before[row] = _shrunk(x)
        for name, calibrator in calibrators.items() if row in perturbed_rows else ():
            # One that clamps features leaves images alone.
            if not isinstance(calibrator, NeuralClampingCalibrator) or not changes_inputs(calibrator.perturbation_):
                continue
            if calibrator.module_.logits.input_key == key:
                perturbation = calibrator.perturbation_
                place = next(perturbation.parameters(), x)
                after.setdefault(name, {})[row] = _shrunk(perturbation(x.to(place.device)))
    if not before:
        return None
    low, high = black_and_white(list(before.values()))

    def pictures(images):
        return {row: _png(stretched(image, low, high)) for row, image in images.items()}

    return {
        "before": pictures(before),
        "after": {name: pictures(images) for name, images in after.items()},
        "limits": [low, high],
    }


def _png(shares):
    """A file of shares of white, channels last, in base64."""
    from PIL import Image

    file = io.BytesIO()
    # Of one channel it takes two axes alone.
    pixels = np.rint(255 * shares).astype(np.uint8)
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _images(samples, rows):
    """The name and values of the first entry of these rows that is an image, one by one: their sizes may differ."""
    for batch, _ in samples.inputs.take(np.array(rows)).batches(1):
        x, others = samples.backbone.to_device(batch)
        entries = others if x is None else {samples.backbone.module.input_key: x, **others}
        images = [
            (key, x) for key, x in entries.items() if x.ndim == 4 and x.shape[1] in (1, 3) and x.is_floating_point()
        ]
        if not images:
            return
        yield images[0]


def _shrunk(x):
    """A batch of one image as an array of at most 64 pixels along either side, channels last."""
    step = -(-max(x.shape[2:]) // 64)
    return F.avg_pool2d(x.float(), step, ceil_mode=True)[0].permute(1, 2, 0).cpu().numpy()
