"""Coverage of intervals of metrics on samples whose true probabilities are known.

    python benchmarks/few_samples.py
    python benchmarks/few_samples.py --problems "rare, too low" --sizes 50 200 --draws 1000
    python benchmarks/few_samples.py --problems "three, calibrated" "three classes" --metrics classwise debiased
    python benchmarks/few_samples.py --summary

Labels are drawn from true probabilities, and a classifier tells others, of logits times 1.6 where no other is named.
Several labels of a sample, rows of a patient and pixels of an image agree in part, by a Gaussian copula. The truth is
the error of very many samples with the true probabilities in the place of labels. Shown is, for each cell, how often in
100 the truth lies below the lower end, and above the upper one, of the interval of 95 %, and the mean width. Sizes are
of independent units: samples, patients or images.
"""

from functools import cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax
from scipy.stats import norm

from _runner import RESULTS, benchmark, record
from dense_metrics import images
from grouped_metrics import patients
from skclamp.metrics import (
    bootstrap_interval,
    calibration_intercept,
    calibration_slope,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    expected_cost,
    group_calibration_error,
    integrated_calibration_index,
    ks_calibration_error,
    multicalibration_error,
    net_benefit,
)

SHARPNESS, CORRELATION, N_TRUTH, N_GROUPS = 1.6, 0.7, 400_000, 4
METRICS = {
    "ece": expected_calibration_error,
    "ks": ks_calibration_error,
    "classwise": classwise_calibration_error,
    "debiased": debiased_calibration_error,
    "ici": integrated_calibration_index,
    "e50": partial(integrated_calibration_index, quantile=0.5),
    "e90": partial(integrated_calibration_index, quantile=0.9),
    "group": group_calibration_error,
    "multicalibration": multicalibration_error,
    "slope": calibration_slope,
    "intercept": calibration_intercept,
    "net benefit": partial(net_benefit, threshold=0.3),
    "cost": partial(expected_cost, costs=[[0, 1], [4, 0]]),
}
OF_GROUPS = ("group", "multicalibration")
# Those that were measured first, on all problems.
ON_ALL = ("ece", "ks")
COLUMNS = ("problem", "n", "metric", "draw", "truth", "value", "debiased", "low", "high")


class Sample(NamedTuple):
    """What a metric is given, and the told and the true probability of each of its events."""

    y: np.ndarray
    proba: np.ndarray
    told: np.ndarray
    true: np.ndarray
    options: dict = {}


def two_classes(rng, n, told, mean=0.0, spread=2.0):
    """One event a sample, of normal log-odds."""
    z = rng.normal(mean, spread, n)
    true = expit(z)
    return Sample((rng.random(n) < true).astype(int), told(z), told(z), true)


def three_classes(rng, n, sharpness=SHARPNESS):
    """One of three."""
    z = rng.normal(scale=1.5, size=(n, 3))
    y, proba = (z + rng.gumbel(size=z.shape)).argmax(1), softmax(sharpness * z, axis=1)
    return Sample(y, proba, proba, softmax(z, axis=1))


def ten_classes(rng, n):
    """The most probable of ten."""
    z = rng.normal(scale=2.0, size=(n, 10))
    y, proba = (z + rng.gumbel(size=z.shape)).argmax(1), softmax(SHARPNESS * z, axis=1)
    return Sample(y, proba, proba.max(1), softmax(z, axis=1).max(1))


def eight_labels(rng, n, unknown=0.5):
    """Labels that come together, some of them unknown."""
    z, shared = rng.normal(-1.0, 2.0, (n, 8)), rng.normal(size=(n, 1))
    uniform = norm.cdf(CORRELATION**0.5 * shared + (1 - CORRELATION) ** 0.5 * rng.normal(size=z.shape))
    y, told = (uniform < expit(z)).astype(float), expit(SHARPNESS * z)
    y[rng.random(z.shape) < unknown] = np.nan
    return Sample(y, told, told.ravel(), expit(z).ravel(), {"average": "micro"})


def rows_of_patients(rng, n):
    """One event a row."""
    patient, z, y = patients(n, "some", rng)
    told = expit(SHARPNESS * z)
    return Sample(y, told, told, expit(z), {"groups": patient})


