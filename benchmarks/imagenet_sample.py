"""EfficientNet-Lite0 on a thousand real images that a camera or pipeline has changed: half calibrate, half judge.

The folder holds one image of each ImageNet class. For each shift and split, temperature scaling, "auto" and families by
name are fitted to the calibration images and judged by the others. Every fit is appended to a CSV file as it is done;
what the file has already is left out, so an interrupted run goes on, and several processes can take different parts.
Needs the extra `bench`.

    python benchmarks/imagenet_sample.py --data DIR
    python benchmarks/imagenet_sample.py --data DIR --shifts darkness --families auto affine --splits 1
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tabulate import tabulate
from tqdm import tqdm

from _estimates import paired_estimate, ratio_estimate
from _imagenet import LITE0, load_imagenet_folder, load_imagenet_network
from _networks import compute_logits
from _relative_time import measure_relative
from _result_file import ResultFile
from _suite import facts
from skclamp import NeuralClampingCalibrator, TemperatureScaling

N_CLASSES = 1000
COLUMNS = (
    "shift",
    "family",
    "split",
    "n",
    "nll",
    "accuracy",
    "ts_nll",
    "ts_accuracy",
    "accepted",
    "families",
    "temperature",
    "forward",
    "backward",
    "relative_time",
    "reason",
)


def haze(x):
    """A bright veil."""
    return 0.4 * x + 130


def cast(x):
    """Coloured light."""
    return x + torch.tensor([60.0, -40.0, 20.0]).view(-1, 1, 1)


def noise(x):
    """A sensor's, anew in every image."""
    return x + 25 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


# On the scale of 0 to 255, rounded and clipped to it afterwards.
SHIFTS = {"none": lambda x: x, "darkness": lambda x: 0.25 * x, "haze": haze, "cast": cast, "noise": noise}
FAMILIES = ("auto", "affine", "curve", "color", "filter")


def shifted(images, shift):
    """Images of 8 bits under a shift, in [0, 1]."""
    return SHIFTS[shift](images.float()).round().clamp(0, 255) / 255


class Sample:
    """The images as they are, the network, and the shifted images that were asked for last with their logits."""

    def __init__(self, data_dir):
        self.network, transform = load_imagenet_network(LITE0)
        dataset, self.labels = load_imagenet_folder(Path(data_dir) / "imagenet_sample", transform, N_CLASSES)
        self.images = torch.stack([(image * 255).round().to(torch.uint8) for image, _ in dataset])
        self.shift = None

    def under(self, shift):
        """Shifted images in [0, 1], and their logits."""
        if shift != self.shift:
            self.shift = shift
            self.shifted = shifted(self.images, shift)
            self.logits = compute_logits(self.network, self.shifted)
        return self.shifted, self.logits

    def split(self, seed, n):
        """Indices of n images to calibrate on, and of the half to judge by."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        half = len(order) // 2
        return order[: min(n, half)], order[half:]


def score(log_proba, labels):
    """NLL in nats, and accuracy in per cent."""
    return -log_proba[np.arange(len(labels)), labels].mean(), 100 * (log_proba.argmax(1) == labels).mean()


def run(sample, shift, family, seed, n):
    """The row of one fit."""
    images, logits = sample.under(shift)
    fit, test = sample.split(seed, n)
    labels, classes = sample.labels, np.arange(N_CLASSES)
    plain = TemperatureScaling(classes=classes).fit(logits[fit], labels[fit])
    baseline = own = score(plain.predict_log_proba(logits[test]), labels[test])
    clamping = NeuralClampingCalibrator(sample.network, perturbation=family, random_state=seed, classes=classes)
    _, relative = measure_relative(lambda: clamping.fit(images[fit], labels[fit]), sample.network, images[fit])
    if clamping.accepted_:
        own = score(clamping.predict_log_proba(images[test]), labels[test])
    found = {**facts(clamping), "relative_time": relative.wall, "reason": clamping.verdict_.reason}
    return {**dict(zip(COLUMNS, (shift, family, seed, n, *own, *baseline), strict=False)), **found}


def compute(options):
    """Compute and write the fits that the file doesn't have yet."""
    results = ResultFile(options.out, COLUMNS, 4)
    seeds = range(options.seed0, options.seed0 + options.splits)
    keys = [
        (shift, family, seed, options.n) for shift, seed, family in product(options.shifts, seeds, options.families)
    ]
    pending = [key for key in keys if key not in results]
    sample = Sample(options.data) if pending else None
    for key in tqdm(pending, disable=None):
        results.append([run(sample, *key)])


def table(results):
    """One line per shift and family: NLL as a ratio to temperature scaling's, points of accuracy, what was kept."""
    rows = []
    for (shift, family, n), part in results.groupby(["shift", "family", "n"], sort=False):
        rows.append(
            {
                "shift": shift,
                "family": family,
                "n": n,
                "splits": len(part),
                "TS acc": f"{part.ts_accuracy.mean():.1f}",
                "TS NLL": f"{part.ts_nll.mean():.3f}",
                "NLL ratio": f"{ratio_estimate(part.nll, part.ts_nll, 0.5):.3f}",
                "points": f"{paired_estimate(part.accuracy, part.ts_accuracy, 0.5):+.1f}",
                "kept": f"{part.accepted.sum()} of {len(part)}",
                "families": ", ".join(sorted(set(part.families.dropna()))),
                "relative time": f"{part.relative_time.median():.1f}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", required=True, help="folder of imagenet_sample, a subfolder for each class"
    )
    parser.add_argument("--shifts", nargs="+", choices=SHIFTS, default=list(SHIFTS))
    parser.add_argument("--families", nargs="+", default=FAMILIES, help="perturbations (default: %(default)s)")
    parser.add_argument("--n", type=int, default=500, help="calibration images, at most half (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seed0", type=int, default=0, help="the first split (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/imagenet_sample.csv"), help="CSV file to append to"
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    compute(options)
    print(table(pd.read_csv(options.out)))


if __name__ == "__main__":
    main()
