"""Coverage of the bootstrap intervals where the truth is known, and the level of the paired test.

    python benchmarks/bootstrap_coverage.py
    python benchmarks/bootstrap_coverage.py --n-simulations 1000 --sizes 500 5000 --out coverage.csv

Logits are normal, labels are drawn from their softmax, and the predictions are ``softmax(logits / T)``: calibrated at
T = 1, under-confident above. The truth is the metric of 400,000 samples whose hits are replaced by their probability. A
coverage is good at the nominal level or somewhat
above, as an error of exactly 0 can only be covered from above. Lower ends above 0, of 100 samples, call calibrated
predictions off in 2.5 % of draws at most; at the other temperatures they are the power.

    python benchmarks/bootstrap_coverage.py --only lower --n-simulations 400 --n-resamples 100 --temperatures 0.6 1 1.5

Of twenty equal calibrators `compare_calibrators` calls any worse in 5 % of draws; of fifteen that are worse by .005 to
.06 nats beside five equal ones, 1,000 samples, it finds the share that is told.

    python benchmarks/bootstrap_coverage.py --only ties --n-simulations 400
"""

import argparse
import csv
from functools import partial

import numpy as np
from tabulate import tabulate

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
    smooth_calibration_error,
)
from skclamp.metrics._binning import Pairs, Probabilities
from skclamp.metrics._kolmogorov_smirnov import pairs_ks_error
from skclamp.metrics._smooth import pairs_smooth_error
from skclamp.selection._scoring import compare_losses

N_CLASSES = 10
N_TRUTH = 400_000
TEMPERATURES = (1.0, 1.05, 1.2, 1.5)
METHODS = ("debiased", "basic", "percentile")
COLUMNS = (
    "metric",
    "n",
    "T",
    "truth",
    "value",
    "debiased",
    *(f"{what} {m}" for m in METHODS for what in ("cover", "width")),
)


def uniform_truth(pairs, norm="l1"):
    """Error of pairs of conditional probabilities in 15 bins of equal width."""
    return float(pairs.table(np.arange(16) / 15).error(norm))


METRICS = {
    "ECE": (expected_calibration_error, uniform_truth),
    "ECE, l2": (partial(expected_calibration_error, norm="l2"), partial(uniform_truth, norm="l2")),
    "KS": (ks_calibration_error, pairs_ks_error),
    "smooth": (smooth_calibration_error, pairs_smooth_error),
}


LOWER = {
    "ECE": expected_calibration_error,
    "AECE": adaptive_expected_calibration_error,
    "SCE": classwise_calibration_error,
    "KS": ks_calibration_error,
    "smooth": smooth_calibration_error,
}


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def simulate(n_samples, temperature, random, n_classes=N_CLASSES):
    """Predictions, their labels, and the true probabilities."""
    logits = 2 * random.normal(size=(n_samples, n_classes))
    true = softmax(logits)
    y = (random.uniform(size=(n_samples, 1)) > true.cumsum(1)[:, :-1]).sum(1)
    return softmax(logits / temperature), y, true


def true_pairs(temperature):
    """Confidences of a large sample, with the probabilities of a hit in place of hits."""
    predicted, _, true = simulate(N_TRUTH, temperature, np.random.default_rng(1))
    confidence, prediction = Probabilities(predicted).top_label
    return Pairs(confidence, true[np.arange(len(true)), prediction])


def coverage_rows(sizes, n_simulations, n_resamples):
    """How often, and how narrowly, each interval covers the truth: one dict for each metric, size and temperature."""
    for temperature in TEMPERATURES:
        pairs = true_pairs(temperature)
        for n in sizes:
            data = [simulate(n, temperature, np.random.default_rng(seed + 10))[:2] for seed in range(n_simulations)]
            for name, (metric, truth) in METRICS.items():
                yield {"metric": name, "n": n, "T": temperature, **cover(metric, truth(pairs), data, n_resamples)}


def cover(metric, truth, data, n_resamples):
    row = {"truth": truth}
    for method in METHODS:
        found = [
            bootstrap_interval(metric, y, proba, method=method, n_resamples=n_resamples, random_state=seed)
            for seed, (proba, y) in enumerate(data)
        ]
        value, debiased, low, high, _ = np.array(found).T
        # The truth has an error of its own.
        inside = (low <= truth + 1e-4) & (truth - 1e-4 <= high)
        row |= {f"cover {method}": inside.mean(), f"width {method}": (high - low).mean()}
        if method == "debiased":
            row |= {"value": value.mean(), "debiased": debiased.mean()}
    return row


