"""Fits on a device that only pretends find what they find on the CPU, and few numbers cross."""

import numpy as np
import pytest
import torch
from _pretend_device import elsewhere, needs_pretend_device
from _pretend_fits import FITS, counted, outcomes

from skclamp import TorchTraining

pytestmark = needs_pretend_device

# The others take half a minute each.
FAST = [name for name in FITS if name.startswith("map: ")] + [
    "clamping: affine",
    "clamping: reference",
    "clamping: views",
    "other: absent classes",
    "other: watched",
    "other: abstaining",
    "other: frequencies",
]
WITH_MANY_LOGITS = [
    "clamping: affine",
    "clamping: norm",
    "clamping: Adam",
    "clamping: views",
    "clamping: classifier",
    "other: network",
    "other: unlabelled",
]


@pytest.fixture(scope="module")
def there():
    """What calls a function in a process that has the device: torch takes one for the rest of a process."""
    with elsewhere() as call:
        yield call
    assert not hasattr(torch, "pretend")


def refusals():
    """What the device says of what a GPU would refuse, and what it allows."""
    here, on = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).to("pretend")
    told = []
    for mistake in (
        lambda: on + here,
        lambda: here[on > 2],
        on.numpy,
        lambda: np.asarray(on),
        lambda: torch.rand(2, generator=torch.Generator(), device="pretend"),
    ):
        try:
            mistake()
        except (RuntimeError, TypeError) as error:
            told.append(str(error))
    view = on.T[1:]
    view[0].add_(10)
    return told, on.cpu().tolist(), on[here > 2].tolist(), (on + torch.tensor(1.0)).T.reshape(-1).tolist()


def test_the_device_refuses_what_a_gpu_refuses(there):
    told, whole, picked, moved = there(refusals)
    assert len(told) == 5
    assert "all tensors to be on the same device" in told[0]
    assert "indices should be either on cpu" in told[1]
    assert all("numpy" in message for message in told[2:4])
    assert whole == [[0, 11, 2], [3, 14, 5]]
    assert picked == [3, 14, 5]
    assert moved == [1, 4, 12, 15, 3, 6]


def check_equal(found):
    on_cpu, on_device = found
    assert on_device.keys() == on_cpu.keys()
    for name, value in on_cpu.items():
        if value is None or np.asarray(value).dtype.kind not in "fiub":
            assert on_device[name] == value, name
        else:
            np.testing.assert_allclose(on_device[name], value, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FITS])
def test_fits_on_the_device_find_what_they_find_on_the_cpu(there, name):
    check_equal(there(outcomes, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_MANY_LOGITS)
def test_many_logits_stay_on_the_device(there, name):
    check_equal(there(outcomes, name, few=False))


@pytest.mark.parametrize("params", [{"perturbation": "affine"}, pytest.param({}, marks=pytest.mark.slow)])
def test_few_transfers_to_the_host_make_a_fit(there, params):
    moved, n_passes = there(counted, **params)
    # And some of the inputs and of a probe, once.
    assert sum(transfer.to == "host" for transfer in moved) <= 3 * n_passes + 10


def test_no_batch_has_transfers_to_the_host_of_its_own(there):
    few, many = (there(counted, perturbation="affine", batch_size=size)[0] for size in (64, 640))
    assert len({sum(transfer.to == "host" for transfer in moved) for moved in (few, many)}) == 1


def test_batches_of_gradient_descent_tell_labels_and_losses_alone(there):
    options = {
        "perturbation": "full",
        "training": TorchTraining(optimizer="sgd"),
        "max_epochs": 1,
        "validation_fraction": None,
        "output": None,
    }
    few, many = (there(counted, batch_size=size, **options)[0] for size in (64, 640))
    numbers = [[transfer.n_values for transfer in moved if transfer.to == "host"] for moved in (few, many)]
    # Of 640 samples in ten batches instead of one.
    assert len(numbers[0]) - len(numbers[1]) <= 9 * 3
    assert sorted(numbers[0])[-3:] == sorted(numbers[1])[-3:]
