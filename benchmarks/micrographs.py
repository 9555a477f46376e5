"""Pixels of electron micrographs: a U-Net finds membranes; six micrographs calibrate it, the others judge.

    python benchmarks/micrographs.py --data DIR
    python benchmarks/micrographs.py --summary

Each split trains a small U-Net, by one of two losses, on tiles of ten of the 30 micrographs of 512 x 512 pixels (ISBI
2012, em_membranes.npz); its weights are kept in data/. A micrograph is one sample. Scores are those of pixels, IoU and
Dice of membranes, and times those of the processor for a fit to logits, or to micrographs for clamping. Few micrographs
can't prove that a perturbation of the input helps: its verdict is told.
"""

from functools import lru_cache, partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import nn
from torch.nn import functional
from tqdm import trange

from _data import DOWNLOAD_DIR
from _estimates import paired_estimate
from _runner import RESULTS, benchmark, record
from _timing import measure
from skclamp import LocalTemperatureScaling, NeuralClampingCalibrator, TemperatureScaling, VectorScaling
from skclamp.metrics import expected_calibration_error

WIDTH, TILE, BATCH_SIZE, N, N_TRAIN, N_CAL = 12, 128, 8, 30, 10, 6


class UNet(nn.Module):
    """Three scales, the finer ones beside what comes up from the coarser."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.down = nn.ModuleList([block(1, width), block(width, 2 * width), block(2 * width, 2 * width)])
        self.up = nn.ModuleList([block(4 * width, width), block(2 * width, width)])
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        fine = self.down[0](x)
        middle = self.down[1](functional.max_pool2d(fine, 2))
        x = self.down[2](functional.max_pool2d(middle, 2))
        x = self.up[0](torch.cat([middle, functional.interpolate(x, scale_factor=2)], 1))
        return self.head(self.up[1](torch.cat([fine, functional.interpolate(x, scale_factor=2)], 1)))


def block(n_in, n_out):
    """Two convolutions."""
    layers = [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(n_out, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU())


def dice_loss(logits, y):
    """One less the soft Dice coefficient of membranes."""
    found, true = logits.softmax(1)[:, 0], (y == 0).float()
    return 1 - 2 * (found * true).sum() / (found.sum() + true.sum())


LOSSES = {"cross-entropy": functional.cross_entropy, "Dice": dice_loss}


def trained(X, y, loss, seed, steps):
    """A network that has seen tiles of these micrographs, turned and mirrored; its weights stay on disk."""
    torch.manual_seed(seed)
    network, path = UNet().to(memory_format=torch.channels_last), DOWNLOAD_DIR / f"micrographs_{loss}_{seed}_{steps}.pt"
    if path.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    rng, size = np.random.default_rng(seed), min(TILE, X.shape[-1])
    for _ in trange(steps, disable=None):
        tiles = []
        for image in rng.integers(len(X), size=BATCH_SIZE):
            top, left = rng.integers(X.shape[-1] - size + 1, size=2)
            window = np.s_[image, ..., top : top + size, left : left + size]
            turns, flip = rng.integers(4), 1 - 2 * rng.integers(2)
            tiles.append([np.rot90(each[window], turns, (-2, -1))[..., ::flip].copy() for each in (X, y)])
        inputs, labels = (torch.from_numpy(np.stack(part)) for part in zip(*tiles, strict=True))
        value = LOSSES[loss](network(inputs), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    DOWNLOAD_DIR.mkdir(exist_ok=True)
    torch.save(network.state_dict(), path)
    return network.eval()


class PlainLoop:
    """The temperature that a plain loop of torch finds, L-BFGS on the loss of all pixels."""

    def fit(self, logits, y):
        temperature = torch.ones(1, requires_grad=True)
        optimizer = torch.optim.LBFGS([temperature], max_iter=50, line_search_fn="strong_wolfe")
        logits, y = torch.from_numpy(logits), torch.from_numpy(y)

        def closure():
            optimizer.zero_grad()
            loss = functional.cross_entropy(logits / temperature, y)
            loss.backward()
            return loss

        optimizer.step(closure)
        self.temperature_ = temperature.item()
        return self

    def transform_logits(self, logits):
        return torch.log_softmax(torch.from_numpy(logits) / self.temperature_, 1).numpy()


BASELINE = "uncalibrated"
METHODS = {
    BASELINE: partial(TemperatureScaling, bounds=(1, 1)),
    "torch L-BFGS": PlainLoop,
    "temperature": TemperatureScaling,
    "vector": VectorScaling,
    "local": LocalTemperatureScaling,
    "clamping": partial(NeuralClampingCalibrator, random_state=0),
}
COLUMNS = ("loss", "seed", "method", "nll", "ece", "iou", "dice", "temperature", "kept", "cpu", "reason")


def scores(truth, log_proba):
    """Mean loss of a pixel, its ECE in per cent, and the overlap of membranes found and true."""
    of_label = np.take_along_axis(log_proba, truth[:, None], 1)
    found, pixels = log_proba.argmax(1).ravel(), truth.ravel()
    return {
        "nll": -of_label.mean(dtype=np.float64),
        "ece": 100 * expected_calibration_error(pixels, np.exp(np.moveaxis(log_proba, 1, -1).reshape(-1, 2))),
        "iou": jaccard_score(pixels, found, pos_label=0),
        "dice": f1_score(pixels, found, pos_label=0),
    }


def table(results):
    """One row for each method: scores, and differences of the NLL from two others' on the same splits."""
    rows = []
    for (loss, method), part in results.groupby(["loss", "method"], sort=False):
        own = part.set_index("seed")
        others = results[results.loss == loss].pivot(index="seed", columns="method", values="nll").reindex(own.index)
        # Micrographs of one split may judge in another.
        rate = (N - N_TRAIN - N_CAL) / (N - N_TRAIN)
        gained = [f"{paired_estimate(own.nll, others[name], rate):+.4f}" for name in (BASELINE, "temperature")]
        means = [f"{own[name].mean():.4f}" for name in ("nll", "iou", "dice")]
        better = f"{(own.nll <= others[BASELINE]).sum()} of {len(own)}"
        told = f"{own.ece.mean():.2f}", f"{own.temperature.mean():.3f}", int(own.kept.sum()), f"{own.cpu.mean():.2f}"
        rows.append([loss, method, means[0], *gained, better, *means[1:], *told])
    names = ["NLL", "less uncalibrated", "less temperature", "no worse", "IoU", "Dice", "ECE %", "T", "kept", "fit s"]
    return pd.DataFrame(rows, columns=["loss", "method", *names])


