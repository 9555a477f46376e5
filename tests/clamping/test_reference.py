"""Parity with what the authors' toolkit computed: see the file's keys."""

import numpy as np
import pytest
import torch
from torch import nn

from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator

RUNS = {
    "sgd_gamma0_lambda0_lr0.01": {"gamma": 0.0, "penalty": 0.0, "lr": 0.01},
    "sgd_gamma1_lambda0.01_lr0.01": {"gamma": 1.0, "penalty": 0.01, "lr": 0.01},
    "sgd_gamma2_lambda0.1_lr0.05": {"gamma": 2.0, "penalty": 0.1, "lr": 0.05},
}
N_EPOCHS = 6
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def network(reference):
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    state = {name[6:]: torch.as_tensor(value) for name, value in reference.items() if name.startswith("state/")}
    module.load_state_dict(state)
    return module.eval()


def follow(network, reference, run, n_epochs):
    settings = {**REFERENCE_SETTINGS, **RUNS[run], "batch_size": 64, "shuffle": False}
    calibrator = NeuralClampingCalibrator(
        network, **{**settings, "init": reference[f"{run}/delta0"], "max_epochs": n_epochs}
    )
    return calibrator.fit(reference["x"], reference["y"])


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("n_epochs", range(1, N_EPOCHS + 1))
def test_delta_and_temperature_after_each_epoch(network, reference, run, n_epochs):
    calibrator = follow(network, reference, run, n_epochs)
    delta, temperature = reference[f"{run}/delta"][n_epochs - 1], reference[f"{run}/temperature"][n_epochs - 1]
    np.testing.assert_allclose(calibrator.delta_, delta, rtol=0, atol=TOLERANCE)
    assert calibrator.temperature_ == pytest.approx(temperature, rel=0, abs=TOLERANCE)
    assert calibrator.n_iter_ == n_epochs


@pytest.mark.parametrize("run", RUNS)
def test_loss_of_each_epoch(network, reference, run):
    history = follow(network, reference, run, N_EPOCHS).history_
    np.testing.assert_allclose(history[:, "train_loss"], reference[f"{run}/loss"], rtol=0, atol=TOLERANCE)


def test_the_runs_differ_by_far_more_than_the_tolerance(reference):
    ends = [reference[f"{run}/delta"][-1] for run in RUNS]
    starts = [reference[f"{run}/delta0"] for run in RUNS]
    assert min(np.abs(end - start).max() for end, start in zip(ends, starts, strict=True)) > 100 * TOLERANCE


def test_gradient_initialisation(network, reference):
    settings = {**REFERENCE_SETTINGS, "init": "gradient", "max_epochs": 1, "lr": 1e-12, "optimizer": "sgd"}
    calibrator = NeuralClampingCalibrator(network, **settings).fit(reference["x"], reference["y"])
    assert np.abs(reference["gradient_init"]).max() > 100 * TOLERANCE
    np.testing.assert_allclose(calibrator.delta_, reference["gradient_init"], rtol=0, atol=TOLERANCE)


def test_reference_settings_are_parameters_and_those_of_the_toolkit():
    assert NeuralClampingCalibrator(**REFERENCE_SETTINGS).get_params().items() >= REFERENCE_SETTINGS.items()
    optimizer = REFERENCE_SETTINGS["optimizer"]
    assert (optimizer.func, optimizer.keywords) == (torch.optim.SGD, {"momentum": 0.9})
    runs = {"gamma": 1.0, "penalty": 0.01, "lr": 0.01, "batch_size": 1000, "max_epochs": 100, "shuffle": True}
    start = {"perturbation": "full", "init": "normal", "init_scale": 0.001, "init_temperature": 1.0}
    end = {"refit_temperature": False, "validation_fraction": None}
    assert REFERENCE_SETTINGS.items() >= {**runs, **start, **end}.items()
