"""How often `compare_calibrators` calls an equal calibrator worse, and how often one that is worse.

    python benchmarks/ties.py
    python benchmarks/ties.py --draws 50

Twenty calibrators have the same logits and independent noise. Of twenty equal ones any is called worse in 5 % of draws
at most; of fifteen that are worse by .005 to .06 nats beside five equal ones the share that is told is the power.
"""

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from _runner import benchmark
from skclamp.selection._scoring import compare_losses

N_EQUAL, LEVEL = 5, 0.05
WORSE = np.r_[np.zeros(N_EQUAL), np.linspace(0.005, 0.06, 15)]


def measure(n_samples, seed, n_classes=10, noise=0.5):
    """Whether any equal calibrator is called worse, alone and beside worse ones, and the share of these that is."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n_samples, n_classes))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    noisy = (log_softmax(logits + noise * rng.normal(size=logits.shape), axis=1) for _ in WORSE)
    losses = -np.array([log_proba[np.arange(n_samples), y] for log_proba in noisy])
    equal, shifted = (
        np.array([not row["tied"] for row in compare_losses(own, LEVEL)]) for own in (losses, losses + WORSE[:, None])
    )
    return {
        "samples": n_samples,
        "any of 20 equal": equal.any(),
        "any of 5 equal beside 15 worse": shifted[:N_EQUAL].any(),
        "worse ones found": shifted[N_EQUAL:].mean(),
    }


@benchmark
def main(sizes=(200, 1000), draws=300):
    results = pd.DataFrame([measure(n, seed) for n in sizes for seed in range(draws)])
    print(results.groupby("samples").mean().to_string(float_format="{:.3f}".format))
