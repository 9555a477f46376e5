"""What little changes of the inputs are worth, and to other random states, where the truth is known."""

import numpy as np
import pytest
from _small_networks import bare_logits, labels_of, perceptron, vectors

import truth
from skclamp import NeuralClampingCalibrator


@pytest.mark.parametrize(("problem", "n_kept", "gain"), [("affine, 1,000", 5, 0.01), ("color, 500", 3, 0.006)])
def test_what_is_proven_is_kept(problem, n_kept, gain):
    """Maps of the logits that do nearly as well, and features whose gradients say nothing, take none of it away."""
    found = [truth.measure(problem, draw, 0) for draw in range(100, 106)]
    assert sum(each["kept"] for each in found) >= n_kept
    assert np.mean([each["over"] for each in found]) < -gain


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
