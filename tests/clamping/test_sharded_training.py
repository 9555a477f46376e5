"""Training spread over processes: what one of them does with all the samples."""

import numpy as np
import pytest
import torch.distributed as dist
from _problems import flat, linear
from _small_networks import bare_logits, labels_of, vectors

from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.distributed import sharded

NETWORK = linear(6)
CLEAN = vectors(300)
Y = labels_of(bare_logits(NETWORK, CLEAN))
X = CLEAN + np.float32(0.7)
WEIGHT = np.random.default_rng(0).uniform(0.2, 2, 300)
BY_GRADIENT = {"training": TorchTraining(optimizer="sgd"), "lr": 0.1, "batch_size": 64, "max_epochs": 2}


@pytest.fixture
def group_of_one(tmp_path):
    if not dist.is_available():
        pytest.skip("needs torch.distributed")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("how", [{}, {"penalty": 0.1}, BY_GRADIENT, {**BY_GRADIENT, "penalty": 0.1}])
def test_a_group_of_one_learns_what_one_process_does(how, weight, group_of_one):
    settings = {"perturbation": "affine", "validation_fraction": None, "random_state": 0, **how}
    alone = NeuralClampingCalibrator(NETWORK, **settings).fit(X, Y, sample_weight=weight)
    with sharded():
        found = NeuralClampingCalibrator(NETWORK, **settings).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(flat(found.perturbation_), flat(alone.perturbation_), atol=1e-5)
    assert found.temperature_ == pytest.approx(alone.temperature_, rel=1e-5)
    if weight is None:
        assert found.history_[:, "train_loss"] == pytest.approx(alone.history_[:, "train_loss"], rel=1e-5)
