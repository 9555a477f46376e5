"""Several threads that use one network at a time, as a server's do."""

import random
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, images, labels_of, perceptron, snapshot, vectors
from torch import nn
from torch.utils.data import Dataset

from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling, TorchTraining, VectorScaling
from skclamp.modules import frozen


def network():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(288, 4)]
    return nn.Sequential(*parts).train()


def test_networks_with_a_part_in_common_are_held_together():
    """The first to come is the first to leave, and the part is still in use."""
    part = network()
    whole = nn.Sequential(part, nn.Linear(4, 4))
    before = snapshot(whole)
    first, second = frozen(part), frozen(whole)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in whole.modules())
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    second.__exit__(None, None, None)
    assert snapshot(whole) == before


# Fits that overlap


@pytest.fixture
def quick_switches():
    """Threads that take turns a hundred times as often as they do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(interval)


def random_states():
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


def tiny_network():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4)]
    return nn.Sequential(*parts).eval()


QUICK = {"perturbation": "affine", "training": TorchTraining(), "max_epochs": 1, "validation_fraction": None}


def in_threads(work, n_rounds):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(n_rounds)))


def test_a_network_serves_while_others_fit(quick_switches):
    module, x = tiny_network(), images(100)
    y = labels_of(bare_logits(module, x))
    some = torch.as_tensor(x[:4])

    fitted = NeuralClampingCalibrator(module, **QUICK, random_state=0).fit(x, y)

    def fit_or_fold(k):
        if k % 2:
            return NeuralClampingCalibrator(module, **QUICK, random_state=k % 4).fit(x, y).predict_proba(x)
        folded = fitted.module_.fold()
        return folded(some).detach()

    alone, expected, before = [fit_or_fold(k) for k in range(4)], module(some).detach(), snapshot(module)
    done, served, pythons = threading.Event(), [], random_states()

    def serve():
        while not done.is_set():
            served.append(torch.equal(module(some), expected))
            time.sleep(1e-4)

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        try:
            found = in_threads(fit_or_fold, 80)
        finally:
            done.set()
        serving.result()
    assert len(served) > 10
    assert all(served)
    for k, result in enumerate(found):
        np.testing.assert_array_equal(result, alone[k % 4])
    assert snapshot(module) == before
    assert random_states() == pythons


class Pairs(Dataset):
    """Samples one at a time."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.as_tensor(self.x[i]), int(self.y[i])


def test_fits_that_overlap_leave_the_random_states_alone(quick_switches):
    module, x = perceptron(), vectors(120)
    y = labels_of(bare_logits(module, x))
    options = [{**QUICK, "training": TorchTraining(init="normal")}, {"perturbation": "channel"}]
    before = random_states()

    def fit(k):
        calibrator = NeuralClampingCalibrator(module, random_state=0, **options[k % 2])
        return (calibrator.fit(Pairs(x, y)) if k % 3 else calibrator.fit(x, y)).temperature_

    found = in_threads(fit, 12)
    assert random_states() == before
    assert [fit(k) for k in range(6)] * 2 == found


@pytest.mark.slow
def test_warnings_stay_as_they_are_while_searches_overlap(quick_switches):
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = labels_of(x)
    x.flags.writeable = False
    candidates = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    with warnings.catch_warnings():
        before, show = list(warnings.filters), warnings.showwarning
        in_threads(lambda k: CalibratorSelector(candidates=candidates).fit(x, y), 40)
        assert warnings.filters == before
        assert warnings.showwarning is show
