"""A temperature for each row: by hand, at its optimum, and only where folds over samples prove it."""

import numpy as np
import pytest
import torch
from _export import HOW, check_the_same
from _small_networks import softmax
from scipy.special import entr

import skclamp
from skclamp import LocalTemperatureScaling, TemperatureScaling


def drawn(shape, seed=0, strength=1.0, noise=None):
    """Logits (n, K, ...) that are the more too sure the surer they are, and labels (n, ...)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=shape)
    top = np.sort(logits, 1)
    noise = rng.gumbel(size=shape) if noise is None else noise(rng)
    return logits, (logits / (2 + strength * (top[:, -1:] - top[:, -2:-1] - 2)).clip(0.5) + noise).argmax(1)


def features(scaled):
    first, second = np.sort(np.log(softmax(scaled)), 1)[:, :-3:-1].T
    return np.column_stack([np.ones(len(scaled)), np.log1p(first - second), entr(softmax(scaled)).sum(1)])


def test_the_map_by_hand():
    logits, y = drawn((2000, 4))
    calibrator = LocalTemperatureScaling().fit(logits, y)
    assert calibrator.accepted_ and calibrator._n_parameters == 4
    assert calibrator.temperature_ == TemperatureScaling().fit(logits, y).temperature_
    scaled = logits / calibrator.temperature_
    factor = np.exp(-features(scaled) @ calibrator.coef_)[:, None]
    np.testing.assert_allclose(calibrator.predict_proba(logits), softmax(scaled * factor), rtol=1e-10)
    assert "A T for each row is kept: out of fold" in calibrator.summary()


def test_the_penalised_loss_is_least():
    logits, y = drawn((2000, 4))
    calibrator = LocalTemperatureScaling().fit(logits, y)
    scaled = logits / calibrator.temperature_
    x = features(scaled)
    mean, scale = x.mean(0) * [0, 1, 1], np.append(1, x[:, 1:].std(0))

    def loss(change):
        coef = calibrator.coef_ + change
        standardised = np.append(mean @ coef + coef[0], (scale * coef)[1:])
        proba = softmax(scaled * np.exp(-x @ coef)[:, None])
        return 5 * (standardised**2).sum() - np.log(proba[np.arange(len(y)), y]).sum()

    assert all(loss(sign * 1e-3 * unit) > loss(0) for unit in np.eye(3) for sign in (1, -1))


KINDS = {
    "rows": lambda: drawn((300, 4), strength=0),
    "images": lambda: drawn((60, 3, 8, 8), strength=0),
    "labels": lambda: (
        (logits := drawn((300, 5))[0]),
        (logits / 2 + np.random.default_rng(1).logistic(size=logits.shape) > 0).astype(int),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_without_proof_it_is_temperature_scaling_to_the_bit(kind):
    logits, y = KINDS[kind]()
    calibrator = LocalTemperatureScaling().fit(logits, y)
    assert not calibrator.accepted_ and calibrator.coef_.tolist() == [0, 0, 0]
    assert "One T is kept: out of fold" in calibrator.summary()
    np.testing.assert_array_equal(
        calibrator.predict_proba(logits), TemperatureScaling().fit(logits, y).predict_proba(logits)
    )


def test_of_one_temperature_hardly_any_draw_proves_more():
    fits = [LocalTemperatureScaling().fit(*drawn((300, 4), seed, strength=0)) for seed in range(60)]
    # 1.5 are expected; with so many or more the chance is 0.0001.
    assert sum(fit.accepted_ for fit in fits) < 8


def test_images_prove_it_and_places_of_few_images_do_not():
    logits, y = drawn((40, 3, 8, 8))
    calibrator = LocalTemperatureScaling().fit(logits, y)
    assert calibrator.accepted_
    plain = TemperatureScaling().fit(logits, y)
    new, truth = drawn((40, 3, 8, 8), seed=1)
    losses = [-np.log(np.take_along_axis(each.predict_proba(new), truth[:, None], 1)) for each in (calibrator, plain)]
    assert losses[0].mean() < losses[1].mean() - 0.01
    assert not LocalTemperatureScaling().fit(logits[:1], y[:1]).accepted_


def test_groups_count_once():
    logits, y = drawn((2000, 4))
    assert LocalTemperatureScaling().fit(logits, y, groups=np.arange(2000) // 2).accepted_
    assert not LocalTemperatureScaling().fit(logits, y, groups=np.zeros(2000)).accepted_


@HOW
@pytest.mark.parametrize("shape", [(1000, 4), (40, 3, 8, 8)], ids=str)
def test_what_was_learned_goes_elsewhere(shape, how, tmp_path):
    logits, y = drawn(shape)
    calibrator = LocalTemperatureScaling().fit(logits, y)
    check_the_same(calibrator.module_.eval(), torch.from_numpy(logits), how, tmp_path)
    calibrator.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict_proba(logits), calibrator.predict_proba(logits))
    assert loaded.accepted_ and loaded.summary() == calibrator.summary()
