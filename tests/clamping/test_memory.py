"""A fit streams its data set: memory grows by the logits and by what the last layer reads, not by the inputs."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import resource, sys
import torch
from torch import nn
from skclamp import NeuralClampingCalibrator, TemperatureScaling

torch.set_num_threads(1)
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=6), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
with torch.no_grad():
    network[-1].weight.mul_(5)


class Images(torch.utils.data.Dataset):
    # Darker than the network expects; drawn anew each time they are read.
    def __len__(self):
        return int(sys.argv[2])

    def __getitem__(self, i):
        return self.__getitems__([i])[0]

    @torch.no_grad()
    def __getitems__(self, indices):
        generators = [torch.Generator().manual_seed(i) for i in indices]
        x = torch.stack([torch.randn(3, 36, 36, generator=generator) for generator in generators])
        proba = (network(x) / 2).softmax(1)
        labels = [torch.multinomial(row, 1, generator=g)[0] for row, g in zip(proba, generators)]
        return list(zip(x - 1, labels))


calibrator = eval(sys.argv[1]).fit(Images())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / (1 if sys.platform == "darwin" else 1 / 1024), getattr(calibrator, "accepted_", True))
"""


def peak_memory(calibrator, n_samples):
    """Bytes at the peak of a fit in a process of its own, and whether a perturbation was kept."""
    command = [sys.executable, "-c", SCRIPT, calibrator, str(n_samples)]
    peak, kept = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(peak), kept == "True"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module of POSIX")
@pytest.mark.parametrize("kind", ["TemperatureScaling(network)", "NeuralClampingCalibrator(network, random_state=0)"])
def test_five_times_the_images_take_no_more_memory_than_their_logits(kind):
    few, (many, kept) = peak_memory(kind, 1500)[0], peak_memory(kind, 7500)
    assert kept
    # The images that are added take 93 MB.
    assert many - few < 6000 * 10 * 4 + 30e6


# The network itself looks at the memory that isn't the file's, whenever it runs: copies of a fold are about then.
MAPPED = """
import sys
import numpy as np
import torch
from torch import nn
from skclamp import NeuralClampingCalibrator, TemperatureScaling


def resident():
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


class Watching(nn.Module):
    peak = 0

    def forward(self, x):
        Watching.peak = max(Watching.peak, resident())
        return x


torch.set_num_threads(1)
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=6), nn.ReLU(), Watching(), nn.Flatten(), nn.Linear(288, 10))
X = np.load(sys.argv[2], mmap_mode="r")
scale = 1 / 64 if X.dtype == np.uint8 else None
with torch.no_grad():
    network[-1].weight.mul_(5)
    chunks = [torch.tensor(np.array(X[k : k + 500])).float() * (scale or 1) for k in range(0, len(X), 500)]
    proba = torch.cat([(network(chunk - 1) / 2).softmax(1) for chunk in chunks])
    del chunks
    labels = torch.multinomial(proba, 1)[:, 0]
# What any fit imports and sets aside is there before.
eval(sys.argv[1]).fit(X[:800], labels[:800])
Watching.peak, before = 0, resident()
calibrator = eval(sys.argv[1]).fit(X, labels)
print(Watching.peak - before, getattr(calibrator, "accepted_", True))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's account of a process's memory")
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("TemperatureScaling(network, integer_scale=scale)", np.uint8),
        ("NeuralClampingCalibrator(network, perturbation='affine', random_state=0)", np.float32),
    ],
)
def test_memory_maps_stay_on_the_disk(kind, dtype, tmp_path):
    n_samples = 8000
    X = np.lib.format.open_memmap(tmp_path / "X.npy", mode="w+", dtype=dtype, shape=(n_samples, 3, 36, 36))
    rng = np.random.default_rng(0)
    for start in range(0, n_samples, 500):
        X[start : start + 500] = rng.integers(256, size=(500, 3, 36, 36)) * (1 if dtype == np.uint8 else 1 / 64)
    X.flush()
    command = [sys.executable, "-c", MAPPED, kind, str(tmp_path / "X.npy")]
    grown, kept = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert kept == "True"
    # As floating-point numbers the images take 124 MB, and half of them 62.
    assert float(grown) < n_samples * 10 * 4 + 30e6
