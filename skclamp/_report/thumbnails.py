"""Small pictures of a few test images, as they are, as neural clamping passes them on, and of what is said of them."""

import base64
import colorsys
import io
from importlib.util import find_spec

import numpy as np
import torch
from torch.nn import functional as F

from ..clamping import NeuralClampingCalibrator
from ..display._perturbation_panels import stretched
from ..perturbations._norm import changes_inputs

# Along a side, and of images with a class at each pixel.
_MAX_PIXELS, _MAX_PIXELS_OF_SCENES = 64, 128
_CHANNELS = (1, 3)
# Where nothing is known.
_GREY = (128, 128, 128)


@torch.no_grad()
def thumbnails_of(samples, calibrators, perturbed_rows, scene_rows, fields):
    """Pictures of some rows of a test set; None where inputs aren't images.

    Their files' bytes, in base64, are by the images' rows: "before" of all, and "after" of `perturbed_rows`, by the
    name of each calibrator that perturbs images. "limits" are, for each channel, what is black and what is white; what
    lies beyond is cut off.

    Where a class is at each pixel, ``fields(row, inputs)`` returns column indices, -1 where it isn't known, and
    probabilities by calibrator: "scenes" then has, for each of `scene_rows`, a mask and, by calibrator, where its
    confidence is wrong, the darker the surer, with the share of pixels that are right. "colors" are those of columns.
    """
    # It comes with matplotlib; a page does without.
    if find_spec("PIL") is None or not samples.backbone.in_batches or samples.inputs.is_stream:
        return None
    # One that clamps features leaves images as they are.
    perturbing = {
        name: calibrator
        for name, calibrator in calibrators.items()
        if isinstance(calibrator, NeuralClampingCalibrator) and changes_inputs(calibrator.perturbation_)
    }
    key = next((calibrator.module_.logits.input_key for calibrator in perturbing.values()), None)
    before: dict = {}
    after: dict = {name: {} for name, own in perturbing.items() if own.module_.logits.input_key == key}
    scenes: dict = {"masks": {}, "wrong": {}, "right": {}, "colors": {}}
    rows = sorted({*perturbed_rows, *scene_rows})
    most = _MAX_PIXELS if fields is None else _MAX_PIXELS_OF_SCENES
    for row, (x, inputs) in zip(rows, _images(samples, rows, key), strict=False):
        before[row] = _shrunk(x, most)
        if fields is not None and row in scene_rows:
            _add_scene(scenes, row, *fields(row, inputs))
        if row in perturbed_rows:
            for name, images in after.items():
                perturbation = calibrators[name].perturbation_
                place = next(perturbation.parameters(), x)
                images[row] = _shrunk(perturbation(x.to(place.device)), most)
    if not before:
        return None
    low, high = _limits(list(before.values()))

    def pictures(images):
        return {row: _png(stretched(image, low, high)) for row, image in images.items()}

    return {
        "before": pictures(before),
        "after": {name: pictures(images) for name, images in after.items()},
        "limits": np.stack([low, high], axis=1).tolist(),
        "scenes": scenes if scenes["masks"] else None,
    }


def _limits(images):
    """Black and white in each channel: 0 and 1 if all lies between, else the extremes."""
    colors = np.concatenate([image.reshape(-1, image.shape[2]) for image in images])
    low, high = colors.min(0), colors.max(0)
    if low.min() >= 0 and high.max() <= 1:
        return np.zeros_like(low), np.ones_like(high)
    return low, high


def _png(shares):
    """A file of shares of white, channels last, in base64."""
    from PIL import Image

    file = io.BytesIO()
    # Of one channel it takes two axes alone.
    pixels = np.rint(255 * shares).astype(np.uint8)
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _add_scene(scenes, row, y, proba):
    """Add the labels of an image, and what each calibrator says of it, shrunk by leaving out pixels."""
    step = _step(y.shape, _MAX_PIXELS_OF_SCENES)
    some = np.s_[::step, ::step]
    known = y >= 0
    mask = y[some]
    palette = np.array([_color(k) for k in range(mask.max() + 1)] + [_GREY]) / 255
    scenes["masks"][row] = _png(palette[mask])
    scenes["colors"] |= {k: _color(k) for k in np.unique(mask[mask >= 0]).tolist()}
    for name, own in proba.items():
        is_wrong = (own.argmax(0) != y) & known
        scenes["wrong"].setdefault(name, {})[row] = _png(1 - (own.max(0) * is_wrong)[some][..., None])
        scenes["right"].setdefault(name, {})[row] = float(1 - is_wrong[known].mean()) if known.any() else None


def _color(k):
    """The colour of a column: hues a golden section apart, which differ however many there are."""
    red_green_blue = colorsys.hsv_to_rgb(0.58 + k * 0.618034, 0.6, (0.85, 0.6)[k % 2])
    return [round(255 * part) for part in red_green_blue]


def _images(samples, rows, key):
    """The entry `key` of these rows, or the first that is an image, and all, one by one: their sizes may differ."""
    for batch, _ in samples.inputs.take(np.array(rows)).batches(1):
        x, others = samples.backbone.to_device(batch)
        entries = others if x is None else {samples.backbone.module.input_key: x, **others}
        candidates = [entries[key]] if key in entries else entries.values()
        images = (x for x in candidates if x.ndim == 4 and x.shape[1] in _CHANNELS and x.is_floating_point())
        image = next(images, None)
        if image is None:
            return
        yield image, batch


def _shrunk(x, most):
    """A batch of one image as an array of at most so many pixels along either side, channels last."""
    step = _step(x.shape[2:], most)
    shrunk = F.avg_pool2d(x.float(), step, ceil_mode=True)
    return shrunk[0].permute(1, 2, 0).cpu().numpy()


def _step(sides, most):
    """How many pixels along a side are one, so that an image has at most so many along either."""
    return -(-max(sides) // most)
