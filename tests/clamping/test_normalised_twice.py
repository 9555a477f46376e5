"""A perturbation that stands in for a normalisation is named as what it hides."""

import warnings

import numpy as np
import pytest
from _small_networks import bare_logits, convolutional, images, labels_of

from skclamp import NeuralClampingCalibrator
from skclamp.exceptions import CalibrationSetWarning

MEAN, STD = (
    np.array(values, dtype=np.float32)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def told(X, y, network):
    calibrator = NeuralClampingCalibrator(network, perturbation="affine", random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(X, y)
    found = [str(each.message) for each in caught if issubclass(each.category, CalibrationSetWarning)]
    return calibrator, [message for message in found if "normalisation" in message]


def test_a_normalisation_that_a_perturbation_undoes_is_named():
    network, X = convolutional(), (0.5 + 0.2 * images(600)).clip(0, 1).astype(np.float32)
    normalised = (X - MEAN) / STD
    y = labels_of(bare_logits(network, normalised), temperature=0.2)
    calibrator, found = told((normalised - MEAN) / STD, y, network)
    assert calibrator.accepted_
    (message,) = found
    assert "the learned perturbation undoes a normalisation: the inverse of " in message
    assert "Is X normalised twice?" in message and "Is X normalised twice?" in calibrator.summary()


@pytest.mark.parametrize("shift", [lambda x: 0.5 * x + 0.3, lambda x: 0.4 * x + 0.5])
def test_a_shift_of_a_camera_hides_none(shift):
    network, X = convolutional(), images(600)
    calibrator, found = told(shift(X).astype(np.float32), labels_of(bare_logits(network, X), temperature=0.2), network)
    assert calibrator.accepted_ and not found
    assert "normalised twice" not in calibrator.summary()
