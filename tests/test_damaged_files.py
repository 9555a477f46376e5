"""Damaged files are refused by name, or load as what was saved.

SKCLAMP_MUTATIONS says how many damaged files are tried of each calibrator's; 1700 make more than 10^4 in all.
"""

import os
import re

import numpy as np
import pytest
from _small_networks import bare_logits, convolutional, images, labels_of, logits

import skclamp
from skclamp import (
    HistogramBinning,
    IsotonicCalibration,
    NeuralClampingCalibrator,
    SplineCalibration,
    TemperatureScaling,
    VectorScaling,
)

N_MUTATIONS = int(os.environ.get("SKCLAMP_MUTATIONS", 100))

IMAGES, LOGITS = images(100), logits(300)
NAMES = np.array(["bird", "cat", "deer", "frog"])
MAPS = {
    "temperature": TemperatureScaling(),
    "vector": VectorScaling(),
    "histograms": HistogramBinning(),
    "spline": SplineCalibration(),
    "isotonic": IsotonicCalibration(),
}


def clamping():
    settings = {"optimizer": "adam", "max_epochs": 2, "validation_fraction": None, "random_state": 0}
    network = convolutional()
    calibrator = NeuralClampingCalibrator(network, perturbation="affine", **settings)
    return calibrator.fit(IMAGES, NAMES[labels_of(bare_logits(network, IMAGES))]), IMAGES


def fitted(name):
    """A calibrator and what it calibrates."""
    return clamping() if name == "clamping" else (MAPS[name].fit(LOGITS, NAMES[labels_of(LOGITS)]), LOGITS)


# Ways to damage bytes. `start` and `stop` delimit some of them.


def flip_a_bit(data, start, stop, rng):
    return replaced(data, start, start + 1, bytes([data[start] ^ 1 << rng.integers(8)]))


def replace_bytes(data, start, stop, rng):
    return replaced(data, start, stop, rng.bytes(stop - start))


def replace_a_digit(data, start, stop, rng):
    """Of the header's numbers: parameters, shapes and places of arrays."""
    digits = [at for at, byte in enumerate(data) if chr(byte) in "0123456789"]
    at = rng.choice(digits)
    return replaced(data, at, at + 1, str(rng.integers(10)).encode())


def forge_the_length(data, start, stop, rng):
    """Of the header, by which the file opens."""
    return replaced(data, 0, 8, int(2 ** rng.uniform(0, 63)).to_bytes(8, "little"))


def delete(data, start, stop, rng):
    return replaced(data, start, stop, b"")


def insert(data, start, stop, rng):
    return replaced(data, start, start, rng.bytes(stop - start))


def double(data, start, stop, rng):
    return replaced(data, start, start, data[start:stop])


def blank(data, start, stop, rng):
    """As a disk does with blocks that were never written."""
    return replaced(data, start, stop, bytes(stop - start))


def truncate(data, start, stop, rng):
    return data[:start]


def swap(data, start, stop, rng):
    """Two blocks of one size."""
    size = min(stop - start, (len(data) - start) // 2)
    other = int(rng.integers(start + size, len(data) - size + 1))
    return (
        data[:start]
        + data[other : other + size]
        + data[start + size : other]
        + data[start:stop][:size]
        + data[other + size :]
    )


WAYS = [
    flip_a_bit,
    replace_bytes,
    replace_a_digit,
    forge_the_length,
    delete,
    insert,
    double,
    blank,
    truncate,
    swap,
]


def replaced(data, start, stop, by):
    return data[:start] + by + data[stop:]


def damaged(data, rng):
    """What is left of a file's bytes, and how it came to that."""
    way = WAYS[rng.integers(len(WAYS))]
    start = int(rng.integers(len(data)))
    stop = min(len(data), start + int(2 ** rng.uniform(0, 9)))
    return way(data, start, stop, rng), f"{way.__name__}, {start}:{stop}"


@pytest.mark.parametrize("name", [*MAPS, "clamping"])
def test_a_damaged_file_is_refused_by_name_or_holds_what_was_saved(name, tmp_path):
    calibrator, X = fitted(name)
    whole, path, again = (tmp_path / file for file in ("whole", "damaged", "again"))
    calibrator.save(whole)
    data, expected = whole.read_bytes(), calibrator.predict_proba(X)
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(N_MUTATIONS):
        changed, how = damaged(data, rng)
        path.write_bytes(changed)
        try:
            loaded = skclamp.load(path, calibrator.estimator)
        except ValueError as error:
            assert re.match(
                f"{re.escape(str(path))} must (be a file that a calibrator's save wrote|have format 2); got", str(error)
            ), how
            n_refused += 1
            continue
        loaded.save(again)
        assert again.read_bytes() == data, how
        np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    # Some ways change nothing: the digit may be the one that was there, and padding may be blank.
    assert n_refused > 0.8 * N_MUTATIONS
