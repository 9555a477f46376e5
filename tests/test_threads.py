"""Several threads that use one network at a time, as a server's do."""

import threading

import numpy as np
import torch
from _small_networks import bare_logits, images, labels_of, snapshot
from torch import nn

from skclamp import TemperatureScaling
from skclamp.modules import frozen


def network():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(288, 4)]
    return nn.Sequential(*parts).train()


def test_the_last_holder_gives_the_flags_back():
    module = network()
    before = [part.training for part in module.modules()]
    first, second = frozen(module), frozen(module)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    second.__exit__(None, None, None)
    assert [part.training for part in module.modules()] == before
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_threads_predict_as_one_does_and_leave_the_network_alone():
    module, x = network(), images(600)
    y = labels_of(bare_logits(module, x))
    calibrator = TemperatureScaling(module, batch_size=20).fit(x, y)
    before, expected, found = snapshot(module), calibrator.predict_proba(x), {}
    threads = [threading.Thread(target=lambda k=k: found.update({k: calibrator.predict_proba(x)})) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for proba in found.values():
        np.testing.assert_array_equal(proba, expected)
    assert len(found) == 4
    assert snapshot(module) == before
