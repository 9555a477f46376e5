"""The benchmarks' helpers: networks, splits, shifts and standard errors; the quality benchmark on a few images."""

import numpy as np
import pytest
import torch
from _result_rows import rows_of

import quality
from _data import load_images, split_halves
from _estimates import Estimate, paired_estimate, resampled_estimate
from _networks import CIFAR100_STATISTICS, IMAGENET_STATISTICS, RESNETS, CifarResNet, compute_logits, load_resnet
from _shifts import SHIFTS

pytestmark = pytest.mark.slow

N_IMAGES = 600
RANDOM_SHIFTS = ["fixed_pattern", "sensor_noise", "dead_columns"]
UNCLIPPED_SHIFTS = ["normalization"]


@pytest.fixture(scope="module")
def cifar10(data_dir):
    images, labels = load_images("cifar10_test", data_dir)
    return images[:N_IMAGES].clone(), labels[:N_IMAGES]


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# Networks.


def test_images_are_scaled_and_channels_first(cifar10):
    images, labels = cifar10
    assert images.shape == (N_IMAGES, 3, 32, 32)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.dtype == np.int64
    assert set(labels) == set(range(10))


def test_resnet20_yields_the_reference_logits(cifar10, data_dir, reference):
    logits = compute_logits(load_resnet("cifar10_resnet20", data_dir), cifar10[0])
    np.testing.assert_allclose(logits, reference["cifar10_resnet20/logits"][:N_IMAGES], atol=5e-5)


@pytest.mark.parametrize(
    ("name", "images_name", "expected"),
    [("cifar10_resnet32", "cifar10_test", 0.9263), ("cifar100_resnet20", "cifar100_test", 0.6431)],
)
def test_resnets_are_as_accurate_as_published(name, images_name, expected, data_dir):
    """Over the 10,000 test images: within three standard errors on a slice."""
    images, labels = load_images(images_name, data_dir)
    logits = compute_logits(load_resnet(name, data_dir), images[:N_IMAGES])
    found = (logits.argmax(1).numpy() == labels[:N_IMAGES]).mean()
    assert abs(found - expected) < 3 * np.sqrt(expected * (1 - expected) / N_IMAGES)


def test_public_checkpoints_load_without_their_prefix(monkeypatch):
    spec = RESNETS["cifar10_resnet20"]
    trained = CifarResNet(spec.depth, spec.n_classes, *spec.statistics)
    checkpoint = {"state_dict": {f"module.{key}": value for key, value in trained.state_dict().items()}}
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **kwargs: checkpoint)
    loaded = load_resnet("cifar10_resnet20")
    assert not loaded.training
    assert torch.equal(loaded.linear.weight, trained.linear.weight)


def test_load_resnet_says_which_weights_are_not_public():
    with pytest.raises(ValueError, match="'cifar100_resnet20' aren't public: give data_dir"):
        load_resnet("cifar100_resnet20")


# Splits.


def test_halves_are_stratified_and_disjoint():
    labels = np.repeat(np.arange(10), 20)
    calibration, test = split_halves(labels, seed=3)
    assert sorted([*calibration, *test]) == list(range(200))
    np.testing.assert_array_equal(np.bincount(labels[calibration]), np.full(10, 10))


def test_smaller_calibration_sets_keep_the_test_half():
    labels = np.repeat(np.arange(10), 20)
    calibration, test = split_halves(labels, seed=3)
    part, same_test = split_halves(labels, seed=3, n_calibration=40)
    np.testing.assert_array_equal(test, same_test)
    assert set(part) < set(calibration)
    np.testing.assert_array_equal(np.bincount(labels[part]), np.full(10, 4))


# Shifts.


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_repeat_themselves_and_keep_the_input(name, images):
    before = images.clone()
    first, second = SHIFTS[name](images), SHIFTS[name](images)
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert first.data_ptr() != images.data_ptr()
    assert torch.equal(first, images) == (name == "none")


@pytest.mark.parametrize("name", sorted(set(SHIFTS) - set(UNCLIPPED_SHIFTS)))
def test_shifted_images_stay_in_range(name, images):
    shifted = SHIFTS[name](images)
    assert shifted.min() >= 0
    assert shifted.max() <= 1


