"""What little changes of the inputs are worth, and to other random states, where the truth is known."""

import numpy as np
import pytest
from _small_networks import bare_logits, labels_of, nll, perceptron, vectors

import truth
from skclamp import NeuralClampingCalibrator, TemperatureScaling


def drifted(seed, n_samples=110):
    """A network, a table of drifted features to calibrate on, and a larger one to test on."""
    network, x = perceptron(0, 60), vectors(n_samples + 1000, 60, seed)
    y = labels_of(bare_logits(network, x), temperature=0.3, seed=seed)
    x = x + np.float32(0.4) * np.random.default_rng(seed).normal(size=60).astype(np.float32)
    return network, (x[:n_samples], y[:n_samples]), (x[n_samples:], y[n_samples:])


def test_what_is_proven_is_kept_where_maps_do_nearly_as_well():
    n_kept, gains = 0, []
    for seed in range(10, 15):
        network, samples, (x, y) = drifted(seed)
        fits = NeuralClampingCalibrator(network, random_state=0), TemperatureScaling(network)
        losses = [nll(fit.fit(*samples).predict_log_proba(x), y) for fit in fits]
        n_kept += fits[0].accepted_
        gains.append(losses[1] - losses[0])
    assert n_kept >= 3
    assert np.mean(gains) > 0.2


@pytest.mark.slow
def test_features_that_say_nothing_drown_no_colors():
    """Of twelve numbers of a color matrix, beside sixty of other families."""
    found = [truth.measure("color, 500", draw, 0) for draw in range(100, 112)]
    assert sum(each["kept"] for each in found) >= 4
    assert np.mean([each["over"] for each in found]) < -0.006


def test_folds_hang_on_neither_the_order_nor_the_random_state():
    network, X = perceptron(), vectors(400)
    y = labels_of(bare_logits(network, X), temperature=1.5)
    orders, folds = [np.arange(400), np.arange(400), np.random.default_rng(0).permutation(400)], []
    for random_state, rows in enumerate(orders):
        calibrator = NeuralClampingCalibrator(network, perturbation="affine", random_state=random_state)
        seen = calibrator.fit(X[rows] + np.float32(0.5), y[rows]).verdict_.folds
        folds.append([(fold["n_samples"], fold["nll_temperature_scaling"]) for fold in seen])
    np.testing.assert_allclose(folds[1], folds[0], rtol=1e-12)
    np.testing.assert_allclose(folds[2], folds[0], rtol=1e-6)