@benchmark
def main(
    data=None,
    losses: LOSSES = tuple(LOSSES),
    methods: METHODS = tuple(METHODS),
    seeds=5,
    steps=400,
    out=RESULTS / "micrographs.csv",
    summary=False,
):
    @lru_cache(maxsize=1)
    def samples(loss, seed):
        with np.load(data / "em_membranes.npz") as file:
            X = (file["images"][:, None] / 255).astype(np.float32)
            y = np.unpackbits(file["interior"], axis=-1).astype(np.int64)
        order = np.random.default_rng(seed).permutation(len(X))
        train, calibration, test = np.split(order, [N_TRAIN, N_TRAIN + N_CAL])
        network = trained(X[train], y[train], loss, seed, steps)
        with torch.no_grad():
            logits = [network(torch.from_numpy(X[rows])).numpy() for rows in (calibration, test)]
        return network, X[calibration], y[calibration], y[test], X[test], *logits

    def run(loss, seed, method):
        network, X, y, truth, new, logits, new_logits = samples(loss, seed)
        clamps = method == "clamping"
        calibrator = METHODS[method](network) if clamps else METHODS[method]()
        _, spent = measure(lambda: calibrator.fit(X if clamps else logits, y))
        log_proba = calibrator.predict_log_proba(new) if clamps else calibrator.transform_logits(new_logits)
        return {
            **scores(truth, log_proba),
            "temperature": getattr(calibrator, "temperature_", np.nan),
            "kept": int(getattr(calibrator, "accepted_", False)),
            "cpu": spent.cpu,
            "reason": getattr(calibrator, "verdict_", ""),
        }

    results = record(out, COLUMNS, () if summary else product(losses, range(seeds), methods), run)
    print(table(results).to_markdown(index=False, disable_numparse=True))
    for reason, part in results.dropna(subset="reason").groupby("reason", sort=False):
        print(f"clamping, {len(part)} of the splits: {reason}")
