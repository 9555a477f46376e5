"""Calibration within groups and along numbers: `CovariateScaling` beside one map for all, and one map for each group.

    python benchmarks/covariates.py --data DIR
    python benchmarks/covariates.py --data DIR --summary

DIR holds, at any depth, records of logits ``z``, labels ``y``, a ``group``, numbers ``x`` and the ``unit`` of samples:
boxes of two detectors by class, size and position, in images; answers of language models by category and length of the
question; and images of CIFAR-10 behind six corruptions. Half of the units judge; of the others, in a random order, the
first n samples calibrate. "random groups" has groups drawn at random and no numbers, "noise columns" four more columns
of noise: neither should cost over "shared". "new groups" judges a fifth of the groups, by a map of the other groups and
no numbers, and "shared, new groups" the map of all.

MCGrad boosts trees on groups and numbers, from the predictions of "shared". It brings some forty packages, and is in no
extra for that:

    pip install mcgrad==0.1.5
    python benchmarks/covariates.py --data DIR --methods MCGrad
"""

import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from _runner import RESULTS, benchmark, record, show
from skclamp import CovariateScaling, TemperatureScaling
from skclamp.metrics import expected_calibration_error, negative_log_likelihood

COLUMNS = ("record", "n", "seed", "method", "nll", "worst_ece", "kept", "units", "seconds")
METHODS = (
    "uncalibrated",
    "shared",
    "Platt per group",
    "isotonic per group",
    "guarded",
    "random groups",
    "noise columns",
)
PEERS = ("MCGrad",)
OF_NEW_GROUPS = ("shared, new groups", "new groups")
OF_TWO_CLASSES = ("isotonic per group", "noise columns", *PEERS)
RECORDS = (
    "coco_faster-rcnn-resnet-50",
    "coco_ssd-inception-v2",
    "llm_Llama-3.2-1B-Instruct",
    "llm_Qwen3-8B",
    "llm_gemini-2.0-flash",
    "llm_gpt-4.1-nano",
    "llm_gpt-4o-mini-2024-07-18",
    "llm_stated_claude-3-5-haiku-20241022",
    "cifar10_resnet20_corrupted",
)
# Smaller groups have the map of all.
LEAST, LEAST_ISOTONIC, LEAST_JUDGED = 2, 20, 200


@lru_cache(maxsize=1)
def load(path):
    with np.load(path, allow_pickle=True) as file:
        found = dict(file)
    found["unit"] = np.unique(found["unit"], return_inverse=True)[1]
    found["group"] = found["names"][found["group"]] if len(found["names"]) > found["group"].max() else found["group"]
    return found


