"""Several processes that hold a part of the samples each fit what one with all of them does, and fail together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from _sharded_fits import FITS, WEIGHTED, calibration_data

from skclamp import TemperatureScaling
from skclamp.distributed import ALONE, current, sharded

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parent
# Fits whose steps follow float32 gradients, which several processes add up in another order.
ROUNDED = ("reference", "gradient", "dataset", "stopped", "keys")


def environment():
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def launch(n_processes, script, *arguments):
    """What torchrun does."""
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    command = [sys.executable, *ranks, str(TESTS / script), *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Outcomes of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("fits")
    alone = [sys.executable, str(TESTS / "_sharded_fits.py"), str(folder)]
    subprocess.run(alone, env=environment(), check=True, timeout=300)
    ran = launch(2, "_sharded_fits.py", folder)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [torch.load(folder / name, weights_only=False) for name in ("1-0.pt", "2-0.pt", "2-1.pt")]


@pytest.mark.parametrize("name", [name for name in FITS if name != "seeds"])
def test_two_processes_fit_what_one_does(results, name):
    alone, *both = (part[name] for part in results)
    tolerance = 1e-5 if name in ROUNDED else 1e-6
    for found in both:
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            if isinstance(value, dict):
                assert found[key] == pytest.approx(value)
            else:
                np.testing.assert_allclose(found[key], value, atol=tolerance, rtol=tolerance, err_msg=key)


def test_each_fit_did_something(results):
    alone = results[0]
    assert alone["affine"]["accepted_"]
    assert alone["auto"]["accepted_"]
    assert alone["wide"]["accepted_"]
    assert alone["gamma"]["accepted_"]
    assert alone["series"]["accepted_"]
    assert alone["search"]["accepted_"]
    assert len(alone["views"]["view_weights_"]) > 1
    assert np.abs(alone["reference"]["delta_"]).max() > 1e-3
    assert alone["dataset"]["losses"]
    assert alone["keys"]["losses"]
    assert len(alone["stopped"]["losses"]) == 2
    assert abs(alone["temperature"]["temperature_"] - alone["focal"]["temperature_"]) > 0.01
    assert set(WEIGHTED) < set(FITS)


@pytest.mark.parametrize("name", FITS)
def test_processes_agree_bit_by_bit(results, name):
    first, second = (part[name] for part in results[1:])
    for key in first.keys() & {"temperature_", "delta_", "accepted_", "proba", "p_value", "view_weights_"}:
        np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize(
    ("fault", "kind", "rule"),
    [
        ("another network", "ValueError", "network must be the same on all ranks; got"),
        ("nine classes", "ValueError", "number of classes must be the same on all ranks; got 10 on rank 0 and 9 on"),
        ("not a number", "ValueError", "NaN"),
        ("no labels", "ValueError", "inconsistent numbers of samples"),
        ("strings", "ValueError", "kind of the labels must be the same on all ranks; got i on rank 0 and U on rank 1"),
        ("integers", "TypeError", "floating-point"),
        ("another shape", "ValueError", "shape of an input must be the same on all ranks"),
        ("another gamma", "ValueError", "gamma must be the same on all ranks; got 0.0 (hash "),
        ("no weights", "ValueError", "sample weight must be the same on all ranks; got weights on rank 0 and None on"),
        ("another init", "ValueError", "training must be the same on all ranks"),
        ("another momentum", "ValueError", "training must be the same on all ranks"),
        ("an interrupt", "KeyboardInterrupt", "on rank 1"),
        (
            "another batch size",
            "ValueError",
            "batch size must be the same on all ranks; got 64 on rank 0 and 8 on rank",
        ),
    ],
)
def test_an_error_in_one_process_is_raised_in_all(results, fault, kind, rule):
    alone, first, second = results
    assert first["failures"][fault] == second["failures"][fault]
    found, message = first["failures"][fault]
    assert found == kind
    assert rule in message
    # All go on from there.
    for part in (first, second):
        assert part["failures"][f"after {fault}"] == pytest.approx(first["failures"]["after another network"])


def test_a_process_that_dies_ends_the_others(tmp_path):
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    store = f"file://{tmp_path / 'store'}"
    start = [sys.executable, str(script), store]
    with (
        subprocess.Popen([*start, "0"], env=environment(), stderr=subprocess.PIPE, text=True) as first,
        subprocess.Popen([*start, "1"], env=environment(), stderr=subprocess.DEVNULL) as second,
    ):
        _, said = first.communicate(timeout=120)
        second.wait(timeout=120)
    assert second.returncode == -signal.SIGKILL
    assert first.returncode == 1
    assert "RankLostError: rank 0 of 2 can't reach the others: one of them has died" in said


DYING = """
import os, signal, sys
import torch.distributed as dist
from _sharded_fits import NETWORK, calibration_data
from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.distributed import sharded
from skorch.callbacks import Callback

rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method=sys.argv[1], rank=rank, world_size=2)
X, y, _ = calibration_data()


class Death(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


with sharded():
    training = TorchTraining(callbacks=[Death()])
    calibrator = NeuralClampingCalibrator(NETWORK, perturbation="affine", training=training, random_state=0)
    calibrator.fit(X[rank::2], y[rank::2])
"""


def test_sharded_needs_torch_distributed():
    with pytest.raises(RuntimeError, match="init_process_group"), sharded():
        pass


@pytest.fixture
def group_of_one(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_group_of_one_process_is_as_good_as_none(group_of_one):
    X, y, weight = calibration_data()
    for name in ("affine", "temperature"):
        expected = FITS[name].fit(X, y, weight).temperature_
        with sharded():
            assert FITS[name].fit(X, y, weight).temperature_ == pytest.approx(expected, rel=1e-9)
        assert current() is ALONE


def test_an_unfitted_classifier_is_refused(group_of_one):
    from sklearn.linear_model import LogisticRegression

    X, y, _ = calibration_data()
    with sharded(), pytest.raises(ValueError, match="estimator must be fitted where samples are sharded"):
        TemperatureScaling(LogisticRegression()).fit(X.reshape(len(X), -1), y)
    with sharded(), pytest.raises(ValueError, match=r"sample_weight alone where samples are sharded; got \['by'\]"):
        TemperatureScaling().fit(X.reshape(len(X), -1), y, by=y)


def test_an_exception_of_the_users_own_goes_through(group_of_one):
    class Strange(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    class Network(torch.nn.Module):
        def forward(self, x):
            raise Strange(1, 2)

    X, y, _ = calibration_data()
    with sharded(), pytest.raises(RuntimeError, match=r"Strange: \(1, 2\) \(on rank 0\)") as caught:
        TemperatureScaling(Network()).fit(X, y)
    assert isinstance(caught.value.__cause__, Strange)
