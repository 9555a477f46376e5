"""The selector on small calibration sets: against temperature scaling, and the single map that hindsight would take.

    python benchmarks/selecting.py --data DIR
    python benchmarks/selecting.py --data DIR --stratify --out benchmarks/results/selecting_stratified.csv
    python benchmarks/selecting.py --data DIR --records "digits, forest" --seeds 1 --out selecting.csv
    python benchmarks/selecting.py --records null-3 null-10 null-rare --size 100 --seeds 50 --out null.csv

Records: two CIFAR-10 ResNets, three CIFAR-100 networks, gas sensors that have drifted (batches 3 and 6), and votes of
random forests of 25 trees, with exact zeros, on digits and on 20 made-up classes. Of "null" records, made-up ones of 3
and 10 classes and of 2 % positives, the labels are drawn from softmax(z / 1.7): no map does better than temperature
scaling, and to leave it can do nothing but harm. 500 samples calibrate,
drawn at random (or stratified by class, with ``--stratify``); of images a half of 10,000 judges, of the others all the
rest. Every map of a draw is appended to a CSV file as it is computed; what
the file has already is left out. Probabilities below 2.2e-16 count as this, as in scikit-learn's ``log_loss``.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from _data import load_images, split_halves
from _networks import compute_logits, load_resnet
from _records import RECORDS, load_record
from _result_file import ResultFile
from skclamp import CalibratorSelector, default_candidates
from small_tables import load_sensors

TEMPERATURE, SELECTOR = "temperature", "selector"
SENSORS = {"gas sensors, batch 3": 3, "gas sensors, batch 6": 6}
FORESTS = ("digits, forest", "20 classes, forest")
NAMES = (*RECORDS, "cifar100_resnet20", *SENSORS, *FORESTS)
# Columns, and means and deviations of their logits; the first one's mean leaves 2 % for the second of two.
NULLS = {"null-3": (3, 0.0, 4.0), "null-10": (10, 0.0, 3.5), "null-rare": (2, 11.0, 4.5)}
TRUE_TEMPERATURE, N_JUDGING = 1.7, 20_000
# Draws with smaller seeds helped to choose the selector's rules.
FIRST_SEED = 50
COLUMNS = ("record", "n", "seed", "method", "nll", "chosen", "seconds")
# The trees see this share of a forest's samples.
TRAINED = 0.4


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compute(options)
    results = pd.read_csv(options.out)
    print(table(results))
    print(verdict(results))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of networks, images and tables")
    parser.add_argument("--records", nargs="+", choices=(*NAMES, *NULLS), default=NAMES, help="default: all but nulls")
    parser.add_argument("--size", type=int, default=500, help="samples that calibrate (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="number of draws (default: %(default)s)")
    parser.add_argument(
        "--stratify", action="store_true", help="have classes as frequent in the calibration set as in the record"
    )
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of these (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks/results/selecting.csv"),
        help="CSV file to append to (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def compute(options):
    """Compute and write the draws that the file doesn't have yet."""
    file = ResultFile(options.out, COLUMNS, n_key=3)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for record in options.records:
        pending = [seed for seed in seeds if (record, options.size, seed) not in file]
        if pending:
            draw = source(record, options)
            for seed in tqdm(pending, desc=record, disable=None):
                file.append([{"record": record, "n": options.size, "seed": seed, **row} for row in run(*draw(seed))])


def source(record, options):
    """What gives a seed's scores, labels, indices to calibrate and to test on, and the kind of the scores."""
    if record in NULLS:
        return lambda seed: (*null_logits(record, seed, options.size), "logits")
    if record in FORESTS:
        data = load_digits(return_X_y=True) if record == "digits, forest" else twenty_classes()
        return lambda seed: (*forest_votes(*data, seed, options.size, options.stratify), "probabilities")
    if record in SENSORS:
        logits, labels = sensor_logits(SENSORS[record], options.data)
        return lambda seed: (logits, labels, *rest_judges(labels, seed, options.size, options.stratify), "logits")
    if record in RECORDS:
        logits, labels = load_record(record, options.data)
    else:
        images, labels = load_images("cifar100_test", options.data)
        logits = compute_logits(load_resnet(record, options.data), images).numpy()
    return lambda seed: (logits, labels, *half_judges(labels, seed, options.size, options.stratify), "logits")


def twenty_classes():
    return make_classification(
        6000, 40, n_informative=20, n_classes=20, n_clusters_per_class=1, class_sep=1.5, flip_y=0.05, random_state=0
    )


