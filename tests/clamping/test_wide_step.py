"""Perturbations of many parameters, whose natural steps are made from the gradients of the samples themselves."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, nll, perceptron, vectors

from skclamp import NeuralClampingCalibrator, TorchTraining

WIDE = 600


@pytest.fixture(scope="module")
def table():
    """Many sensors that have drifted, each in units of its own; samples to calibrate with and others to judge by."""
    network, units = perceptron(0, WIDE), np.logspace(-2, 2, WIDE, dtype=np.float32)
    with torch.no_grad():
        network[0].weight.div_(torch.as_tensor(units))
    clean, rng = vectors(2600, WIDE), np.random.default_rng(1)
    x = (clean - rng.normal(size=WIDE)) / rng.uniform(0.7, 1.4, WIDE) * units
    return network, x.astype(np.float32), labels_of(bare_logits(network, clean * units), 0.5)


def fit(table, n_samples=400, **settings):
    """A calibrator, and its NLL on samples that it hasn't seen."""
    network, x, y = table
    weight = settings.pop("sample_weight", None)
    settings = {"output": None, "random_state": 0, **settings}
    calibrator = NeuralClampingCalibrator(network, **settings).fit(x[:n_samples], y[:n_samples], weight)
    return calibrator, nll(calibrator.predict_log_proba(x[-1000:]), y[-1000:])


def is_natural(calibrator):
    # From where the folds led no step may be left to take on all the samples.
    return all("gain" in epoch for epoch in calibrator.history_)


@pytest.mark.parametrize("family", ["full", pytest.param("affine", marks=pytest.mark.slow)])
def test_a_wide_family_takes_natural_steps_which_beat_adams(table, family):
    found, loss = fit(table, 1200, perturbation=family)
    other, other_loss = fit(table, 1200, perturbation=family, training=TorchTraining())
    assert found.accepted_
    assert is_natural(found)
    assert not is_natural(other)
    assert loss < other_loss - 0.05
    assert loss < fit(table, 1200, perturbation=None)[1] - 0.1


@pytest.mark.parametrize("n_samples", [400, pytest.param(1600, marks=pytest.mark.slow)])
def test_auto_keeps_one_family_of_a_wide_table(table, n_samples):
    """All samples at a time where they are few, and some of them at first where they aren't."""
    found, loss = fit(table, n_samples)
    assert found.accepted_
    assert is_natural(found)
    (name,) = dict(found.perturbation_.named_children())
    assert set(found.verdict_.tried) == {name}
    (reason,) = (why for family, why in found.verdict_.not_tried.items() if family != "norm")
    assert reason in ("a special case of affine",) or reason.startswith("evidence of ")
    assert loss < fit(table, n_samples, perturbation=None)[1] - 0.1
