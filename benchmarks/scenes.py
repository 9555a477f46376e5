"""Neural clamping of dense outputs: scenes of digits on textured ground, the class of each pixel.

    python benchmarks/scenes.py
    python benchmarks/scenes.py --changes "as they are" --labels given drawn --seeds 20 --methods "clamping alone"
    python benchmarks/scenes.py --changes "as they are" --labels correlated --sizes 100 300 --seeds 100 \
        --methods "clamping alone"
    python benchmarks/scenes.py --summary

A small network learns to segment scenes of 450 digits; those of the others calibrate and judge. Labels are given or,
so that no perturbation can help, drawn from the network's own probabilities at T = 1.5: pixel by pixel, or by a
Gaussian field whose neighbours agree, as annotators' errors do.
"""

import runpy
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from sklearn.metrics import f1_score, jaccard_score

from _estimates import paired_estimate
from _runner import RESULTS, benchmark, record
from choosing import cell
from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)

TRUE_TEMPERATURE, N_TEST = 1.5, 1000
CHANGES = {
    "as they are": lambda X, rng: X,
    "contrast": lambda X, rng: 0.5 * X + 0.25,
    "blur": lambda X, rng: (X + np.roll(X, 1, 2) + np.roll(X, 1, 3) + np.roll(X, (1, 1), (2, 3))) / 4,
    "noise": lambda X, rng: X + rng.normal(0, 0.2, X.shape),
}
LABELS = ("given", "drawn", "correlated")
OUTPUTS = {
    "temperature": TemperatureScaling,
    "vector": VectorScaling,
    "structured vector": StructuredVectorScaling,
    "selector": CalibratorSelector,
}
# Without maps of the output beside, "nothing kept" is temperature scaling to the bit.
METHODS = {**OUTPUTS, "clamping": partial(NeuralClampingCalibrator, random_state=0)}
METHODS["clamping alone"] = partial(NeuralClampingCalibrator, random_state=0, output=None)
SCORES = ("loss", "accuracy", "iou", "dice")
COLUMNS = (
    *("change", "labels", "n", "seed", "method", *SCORES, *(f"uncalibrated_{name}" for name in SCORES)),
    *("kept", "is_baseline", "forward", "backward"),
)


@lru_cache(maxsize=1)
def code():
    """The names of the page in the user guide: the function `scenes`, and a trained network."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "docs/_code/scenes.py")))


def logits_of(network, X):
    with torch.no_grad():
        return torch.cat([network(part) for part in torch.from_numpy(X).split(100)]).double()


def drawn(z, kind, rng):
    """Labels of logits, independent at each pixel or by a field with a length of three pixels."""
    uniform = rng.uniform(size=(len(z), *z.shape[2:]))
    if kind == "correlated":
        field = gaussian_filter(rng.normal(size=uniform.shape), (0, 3, 3), mode="wrap")
        uniform = norm.cdf(field / field.std())
    cumulative = (z / TRUE_TEMPERATURE).softmax(1).cumsum(1).numpy()
    return (cumulative < uniform[:, None]).sum(1).clip(0, z.shape[1] - 1)


def scores(y, log_proba):
    """NLL, accuracy, and the mean over classes of intersection over union and of Dice's coefficient."""
    predicted, truth = log_proba.argmax(1).ravel(), y.ravel()
    loss = -np.take_along_axis(log_proba, y[:, None], 1).mean(dtype=np.float64)
    overlap = [function(truth, predicted, average="macro") for function in (jaccard_score, f1_score)]
    return dict(zip(SCORES, [loss, (predicted == truth).mean(), *overlap], strict=True))


def table(results):
    """One row for each change and kind of labels: loss, that of clamping over the best map's, IoU and Dice."""
    rows, methods = [], [name for name in METHODS if name in set(results.method)]
    for (change, labels, n), part in results.groupby(["change", "labels", "n"], sort=False):
        loss = part.pivot(index="seed", columns="method", values="loss").reindex(columns=methods)
        outputs = [name for name in OUTPUTS if name in methods and loss[name].notna().any()]
        shown = ["" if np.isnan(mean) else f"{mean:.4f}" for mean in loss.mean()]
        row, ratio, gained = [change, labels, n, f"{part.uncalibrated_loss.mean():.4f}", *shown], "", ""
        clamped = part[part.method.str.startswith("clamping")]
        if "clamping" in methods and outputs:
            pairs = loss[["clamping", loss[outputs].mean().idxmin()]].dropna()
            ratio = f"{pairs.iloc[:, 0].mean() / pairs.iloc[:, 1].mean():.2f}"
            gained = cell(paired_estimate(pairs.iloc[:, 0], pairs.iloc[:, 1]))
        overlap = [f"{clamped[f'uncalibrated_{name}'].mean():.3f} -> {clamped[name].mean():.3f}" for name in SCORES[2:]]
        kept = f"{int(clamped.kept.sum())} of {len(clamped)}"
        passes = f"{clamped.forward.mean():.1f} + {clamped.backward.mean():.1f}"
        rows.append([*row, ratio, gained, *overlap, kept, passes])
    told = "ratio to the best map", "difference", "IoU", "Dice", "kept", "passes"
    return pd.DataFrame(rows, columns=["change", "labels", "n", "uncalibrated", *methods, *told])


@benchmark
def main(
    changes: CHANGES = tuple(CHANGES),
    labels: LABELS = ("given",),
    methods: METHODS = tuple(METHODS)[:-1],
    sizes=(500,),
    seeds=3,
    seed0=0,
    out=RESULTS / "scenes.csv",
    summary=False,
):
    @lru_cache(maxsize=2)
    def samples(change, kind, n, seed):
        page, rng = code(), np.random.default_rng(seed)
        found = []
        for size in (n, N_TEST):
            X, y = page.scenes(size, page.order[450:], rng.integers(2**31))
            X = CHANGES[change](X, rng).astype(np.float32)
            found += [X, y if kind == "given" else drawn(logits_of(page.net, X), kind, rng)]
        return page.net.eval(), *found

    def run(change, kind, n, seed, method):
        network, X, y, new, truth = samples(change, kind, n, seed)
        calibrator = METHODS[method](network).fit(X, y)
        raw = logits_of(network, new).log_softmax(1).numpy()
        cost, kept = getattr(calibrator, "cost_", {}), getattr(calibrator, "accepted_", False)
        found, is_baseline = calibrator.predict_log_proba(new), ""
        if method == "clamping alone" and not kept:
            is_baseline = np.array_equal(found, TemperatureScaling(network).fit(X, y).predict_log_proba(new))
        return {
            **scores(truth, found),
            **{f"uncalibrated_{name}": value for name, value in scores(truth, raw).items()},
            **{"kept": kept, "is_baseline": is_baseline},
            **{"forward": cost.get("forward", 1.0), "backward": cost.get("backward", 0.0)},
        }

    cells = () if summary else product(changes, labels, sizes, range(seed0, seed0 + seeds), methods)
    print(table(record(out, COLUMNS, cells, run)).to_markdown(index=False, disable_numparse=True))
