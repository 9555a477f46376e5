"""Neural clamping of several labels a sample: mosaics of digits, "which digits appear", as they are and changed.

    python benchmarks/mosaics.py --changes contrast dark noise blur --seeds 10
    python benchmarks/mosaics.py --changes "as they are" --labels given drawn --seeds 20 --methods clamping
    python benchmarks/mosaics.py --changes "as they are" --labels correlated rare missing --seeds 100 --methods clamping
    python benchmarks/mosaics.py --summary

A small network with a sigmoid for each digit learns mosaics of 900 digits; those of the others calibrate and judge.
Labels are given or, so that no perturbation can help, drawn from the network's own probabilities at T = 1.5:
independently, with a copula of correlation 0.7 between labels, of logits 4 lower (rare labels), or with half of the
labels unknown.
"""

import runpy
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from scipy.stats import norm

from _estimates import paired_estimate
from _runner import RESULTS, benchmark, record
from choosing import cell
from skclamp import CalibratorSelector, NeuralClampingCalibrator, PlattScaling, TemperatureScaling
from skclamp.metrics import negative_log_likelihood

TRUE_TEMPERATURE, CORRELATION, RARER, N_TEST = 1.5, 0.7, 4.0, 2000
CHANGES = {
    "as they are": lambda X, rng: X,
    "contrast": lambda X, rng: 0.5 * X + 0.25,
    "dark": lambda X, rng: 0.5 * X,
    "noise": lambda X, rng: X + rng.normal(0, 0.25, X.shape),
    "blur": lambda X, rng: (X + np.roll(X, 1, 2) + np.roll(X, 1, 3)) / 3,
}
LABELS = ("given", "drawn", "correlated", "rare", "missing")
OUTPUTS = {"temperature": TemperatureScaling, "Platt": PlattScaling, "selector": CalibratorSelector}
METHODS = {**OUTPUTS, "clamping": partial(NeuralClampingCalibrator, random_state=0)}
COLUMNS = ("change", "labels", "n", "seed", "method", "loss", "uncalibrated", "kept", "forward", "backward")


@lru_cache(maxsize=1)
def code():
    """The names of the page in the user guide: the function `mosaics`, and a trained network."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "docs/_code/mosaics.py")))


def drawn(network, X, kind, rng):
    """Logits that labels are drawn from, and the labels."""
    with torch.no_grad():
        z = network(torch.from_numpy(X)).double().numpy() / TRUE_TEMPERATURE
    z = z - RARER if kind == "rare" else z
    uniform = rng.uniform(size=z.shape)
    if kind == "correlated":
        shared = rng.normal(size=(len(z), 1))
        uniform = norm.cdf(np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * rng.normal(size=z.shape))
    labels = (uniform < expit(z)).astype(float)
    if kind == "missing":
        labels[rng.uniform(size=z.shape) < 0.5] = np.nan
    return labels


class Rarer(torch.nn.Module):
    """A network whose labels are rarer."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        """Logits."""
        return self.network(x) - RARER * TRUE_TEMPERATURE


def table(results):
    """One row for each change and kind of labels: loss, that of clamping over the best map of outputs, share kept."""
    rows, methods = [], [name for name in METHODS if name in set(results.method)]
    for (change, labels, n), part in results.groupby(["change", "labels", "n"], sort=False):
        loss = part.pivot(index="seed", columns="method", values="loss").reindex(columns=methods)
        outputs = [name for name in OUTPUTS if name in methods and loss[name].notna().any()]
        shown = ["" if np.isnan(mean) else f"{mean:.4f}" for mean in loss.mean()]
        row = [change, labels, n, f"{part.uncalibrated.mean():.4f}", *shown]
        clamped = part[part.method == "clamping"]
        ratio, gained = "", ""
        if len(clamped) and outputs:
            pairs = loss[["clamping", loss[outputs].mean().idxmin()]].dropna()
            ratio = f"{pairs.iloc[:, 0].mean() / pairs.iloc[:, 1].mean():.2f}"
            gained = cell(paired_estimate(pairs.iloc[:, 0], pairs.iloc[:, 1]))
        kept = f"{int(clamped.kept.sum())} of {len(clamped)}"
        passes = f"{clamped.forward.mean():.1f} + {clamped.backward.mean():.1f}"
        rows.append([*row, ratio, gained, kept, passes])
    told = "ratio to the best map", "difference", "kept", "passes"
    return pd.DataFrame(rows, columns=["change", "labels", "n", "uncalibrated", *methods, *told])


@benchmark
def main(
    changes: CHANGES = tuple(CHANGES),
    labels: LABELS = ("given",),
    methods: METHODS = tuple(METHODS),
    sizes=(500,),
    seeds=3,
    seed0=0,
    out=RESULTS / "mosaics.csv",
    summary=False,
):
    @lru_cache(maxsize=2)
    def samples(change, kind, n, seed):
        page, rng = code(), np.random.default_rng(seed)
        network = Rarer(page.net) if kind == "rare" else page.net
        found = []
        for size in (n, N_TEST):
            X, Y = page.mosaics(size, page.order[900:], rng.integers(2**31))
            X = CHANGES[change](X, rng).astype(np.float32)
            found += [X, Y.astype(float) if kind == "given" else drawn(page.net, X, kind, rng)]
        return network.eval(), *found

    def run(change, kind, n, seed, method):
        network, X, Y, new, truth = samples(change, kind, n, seed)
        calibrator = METHODS[method](network).fit(X, Y)
        with torch.no_grad():
            raw = network(torch.from_numpy(new)).double().sigmoid().numpy()
        cost = getattr(calibrator, "cost_", {})
        return {
            "loss": negative_log_likelihood(truth, calibrator.predict_proba(new)),
            "uncalibrated": negative_log_likelihood(truth, raw),
            "kept": getattr(calibrator, "accepted_", False),
            "forward": cost.get("forward", 1.0),
            "backward": cost.get("backward", 0.0),
        }

    cells = () if summary else product(changes, labels, sizes, range(seed0, seed0 + seeds), methods)
    print(table(record(out, COLUMNS, cells, run)).to_markdown(index=False, disable_numparse=True))
