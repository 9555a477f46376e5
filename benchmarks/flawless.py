"""Temperature scaling of networks that make hardly a mistake, on few samples: many draws without any at all.

    python benchmarks/flawless.py
    python benchmarks/flawless.py --draws 20

Labels are drawn from ``softmax(z)``, z = scale * (one-hot + noise): T = 1 is the truth. 100 draws each, of 100 samples
at an accuracy of 99.4 % and of 500 at 99.8 % calibrate; 100,000 others judge. Told for the draws without a mistake, for
the others and for all: the mean NLL of T = 1, of T at its lower bound, of labels smoothed as Platt's, and of the prior
that TemperatureScaling has where the loss falls down to the bound.
"""

import numpy as np
import pandas as pd
import torch
from tabulate import tabulate

from _runner import benchmark
from skclamp import TemperatureScaling
from skclamp._solvers.temperature import log_likelihoods, solve_temperature

PROBLEMS = {"99.4 %, n = 100": (10, 0.2, 14.0, 100), "99.8 %, n = 500": (10, 0.2, 21.0, 500)}
N_TEST = 100_000


def draw(n_samples, n_classes, noise, scale, rng):
    """Logits that are their labels' own log-probabilities."""
    top = np.eye(n_classes)[rng.integers(n_classes, size=n_samples)]
    logits = scale * (top + noise * rng.normal(size=top.shape))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(1)


def temperatures(logits, y):
    """T by method."""
    tensors = torch.from_numpy(logits), torch.from_numpy(y)
    return {
        "T = 1": 1.0,
        "at the bound": solve_temperature(*tensors).temperature,
        "smoothed": solve_temperature(*tensors, smooth=True).temperature,
        "skclamp": TemperatureScaling(classes=range(logits.shape[1])).fit(logits, y).temperature_,
    }


def run(name, n_draws):
    """One row a draw: whether it is without a mistake, and each method's NLL on other samples."""
    n_classes, noise, scale, n_samples = PROBLEMS[name]
    rng = np.random.default_rng(0)
    test = tuple(map(torch.from_numpy, draw(N_TEST, n_classes, noise, scale, rng)))
    rows = []
    for _ in range(n_draws):
        logits, y = draw(n_samples, n_classes, noise, scale, rng)
        scores = {key: -log_likelihoods(*test, T).mean().item() for key, T in temperatures(logits, y).items()}
        rows.append({"problem": name, "flawless": bool((logits.argmax(1) == y).all()), **scores})
    return pd.DataFrame(rows)


def summary(draws):
    """Mean NLL of each method on the draws without a mistake, on the others, and on all."""
    rows = []
    for name, part in draws.groupby("problem", sort=False):
        for kind, rows_of in (("flawless", part[part.flawless]), ("others", part[~part.flawless]), ("all", part)):
            scores = rows_of.drop(columns=["problem", "flawless"]).mean()
            rows.append({"problem": name, "draws": f"{kind}: {len(rows_of)}", **scores})
    return pd.DataFrame(rows)


@benchmark
def main(draws=100):
    print(
        tabulate(
            summary(pd.concat([run(name, draws) for name in PROBLEMS])), headers="keys", showindex=False, floatfmt=".4f"
        )
    )
