"""Calibrators around large networks reach joblib's workers without the weights, of which a search keeps no copy."""

import copy
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp._pickling import has_large_weights

SCRIPT = Path(__file__).resolve().parent / "_large_network.py"
NETWORK_SIZE = 4800**2 * 4

reads_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux says of processes")


def search(n_jobs):
    ran = subprocess.run([sys.executable, str(SCRIPT), str(n_jobs)], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


@reads_proc
def test_each_worker_maps_the_network_that_one_file_holds():
    found = search(2)
    assert found["scores"] == [1.0] * 12
    assert found["shared"]
    assert found["fits"]


@reads_proc
def test_a_search_keeps_no_copy_of_the_network():
    found = search(1)
    assert len(set(found["scores"])) > 6
    assert found["kept"] < 20e6
    assert found["peak"] < NETWORK_SIZE + 20e6


class Wide(nn.Module):
    """Large weights that two layers share, a view of them, and a buffer."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(600, 600, bias=False)
        self.again = nn.Linear(600, 600, bias=False)
        self.again.weight = self.encode.weight
        self.rows = self.encode.weight.data[:10]
        self.register_buffer("scale", torch.full((600, 600), 9.0, dtype=torch.float64))
        self.requires_grad_(False)

    def forward(self, x):
        return self.again(torch.relu(self.encode(x)))[:, :3] * self.scale[0, :3].float()


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    network, X = Wide(), torch.randn(200, 600)
    y = torch.multinomial(network(X).softmax(1), 1)[:, 0].numpy()
    calibrator = NeuralClampingCalibrator(
        network, perturbation="full", optimizer="adam", max_epochs=1, validation_fraction=None, random_state=0
    )
    return calibrator.fit(X, y), X


def through_joblib(calibrator):
    file = io.BytesIO()
    joblib.dump(calibrator, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "copied", [lambda c: pickle.loads(pickle.dumps(c)), through_joblib, copy.deepcopy], ids=["pickle", "joblib", "copy"]
)
def test_a_copy_predicts_alike_and_holds_its_network_once(fitted, copied):
    calibrator, X = fitted
    again = copied(calibrator)
    np.testing.assert_array_equal(again.predict_proba(X), calibrator.predict_proba(X))
    network = again.estimator
    assert network is not calibrator.estimator
    assert network is again.module_.logits.module
    assert network.encode.weight is network.again.weight
    assert not network.encode.weight.requires_grad
    assert network.scale.dtype == torch.float64
    network.rows[0, 0] = 7.0
    assert network.encode.weight[0, 0] == 7.0
    assert calibrator.estimator.encode.weight[0, 0] != 7.0


def test_a_pickle_holds_each_weight_once(fitted):
    weights = sum(t.nbytes for t in fitted[0].estimator.state_dict(keep_vars=True).values()) - 600 * 600 * 4
    assert weights == 600 * 600 * (4 + 8)
    assert len(pickle.dumps(fitted[0])) < 1.02 * weights


def test_a_frozen_network_is_shared_as_well(tmp_path):
    calibrator = TemperatureScaling(FrozenEstimator(Wide()))
    joblib.dump(calibrator, tmp_path / "calibrator.joblib")
    again = joblib.load(tmp_path / "calibrator.joblib", mmap_mode="r")
    # Mapped as what may be written to by this process alone.
    again.estimator.estimator.encode.weight.zero_()
    assert calibrator.estimator.estimator.encode.weight.any()
    assert joblib.load(tmp_path / "calibrator.joblib").estimator.estimator.encode.weight.any()


def test_weights_that_a_network_has_no_more_are_let_go():
    network = Wide()
    calibrator = TemperatureScaling(network)
    pickle.dumps(calibrator)
    before = network.scale.untyped_storage().data_ptr()
    network.scale = torch.ones(600, 600)
    pickle.dumps(calibrator)
    from skclamp._pickling import _arrays

    assert before not in {address for address, _ in _arrays[network]}


@pytest.mark.parametrize("estimator", [None, nn.Linear(3, 3), FrozenEstimator(nn.Linear(3, 3))])
def test_small_networks_pickle_as_ever(estimator):
    assert not has_large_weights(getattr(estimator, "estimator", estimator))
    assert b"_pickling" not in pickle.dumps(TemperatureScaling(estimator))