def copies(rng, n, n_copies=3):
    """Each sample several times."""
    z = np.repeat(rng.normal(scale=2.0, size=n), n_copies)
    sample, told = np.repeat(np.arange(n), n_copies), expit(SHARPNESS * z)
    return Sample((rng.random(n)[sample] < expit(z)).astype(int), told, told, expit(z), {"groups": sample})


def pixels(rng, n):
    """The most probable of four classes at each place."""
    y, told, true = images(n, "overconfident", rng)
    return Sample(y, told, told.max(1).ravel(), true.max(1).ravel())


def local(rng, n):
    """One event a sample, told right but for three of fifteen bins."""
    told = rng.random(n)
    true = np.where((told > 0.4) & (told < 0.6), told - 0.4, told)
    return Sample((rng.random(n) < true).astype(int), told, told, true)


def scaled(z, factor=1.0, offset=0.0):
    """Probabilities of log-odds times a factor, and moved."""
    return expit(factor * z + offset)


# Two in a hundred are positive.
rare = partial(two_classes, mean=-5.0, spread=1.5)
PROBLEMS = {
    "two classes": partial(two_classes, told=partial(scaled, factor=SHARPNESS)),
    "two, calibrated": partial(two_classes, told=scaled),
    "two, under-confident": partial(two_classes, told=partial(scaled, factor=0.6)),
    "two, moved": partial(two_classes, told=partial(scaled, offset=1.0)),
    "local": local,
    "two, sharp and moved": partial(two_classes, told=partial(scaled, factor=SHARPNESS, offset=0.3)),
    "three classes": three_classes,
    "three, calibrated": partial(three_classes, sharpness=1.0),
    "ten classes": ten_classes,
    "eight labels": partial(eight_labels, unknown=0.0),
    "eight labels, half unknown": eight_labels,
    "patients": rows_of_patients,
    "copies": copies,
    "places": pixels,
    "rare, calibrated": partial(rare, told=scaled),
    "rare, too low": partial(rare, told=partial(scaled, offset=-1.0)),
    "rare, too high": partial(rare, told=partial(scaled, offset=1.0)),
    "rare, over-confident": partial(rare, told=partial(scaled, factor=SHARPNESS, offset=2.5)),
}
SIZES = (30, 50, 100, 200, 500)


def metric_of(name, n):
    """A metric; where it is of groups, they have nothing to do with the probabilities."""
    return partial(METRICS[name], by=np.arange(n) % N_GROUPS) if name in OF_GROUPS else METRICS[name]


@cache
def truth(problem, metric):
    """The metric of very many samples, of each class as often as it is true."""
    n = N_TRUTH if problem not in ("patients", "places") else 3000
    sample = PROBLEMS[problem](np.random.default_rng(2**20), n)
    true = np.stack([1 - sample.true, sample.true], 1) if sample.true.ndim == 1 else sample.true
    y = np.repeat(np.arange(true.shape[1]), len(true))
    told = np.concatenate(true.shape[1] * [sample.told])
    value = metric_of(metric, len(y))(y, told, sample_weight=true.T.ravel())
    return value / np.sqrt(n) if metric == "multicalibration" else value


def measure(problem, n, metric, draw):
    sample = PROBLEMS[problem](np.random.default_rng([draw, n]), n)
    options = dict(sample.options)
    groups = options.pop("groups", None)
    found = bootstrap_interval(
        partial(metric_of(metric, n), **options), sample.y, sample.proba, groups=groups, random_state=draw
    )
    # In standard deviations of so many samples.
    scale = np.sqrt(n) if metric == "multicalibration" else 1.0
    return {"truth": scale * truth(problem, metric), **found._asdict()}


def table(results):
    """One row a cell: shares of the draws in percent, and the mean width."""
    results["below"] = 100.0 * (results.truth < results.low)
    results["above"] = 100.0 * (results.truth > results.high)
    results["width"] = results.high - results.low
    groups = results.groupby(["problem", "metric", "n"], sort=False)
    means = groups[["truth", "value", "debiased", "below", "above", "width"]].mean()
    means.insert(0, "draws", groups.size())
    return means.reset_index()


@benchmark
def main(
    problems: PROBLEMS = tuple(PROBLEMS),
    sizes=SIZES,
    metrics: METRICS = ON_ALL,
    draws=300,
    out=RESULTS / "few_samples.csv",
    summary=False,
):
    cells = () if summary else product(problems, sizes, metrics, range(draws))
    print(table(record(out, COLUMNS, cells, measure)).to_markdown(index=False, floatfmt=".3g"))
