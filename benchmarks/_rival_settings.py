"""What rivals of clamping are given: networks and inputs, as they were and changed, with labels and without any."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import intents
import street_scenes
from _corruption_methods import Part, Task, make_task
from _data import load_problem
from _imagenet import Sample
from _rival_methods import BATCH_NORM, CLASSES, IGNORED, LINEAR, VALUES, Setting, logits_of
from _shifts import CORRUPTIONS, corrupt

SEVERITY, N_BEFORE = 2, 500
DRIVE = "Seq05VD"
# Pixels that count, in rows and in columns.
EVERY = 4


class Source(NamedTuple):
    """A network, labels, and the inputs of some rows under a change, or as they were if this is None."""

    network: nn.Module
    labels: np.ndarray
    inputs: Callable


class TokenIds(nn.Module):
    """Logits of texts whose token ids are rows, zeros at their end, by a network of Hugging Face."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, ids):
        ids = ids[:, : int(ids.count_nonzero(1).max())]
        return self.network(input_ids=ids, attention_mask=ids.ne(0).long()).logits


class Thinned(nn.Module):
    """Every fourth pixel of logits, in rows and in columns."""

    def forward(self, z):
        return z[..., ::EVERY, ::EVERY]


def corrupted(images, rows, change):
    return corrupt(images[rows], rows, change, SEVERITY) if change else images[rows]


@cache
def resnet(data, name):
    network, images, y = load_problem(name, data)
    return Source(network, y, partial(corrupted, images))


@cache
def lite(data, name):
    sample = Sample(data, name)
    return Source(sample.network, sample.labels, partial(corrupted, sample.images.float() / 255))


@cache
def texts(data, name):
    """Banking77's, without those that the network was trained on."""
    found = intents.Intents(data)
    unseen = np.concatenate([found.file["cal"], found.file["test"]])

    def ids(rows, change):
        return torch.from_numpy(found.file[f"ids_{change or 'none'}"][unseen[rows]].astype(np.int64))

    return Source(TokenIds(found.network).eval(), found.file["y"][unseen], ids)


@cache
def drives(data):
    return street_scenes.Drives(Path(data) / "camvid")


def drawn(load, seed, change, name, n_labels, n_unlabelled, n_test, data):
    """A setting of single inputs, none of which is in two of its parts: half of all at most judge.

    Three tenths of all at most have no labels.
    """
    network, y, inputs = load(data, name)
    n_test, n_unlabelled = min(n_test, len(y) // 2), min(n_unlabelled, 3 * len(y) // 10)
    order = np.random.default_rng(seed).permutation(len(y))
    test, unlabelled, labelled = np.split(order, [n_test, n_test + n_unlabelled])
    labelled = labelled[: n_labels or N_BEFORE]
    X = torch.cat([inputs(labelled, change if n_labels else None), inputs(test, change)])
    task = make_task(network, X, y[np.concatenate([labelled, test])], seed, len(labelled))
    return Setting(task, inputs(unlabelled, change), n_labels > 0, PROBLEMS[name].last_layers)


def scenes(seed, change, name, n_labels, n_unlabelled, n_test, data):
    """A setting of a drive: a window of each first frame may have labels, the other has none, later frames judge.

    There are as many as the drive has, whatever the numbers.
    """
    network = nn.Sequential(drives(data).network, Thinned()).eval()
    before, after = (drives(data).seen(DRIVE, seen, seed) for seen in ("none", change))
    is_first = after.frame < street_scenes.N_CALIBRATION
    first = np.random.default_rng(seed).permutation(np.flatnonzero(is_first))
    one_of_each = np.unique(after.frame[first], return_index=True)[1]
    calibration = part_of(network, (after if n_labels else before).take(first[np.sort(one_of_each)]))
    unlabelled = torch.from_numpy(after.X[np.delete(first, one_of_each)])
    # No one asks how many plain passes these take.
    task = Task(network, calibration, part_of(network, after.take(~is_first)), None, seed)
    return Setting(task, unlabelled, n_labels > 0, PROBLEMS[name].last_layers)


def part_of(network, windows):
    """Windows and the labels of the pixels that count; void has none."""
    X, y = torch.from_numpy(windows.X), windows.y[:, ::EVERY, ::EVERY]
    return Part(X, np.where(y == street_scenes.VOID, IGNORED, y), None, logits_of(network, X))


class Problem(NamedTuple):
    """What makes its settings, changes and numbers of labels that it has, what methods find in it, its last layers."""

    setting: Callable
    changes: tuple
    n_labels: tuple
    has: frozenset
    last_layers: tuple = ()


RESNET = Problem(
    partial(drawn, resnet),
    CORRUPTIONS,
    (0, 100, 500),
    frozenset({BATCH_NORM, VALUES, LINEAR, CLASSES}),
    ("layer3", "linear"),
)
PROBLEMS = {
    "cifar10_resnet20": RESNET,
    "cifar100_resnet20": RESNET,
    # A thousand images: 200 are left to be labelled.
    "efficientnet_lite0": Problem(partial(drawn, lite), CORRUPTIONS, (0, 100), frozenset({BATCH_NORM, VALUES, LINEAR})),
    "espnet": Problem(
        scenes,
        tuple(street_scenes.CHANGES),
        (0, 55),
        frozenset({BATCH_NORM, VALUES, CLASSES}),
        ("0.up4", "0.up2"),
    ),
    "minilm": Problem(
        partial(drawn, texts),
        intents.CHANGES,
        (0, 100, 500),
        frozenset({LINEAR, CLASSES}),
        ("network.encoder.encoder.layer.5", "network.head"),
    ),
}
