"""Searches by joblib's workers, and the copies that reach them: threads share a network, processes have their own."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, snapshot, vectors
from sklearn.model_selection import GridSearchCV

from skclamp import NeuralClampingCalibrator

X = vectors(200)
SETTINGS = {"perturbation": "affine", "max_epochs": 2, "validation_fraction": None, "random_state": 0}


def search(network, **options):
    y = labels_of(bare_logits(network, X))
    grid = {"gamma": [0, 1]}
    return GridSearchCV(NeuralClampingCalibrator(network, **SETTINGS), grid, cv=2, **options).fit(X, y)


def test_threads_share_the_network_and_find_the_same():
    network, seen = perceptron().train(), []

    def score(calibrator, X, y):
        seen.append(calibrator.estimator is network)
        return -np.log(calibrator.predict_proba(X)[np.arange(len(y)), y]).mean()

    before = snapshot(network)
    alone = search(network, scoring=score).cv_results_["mean_test_score"]
    with joblib.parallel_config("threading"):
        found = search(network, scoring=score, n_jobs=2)
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], alone)
    assert len(seen) == 2 * 4
    assert all(seen)
    assert snapshot(network) == before


def test_processes_find_the_same():
    network = perceptron()
    alone, found = (search(network, scoring="neg_log_loss", n_jobs=n) for n in (None, 2))
    np.testing.assert_allclose(found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert found.best_estimator_.estimator is network


@pytest.mark.parametrize("copied", [lambda pair: pickle.loads(pickle.dumps(pair)), copy.deepcopy])
def test_what_is_copied_with_its_network_stays_around_it(copied):
    network = perceptron()
    fitted = NeuralClampingCalibrator(network, **SETTINGS).fit(X, labels_of(bare_logits(network, X)))
    twin, again = copied((network, fitted))
    assert again.estimator is twin
    assert again.module_.logits.module is twin
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    with torch.no_grad():
        twin[0].weight.zero_()
    assert network[0].weight.any()
