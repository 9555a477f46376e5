"""What the processes of a sharded fit tell each other, counted, at two sizes that show what more samples add.

Bytes and exchanges don't depend on what the network costs, nor on how many processes there are: a process sends as much
in a group of one. So a small network sees images of the real size, made darker than it expects.

    python benchmarks/distributed_cost.py
"""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.base import clone
from tabulate import tabulate
from torch import nn

from _runner import benchmark
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from skclamp.distributed import sharded

SHAPES = {"CIFAR": ((3, 32, 32), 10), "ImageNet": ((3, 224, 224), 1000)}
FITS = {
    "TemperatureScaling": TemperatureScaling(),
    "perturbation=None": NeuralClampingCalibrator(perturbation=None),
    "affine": NeuralClampingCalibrator(perturbation="affine", precision="float32", random_state=0),
    "auto": NeuralClampingCalibrator(precision="float32", random_state=0),
    "reference, an epoch": NeuralClampingCalibrator(**{**REFERENCE_SETTINGS, "max_epochs": 1}, random_state=0),
}


def count(name, fit, n_samples):
    """Exchanges, bytes and passes of a fit."""
    network, images, labels = problem(name, n_samples)
    with sharded() as ranks:
        calibrator = clone(FITS[fit]).set_params(estimator=network).fit(images, labels)
    cost = getattr(calibrator, "cost_", {"forward": 1.0, "backward": 0.0})
    return {
        "inputs": name,
        "fit": fit,
        "samples": n_samples,
        "kept": getattr(calibrator, "accepted_", "-"),
        "forward": round(cost["forward"], 2),
        "backward": round(cost["backward"], 2),
        "exchanges": ranks.n_collectives,
        "sent bytes": ranks.n_bytes,
    }


def problem(name, n_samples):
    """A network that sees a few coarse colours, dark images, and labels that it was right about in the light."""
    shape, n_classes = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, n_classes)).requires_grad_(False)
    network[2].weight.normal_(std=4.0, generator=generator)
    network[2].bias.zero_()
    images = torch.randn(n_samples, *shape, generator=generator).mul_(0.1)
    images.add_(
        torch.randn(n_samples, 3, 4, 4, generator=generator)
        .repeat_interleave(shape[1] // 4, 2)
        .repeat_interleave(shape[2] // 4, 3)
    )
    proba = torch.cat([network(part) for part in images.split(250)]).div(2).softmax(1)
    labels = torch.multinomial(proba, 1, generator=generator)[:, 0]
    return network, images.mul_(0.5).sub_(0.5), labels


@benchmark
def main(shapes: SHAPES = tuple(SHAPES), fits: FITS = tuple(FITS), sizes=(1500, 3000)):
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder) / 'store'}", rank=0, world_size=1)
        rows = [count(name, fit, n) for name in shapes for fit in fits for n in sizes]
        dist.destroy_process_group()
    print(tabulate(rows, headers="keys"))
