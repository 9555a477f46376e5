"""What the processes of a sharded fit tell each other, counted, and what that makes of larger sets, by arithmetic.

Bytes and exchanges don't depend on what the network costs, nor on how many processes there are: a process sends as much
in a group of one. So a small network sees images of the real size, made darker than it expects. The second table adds
what each more sample costs by design, times the number of samples: logits and label where they are gathered, one loss
of each candidate and of temperature scaling for the guard, one gradient per step of 1,000 samples for the reference.
Beside it, what a process holds: its part of the logits, and of all samples what it has gathered.

    python benchmarks/distributed_cost.py
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from sklearn.base import clone
from tabulate import tabulate
from torch import nn

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


def bytes_a_sample(fit, shape, n_classes):
    """What a process sends for each sample of all, and how much of it stays with every process."""
    gathered = {"TemperatureScaling": 4 * n_classes + 8, "affine": 16, "auto": 16}.get(fit, 0)
    # Of 1,000 samples, the gradients of delta and T, the loss and the weight.
    stepped = 8 * (np.prod(shape) + 3) / 1000 if fit.startswith("reference") else 0
    return gathered + stepped, gathered


LARGER = {"CIFAR": (10_000, 10**6, 10**9), "ImageNet": (50_000, 10**6, 10**9)}
MEGA = 10**6


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder) / 'store'}", rank=0, world_size=1)
        counts = {
            (name, fit): [count(name, fit, n) for n in options.sizes] for name in options.shapes for fit in options.fits
        }
        dist.destroy_process_group()
    print(tabulate([row for rows in counts.values() for row in rows], headers="keys"))
    print("")
    print(tabulate(extrapolate(counts, options.ranks), headers="keys", floatfmt=".4g"))


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--fits", nargs="+", choices=list(FITS), default=list(FITS))
    parser.add_argument("--sizes", type=int, nargs=2, default=[1500, 3000], help="images (default: 1500 3000)")
    parser.add_argument("--ranks", type=int, default=8, help="processes of the second table (default: 8)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: 1)")
    return parser.parse_args(arguments)


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


def extrapolate(counts, n_ranks):
    """What the counts say of larger sets."""
    for (name, fit), (*_, many) in counts.items():
        shape, n_classes = SHAPES[name]
        sent, kept = bytes_a_sample(fit, shape, n_classes)
        for n_samples in LARGER[name]:
            yield {
                "inputs": name,
                "fit": fit,
                "samples": n_samples,
                "passes": many["forward"] + many["backward"],
                "sent MB": (many["sent bytes"] + sent * (n_samples - many["samples"])) / MEGA,
                "sent bytes per sample": sent,
                f"logits of 1 of {n_ranks} MB": 4 * n_classes * n_samples / n_ranks / MEGA,
                "gathered MB": kept * n_samples / MEGA,
            }


if __name__ == "__main__":
    main()
