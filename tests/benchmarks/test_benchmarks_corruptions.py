"""The benchmark of corruptions: what the package makes of images, and every method on darkened ones."""

import re

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import corruptions
import front
from _corruption_methods import with_statistics_of
from _corruptions import CORRUPTIONS, corrupt

pytestmark = pytest.mark.slow
RETRAINED = {"batch_norm", "last_layer", "fine_tuned"}


class Small(nn.Module):
    """One convolution with batch norm, and a last layer of its own name."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x):
        """Logits."""
        return self.linear(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


@pytest.fixture
def problem(monkeypatch):
    """1,200 images of 4 classes, each of a colour of its own, a network trained on others, and darkness to corrupt."""
    torch.manual_seed(0)
    labels = torch.randint(4, (1800,))
    colours = torch.tensor([[0.8, 0.5, 0.5], [0.5, 0.8, 0.5], [0.5, 0.5, 0.8], [0.7, 0.7, 0.5]])
    images = (colours[labels][:, :, None, None] + 0.4 * torch.randn(1800, 3, 6, 6)).clamp(0, 1)
    network = Small()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(80):
        optimizer.zero_grad()
        functional.cross_entropy(network(images[:600]), labels[:600]).backward()
        optimizer.step()
    for module in (corruptions, front):
        monkeypatch.setattr(module, "load_images", lambda *_: (images[600:], labels[600:].numpy()))
        monkeypatch.setattr(module, "load_resnet", lambda *_: network.eval())
        monkeypatch.setattr(module, "corrupt", lambda images, *_: 0.3 * images)
    return network


def test_methods_are_compared_with_temperature_scaling(problem, tmp_path, capsys, monkeypatch):
    path, figure = tmp_path / "runs.csv", tmp_path / "figure.png"
    few = ["--corruptions", "fog", "--severities", "2", "--networks", "cifar10_resnet20", "--n", "600"]
    options = [*few, "--seeds", "50", "51", "--out", str(path), "--figure", str(figure)]
    before = {name: value.clone() for name, value in problem.state_dict().items()}
    corruptions.main(options)
    runs, shown = pd.read_csv(path), capsys.readouterr().out
    assert all(torch.equal(before[name], value) for name, value in problem.state_dict().items())
    assert set(runs.method[runs.changed == 1]) == RETRAINED
    assert set(runs.seed[runs.method == "fine_tuned"]) == {50}
    nll = runs[runs.seed == 50].pivot_table("nll", "corruption", "method")
    others = nll.drop(columns=["temperature", "vector", "structured_matrix"])
    assert (others.lt(0.9 * nll.temperature, axis=0)).all(axis=None)
    clamping = runs[runs.method == "clamping"]
    assert clamping.accepted.all()
    ratios = clamping.nll.to_numpy() / runs.nll[runs.method == "temperature"].to_numpy()
    assert f"{ratios.mean():.3f} ±" in shown
    assert figure.stat().st_size > 0

    monkeypatch.setattr(corruptions, "run", None)
    corruptions.main(options)
    assert len(pd.read_csv(path)) == len(runs) == 2 * 7 + 1


def test_networks_and_splits_may_have_different_methods(tmp_path, capsys):
    """Left out are only images that a method of the same network and split still lacks."""
    runs = pd.read_csv(corruptions.parse_options([]).out).query("seed == 50 and network == 'cifar10_resnet20'")
    few = runs[runs.method.isin(["temperature", "clamping"])]
    other = few[few.index != few.index[-1]].assign(network="cifar10_resnet32")
    path = tmp_path / "runs.csv"
    pd.concat([runs, few.assign(seed=51), other]).to_csv(path, index=False)
    corruptions.main(["--summary", "--out", str(path)])
    first, second = capsys.readouterr().out.split("cifar10_resnet32, severity 2")
    n = runs.corruption.nunique()
    assert re.search(rf"clamping +2 +{n} ", first)
    assert re.search(rf"last_layer +1 +{n} ", first)
    assert re.search(rf"clamping +1 +{n - 1} ", second)
    assert "nan" not in first


def test_batch_norm_is_adapted_without_dropout():
    images = torch.rand(600, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).eval()
    adapted = with_statistics_of(images[:500], network)
    torch.testing.assert_close(adapted[1].running_mean, images[:500].mean((0, 2, 3)))
    assert not adapted[1].training
    assert network[1].running_mean.eq(0).all()


def test_corrupted_images_depend_on_nothing_else():
    package = pytest.importorskip("corrupt_tta", reason="needs the package of corruptions (extra bench)")
    assert tuple(package.corruption_dict) == CORRUPTIONS
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)) / 255).float()
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    for name in CORRUPTIONS:
        corrupted = corrupt(images, [7, 8, 9], name, 4)
        assert corrupted.shape == images.shape
        assert (corrupted - images).abs().max() > 0.05
        torch.testing.assert_close(corrupt(images[1:], [8, 9], name, 4), corrupted[1:], rtol=0, atol=0)
        torch.testing.assert_close((corrupted * 255).round() / 255, corrupted)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_picture_of_the_front_page_and_benchmark_have_the_same_scores(problem, tmp_path):
    path, scores, figure = (tmp_path / name for name in ("runs.csv", "front.csv", "front.png"))
    few = ["--corruptions", "fog", "--n", "600"]
    front.main([*few, "--out", str(scores), "--figure", str(figure)])
    methods = ["--methods", "temperature", "clamping", "--networks", "cifar10_resnet20", "--severities", "2"]
    corruptions.main([*few, *methods, "--seeds", "50", "--out", str(path)])
    (shown,) = pd.read_csv(scores).to_dict("records")
    for row in pd.read_csv(path).to_dict("records"):
        assert shown[f"{row['method']}_accuracy"] == pytest.approx(row["accuracy"])
        assert shown[f"{row['method']}_nll"] == pytest.approx(row["nll"])
    assert shown["clamping_nll"] < 0.9 * shown["temperature_nll"]
    # Beside dark images bright ones, and words on white.
    picture = matplotlib.image.imread(figure)[..., :3]
    width = picture.shape[1]
    before, after, words = (
        picture[:, : width // 3],
        picture[:, width * 3 // 8 : width * 2 // 3],
        picture[:, -width // 4 :],
    )
    assert after.mean() > before.mean() + 0.05
    assert words.mean() > 0.8
    assert words.min() < 0.1


def test_front_page_shows_what_was_measured():
    rows = pd.read_csv(front.parse_options([]).out)
    assert tuple(rows.corruption) == front.parse_options([]).corruptions
    assert (rows.clamping_nll < 0.5 * rows.temperature_nll).all()
