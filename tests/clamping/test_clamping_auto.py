"""What the defaults of NeuralClampingCalibrator promise: shifts are repaired, nothing else is touched."""

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _problems import flat, linear
from _small_networks import bare_logits, labels_of, nll, vectors
from torch.utils.data import TensorDataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling

NETWORK = linear(6)
TABULAR = vectors(900) * np.float32(0.7) + np.float32(0.6)
LABELS = labels_of(bare_logits(NETWORK, vectors(900)))


def auto(estimator, **settings):
    return NeuralClampingCalibrator(estimator, **{"output": None, "random_state": 0, **settings})


def scores(calibrator, x, y):
    """NLL and accuracy."""
    return nll(calibrator.predict_log_proba(x), y), np.mean(calibrator.predict(x) == y)


def temperature_scaling(network):
    return TemperatureScaling(network)


def compare(shift, n_seeds=3, n_calibration=900, **settings):
    """NLL and accuracy on test images of temperature scaling and clamping, (seed, method, score); and acceptances."""
    network, found, accepted = convolutional_network(), [], []
    for seed in range(n_seeds):
        (x, y), (x_test, y_test) = calibration_and_test(seed, n_calibration)
        x, x_test = shifted(x, shift), shifted(x_test, shift)
        fits = [each.fit(x, y) for each in (temperature_scaling(network), auto(network, random_state=seed, **settings))]
        found.append([scores(each, x_test, y_test) for each in fits])
        accepted.append(fits[1].accepted_)
    return np.array(found), accepted


# Shifts


@pytest.mark.filterwarnings("ignore:temperature_ (is at the bound|can't be learned)")
@pytest.mark.parametrize("shift", ["gain and offset", pytest.param("mixed colours", marks=pytest.mark.slow)])
def test_it_repairs_what_no_temperature_can(shift):
    found, accepted = compare(shift)
    ratios, gains = found[:, 1, 0] / found[:, 0, 0], found[:, 1, 1] - found[:, 0, 1]
    assert sum(accepted) >= 2
    assert ratios.max() <= 1
    assert ratios.mean() < 0.8
    assert gains.mean() > 0.01


def test_it_does_no_harm_without_a_shift():
    found, accepted = compare("none", n_seeds=4, n_calibration=600)
    assert (found[:, 1, 0] - found[:, 0, 0]).mean() < 0.002
    assert sum(accepted) <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:temperature_ (is at the bound|can't be learned)")
@pytest.mark.parametrize(
    ("shift", "family"),
    [("gain and offset", "affine"), ("gain and offset", "curve"), ("mixed colours", "color"), ("blur", "filter")],
)
def test_single_families_repair_their_own_shifts(shift, family):
    found, accepted = compare(shift, n_seeds=2, perturbation=family)
    assert any(accepted)
    assert (found[:, 1, 0] / found[:, 0, 0]).mean() < 0.95


# Parameters


@pytest.mark.parametrize("guarded", [False, True])
def test_gamma_auto(guarded):
    network = convolutional_network()
    (x, y), (x_test, y_test) = calibration_and_test(0)
    x, x_test = shifted(x, "gain and offset"), shifted(x_test, "gain and offset")
    settings = {"perturbation": "affine", "validation_fraction": 0.5 if guarded else None}
    found = auto(network, gamma="auto", **settings).fit(x, y)
    fixed = [auto(network, gamma=gamma, **settings).fit(x, y) for gamma in (0.0, 2.0)]
    losses = [scores(each, x_test, y_test)[0] for each in fixed]
    assert found.accepted_
    assert scores(found, x_test, y_test)[0] < max(losses) + 0.02
    assert hasattr(found, "verdict_") == guarded
    # What the choice costs is shared, not multiplied.
    assert found.cost_["backward"] < 3.5 * max(each.cost_["backward"] for each in fixed)


# What comes with it


def test_weights_go_all_the_way():
    weight = np.random.default_rng(0).random(len(LABELS)) + 0.1
    pairs = TensorDataset(torch.as_tensor(TABULAR), torch.as_tensor(LABELS))
    found = auto(NETWORK, gamma="auto").fit(pairs, sample_weight=weight)
    expected = auto(NETWORK, gamma="auto").fit(TABULAR, LABELS, sample_weight=weight)
    np.testing.assert_array_equal(flat(found.perturbation_), flat(expected.perturbation_))
    plain = auto(NETWORK, gamma="auto").fit(TABULAR, LABELS)
    assert np.abs(found.predict_proba(TABULAR) - plain.predict_proba(TABULAR)).max() > 1e-4
    scaled = auto(NETWORK, gamma="auto").fit(TABULAR, LABELS, sample_weight=8 * weight)
    np.testing.assert_allclose(scaled.predict_proba(TABULAR), expected.predict_proba(TABULAR), atol=1e-3)


def test_samples_without_weight_are_as_if_absent():
    """Of more that have none, whose labels are anything."""
    rng, x = np.random.default_rng(0), vectors(7500)
    weight = np.zeros(7500)
    weight[rng.permutation(7500)[:1500]] = 1.0
    y = np.where(weight > 0, labels_of(bare_logits(NETWORK, x)), rng.integers(0, 6, 7500))
    x = x * np.float32(0.6) + np.float32(0.5)
    found = auto(NETWORK).fit(x, y, sample_weight=weight)
    expected = auto(NETWORK).fit(x[weight > 0], y[weight > 0])
    assert found.accepted_
    np.testing.assert_array_equal(flat(found.perturbation_), flat(expected.perturbation_))
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-12)
