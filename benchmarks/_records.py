"""The four records of logits that calibrators are compared on: two CIFAR-10 ResNets, two CIFAR-100 networks."""

from pathlib import Path

import numpy as np

from _data import load_images
from _networks import RESNETS, compute_logits, load_resnet

PROBABILITIES = {
    "cifar100_wideresnet-16-4": "cifar100_wideresnet-16-4_probabilities.npz",
    "cifar100_lenet-5": "cifar100_lenet-5_probabilities.npz",
}
RECORDS = ("cifar10_resnet20", "cifar10_resnet32", *PROBABILITIES)


def load_record(name, data_dir=None):
    """Float32 logits of a test set of 10,000 images, and their labels.

    Parameters
    ----------
    name : str
        One of `RECORDS`.
    data_dir : path or None, default=None
        Folder of the networks, images and probabilities. None downloads networks and images (CIFAR-10 only).

    Returns
    -------
    logits : ndarray of shape (10000, n_classes), float32
        Of a network, or the logarithms of recorded probabilities.
    labels : ndarray of shape (10000,), int64
    """
    if name in RESNETS:
        images, labels = load_images("cifar10_test", data_dir)
        return compute_logits(load_resnet(name, data_dir), images).numpy(), labels
    if name not in PROBABILITIES:
        raise ValueError(f"name must be one of {RECORDS}, got {name!r}")
    if data_dir is None:
        raise ValueError(f"the probabilities of {name!r} aren't public: give data_dir")
    with np.load(Path(data_dir) / PROBABILITIES[name]) as file:
        return np.log(file["predictions"]), file["ground_truth"].astype(np.int64)
