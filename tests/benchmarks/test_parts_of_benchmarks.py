"""What the benchmarks are made of: networks, splits, shifts, estimates, files that go on, simulations, methods."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of

import clamping_speed
import guard
from _data import load_images
from _estimates import Estimate, paired_estimate, resampled_estimate
from _networks import RESNETS, CifarResNet, compute_logits, load_resnet
from _runner import ResultFile, record
from _shifts import SHIFTS
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling

pytestmark = pytest.mark.slow
N_IMAGES = 600


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# Networks and data.


def test_resnet20_yields_the_reference_logits(data_dir, reference):
    x, y = load_images("cifar10_test", data_dir)
    assert x.dtype == torch.float32 and (x.min(), x.max()) == (0, 1) and y.dtype == np.int64
    logits = compute_logits(load_resnet("cifar10_resnet20", data_dir), x[:N_IMAGES])
    np.testing.assert_allclose(logits, reference["cifar10_resnet20/logits"][:N_IMAGES], atol=5e-5)


def test_public_checkpoints_load_without_their_prefix(monkeypatch):
    spec = RESNETS["cifar10_resnet20"]
    trained = CifarResNet(spec.depth, spec.n_classes, *spec.statistics)
    checkpoint = {"state_dict": {f"module.{key}": value for key, value in trained.state_dict().items()}}
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **kwargs: checkpoint)
    loaded = load_resnet("cifar10_resnet20")
    assert not loaded.training
    assert torch.equal(loaded.linear.weight, trained.linear.weight)


# Shifts.


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_repeat_themselves_keep_the_input_and_stay_in_range(name, pictures):
    before = pictures.clone()
    first, second = SHIFTS[name](pictures), SHIFTS[name](pictures)
    assert torch.equal(first, second) and torch.equal(pictures, before)
    assert first.shape == pictures.shape and first.dtype == torch.float32 and first.data_ptr() != pictures.data_ptr()
    assert torch.equal(first, pictures) == (name == "none")
    assert name == "normalization" or (first.min() >= 0 and first.max() <= 1)
    if name != "sensor_noise":
        # All but noise belong to the camera: an image's shift doesn't depend on its place in the batch.
        torch.testing.assert_close(first[:1], SHIFTS[name](pictures[:1]), atol=1e-6, rtol=0)


# Estimates, times and files.


def test_corrected_standard_errors_by_hand():
    """Mean 3, s² = (4 + 1 + 0 + 9) / 3; halves: variance s² · (1/4 + 1); rho = 0.2: n_test / n_train = 1/4."""
    assert resampled_estimate([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3, np.sqrt(14 / 3 * 1.25)))
    assert resampled_estimate([0.0, 2.0], test_fraction=0.2).standard_error == pytest.approx(np.sqrt(2 * (0.5 + 0.25)))
    assert paired_estimate([3.0, 5.0, 10.0], [2.0, 3.0, 4.0]) == resampled_estimate([1.0, 2.0, 6.0])
    assert f"{resampled_estimate([0.5]):+.1f}" == "+0.5"
    assert f"{Estimate(0.12345, 0.0067):+.3f}" == "+0.123 ± 0.007"


def test_a_file_goes_on_where_it_ended_and_refuses_other_columns(tmp_path):
    path, computed = tmp_path / "new" / "results.csv", []

    def measure(name, seed):
        computed.append((name, seed))
        return [{"score": seed + 0.5, "more": 1}]

    record(path, ("name", "seed", "score"), [("a", 0)], measure)
    frame = record(path, ("name", "seed", "score"), [("a", 0), ("a", 1)], measure)
    assert computed == [("a", 0), ("a", 1)]
    assert frame.to_dict("list") == {"name": ["a", "a"], "seed": [0, 1], "score": [0.5, 1.5]}
    assert list(record(path, (), (), None).seed) == [0, 1]
    with pytest.raises(ValueError, match=r"must have the columns \['a', 'c'\] to be continued, got"):
        ResultFile(path, ["a", "c"], 1)


# Simulations and methods.


def test_truth_draws_labels_of_the_temperature_it_says():
    truth = guard.Truth("mlp")
    X, y = truth.draw(20000, seed=0)
    assert TemperatureScaling(truth.network).fit(X, y).temperature_ == pytest.approx(guard.TRUE_TEMPERATURE, rel=0.03)
    assert np.bincount(y).min() > 0.04 * len(y)
    # No success in n: the upper end solves (1 - p) ** n = 0.025.
    assert guard.acceptance(pd.Series([0] * 20))[2] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_plain_loop_is_the_reference(monkeypatch):
    """Starting at delta = 0, where both subgradients of the norm are zero, with all samples in one batch."""
    network, x = convolutional(), images(64)
    y = labels_of(bare_logits(network, x))
    training = copy.copy(REFERENCE_SETTINGS["training"]).set_params(init_scale=0.0)
    settings = {**REFERENCE_SETTINGS, "training": training, "lr": 0.1, "max_epochs": 4}
    monkeypatch.setattr(clamping_speed, "REFERENCE_SETTINGS", settings)
    expected = NeuralClampingCalibrator(network, random_state=0, **settings).fit(x, y)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    delta, temperature = clamping_speed.plain_loop(network.requires_grad_(), *tensors, epochs=4)
    np.testing.assert_allclose(delta.numpy(), expected.delta_, atol=1e-6)
    assert temperature == pytest.approx(expected.temperature_, rel=1e-5)
    assert abs(temperature - 1) > 1e-2
