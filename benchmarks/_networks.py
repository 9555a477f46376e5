"""The networks of the benchmarks: CIFAR ResNets with their normalisation inside, and where their weights come from.

The architecture is section 4.2 of He et al., *Deep Residual Learning for Image Recognition* (CVPR 2016), with the
parameter-free shortcuts that the paper calls option A: every second pixel, new channels filled with zeros.
"""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR100_STATISTICS = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
PUBLIC_WEIGHTS = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"


class ResNetSpec(NamedTuple):
    """What `load_resnet` needs to know of one network; `url` is None where the weights aren't public."""

    depth: int
    n_classes: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    url: str | None


RESNETS = {
    "cifar10_resnet20": ResNetSpec(20, 10, IMAGENET_STATISTICS, PUBLIC_WEIGHTS + "resnet20-12fca82f.th"),
    "cifar10_resnet32": ResNetSpec(32, 10, IMAGENET_STATISTICS, PUBLIC_WEIGHTS + "resnet32-d509ac18.th"),
    "cifar100_resnet20": ResNetSpec(20, 100, CIFAR100_STATISTICS, None),
}


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut without parameters."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = (channels - in_channels) // 2

    def shortcut(self, x):
        """Every `stride`-th pixel, zeros for the new channels."""
        if self.stride == 1 and self.new_channels == 0:
            return x
        thinned = x[..., :: self.stride, :: self.stride]
        return functional.pad(thinned, (0, 0, 0, 0, self.new_channels, self.new_channels))

    def forward(self, x):
        """Residual block, (n, in_channels, h, w) to (n, channels, h / stride, w / stride)."""
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Normalize(nn.Module):
    """Images in [0, 1] to the inputs that the network was trained on, channel by channel."""

    def __init__(self, mean, std):
        super().__init__()
        # Not persistent: the public weights know nothing of the normalisation.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x):
        return (x - self.mean) / self.std


class CifarResNet(nn.Module):
    """ResNet of depth 6 n + 2 for images (n, 3, 32, 32) in [0, 1], normalised inside; yields logits (n, n_classes)."""

    def __init__(self, depth, n_classes, mean, std):
        super().__init__()
        n_blocks = (depth - 2) // 6
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, n_blocks, stride=1)
        self.layer2 = self._stage(16, 32, n_blocks, stride=2)
        self.layer3 = self._stage(32, 64, n_blocks, stride=2)
        self.linear = nn.Linear(64, n_classes)

    @staticmethod
    def _stage(in_channels, channels, n_blocks, stride):
        first = BasicBlock(in_channels, channels, stride)
        return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(n_blocks - 1)))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(self.normalize(x))))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(out.mean(dim=(2, 3)))


def load_resnet(name, data_dir=None):
    """One of `RESNETS` with its trained weights, in eval mode, from `<name>.pt` of a folder, or else downloaded."""
    if name not in RESNETS:
        raise ValueError(f"name must be one of {sorted(RESNETS)}, got {name!r}")
    spec = RESNETS[name]
    network = CifarResNet(spec.depth, spec.n_classes, *spec.statistics)
    if data_dir is not None:
        weights = torch.load(Path(data_dir) / f"{name}.pt", map_location="cpu", weights_only=True)
    elif spec.url is None:
        raise ValueError(f"the weights of {name!r} aren't public: give data_dir, the folder of {name}.pt")
    else:
        weights = torch.hub.load_state_dict_from_url(spec.url, map_location="cpu", weights_only=True)["state_dict"]
        # Saved from a DataParallel network.
        weights = {key.removeprefix("module."): tensor for key, tensor in weights.items()}
    network.load_state_dict(weights)
    return network.eval()


def without_normalization(network):
    """The normalisation inside one of the benchmarks' networks, and the network for inputs that are normalised."""
    if isinstance(network, nn.Sequential):
        return tuple(network)
    bare = copy.deepcopy(network)
    bare.normalize = nn.Identity()
    return network.normalize, bare


def compute_logits(network, images, batch_size=500):
    """Logits (n, n_classes), float32, by a plain loop over `network` as it is."""
    with torch.no_grad():
        return torch.cat([network(batch) for batch in images.split(batch_size)])
