"""The images of the benchmarks: CIFAR from a folder or from torchvision, and the splits they are judged on."""

from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

DOWNLOAD_DIR = Path("data")


def add_data_argument(parser):
    """Give an argparse parser the option `--data DIR`."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of networks and images (<network>.pt, cifar10_test.npz, …); default: download them",
    )


def load_images(name, data_dir=None):
    """Images scaled to [0, 1] and their labels.

    Parameters
    ----------
    name : {"cifar10_test", "cifar100_test", "cifar100_calibration"}
        The set. "cifar100_calibration" is the 5,000 training images that the CIFAR-100 network hasn't seen.
    data_dir : path or None, default=None
        Folder of `<name>.npz`. None downloads the set through torchvision (test sets only).

    Returns
    -------
    images : tensor of shape (n, 3, 32, 32), float32
    labels : array of shape (n,), int64
    """
    images, labels = _from_torchvision(name) if data_dir is None else _from_folder(name, data_dir)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return images.float().div_(255), labels


def _from_folder(name, data_dir):
    with np.load(Path(data_dir) / f"{name}.npz") as file:
        return file["images"], file["labels"].astype(np.int64)


def _from_torchvision(name):
    from torchvision import datasets

    downloads = {"cifar10_test": datasets.CIFAR10, "cifar100_test": datasets.CIFAR100}
    if name not in downloads:
        raise ValueError(f"name must be one of {sorted(downloads)} without data_dir, got {name!r}")
    dataset = downloads[name](DOWNLOAD_DIR, train=False, download=True)
    return dataset.data, np.asarray(dataset.targets, dtype=np.int64)


def split_halves(labels, seed, n_calibration=None):
    """Indices of a stratified calibration half and test half.

    Parameters
    ----------
    labels : array of shape (n,)
        The classes to stratify by.
    seed : int
        One seed, one split: whatever `n_calibration`, the test half is the same, and a smaller calibration set is
        a stratified part of the calibration half.
    n_calibration : int or None, default=None
        Size of the calibration set, n / 2 at most; None takes the whole half.

    Returns
    -------
    calibration, test : arrays of int
    """
    indices = np.arange(len(labels))
    calibration, test = train_test_split(indices, test_size=0.5, stratify=labels, random_state=seed)
    if n_calibration is not None and n_calibration > len(calibration):
        raise ValueError(f"n_calibration must be at most half of the data, {len(calibration)}, got {n_calibration}")
    if n_calibration is None or n_calibration == len(calibration):
        return calibration, test
    part, _ = train_test_split(calibration, train_size=n_calibration, stratify=labels[calibration], random_state=seed)
    return part, test
