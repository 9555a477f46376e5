"""Coverage of intervals and level of tests where rows of one patient depend on each other.

    python benchmarks/grouped_metrics.py
    python benchmarks/grouped_metrics.py --units rows --sizes 60 --draws 20
    python benchmarks/grouped_metrics.py --summary

Patients of 1 to 60 rows of two classes, whose log-odds have a part of the patient and one of each row, or are the
patient's alone ("one"). A row's label is 1 where a normal number, in part the patient's, lies below the true
probability's quantile: labels are drawn from the probabilities while those of a patient agree. Intervals are of
probabilities that tell the truth, or that are too sure, and miss where the truth is outside. Tests are of two maps that
lower and raise all log-odds alike, which by symmetry are equally good, and miss where p is below 0.05. Units of the
bootstrap are patients, by `groups`, or rows.
"""

from functools import lru_cache
from itertools import product

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from _runner import RESULTS, benchmark, record
from skclamp import PlattScaling, compare_calibrators
from skclamp.metrics import (
    bootstrap_interval,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    paired_bootstrap_test,
)

UNITS, LARGEST, CORRELATION, SHARPNESS, GAP, N_TRUTH = ("patients", "rows"), 60, 0.5, 1.5, 0.5, 10**6
# Share of the log-odds' variance that is the patient's.
KINDS = {"some": 0.5, "one": 1.0}
METRICS = {"nll": negative_log_likelihood, "brier": brier_score, "ece": expected_calibration_error}
COLUMNS = ("units", "kind", "n", "seed", *(f"{name}, {how}" for name in METRICS for how in ("true", "sure", "test")))
COLUMNS += ("comparison",)


def log_odds(rng, patient, share):
    """Of rows of these patients: normal numbers, of variance 4."""
    of_patients, of_rows = rng.normal(size=patient.max() + 1)[patient], rng.normal(size=len(patient))
    return 2 * (share**0.5 * of_patients + (1 - share) ** 0.5 * of_rows)


def patients(n, kind, rng):
    """The patient of each row, its true log-odds and its label."""
    patient = np.repeat(np.arange(n), rng.integers(1, LARGEST + 1, size=n))
    z = log_odds(rng, patient, KINDS[kind])
    agreed = CORRELATION**0.5 * rng.normal(size=n)[patient]
    drawn = agreed + (1 - CORRELATION) ** 0.5 * rng.normal(size=len(z))
    return patient, z, (drawn < norm.ppf(expit(z))).astype(int)


@lru_cache
def truth(name, sharpness):
    """The metric of many independent rows, without the noise of labels."""
    z = 2 * norm.ppf((np.arange(N_TRUTH) + 0.5) / N_TRUTH)
    true, told = expit(z), expit(sharpness * z)
    if name == "ece":
        sums = np.bincount(np.searchsorted(np.arange(1, 15) / 15, told), true - told, 15)
        return float(np.abs(sums).sum() / N_TRUTH)
    losses = (-np.log(told), -np.log1p(-told)) if name == "nll" else ((1 - told) ** 2, told**2)
    return float((true * losses[0] + (1 - true) * losses[1]).mean())


@lru_cache
def lowering():
    """A map, fitted to logits, that lowers them by twice the gap."""
    logits = np.repeat(np.linspace(-8, 8, 401), 2)
    proba = expit(logits - 2 * GAP)
    y = np.arange(len(logits)) % 2
    return PlattScaling().fit(logits, y, sample_weight=1e4 * np.where(y, proba, 1 - proba))


def misses(units, kind, n, seed):
    """What a draw misses, by column."""
    patient, z, y = patients(n, kind, np.random.default_rng(seed))
    options = {"groups": patient} if units == "patients" else {}
    found = {}
    for name, metric in METRICS.items():
        for how, sharpness in (("true", 1.0), ("sure", SHARPNESS)):
            told = bootstrap_interval(metric, y, expit(sharpness * z), random_state=seed, **options)
            found[f"{name}, {how}"] = not told.low <= truth(name, sharpness) <= told.high
        pair = expit(z + GAP), expit(z - GAP)
        found[f"{name}, test"] = paired_bootstrap_test(metric, y, *pair, random_state=seed, **options).pvalue < 0.05
    options = {"groups_test": patient} if options else {}
    data, few = ([-4.0, -1, 1, 4], [0, 1, 0, 1], z + GAP, y), {"n_resamples": 2, "n_draws": 1, "verbose": 0}
    rows = compare_calibrators(None, *data, calibrators=[lowering()], **few, **options).rows
    return {**found, "comparison": not all(row.tied for row in rows)}


def table(results):
    """One row a setting: shares of the draws that miss, in percent."""
    groups = results.groupby(["units", "kind", "n"], sort=False)
    means = 100 * groups[list(COLUMNS[4:])].mean()
    means.insert(0, "draws", groups.size())
    return means.reset_index()


@benchmark
def main(
    units: UNITS = UNITS,
    kinds: KINDS = tuple(KINDS),
    sizes=(60, 200),
    draws=120,
    out=RESULTS / "grouped_metrics.csv",
    summary=False,
):
    cells = () if summary else product(units, kinds, sizes, range(draws))
    print(table(record(out, COLUMNS, cells, misses)).to_markdown(index=False, floatfmt=".1f"))