@pytest.mark.parametrize("name", sorted(set(SHIFTS) - {"sensor_noise"}))
def test_shifts_do_the_same_to_every_image(name, images):
    """All but noise belong to the camera: an image's shift doesn't depend on its place in the batch."""
    torch.testing.assert_close(SHIFTS[name](images)[:1], SHIFTS[name](images[:1]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", RANDOM_SHIFTS)
def test_random_shifts_depend_on_the_seed_alone(name, images):
    torch.manual_seed(0)
    first = SHIFTS[name](images, seed=1)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(first, SHIFTS[name](images, seed=1))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, SHIFTS[name](images, seed=2))


@pytest.mark.parametrize("expected", [IMAGENET_STATISTICS, CIFAR100_STATISTICS])
def test_normalization_feeds_the_wrongly_normalised_image(expected, images):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in expected)
    entered = (SHIFTS["normalization"](images, expected=expected) - mean) / std
    torch.testing.assert_close(entered, (images - 0.5) / 0.5)


def test_defocus_keeps_flat_images(images):
    flat = torch.full_like(images, 0.3)
    torch.testing.assert_close(SHIFTS["defocus"](flat), flat)


def test_sensor_noise_has_the_variance_it_says():
    value, read, shot = 0.5, 0.02, 0.05
    flat = torch.full((8, 3, 32, 32), value)
    noise = SHIFTS["sensor_noise"](flat, read=read, shot=shot) - flat
    assert noise.var().item() == pytest.approx(read**2 + shot**2 * value, rel=0.05)


def test_video_range_ends_at_black_and_white():
    ends = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    assert SHIFTS["video_range"](ends)[0, 0, 0].mul(255).tolist() == pytest.approx([16, 235])


# Statistics.


def test_corrected_standard_error_by_hand():
    """Mean 3, s² = (4 + 1 + 0 + 9) / 3; halves: variance s² · (1/4 + 1)."""
    estimate = resampled_estimate([1.0, 2.0, 3.0, 6.0])
    assert estimate.mean == 3
    assert estimate.standard_error == pytest.approx(np.sqrt(14 / 3 * 1.25))


def test_correction_follows_the_test_fraction():
    """rho = 0.2: n_test / n_train = 1/4."""
    assert resampled_estimate([0.0, 2.0], test_fraction=0.2).standard_error == pytest.approx(np.sqrt(2 * (0.5 + 0.25)))


def test_paired_estimate_is_that_of_the_differences():
    estimate = paired_estimate([3.0, 5.0, 10.0], [2.0, 3.0, 4.0])
    assert estimate == resampled_estimate([1.0, 2.0, 6.0])


def test_single_split_has_no_standard_error():
    estimate = resampled_estimate([0.5])
    assert estimate.mean == 0.5
    assert np.isnan(estimate.standard_error)
    assert f"{estimate:+.1f}" == "+0.5"


def test_estimates_format_both_numbers():
    assert f"{Estimate(0.12345, 0.0067):+.3f}" == "+0.123 ± 0.007"


# The quality benchmark.


def test_quality_writes_every_result_and_tabulates_paired_differences(data_dir, tmp_path, capsys):
    path = tmp_path / "results" / "quality.csv"
    options = ["--networks", "cifar10_resnet20", "--methods", "uncalibrated", "temperature"]
    quality.main(["--data", str(data_dir), "--n-images", "400", "--seeds", "2", "--output", str(path), *options])
    text, rows = capsys.readouterr().out, rows_of(path)
    runs = [(row["seed"], row["method"]) for row in rows]
    assert runs == [(seed, method) for seed in "01" for method in ("uncalibrated", "temperature")]
    assert all(np.isfinite(float(row[score])) for row in rows for score in (*quality.SCORES, "ece_floor", "seconds"))
    nll = {method: [float(row["nll"]) for row in rows if row["method"] == method] for method in quality.METHODS[:2]}
    assert f"{resampled_estimate(nll['temperature']):.4f}" in text
    assert f"{paired_estimate(nll['uncalibrated'], nll['temperature']):+.4f}" in text


def test_quality_scores_by_hand():
    """Two classes, four samples of confidence 0.75, three of them right."""
    log_proba = np.log([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    scores = quality.evaluate(np.array([0, 0, 1, 0]), log_proba)
    assert scores["nll"] == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert scores["brier"] == pytest.approx((3 * 0.0625 + 0.5625) / 4)
    assert scores["accuracy"] == 75
    assert scores["ece"] == pytest.approx(0)
