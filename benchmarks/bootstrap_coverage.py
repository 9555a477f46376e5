"""Coverage of the bootstrap intervals where the truth is known, and the level of the paired test.

    python benchmarks/bootstrap_coverage.py
    python benchmarks/bootstrap_coverage.py --n-simulations 1000 --sizes 500 5000 --out coverage.csv

Logits are normal, labels are drawn from their softmax, and the predictions are ``softmax(logits / T)``: calibrated at
T = 1, under-confident above. The truth is the metric of 400,000 samples whose hits are replaced by their probability. A
coverage is good at the nominal level or somewhat above, as an error of exactly 0 can only be covered from above. Lower
ends above 0, of 100 samples, call calibrated predictions off in 2.5 % of draws at most; at the other temperatures they
are the power.

    python benchmarks/bootstrap_coverage.py --only lower --n-simulations 400 --n-resamples 100 --temperatures 0.6 1 1.5

Of twenty equal calibrators `compare_calibrators` calls any worse in 5 % of draws; of fifteen that are worse by .005 to
.06 nats beside five equal ones, 1,000 samples, it finds the share that is told.

    python benchmarks/bootstrap_coverage.py --only ties --n-simulations 400
"""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax
from tabulate import tabulate

from _runner import benchmark
from skclamp import metrics
from skclamp.metrics._binning import Pairs, Probabilities
from skclamp.metrics._kolmogorov_smirnov import pairs_ks_error
from skclamp.metrics._smooth import pairs_smooth_error
from skclamp.selection._scoring import compare_losses

N_CLASSES = 10
N_TRUTH = 400_000
TEMPERATURES = (1.0, 1.05, 1.2, 1.5)
ONLY = ("", "lower", "ties")
METHODS = ("debiased", "basic", "percentile")
COLUMNS = (
    *("metric", "n", "T", "truth", "value", "debiased"),
    *(f"{what} {method}" for method in METHODS for what in ("cover", "width")),
)
LOWER = {
    "ECE": metrics.expected_calibration_error,
    "AECE": metrics.adaptive_expected_calibration_error,
    "SCE": metrics.classwise_calibration_error,
    "KS": metrics.ks_calibration_error,
    "smooth": metrics.smooth_calibration_error,
}


def uniform_truth(pairs, norm="l1"):
    """Error of pairs of conditional probabilities in 15 bins of equal width."""
    return float(pairs.table(np.arange(16) / 15).error(norm))


METRICS = {
    "ECE": (LOWER["ECE"], uniform_truth),
    "ECE, l2": (partial(LOWER["ECE"], norm="l2"), partial(uniform_truth, norm="l2")),
    "KS": (LOWER["KS"], pairs_ks_error),
    "smooth": (LOWER["smooth"], pairs_smooth_error),
}


def drawn(n_samples, random, n_classes=N_CLASSES):
    """Logits, and labels of their softmax."""
    logits = 2 * random.normal(size=(n_samples, n_classes))
    below = softmax(logits, axis=1).cumsum(1)[:, :-1]
    return logits, (random.uniform(size=(n_samples, 1)) > below).sum(1)


def simulate(n_simulations, n, temperature, first_seed, n_classes=N_CLASSES):
    """Labels and predictions, simulation by simulation."""
    draws = (drawn(n, np.random.default_rng(first_seed + k), n_classes) for k in range(n_simulations))
    return [(y, softmax(logits / temperature, axis=1)) for logits, y in draws]


def coverage_rows(sizes, n_simulations, n_resamples):
    """How often, and how narrowly, each interval covers the truth: one dict for each metric, size and temperature."""
    for temperature in TEMPERATURES:
        logits, _ = drawn(N_TRUTH, np.random.default_rng(1))
        confidence, prediction = Probabilities(softmax(logits / temperature, axis=1)).top_label
        pairs = Pairs(confidence, softmax(logits, axis=1)[np.arange(N_TRUTH), prediction])
        for n in sizes:
            data = simulate(n_simulations, n, temperature, 10)
            for name, (metric, truth) in METRICS.items():
                yield {"metric": name, "n": n, "T": temperature, **cover(metric, truth(pairs), data, n_resamples)}


