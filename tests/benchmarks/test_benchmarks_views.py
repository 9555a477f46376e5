"""The benchmark of views: what it remembers, and a few cells of the part that needs no files."""

import copy

import pandas as pd
import pytest
import torch
from _small_networks import convolutional, images

import views
from _warps import Warp, warps

pytestmark = pytest.mark.slow


def test_a_network_remembers_its_logits_together_with_its_copies():
    network, x = convolutional(), torch.from_numpy(images(6))
    passed = []
    network.register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    remembering = views.Remembering(network).eval()
    with torch.no_grad():
        expected = network(x)
        for rows in (slice(0, 4), slice(2, 6), slice(None)):
            torch.testing.assert_close(remembering(x[rows]), expected[rows])
        torch.testing.assert_close(copy.deepcopy(remembering)(x), expected)
    assert passed == [6, 4, 2]
    remembering(x.requires_grad_()).sum().backward()
    assert x.grad.abs().sum() > 0


def test_warps_turn_and_enlarge_about_the_middle():
    x = torch.from_numpy(images(3))
    torch.testing.assert_close(Warp()(x), x)
    torch.testing.assert_close(Warp(flip=True)(x), x.flip(-1))
    torch.testing.assert_close(Warp(degrees=90)(x), x.rot90(1, (-2, -1)), atol=1e-5, rtol=0)
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert len({each.title for each in warps()}) == 8
    for warp in warps():
        torch.testing.assert_close(warp(flat), flat)
    # Twice as large, the inner four pixels of a row fill it.
    enlarged = Warp(zoom=2)(torch.arange(8.0).expand(1, 1, 8, 8))
    assert enlarged.min() > 1.5 and enlarged.max() < 5.5


def test_cells_are_appended_and_summed_up(tmp_path, capsys):
    out = tmp_path / "views.csv"
    arguments = ["--parts", "nothing", "--repetitions", "1", "--out", str(out)]
    views.main(arguments)
    results = pd.read_csv(out)
    assert len(results) == 4
    assert (results.nll - results.nll_temperature < 0.05).all()
    assert "random labels" in capsys.readouterr().out
    views.main([*arguments, "--summary"])
    assert len(pd.read_csv(out)) == 4
