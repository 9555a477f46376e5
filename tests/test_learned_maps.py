"""Maps as torch modules of what was learned, those of one's own among them, and the attributes that show it."""

import copy

import numpy as np
import torch
from _small_networks import labels_of, logits

from skclamp import PriorShiftCorrection, TemperatureScaling, VectorScaling
from skclamp.base import BaseCalibrator, Map

LOGITS = logits(300)
Y = labels_of(LOGITS)


class ShiftMap(Map):
    def transform(self, logits):
        return logits + self.shift.to(logits)


class Returning(BaseCalibrator):
    """Returns what it was told to learn."""

    learned = None

    def _fit_logits(self, logits, y, sample_weight):
        return self.learned


def returning(learned):
    calibrator = Returning()
    calibrator.learned = learned
    return calibrator


# Copies


def test_a_shallow_copy_is_changed_alone():
    calibrator = VectorScaling().fit(LOGITS, Y)
    before, twin = calibrator.predict_proba(LOGITS), copy.copy(calibrator)
    twin.coef_ = 2 * twin.coef_
    np.testing.assert_array_equal(calibrator.predict_proba(LOGITS), before)
    assert not np.array_equal(twin.predict_proba(LOGITS), before)


def test_a_shallow_copy_adapts_alone():
    calibrator = PriorShiftCorrection().fit(LOGITS, Y)
    before, twin = calibrator.priors_.copy(), copy.copy(calibrator)
    twin.adapt(np.concatenate([LOGITS[Y == 0]] * 5))
    twin.priors_ = np.full(len(before), 1 / len(before))
    np.testing.assert_array_equal(calibrator.priors_, before)


def test_a_map_of_another_calibrator_stays_its_own():
    other = VectorScaling().fit(LOGITS, Y)
    before = other.map_.learned()
    returning(other.map_).fit(LOGITS, Y)
    other.map_.learn(refused_by="VectorScaling")
    calibrator = returning(other.map_).fit(LOGITS, Y)
    assert calibrator.map_.refused_by == ""
    assert other.map_.learned() == before | {"refused_by": "VectorScaling"}
