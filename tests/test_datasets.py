"""The data set that comes with the package is what it says, and the tool that wrote its file would do so again."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import fogged_digits
from skclamp.datasets import load_fogged_digits


@pytest.fixture(scope="module")
def held():
    with np.load(files("skclamp.datasets") / "fogged_digits.npz", allow_pickle=False) as file:
        return dict(file)


def test_images_are_fogged_as_the_docstring_says():
    clear, foggy = load_fogged_digits(fog=0), load_fogged_digits()
    for part in ("cal", "test"):
        np.testing.assert_array_equal(foggy[f"X_{part}"], 0.25 + 0.5 * clear[f"X_{part}"])
        np.testing.assert_array_equal(foggy[f"y_{part}"], clear[f"y_{part}"])
        assert (clear[f"X_{part}"].min(), clear[f"X_{part}"].max()) == (0, 1)
    assert f"{len(clear.X_cal)} images" in clear.DESCR and f"{len(clear.X_test)} images" in clear.DESCR


def test_each_call_has_a_network_of_its_own_and_draws_nothing():
    state = torch.get_rng_state()
    first, second = load_fogged_digits(), load_fogged_digits()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad for parameter in first.network.parameters())
    with torch.no_grad():
        first.network[0].weight.zero_()
    assert second.network[0].weight.abs().min() > 0


def test_the_tool_that_wrote_the_file_parts_the_digits_so(held, tmp_path):
    images, labels = load_digits(return_X_y=True)
    part = fogged_digits.parts(labels)
    np.testing.assert_array_equal(held["part"], part)
    network = load_fogged_digits().network
    with torch.no_grad():
        clear = torch.from_numpy(images[part == fogged_digits.TRAIN] / 16).float().view(-1, 1, 8, 8)
        assert (network(clear).argmax(1).numpy() == labels[part == fogged_digits.TRAIN]).all()


@pytest.mark.slow
def test_the_tool_trains_such_a_network(held, tmp_path):
    with torch.random.fork_rng():
        fogged_digits.main(["--out", str(tmp_path / "again.npz")])
    data = load_fogged_digits(fog=0)
    X, y = torch.from_numpy(data.X_test), torch.from_numpy(data.y_test)
    with np.load(tmp_path / "again.npz", allow_pickle=False) as again, torch.no_grad():
        assert set(again) == set(held)
        before = (data.network(X).argmax(1) == y).float().mean()
        data.network.load_state_dict({name: torch.from_numpy(again[name]) for name in data.network.state_dict()})
        # Another torch or processor trains it a little differently.
        assert abs((data.network(X).argmax(1) == y).float().mean() - before) < 0.03


@pytest.mark.parametrize("fog", [-0.1, 1, float("nan"), "thick", None])
def test_a_fog_that_there_cannot_be_is_named(fog):
    with pytest.raises(ValueError, match=r"fog must be a number in \[0, 1\); got"):
        load_fogged_digits(fog=fog)
