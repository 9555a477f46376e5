"""Damaged files are refused by name, or load as what was saved.

SKCLAMP_MUTATIONS says how many damaged files are tried of each calibrator's; 1700 make more than 10^4 in all.
"""

import os
import re

import numpy as np
import pytest
from _damage import damaged
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
                f"{re.escape(str(path))} must (be a file that a calibrator's save wrote|have format 4); got", str(error)
            ), how
            n_refused += 1
            continue
        loaded.save(again)
        assert again.read_bytes() == data, how
        np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    # Some ways change nothing: the digit may be the one that was there, and padding may be blank.
    assert n_refused > 0.8 * N_MUTATIONS