def halves(unit, n, seed):
    """Numbers of the first n samples that calibrate, and of those that judge."""
    rng = np.random.default_rng([56, seed])
    place = rng.permutation(unit.max() + 1)[unit]
    order = np.argsort(place, kind="stable")
    first = order[place[order] < (unit.max() + 1) // 2]
    return first[:n], order[len(first) :]


def table_of(found, rows, rng, method):
    groups = found["group"]
    if method == "random groups":
        return {"group": rng.permutation(groups)[rows].astype(str)}
    table = {"group": groups[rows].astype(str)}
    if "x" in found and not method.endswith("new groups"):
        table |= {f"x{number}": column for number, column in enumerate(found["x"][rows].T)}
    if method == "noise columns":
        table |= {f"noise {number}": rng.normal(size=len(rows)) for number in range(4)}
    return table


def group_by_group(make, least, z, y, group, new, new_group):
    """Predictions of a map of each group that has samples enough of both labels, elsewhere of one of all."""
    proba = make(z, y)(new)
    for name in np.unique(group):
        own = group == name
        if own.sum() >= least and 0 < y[own].sum() < own.sum():
            proba[new_group == name] = make(z[own], y[own])(new[new_group == name])
    return proba


def isotonic(z, y):
    fitted = IsotonicRegression(out_of_bounds="clip", y_min=1e-3, y_max=1 - 1e-3).fit(z, y)
    return fitted.predict


def platt(z, y):
    fitted = CovariateScaling(pooling="complete", classes=[0, 1]).fit(z, y)
    return lambda new: fitted.predict_proba(new)[:, 1]


def mcgrad(p, y, table, new_p, new_table):
    """Probabilities of new samples by MCGrad, as it comes, which starts from probabilities of one map for all."""
    from mcgrad.methods import MCGrad

    columns = {"categorical_feature_column_names": ["group"]}
    columns["numerical_feature_column_names"] = [name for name in table if name != "group"]
    fitted = MCGrad().fit(pd.DataFrame({**table, "p": p, "y": y}), "p", "y", **columns)
    return fitted.predict(pd.DataFrame({**new_table, "p": new_p}), "p", **columns)


def temperature(z, y):
    fitted = TemperatureScaling(classes=range(z.shape[1])).fit(z, y)
    return fitted.predict_proba


def predictions(found, method, rows, others, seed):
    """Probabilities of samples, and what is kept."""
    z, y = found["z"].astype(float), found["y"].astype(int)
    several = z.ndim > 1
    group = found["group"].astype(str)
    if method == "uncalibrated":
        return (np.exp(z[others] - np.logaddexp.reduce(z[others], 1)[:, None]) if several else expit(z[others])), ""
    if method.endswith("per group"):
        make, least = (isotonic, LEAST_ISOTONIC) if method.startswith("isotonic") else (platt, LEAST)
        if several:
            make = temperature
        return group_by_group(make, least, z[rows], y[rows], group[rows], z[others], group[others]), ""
    rng = np.random.default_rng([57, seed])
    both = np.concatenate([rows, others])
    table = table_of(found, both, rng, method)
    here, there = (
        {name: column[part] for name, column in table.items()} for part in (slice(len(rows)), slice(len(rows), None))
    )
    if method == "MCGrad":
        shared = platt(z[rows], y[rows])
        return mcgrad(shared(z[rows]), y[rows], here, shared(z[others]), there), ""
    pooling = "complete" if method.startswith("shared") else "partial"
    calibrator = CovariateScaling(pooling=pooling, classes=range(z.shape[1] if several else 2))
    calibrator.fit(z[rows], y[rows], groups=found["unit"][rows], covariates=here)
    proba = calibrator.predict_proba(z[others], covariates=there)
    return (proba if several else proba[:, 1]), " ".join(calibrator.kept_)


def measure(folder, name, n, seed, method):
    """The mean NLL, the largest ECE of a group in per cent, what is kept, and the seconds of fit and prediction."""
    found = load(next(Path(folder).rglob(f"{name}.npz")))
    rows, others = halves(found["unit"], len(found["unit"]), seed)
    if method.endswith("new groups"):
        names = np.unique(found["group"])
        new = np.random.default_rng([58, seed]).choice(names, max(1, len(names) // 5), replace=False)
        rows, others = (
            part[np.isin(found["group"][part], new, invert=calibrates)]
            for part, calibrates in ((rows, True), (others, False))
        )
    rows = rows[:n]
    start = time.perf_counter()
    proba, kept = predictions(found, method, rows, others, seed)
    seconds = time.perf_counter() - start
    y = found["y"].astype(int)[others]
    worst = np.nan
    if proba.ndim == 1:
        group = found["group"][others]
        large = [own for each in np.unique(group) if (own := group == each).sum() >= LEAST_JUDGED]
        errors = [expected_calibration_error(y[own], proba[own], n_bins=10) for own in large]
        worst = 100 * max(errors, default=np.nan)
    return {
        "nll": negative_log_likelihood(y, proba, labels=range(2 if proba.ndim == 1 else proba.shape[1])),
        "worst_ece": worst,
        "kept": kept,
        "units": len(np.unique(found["unit"][rows])),
        "seconds": seconds,
    }


@benchmark
def main(
    data: Path = None,
    records: RECORDS = RECORDS,
    samples=(200, 500, 2000, 5000),
    seeds=8,
    methods: (*METHODS, *PEERS, *OF_NEW_GROUPS) = METHODS,
    summary=False,
    out=RESULTS / "covariates.csv",
):
    cells = (
        (name, n, seed, method)
        for name in (() if summary else records)
        for n in samples
        for seed in range(seeds)
        for method in methods
        if not (name.startswith("cifar") and (method in OF_TWO_CLASSES or n > 2000))
    )
    results = record(out, COLUMNS, cells, lambda *cell: measure(data, *cell))
    results["kind"] = results["record"].str.split("_").str[0]
    show(results, ["record", "n"], ["nll", "worst_ece", "seconds"], across="method")
    cell = ["record", "n", "seed", "base"]
    results["base"] = np.where(results.method.str.endswith("new groups"), "shared, new groups", "shared")
    shared = results[results.method == results.base].set_index(cell).nll
    over = results.set_index(cell)
    results["over"] = 1000 * (over.nll - shared.reindex(over.index)).to_numpy()
    show(
        results.drop(columns="nll").rename(columns={"over": "nll over shared, x 1,000"}),
        ["kind", "n"],
        ["nll over shared, x 1,000"],
        across="method",
    )
    ours = results[results.method == "guarded"]
    print(f"\nguarded: worse than shared by more than 0.003 in {(ours.over > 3).mean():.1%} of draws")
