"""Maps as torch modules of what was learned, those of one's own among them, and the attributes that show it."""

import copy

import numpy as np
import pytest
import torch
from _small_networks import labels_of, logits
from torch import nn

import skclamp
from skclamp import TemperatureScaling, VectorScaling
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


@pytest.mark.parametrize("learned", [None, nn.Identity(), ShiftMap], ids=repr)
def test_a_calibrator_that_returns_no_map_is_told(learned):
    with pytest.raises(TypeError, match=r"_fit_logits must return a skclamp\.base\.Map; got (NoneType|Identity|type)"):
        returning(learned).fit(LOGITS, Y)


# What a map takes


def test_a_map_copies_arrays():
    shift = np.ones(3)
    learned = ShiftMap(shift=shift)
    shift[0] = 2
    assert learned.shift.tolist() == [1, 1, 1]


# Copies


def test_a_shallow_copy_is_changed_alone():
    calibrator = VectorScaling().fit(LOGITS, Y)
    before, twin = calibrator.predict_proba(LOGITS), copy.copy(calibrator)
    twin.coef_ = 2 * twin.coef_
    np.testing.assert_array_equal(calibrator.predict_proba(LOGITS), before)
    assert not np.array_equal(twin.predict_proba(LOGITS), before)


def test_a_map_of_another_calibrator_stays_its_own():
    other = VectorScaling().fit(LOGITS, Y)
    before = other.map_.learned()
    returning(other.map_).fit(LOGITS, Y)
    other.map_.learn(refused_by="VectorScaling")
    calibrator = returning(other.map_).fit(LOGITS, Y)
    assert calibrator.map_.refused_by == ""
    assert other.map_.learned() == before | {"refused_by": "VectorScaling"}


# Attributes


@pytest.mark.parametrize("value", [5, np.asarray(5.0), np.float32(5), torch.tensor(5.0)], ids=repr)
def test_a_temperature_may_be_any_number(value):
    calibrator = TemperatureScaling().fit(LOGITS, Y)
    calibrator.temperature_ = value
    assert type(calibrator.temperature_) is float and calibrator.temperature_ == 5
    assert "learned 1 number from 300 samples: temperature_ = 5." in calibrator.summary()


def test_before_a_fit_nothing_is_learned():
    with pytest.raises(AttributeError, match="'TemperatureScaling' object has no attribute 'temperature_'"):
        TemperatureScaling().temperature_ = 2.0


# Files


class Own(ShiftMap):
    """With a constructor of its own."""

    def __init__(self, shift):
        super().__init__(shift=shift)


class Parts(Map):
    def transform(self, logits):
        parts = self.parts.values() if isinstance(self.parts, (dict, nn.ModuleDict)) else self.parts
        return sum(part(logits) for part in parts)


@pytest.mark.parametrize("kind", ["constructor", "list", "dict", "modules", "named", "sequential"])
def test_maps_of_ones_own_come_back(kind, tmp_path):
    shifts = torch.eye(4, dtype=torch.float64)
    parts = [ShiftMap(shift=shifts[0]), Own(shifts[1])]
    maps = {
        "constructor": Own(shifts[2]),
        "list": Parts(parts=parts),
        "dict": Parts(parts={"a": parts[0], "b": parts[1]}),
        "modules": Parts(parts=nn.ModuleList(parts)),
        "named": Parts(parts=nn.ModuleDict({"b": parts[0], "a": parts[1]})),
        "sequential": Parts(parts=nn.Sequential(*parts)),
    }
    calibrator = returning(maps[kind]).fit(LOGITS, Y)
    calibrator.save(tmp_path / "map")
    loaded = skclamp.load(tmp_path / "map")
    np.testing.assert_array_equal(loaded.predict_proba(LOGITS), calibrator.predict_proba(LOGITS))
    assert type(loaded.map_) is type(calibrator.map_)
    assert type(getattr(loaded.map_, "parts", None)) is type(getattr(calibrator.map_, "parts", None))
