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
from skclamp._utils.pickling import _arrays, has_large_weights, reduce_around

SCRIPT = Path(__file__).resolve().parents[1] / "_large_network.py"
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


def sent(calibrator):
    """What a worker of joblib is sent of a calibrator, as bytes."""
    network = getattr(calibrator.estimator, "estimator", calibrator.estimator)
    return pickle.dumps(reduce_around(network, type(calibrator)._from_state, calibrator.__getstate__()))


def received(data):
    """What the worker makes of it."""
    rebuild, arguments = pickle.loads(data)
    return rebuild(*arguments)


def through_joblib(calibrator):
    file = io.BytesIO()
    joblib.dump(calibrator, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "worker": lambda c: received(sent(c)),
    "pickle": lambda c: pickle.loads(pickle.dumps(c)),
    "joblib": through_joblib,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
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
    with torch.no_grad():
        network.encode.weight[0, 0] = 7.0
    assert calibrator.estimator.encode.weight[0, 0] != 7.0


def test_a_worker_gets_views_as_views(fitted):
    network = received(sent(fitted[0])).estimator
    network.rows[0, 0] = 7.0
    assert network.encode.weight[0, 0] == 7.0
    assert fitted[0].estimator.encode.weight[0, 0] != 7.0


def test_a_shallow_copy_shares_its_network(fitted):
    calibrator, X = fitted
    again = copy.copy(calibrator)
    assert again.estimator is calibrator.estimator
    assert again.module_ is calibrator.module_
    assert again.set_params(batch_size=7).batch_size != calibrator.batch_size


@pytest.mark.parametrize("copied", [lambda pair: pickle.loads(pickle.dumps(pair)), copy.deepcopy])
def test_what_is_copied_with_its_network_stays_around_it(copied):
    network = Wide()
    network, calibrator = copied((network, TemperatureScaling(network)))
    assert calibrator.estimator is network


def test_a_worker_is_sent_each_weight_once(fitted):
    weights = sum(t.nbytes for t in fitted[0].estimator.state_dict(keep_vars=True).values()) - 600 * 600 * 4
    assert weights == 600 * 600 * (4 + 8)
    assert len(sent(fitted[0])) < 1.02 * weights


def test_what_a_worker_writes_to_mapped_weights_is_its_own(tmp_path):
    calibrator = TemperatureScaling(FrozenEstimator(Wide()))
    joblib.dump(pickle.loads(sent(calibrator)), tmp_path / "sent.joblib")
    rebuild, arguments = joblib.load(tmp_path / "sent.joblib", mmap_mode="r")
    assert any(isinstance(array, np.memmap) for array in arguments[-1])
    rebuild(*arguments).estimator.estimator.encode.weight.zero_()
    rebuild, arguments = joblib.load(tmp_path / "sent.joblib", mmap_mode="r")
    assert rebuild(*arguments).estimator.estimator.encode.weight.any()


def test_weights_that_a_network_has_no_more_are_let_go():
    network = Wide()
    sent(TemperatureScaling(network))
    before = network.scale.untyped_storage().data_ptr()
    network.scale = torch.ones(600, 600)
    sent(TemperatureScaling(network))
    _, arrays = _arrays[network]
    assert before not in {address for address, _ in arrays}


def test_weights_that_were_changed_are_sent_anew():
    network = Wide()
    calibrator = TemperatureScaling(network)

    def first(calibrator):
        return float(calibrator.estimator.encode.weight[0, 0])

    with joblib.Parallel(n_jobs=2) as parallel:
        for value in (1.0, 2.0):
            network.encode.weight.fill_(value)
            assert parallel([joblib.delayed(first)(calibrator)] * 2) == [value] * 2


@pytest.mark.parametrize("estimator", [None, nn.Linear(3, 3), FrozenEstimator(nn.Linear(3, 3))])
def test_small_networks_pickle_as_ever(estimator):
    assert not has_large_weights(getattr(estimator, "estimator", estimator))
    assert b"_pickling" not in pickle.dumps(TemperatureScaling(estimator))
