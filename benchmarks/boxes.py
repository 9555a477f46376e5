"""Confidence of a detector's boxes: its scores, whether each box matched, and what calibrates them.

    python benchmarks/boxes.py --train
    python benchmarks/boxes.py

A small detector learns scenes of digits on textured ground, and finds those of others in new scenes. `--train` writes
what it wrote of each box, with the image, to docs/_code/boxes.csv. Half of the images calibrate, the others judge.
"""

import runpy
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter, zoom
from scipy.special import logit
from sklearn.datasets import load_digits
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from _estimates import paired_estimate, resampled_estimate
from _runner import RESULTS, benchmark, record
from skclamp import BetaCalibration, IsotonicCalibration, PlattScaling, TemperatureScaling
from skclamp.metrics import calibration_noise_floor, expected_calibration_error, negative_log_likelihood

DOCS = Path(__file__).parents[1] / "docs/_code"
PAIRS = DOCS / "boxes.csv"
SIZE, N_IMAGES, N_TRAIN, N_EPOCHS = 48, 300, 800, 16
# Of an object beside ground, in training.
OBJECT_WEIGHT = 4.0
METHODS = {"temperature": TemperatureScaling, "Platt": PlattScaling, "beta": BetaCalibration}
METHODS |= {"isotonic": IsotonicCalibration, "uncalibrated": None}
COLUMNS = ("seed", "method", "n", "nll", "ece", "floor")


def scenes(n, rows, rng):
    """Images, and the boxes and classes of the digits in each."""
    X, y = load_digits(n_class=5, return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[rows]
    digits, labels = [zoom(X[k].reshape(8, 8) / 16, 2, order=1) for k in order], y[order]
    images, boxes, classes = [], [], []
    for _ in range(n):
        image = 0.3 + 0.6 * gaussian_filter(rng.normal(size=(SIZE, SIZE)), 2) + 0.06 * rng.normal(size=(SIZE, SIZE))
        drawn = rng.choice(len(order), rng.integers(2, 6))
        corners = rng.integers(0, SIZE - 15, (len(drawn), 2))
        for k, (top, left) in zip(drawn, corners, strict=True):
            image[top : top + 16, left : left + 16] += rng.uniform(0.3, 1.0) * digits[k]
        inside = [np.argwhere(digits[k] > 0.4) for k in drawn]
        boxes.append([[*(c + p.min(0)), *(c + p.max(0) + 1)] for c, p in zip(corners, inside, strict=True)])
        images.append(image)
        classes.append(labels[drawn])
    return np.stack(images).astype(np.float32)[:, None], [np.array(each, float) for each in boxes], classes


def write_pairs(path=PAIRS, n_train=N_TRAIN, n_epochs=N_EPOCHS, n_images=N_IMAGES):
    """Train the detector of the page, and write the score of each box in new scenes, and whether it matched."""
    page = SimpleNamespace(**runpy.run_path(str(DOCS / "detector.py")))
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network, shape = page.Detector(), (SIZE // page.STRIDE, SIZE // page.STRIDE)
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=n_epochs * -(-n_train // 20))
    for _ in range(n_epochs):
        # New scenes of the same digits each time.
        X, boxes, labels = scenes(n_train, slice(450), rng)
        wanted = [page.targets(*each, shape) for each in zip(boxes, labels, strict=True)]
        hit, sides = (torch.from_numpy(np.stack(each)) for each in zip(*wanted, strict=True))
        for rows in torch.randperm(n_train).split(20):
            scores, found = network(torch.from_numpy(X)[rows])
            there = hit[rows].amax(1, keepdim=True)
            loss = binary_cross_entropy_with_logits(scores, hit[rows], pos_weight=torch.tensor(OBJECT_WEIGHT))
            loss = loss + 0.1 * l1_loss(found * there, sides[rows] * there, reduction="sum") / there.sum() / 4
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    X, boxes, labels = scenes(n_images, slice(450, None), rng)
    with torch.no_grad():
        scores, sides = network.eval()(torch.from_numpy(X))
    rows, n_found = [], 0
    for number, each in enumerate(zip(scores.sigmoid().numpy(), sides.numpy(), boxes, labels, strict=True)):
        found, classes, score = page.detect(*each[:2])
        matched = page.matches(found, classes, *each[2:])
        n_found += matched.sum()
        rows += [(number, f"{s:.4f}", int(m)) for s, m in zip(score, matched, strict=True)]
    pd.DataFrame(rows, columns=["image", "score", "matched"]).to_csv(path, index=False, lineterminator="\n")
    print(f"{len(rows)} boxes in {n_images} images; {n_found} of {sum(map(len, labels))} objects found")


def measure(pairs, seed, method):
    """Scores of a method on the images of the other half; the ECE and its floor in per cent."""
    images = np.random.default_rng(seed).permutation(pairs.image.unique())
    calibrates = pairs.image.isin(images[: len(images) // 2]).to_numpy()
    logits, matched = logit(pairs.score.to_numpy()), pairs.matched.to_numpy()
    proba = pairs.score.to_numpy()[~calibrates]
    if METHODS[method]:
        fitted = METHODS[method]().fit(logits[calibrates], matched[calibrates])
        proba = fitted.predict_proba(logits[~calibrates])[:, 1]
    floor = calibration_noise_floor(expected_calibration_error, proba, random_state=0)
    errors = {"ece": expected_calibration_error(matched[~calibrates], proba), "floor": floor.mean}
    nll = negative_log_likelihood(matched[~calibrates], proba)
    return {"n": calibrates.sum(), "nll": nll, **{name: 100 * value for name, value in errors.items()}}


def table(results):
    """One row for each method: NLL, its difference to the scores as they are, and the ECE with its floor."""
    nll = results.pivot(index="seed", columns="method", values="nll")
    rows = []
    for name in ["uncalibrated", *METHODS][: len(METHODS)]:
        own = results[results.method == name]
        gained = "" if name == "uncalibrated" else f"{paired_estimate(nll[name], nll.uncalibrated):+.3f}"
        ece = f"{resampled_estimate(own.ece):.1f} ({own.floor.mean():.1f})"
        rows.append({"method": name, "NLL": f"{nll[name].mean():.3f}", "less uncalibrated": gained, "ECE": ece})
    return pd.DataFrame(rows)


@benchmark
def main(train=False, seeds=20, out=RESULTS / "boxes.csv"):
    if train:
        write_pairs()
    pairs = pd.read_csv(PAIRS)
    results = record(out, COLUMNS, product(range(seeds), METHODS), lambda *cell: measure(pairs, *cell))
    print(table(results).to_markdown(index=False, disable_numparse=True))
