"""The benchmark of class frequencies that change, on a made-up network's images."""

import numpy as np
import pandas as pd
import pytest
import torch

import prior_shift
from _networks import RESNETS, CifarResNet


@pytest.fixture
def folder(tmp_path):
    """An untrained network, and images that it sees as it likes, labelled by its own guesses."""
    torch.manual_seed(0)
    spec = RESNETS["cifar10_resnet20"]
    network = CifarResNet(spec.depth, spec.n_classes, *spec.statistics).eval()
    torch.save(network.state_dict(), tmp_path / "cifar10_resnet20.pt")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "cifar10_test.npz",
        images=rng.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8),
        labels=rng.integers(0, 10, 300),
    )
    return tmp_path


@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_draws_are_made_once_and_shown(folder, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    options = ["--data", str(folder), "--changes", "classes", "darkness", "--sizes", "50", "--draws", "2"]
    options += ["--labelled", "200", "--out", str(path)]
    prior_shift.main(options)
    runs = pd.read_csv(path)
    assert list(runs.change) == ["classes"] * 2 + ["darkness"] * 2
    assert (runs.kept == 0).all()  # too few to tell anything
    assert (runs.nll == runs.ts_nll).all()
    assert "| darkness |" in capsys.readouterr().out.replace("  ", "")
    prior_shift.main(options)
    assert len(pd.read_csv(path)) == 4


def test_images_are_drawn_without_replacement():
    labels = np.random.default_rng(0).integers(0, 10, 10_000)
    for seed in range(5):
        drawn = prior_shift.draw(prior_shift.Cell("", 2500, 500, "classes", seed), labels)
        rows = np.concatenate(drawn)
        assert len(np.unique(rows)) == len(rows)
        frequencies = np.bincount(labels[drawn.unlabelled], minlength=10) / len(drawn.unlabelled)
        others = np.bincount(labels[drawn.judging], minlength=10) / len(drawn.judging)
        np.testing.assert_allclose(frequencies, others, atol=0.1)
        assert frequencies.max() > 0.2
