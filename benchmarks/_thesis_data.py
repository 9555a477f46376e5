"""The data of Tang's (2022) experiments: a network, what it is calibrated on and tested on, and its logits of both."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from _data import load_images, split_halves
from _imagenet import compute_dataset_logits, load_imagenet_folder, load_imagenet_network, n_outputs
from _networks import compute_logits, load_resnet
from _thesis_runs import CIFAR100


class Samples(NamedTuple):
    """Images in [0, 1], as a tensor or a Dataset, the network's logits of them, and their labels."""

    images: torch.Tensor | Dataset
    logits: torch.Tensor
    labels: np.ndarray

    def take(self, rows):
        """Some of the samples."""
        images = self.images[rows] if isinstance(self.images, torch.Tensor) else Subset(self.images, rows.tolist())
        return Samples(images, self.logits[rows], self.labels[rows])

    def part(self, n_samples, seed):
        """A part drawn at random, or all of them as they are."""
        if n_samples == len(self.labels):
            return self
        return self.take(np.random.default_rng(seed).permutation(len(self.labels))[:n_samples])


class Problem(NamedTuple):
    """A network with its calibration and test samples."""

    network: torch.nn.Module
    calibration: Samples
    test: Samples

    @property
    def classes(self):
        """The columns of the logits."""
        return np.arange(self.test.logits.shape[1])


def cifar100(options):
    """The CIFAR-100 network, the 5,000 training images that it hasn't seen, and the 10,000 test images."""
    network = load_resnet(CIFAR100, options.data)

    def samples(name):
        images, labels = load_images(name, options.data)
        images, labels = images[: options.n_images], labels[: options.n_images]
        return Samples(images, compute_logits(network, images), labels)

    return Problem(network, samples("cifar100_calibration"), samples("cifar100_test"))


def imagenet(options):
    """A network for ImageNet, and the stratified halves of a folder of images."""
    network, transform = load_imagenet_network(options.imagenet_network, options.data)
    dataset, labels = load_imagenet_folder(options.imagenet, transform, n_outputs(network, transform))
    logits = compute_dataset_logits(network, dataset, num_workers=options.num_workers)
    everything = Samples(dataset, logits, labels)
    calibration, test = split_halves(labels, seed=0)
    return Problem(network, everything.take(calibration), everything.take(test))
