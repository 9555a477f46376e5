"""The benchmarks on ImageNet images, with a small network on made-up ones."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import imagenet_corruptions
import imagenet_sample

pytestmark = pytest.mark.slow


@pytest.fixture
def few_images(monkeypatch):
    """400 images of 4 classes, each of a colour of its own, and a network that knows the colours."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    colours = torch.tensor([[0.7, 0.4, 0.4], [0.4, 0.7, 0.4], [0.4, 0.4, 0.7], [0.6, 0.6, 0.4]])
    images = (colours[labels][:, :, None, None] + 0.2 * torch.from_numpy(rng.normal(size=(400, 3, 8, 8)))).clamp(0, 1)
    last = nn.Linear(3, 4)
    with torch.no_grad():
        last.weight.copy_(40 * colours)
        last.bias.copy_(-20 * (colours**2).sum(1))
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()
    dataset = list(zip(images.float(), labels, strict=True))
    monkeypatch.setattr(imagenet_sample, "N_CLASSES", 4)
    monkeypatch.setattr(imagenet_sample, "load_imagenet_network", lambda name: (network, None))
    monkeypatch.setattr(imagenet_sample, "load_imagenet_folder", lambda *args: (dataset, labels))


def test_shifted_images_are_repaired(few_images, tmp_path, capsys, monkeypatch):
    path = tmp_path / "runs.csv"
    options = ["--data", str(tmp_path), "--shifts", "darkness", "--families", "auto", "affine", "--splits", "1"]
    imagenet_sample.main([*options, "--n", "200", "--out", str(path)])
    runs = pd.read_csv(path)
    assert runs.family.tolist() == ["auto", "affine"]
    assert runs.accepted.all()
    assert (runs.nll < 0.9 * runs.ts_nll).all()
    assert "darkness" in capsys.readouterr().out

    monkeypatch.setattr(imagenet_sample, "run", None)
    imagenet_sample.main([*options, "--n", "200", "--out", str(path)])
    assert len(pd.read_csv(path)) == 2


def test_methods_are_compared_on_changed_images(few_images, tmp_path, capsys, monkeypatch):
    path, figure = tmp_path / "runs.csv", tmp_path / "figure.png"
    monkeypatch.setattr(imagenet_corruptions, "imagenet_names", lambda: ["red", "green", "blue", "olive"])
    options = ["--data", str(tmp_path), "--changes", "none", "darkness", "--seeds", "50", "--n", "200"]
    options += ["--out", str(path), "--figure", str(figure)]
    imagenet_corruptions.main(options)
    runs, shown = pd.read_csv(path), capsys.readouterr().out
    assert runs.method.tolist()[-2:] == ["clamping_two_views"] * 2
    nll = runs.pivot_table("nll", "corruption", "method").loc["darkness"]
    assert nll.clamping < 0.9 * nll.temperature
    assert not runs.changed.any()
    assert f"{nll.clamping / nll.temperature:.3f}" in shown
    assert figure.stat().st_size > 0

    monkeypatch.setattr("corruptions.run", None)
    imagenet_corruptions.main(options[:-2])
    assert len(pd.read_csv(path)) == 2 * 4
