"""The data of the benchmarks: CIFAR from a folder or from torchvision, records of logits, gas sensors, and splits."""

from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from _networks import RESNETS, compute_logits, load_resnet

DOWNLOAD_DIR = Path("data")
PROBABILITIES = {
    "cifar100_wideresnet-16-4": "cifar100_wideresnet-16-4_probabilities.npz",
    "cifar100_lenet-5": "cifar100_lenet-5_probabilities.npz",
}
RECORDS = ("cifar10_resnet20", "cifar10_resnet32", *PROBABILITIES)


def load_images(name, data_dir=None):
    """Images (n, 3, 32, 32), float32 in [0, 1], and their labels, int64.

    `name` is "cifar10_test", "cifar100_test" or "cifar100_calibration", the 5,000 training images that the CIFAR-100
    network hasn't seen. Without a folder of `<name>.npz` torchvision downloads a test set.
    """
    if data_dir is not None:
        with np.load(Path(data_dir) / f"{name}.npz") as file:
            images, labels = file["images"], file["labels"]
    else:
        from torchvision import datasets

        downloads = {"cifar10_test": datasets.CIFAR10, "cifar100_test": datasets.CIFAR100}
        if name not in downloads:
            raise ValueError(f"name must be one of {sorted(downloads)} without data_dir, got {name!r}")
        dataset = downloads[name](DOWNLOAD_DIR, train=False, download=True)
        images, labels = dataset.data, np.asarray(dataset.targets)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return images.float().div_(255), labels.astype(np.int64)


def load_problem(name, data_dir=None):
    """One of the ResNets, its test images, and their labels."""
    return load_resnet(name, data_dir), *load_images(f"{name.partition('_')[0]}_test", data_dir)


def load_record(name, data_dir=None):
    """Float32 logits (or logarithms of recorded probabilities) of 10,000 test images, and their labels."""
    if name in RESNETS:
        network, images, labels = load_problem(name, data_dir)
        return compute_logits(network, images).numpy(), labels
    if name not in PROBABILITIES:
        raise ValueError(f"name must be one of {RECORDS}, got {name!r}")
    if data_dir is None:
        raise ValueError(f"the probabilities of {name!r} aren't public: give data_dir")
    with np.load(Path(data_dir) / PROBABILITIES[name]) as file:
        return np.log(file["predictions"]), file["ground_truth"].astype(np.int64)


def load_gas_sensors(data_dir, batch=None):
    """Features, labels and batches of the gas sensors (Vergara et al., 2012); of one batch, if asked for."""
    if data_dir is None:
        raise ValueError("the gas sensors aren't downloaded: give data_dir, the folder of gas_sensor_drift.npz")
    with np.load(Path(data_dir) / "gas_sensor_drift.npz") as file:
        rows = slice(None) if batch is None else file["batch"] == batch
        return file["X"][rows], file["y"][rows], file["batch"][rows] if "batch" in file else None


def split_halves(labels, seed, n_calibration=None):
    """Indices of a stratified calibration half, or a stratified part of it, and of the test half.

    One seed, one test half, whatever `n_calibration`.
    """
    calibration, test = train_test_split(np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=seed)
    if n_calibration is not None and n_calibration > len(calibration):
        raise ValueError(f"n_calibration must be at most half of the data, {len(calibration)}, got {n_calibration}")
    if n_calibration is None or n_calibration == len(calibration):
        return calibration, test
    part, _ = train_test_split(calibration, train_size=n_calibration, stratify=labels[calibration], random_state=seed)
    return part, test


def split_off(labels, n_calibration, seed, stratify=True):
    """Indices of a calibration set, stratified or not, and of all the others."""
    options = {"stratify": labels if stratify else None, "random_state": seed}
    return train_test_split(np.arange(len(labels)), train_size=n_calibration, **options)