def cover(metric, truth, data, n_resamples):
    row = {"truth": truth}
    for method in METHODS:
        bootstrap = partial(metrics.bootstrap_interval, metric, method=method, n_resamples=n_resamples)
        intervals = [bootstrap(*pair, random_state=seed) for seed, pair in enumerate(data)]
        value, debiased, low, high, _ = np.array(intervals).T
        # The truth has an error of its own.
        inside = (low <= truth + 1e-4) & (truth - 1e-4 <= high)
        row |= {f"cover {method}": inside.mean(), f"width {method}": (high - low).mean()}
        if method == "debiased":
            row |= {"value": value.mean(), "debiased": debiased.mean()}
    return row


def lower_rows(n_simulations, n_resamples, temperatures, n=100):
    """How often each interval's lower end lies above 0: one dict for each metric, number of classes and temperature."""
    bootstrap = partial(metrics.bootstrap_interval, n_resamples=n_resamples)
    for n_classes, temperature in product((2, N_CLASSES), temperatures):
        data = simulate(n_simulations, n, temperature, 0, n_classes)
        above = {
            name: np.mean([bootstrap(metric, *pair, random_state=k).low > 0 for k, pair in enumerate(data)])
            for name, metric in LOWER.items()
        }
        yield {"classes": n_classes, "n": n, "T": temperature, **above}


def tie_rows(n_simulations, n_calibrators=20, noise=0.5):
    """How often `compare_calibrators` calls an equal calibrator worse, and one that is worse: a dict for each size.

    Calibrators have the same logits and independent noise.
    """
    worse = np.r_[np.zeros(5), np.linspace(0.005, 0.06, 15)]
    for n in (200, 1000):
        called = np.zeros(3)
        for seed in range(n_simulations):
            random = np.random.default_rng(seed)
            logits, y = drawn(n, random)
            noisy = (softmax(logits + noise * random.normal(size=logits.shape), axis=1) for _ in range(n_calibrators))
            losses = np.array([-np.log(proba[np.arange(n), y]) for proba in noisy])
            equal, shifted = (
                np.array([not row["tied"] for row in compare_losses(own, 0.05)])
                for own in (losses, losses + worse[:, None])
            )
            called += equal.any(), shifted[:5].any(), shifted[5:].mean()
        names = ("any of 20 equal", "any of 5 equal beside 15 worse", "worse ones found")
        yield {"n": n, **dict(zip(names, called / n_simulations, strict=True))}


def level_rows(n, n_simulations, n_resamples):
    """How often the paired test rejects at 5 % where there is no difference, and where there is one."""
    scores = {"ECE": LOWER["ECE"], "NLL": metrics.negative_log_likelihood, "Brier": metrics.brier_score}
    for what, pair in PAIRS.items():
        draws = ((*drawn(n, random), random) for random in map(np.random.default_rng, range(n_simulations)))
        data = [(y, *pair(logits, random)) for logits, y, random in draws]
        for name, metric in scores.items():
            test = partial(metrics.paired_bootstrap_test, metric, n_resamples=n_resamples, random_state=0)
            rejected = np.mean([test(*both).pvalue < 0.05 for both in data])
            yield {"pairs": what, "metric": name, "n": n, "rejected": rejected}


def two_calibrated(logits, random):
    """Of which the second doesn't tell pairs of classes apart."""
    proba = softmax(logits, axis=1)
    return proba, proba.reshape(len(proba), -1, 2).mean(2).repeat(2, axis=1)


PAIRS = {
    "both calibrated, one sees less": two_calibrated,
    # The same logits with independent noise, of which neither helps.
    "equally far off": lambda logits, random: [
        softmax(logits + 0.7 * random.normal(size=logits.shape), axis=1) for _ in range(2)
    ],
    "T = 1 against 1.2": lambda logits, random: (softmax(logits, axis=1), softmax(logits / 1.2, axis=1)),
}


@benchmark
def main(
    n_simulations=300,
    n_resamples=500,
    sizes=(500, 5000),
    temperatures=(0.6, *TEMPERATURES),
    only: ONLY = "",
    out: Path = None,
):
    def show(title, rows):
        frame = pd.DataFrame(rows)
        print(f"\n{title}, {n_simulations} simulations")
        print(tabulate(frame, headers="keys", floatfmt=".3g", showindex=False))
        return frame

    if only != "ties":
        show("lower ends above 0", lower_rows(n_simulations, n_resamples, temperatures))
    if only != "lower":
        show("called worse than the best", tie_rows(n_simulations))
    if not only:
        rows = show(f"95 % intervals, {N_CLASSES} classes", coverage_rows(sizes, n_simulations, n_resamples))
        show("paired test at 5 %", level_rows(sizes[-1], n_simulations, n_resamples))
        if out:
            rows.to_csv(out, index=False, columns=COLUMNS)
