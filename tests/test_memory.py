"""A fit streams its data set: memory grows by the logits, not by the inputs."""

import subprocess
import sys

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


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module of POSIX")
@pytest.mark.parametrize("kind", ["TemperatureScaling(network)", "NeuralClampingCalibrator(network, random_state=0)"])
def test_ten_times_the_images_take_no_more_memory_than_their_logits(kind):
    few, (many, kept) = peak_memory(kind, 1500)[0], peak_memory(kind, 15000)
    assert kept
    # The images that are added take 210 MB.
    assert many - few < 13500 * 10 * 4 + 30e6
