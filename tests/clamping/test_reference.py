"""Parity with what the authors' toolkit computed: see the file's keys."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TorchTraining

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
    settings = {**REFERENCE_SETTINGS, **RUNS[run], "batch_size": 64, "max_epochs": n_epochs}
    calibrator = NeuralClampingCalibrator(network, **settings)
    calibrator.set_params(training__init=reference[f"{run}/delta0"], training__shuffle=False)
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
    calibrator = NeuralClampingCalibrator(network, **{**REFERENCE_SETTINGS, "max_epochs": 1, "lr": 1e-12})
    calibrator.set_params(training__init="gradient", training__optimizer="sgd").fit(reference["x"], reference["y"])
    assert np.abs(reference["gradient_init"]).max() > 100 * TOLERANCE
    np.testing.assert_allclose(calibrator.delta_, reference["gradient_init"], rtol=0, atol=TOLERANCE)


def test_reference_settings_are_parameters_and_those_of_the_toolkit():
    assert NeuralClampingCalibrator(**REFERENCE_SETTINGS).get_params().items() >= REFERENCE_SETTINGS.items()
    training = REFERENCE_SETTINGS["training"]
    assert (training.optimizer.func, training.optimizer.keywords) == (torch.optim.SGD, {"momentum": 0.9})
    runs = {"gamma": 1.0, "penalty": 0.01, "lr": 0.01, "batch_size": 1000, "max_epochs": 100}
    assert REFERENCE_SETTINGS.items() >= {"perturbation": "full", "validation_fraction": None, **runs}.items()
    own = {"init": "normal", "init_scale": 0.001, "init_temperature": 1.0, "refit_temperature": False, "shuffle": True}
    assert training.get_params().items() >= own.items()


def test_reference_settings_stay_what_they_are(network, reference):
    before = REFERENCE_SETTINGS["training"].get_params()
    one, other = (NeuralClampingCalibrator(network, **REFERENCE_SETTINGS) for _ in range(2))
    shared = one.get_params(deep=True)["training"]
    one.set_params(training__init_scale=1.0, training__shuffle=False, max_epochs=1)
    assert one.training.init_scale == one.get_params()["training__init_scale"] == clone(one).training.init_scale == 1.0
    clone(one).fit(reference["x"], reference["y"])
    one.fit(reference["x"], reference["y"])
    assert one.training.init_scale == 1.0
    assert other.training.init_scale == shared.init_scale == 0.001
    assert REFERENCE_SETTINGS["training"].get_params() == before
    # One that is given in the same call stays as it is, too.
    given = TorchTraining()
    assert other.set_params(training=given, training__init="normal").training.init == "normal"
    assert given.init == "zeros"


def test_a_grid_reaches_into_the_training(network, reference):
    calibrator = NeuralClampingCalibrator(network, **{**REFERENCE_SETTINGS, "max_epochs": 1})
    grid = {"training__optimizer": ["sgd", "adam"], "training__refit_temperature": [True]}
    search = GridSearchCV(calibrator, grid, cv=2, scoring="neg_log_loss").fit(reference["x"], reference["y"])
    assert search.best_estimator_.training.optimizer == search.best_params_["training__optimizer"]
    assert REFERENCE_SETTINGS["training"].refit_temperature is False
    with pytest.raises(
        ValueError, match="training must be a TorchTraining where training__optimizer is set; got 'auto'"
    ):
        NeuralClampingCalibrator(network).set_params(training__optimizer="sgd")