def lower_rows(n_simulations, n_resamples, temperatures, n=100):
    """How often each interval's lower end lies above 0: one dict for each metric, number of classes and temperature."""
    for n_classes in (2, N_CLASSES):
        for temperature in temperatures:
            data = [simulate(n, temperature, np.random.default_rng(k), n_classes)[:2] for k in range(n_simulations)]
            row = {"classes": n_classes, "n": n, "T": temperature}
            for name, metric in LOWER.items():
                options = {"n_resamples": n_resamples}
                intervals = [
                    bootstrap_interval(metric, y, proba, random_state=k, **options) for k, (proba, y) in enumerate(data)
                ]
                row[name] = np.mean([interval.low > 0 for interval in intervals])
            yield row


def equal_losses(n, random, n_calibrators=20, noise=0.5):
    """Losses of calibrators that have the same logits and independent noise, a row each."""
    logits = 2 * random.normal(size=(n, N_CLASSES))
    y = (random.uniform(size=(n, 1)) > softmax(logits).cumsum(1)[:, :-1]).sum(1)
    noisy = (softmax(logits + noise * random.normal(size=logits.shape)) for _ in range(n_calibrators))
    return np.array([-np.log(proba[np.arange(n), y]) for proba in noisy])


def tie_rows(n_simulations):
    """How often `compare_calibrators` calls an equal calibrator worse, and one that is worse: a dict for each size."""
    for n in (200, 1000):
        worse = np.r_[np.zeros(5), np.linspace(0.005, 0.06, 15)]
        called = np.zeros(3)
        for seed in range(n_simulations):
            losses = equal_losses(n, np.random.default_rng(seed))
            equal, shifted = (
                np.array([not row["tied"] for row in compare_losses(own, 0.05)])
                for own in (losses, losses + worse[:, None])
            )
            called += equal.any(), shifted[:5].any(), shifted[5:].mean()
        names = ("any of 20 equal", "any of 5 equal beside 15 worse", "worse ones found")
        yield {"n": n, **dict(zip(names, called / n_simulations, strict=True))}


def level_rows(n, n_simulations, n_resamples):
    """How often the paired test rejects at 5 % where there is no difference, and where there is one."""
    metrics = {"ECE": expected_calibration_error, "NLL": negative_log_likelihood, "Brier": brier_score}
    for what, pair in {
        "both calibrated, one sees less": two_calibrated,
        "equally far off": two_equally_off,
        "T = 1 against 1.2": two_different,
    }.items():
        data = [pair(n, np.random.default_rng(seed)) for seed in range(n_simulations)]
        for name, metric in metrics.items():
            p = [paired_bootstrap_test(metric, *d, n_resamples=n_resamples, random_state=0).pvalue for d in data]
            yield {"pairs": what, "metric": name, "n": n, "rejected": np.mean(np.array(p) < 0.05)}


def two_calibrated(n, random):
    """Two calibrated classifiers; the second doesn't tell pairs of classes apart."""
    proba, y, _ = simulate(n, 1.0, random)
    coarse = proba.reshape(n, -1, 2).mean(2).repeat(2, axis=1)
    return y, proba, coarse


def two_equally_off(n, random):
    """The same logits with independent noise, of which neither helps."""
    logits = 2 * random.normal(size=(n, N_CLASSES))
    true = softmax(logits)
    y = (random.uniform(size=(n, 1)) > true.cumsum(1)[:, :-1]).sum(1)
    return y, *(softmax(logits + 0.7 * random.normal(size=logits.shape)) for _ in range(2))


def two_different(n, random):
    proba, y, _ = simulate(n, 1.0, random)
    return y, proba, softmax(np.log(proba) / 1.2)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-simulations", type=int, default=300)
    parser.add_argument("--n-resamples", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.6, *TEMPERATURES], help="of the lower ends")
    parser.add_argument("--only", choices=["lower", "ties"], help="the lower ends, or the ties, alone")
    parser.add_argument("--out", metavar="CSV", help="file to write the coverages to")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    if options.only != "ties":
        print(f"lower ends above 0, {options.n_simulations} simulations")
        lower = list(lower_rows(options.n_simulations, options.n_resamples, options.temperatures))
        print(tabulate(lower, headers="keys", floatfmt=".3g"))
    if options.only != "lower":
        print(f"\ncalled worse than the best, {options.n_simulations} simulations")
        print(tabulate(list(tie_rows(options.n_simulations)), headers="keys", floatfmt=".3g"))
    if options.only:
        return
    rows = list(coverage_rows(options.sizes, options.n_simulations, options.n_resamples))
    print(f"\n95 % intervals, {options.n_simulations} simulations of {N_CLASSES} classes")
    print(tabulate([[row[name] for name in COLUMNS] for row in rows], headers=COLUMNS, floatfmt=".3g"))
    levels = list(level_rows(options.sizes[-1], options.n_simulations, options.n_resamples))
    print("\npaired test at 5 %")
    print(tabulate(levels, headers="keys", floatfmt=".3g"))
    if options.out:
        with open(options.out, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