def null_logits(record, seed, n_calibration):
    """Logits, labels drawn from them at the true temperature, and the split."""
    n_columns, mean, deviation = NULLS[record]
    rng, n_samples = np.random.default_rng(seed), n_calibration + N_JUDGING
    logits = rng.normal(0, deviation, (n_samples, n_columns))
    if n_columns == 2:
        logits = np.column_stack([rng.normal(mean, deviation, n_samples), np.zeros(n_samples)])
    labels = (logits / TRUE_TEMPERATURE + rng.gumbel(size=logits.shape)).argmax(1)
    return logits, labels, *np.split(np.arange(n_samples), [n_calibration])


def forest_votes(X, y, seed, n_calibration, stratify=False):
    """Votes of fully grown trees, and labels, of the samples that they haven't seen, and the split of these."""
    known, new = train_test_split(np.arange(len(y)), train_size=TRAINED, stratify=y, random_state=seed)
    forest = RandomForestClassifier(25, random_state=seed).fit(X[known], y[known])
    return forest.predict_proba(X[new]), y[new], *rest_judges(y[new], seed, n_calibration, stratify)


def sensor_logits(number, data_dir):
    """Logits and labels of a later batch."""
    network, X, labels, batch = load_sensors(data_dir)
    later = batch == number
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        return network(torch.from_numpy(X[later]).to(dtype)).numpy(), labels[later]


def rest_judges(labels, seed, n_calibration, stratify):
    """Indices of a calibration set and of all others."""
    options = {"stratify": labels if stratify else None, "random_state": seed}
    return train_test_split(np.arange(len(labels)), train_size=n_calibration, **options)


def half_judges(labels, seed, n_calibration, stratify):
    """Indices of a calibration set from one stratified half, and of the other half."""
    if stratify:
        return split_halves(labels, seed, n_calibration)
    half, test = split_halves(labels, seed)
    return np.random.default_rng(seed).permutation(half)[:n_calibration], test


def run(scores, labels, calibration, test, response):
    """A row for each default candidate and for the selector."""
    shared = {"response": response, "classes": np.arange(scores.shape[1])}
    rows = []
    for name, calibrator in (*default_candidates(), (SELECTOR, CalibratorSelector())):
        fitted, start = clone(calibrator).set_params(**shared), time.process_time()
        fitted.fit(scores[calibration], labels[calibration])
        seconds = time.process_time() - start
        proba = fitted.predict_proba(scores[test]).astype(np.float64)
        nll = log_loss(labels[test], proba, labels=shared["classes"])
        chosen = fitted.best_params_["candidate"] if name == SELECTOR else name
        rows.append({"method": name, "nll": nll, "chosen": chosen, "seconds": seconds})
    return rows


def table(results):
    """One line per record: NLL less temperature scaling's, and less that of the single map with the least mean."""
    rows = []
    for (record, n), part in results.groupby(["record", "n"], sort=False):
        nll = part.pivot(index="seed", columns="method", values="nll")
        single = nll.drop(columns=SELECTOR)
        best = single.mean().idxmin()
        over = nll[SELECTOR] - nll[TEMPERATURE]
        own = part[part.method == SELECTOR]
        rows.append(
            {
                "record": record,
                "n": n,
                "draws": len(nll),
                "temperature scaling": f"{nll[TEMPERATURE].mean():.4f}",
                "selector less it": f"{over.mean():+.4f}",
                "worst draw": f"{over.max():+.4f}",
                "worst ratio": f"{(nll[SELECTOR] / nll[TEMPERATURE]).max():.3f}",
                "left it": f"{(own.chosen != TEMPERATURE).mean():.0%}",
                "best single map": best,
                "selector less that": f"{(nll[SELECTOR] - nll[best]).mean():+.4f}",
                "chosen": ", ".join(f"{name} {k}" for name, k in own.chosen.value_counts().items()),
                "fit s": f"{own.seconds.median():.1f}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def verdict(results):
    """The worst record and draw against temperature scaling; the mean regret over records."""
    nll = results.pivot(index=["record", "n", "seed"], columns="method", values="nll")
    over = nll[SELECTOR] - nll[TEMPERATURE]
    means = nll.groupby(["record", "n"]).mean()
    regret = means[SELECTOR] - means.drop(columns=SELECTOR).min(axis=1)
    return (
        f"worst record {over.groupby(['record', 'n']).mean().max():+.4f}, worst draw {over.max():+.4f}; mean regret to "
        f"the best single map of each record {regret.mean():+.4f}, {regret.clip(lower=0).mean():.4f} where gains of "
        f"stacks count as 0"
    )


if __name__ == "__main__":
    main()
