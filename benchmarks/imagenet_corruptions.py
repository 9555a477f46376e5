"""Corrupted and shifted ImageNet images: clamping against what a user could do instead, with one image of each class.

EfficientNet-Lite0 and a thousand images, five splits: 500 images to calibrate, or fewer, 500 others to judge; Lite1 and
Lite2, of larger images, if asked. They are shown as they are, through a camera or pipeline that is dark, hazy or off in
colour (the shifts of _imagenet.py), and under three corruptions of the package corrupt-tta, one of weather, of blur and
of compression each, chosen before any result.

No class is in both halves. So whatever has parameters of each class (vector and structured matrix scaling, a last layer
fitted anew) learns from the calibration half that the classes of the other half never occur: it can't be judged here.
Fine-tuning all weights, which would learn that too, is left out with them, and corruptions.py has them all. What is
compared has parameters that all classes share: temperature scaling, batch norm adapted to the new images with T, and
neural clamping, of the input alone and, its default, of the features too.

"drawn" are the images as they are with labels drawn from temperature scaling's probabilities, so that nothing can be
gained. The order is such that what has been computed is balanced. Needs the group `bench`.

    python benchmarks/imagenet_corruptions.py --data DIR --out imagenet.csv
    python benchmarks/imagenet_corruptions.py --data DIR --methods temperature clamping --seeds 50 --out few.csv
    python benchmarks/imagenet_corruptions.py --data DIR --networks efficientnet_lite1 efficientnet_lite2 --n 200 \
        --changes darkness fog none --methods temperature clamping --seeds 50 51 52 --out imagenet.csv
    python benchmarks/imagenet_corruptions.py --data DIR --summary --out imagenet.csv
"""

from functools import cache, lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from _corruption_methods import make_task
from _imagenet import LITE0, SIDES, Sample, shifted
from _networks import compute_logits
from _runner import RESULTS, benchmark, record
from _scores import draw_labels, fit_temperature
from _shifts import corrupt
from _timing import at_once
from corruptions import COLUMNS, SEEDS, measure, report

# What is done to the images, and the column `severity`: the shifts come in one strength.
CHANGES = {
    "darkness": 1,
    "haze": 1,
    "cast": 1,
    "fog": 3,
    "defocus_blur": 3,
    "jpeg_compression": 3,
    "noise": 1,
    "noise_60": 1,
    "jpeg_10": 1,
    "none": 0,
    "drawn": 0,
}
COMPARED = ("temperature", "batch_norm", "input_clamping", "clamping")


def task_of(sample, seed, severity, change, n):
    """The network, and the changed images of a split."""
    calibration, test = sample.split(seed, n)
    rows = np.concatenate([calibration, test])
    images, labels, corrupted = sample.images[rows], sample.labels[rows], severity > 1
    if change == "drawn":
        images = shifted(images, "none")
        logits = compute_logits(sample.network, images, at_once(images))
        labels = draw_labels(logits, fit_temperature(logits, labels), seed)
    else:
        images = corrupt(images.float() / 255, rows, change, severity) if corrupted else shifted(images, change)
    return make_task(sample.network, images, labels, seed, len(calibration))


@benchmark
def main(
    data: Path,
    networks: SIDES = (LITE0,),
    changes: CHANGES = tuple(CHANGES),
    methods: COMPARED = COMPARED,
    seeds=SEEDS,
    n=500,
    out=RESULTS / "imagenet.csv",
    summary=False,
):
    sample = cache(lambda network: Sample(data, network))

    @lru_cache(maxsize=1)
    def task(seed, severity, network, change, n):
        return task_of(sample(network), seed, severity, change, n)

    cells = product(() if summary else seeds, networks, changes, methods)
    cells = [(seed, CHANGES[change], network, change, n, method) for seed, network, change, method in cells]

    def run(*cell):
        return measure(task(*cell[:-1]), cell[-1])

    report(record(out, COLUMNS, cells, run), whole=False)
