"""Labels that don't exclude each other: pooled Platt scaling beside maps of one label at a time, ours and others'.

    python benchmarks/many_labels.py --data DIR
    python benchmarks/many_labels.py --summary
    python benchmarks/many_labels.py --coverage --seeds 100

The records are those of six labels of 827 electrocardiograms, by 13 networks. The first n of a random order calibrate,
the others judge: mean cross-entropy over labels, and the processor time of a fit. Needs the group `bench`.

The third command counts how many bootstrap intervals (95 %) of the expected calibration error of all labels hold the
true error: of 300 samples with ten labels, drawn by a Gaussian copula of correlation 0.7, from the probabilities as
they are or at T = 1.5; also of rare labels, and where half of them aren't known. Beside it stands how many errors are
above the noise floor (95 %), which takes a sample's labels for independent.
"""

from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

from _estimates import paired_estimate
from _peers import log_odds
from _runner import RESULTS, benchmark, record
from _timing import measure
from choosing import cell
from skclamp import BetaCalibration, CalibratorSelector, PlattScaling, TemperatureScaling
from skclamp.metrics import (
    bootstrap_interval,
    calibration_noise_floor,
    expected_calibration_error,
    negative_log_likelihood,
)

BASELINE = "uncalibrated"
RECORD = "multilabel_ecg.npz"
COLUMNS = ("network", "n", "seed", "method", "loss", "cpu")
N_SAMPLES, N_LABELS, CORRELATION, OVERCONFIDENT = 300, 10, 0.7, 1.5
# Mean log-odds, and the share of labels that aren't known.
KINDS = {"common": (-1.0, 0.0), "rare": (-4.0, 0.0), "missing": (-1.0, 0.5)}
OF_INTERVALS = ("labels", "probabilities", "seed", "value", "low", "high", "floor")


class Uncalibrated:
    """Takes probabilities as they are."""

    def fit(self, proba, labels):
        return self

    def predict_proba(self, proba):
        return proba


class LabelByLabel:
    """A binary calibrator with ``fit(p, y)`` and ``predict(p)`` for each label."""

    def __init__(self, make):
        self.make = make

    def fit(self, proba, labels):
        self.calibrators = [self.make().fit(p, y) for p, y in zip(proba.T, labels.T, strict=True)]
        return self

    def predict_proba(self, proba):
        return np.column_stack([each.predict(p) for each, p in zip(self.calibrators, proba.T, strict=True)])


class MultiOutput:
    """scikit-learn's way: CalibratedClassifierCV of a logistic regression on all log-odds, for each label."""

    def __init__(self, method):
        self.method = method

    def fit(self, proba, labels):
        calibrated = CalibratedClassifierCV(LogisticRegression(), method=self.method, cv=3)
        self.known = np.flatnonzero((labels.sum(0) >= 3) & ((1 - labels).sum(0) >= 3))
        self.rates = (labels.sum(0) + 1) / (len(labels) + 2)
        if len(self.known):
            self.classifier = MultiOutputClassifier(calibrated).fit(log_odds(proba), labels[:, self.known])
        return self

    def predict_proba(self, proba):
        # Of labels that are too rare for its folds the rate is all there is.
        out = np.tile(self.rates, (len(proba), 1))
        found_of = self.classifier.predict_proba(log_odds(proba)) if len(self.known) else []
        for place, found in zip(self.known, found_of, strict=True):
            out[:, place] = found[:, 1]
        return out


def sklearn_sigmoid():
    """scikit-learn's Platt scaling of one label's log-odds."""
    from sklearn.calibration import _SigmoidCalibration

    return OnLogOdds(_SigmoidCalibration())


class OnLogOdds:
    """A binary calibrator that is given log-odds."""

    def __init__(self, calibrator):
        self.calibrator = calibrator

    def fit(self, p, y):
        self.calibrator.fit(log_odds(p), y)
        return self

    def predict(self, p):
        """Calibrated probability."""
        return self.calibrator.predict(log_odds(p))


class Netcal:
    """A scaling of netcal for one label; one that is never there keeps its probabilities."""

    def __init__(self, name):
        from netcal import scaling

        self.calibrator = getattr(scaling, name)()

    def fit(self, p, y):
        self.fitted = 0 < y.sum() < len(y)
        if self.fitted:
            self.calibrator.fit(p, y)
        return self

    def predict(self, p):
        """Calibrated probability."""
        return self.calibrator.transform(p).reshape(-1) if self.fitted else p


METHODS = {
    BASELINE: Uncalibrated,
    "TemperatureScaling": partial(TemperatureScaling, response="probabilities"),
    "PlattScaling": partial(PlattScaling, response="probabilities"),
    "PlattScaling(complete)": partial(PlattScaling, response="probabilities", pooling="complete"),
    "PlattScaling(none)": partial(PlattScaling, response="probabilities", pooling="none"),
    "BetaCalibration": partial(BetaCalibration, response="probabilities"),
    "CalibratorSelector": partial(CalibratorSelector, response="probabilities"),
    "scikit-learn sigmoid": partial(LabelByLabel, sklearn_sigmoid),
    "MultiOutputClassifier, sigmoid": partial(MultiOutput, "sigmoid"),
    "MultiOutputClassifier, isotonic": partial(MultiOutput, "isotonic"),
    "netcal LogisticCalibration": partial(LabelByLabel, partial(Netcal, "LogisticCalibration")),
    "netcal BetaCalibration": partial(LabelByLabel, partial(Netcal, "BetaCalibration")),
}


def table(results):
    """One row a method: mean loss by number of samples, less that of no calibration; how often it is above that."""
    rows = []
    for (n, method), part in results.groupby(["n", "method"], sort=False):
        of_all = results[(results.n == n) & (results.method == BASELINE)].set_index(["network", "seed"]).loss
        loss = part.set_index(["network", "seed"]).loss
        gained = cell(paired_estimate(loss, of_all.loc[loss.index])) if method != BASELINE else ""
        worse = (loss > of_all.loc[loss.index]).mean()
        rows.append([n, method, f"{loss.mean():.4f}", gained, f"{worse:.0%}", f"{1000 * part.cpu.median():.1f}"])
    return pd.DataFrame(rows, columns=["n", "method", "loss", "to uncalibrated", "worse", "fit, ms of a processor"])


def drawn(kind, temperature, n, rng):
    """Probabilities, and labels that a Gaussian copula draws from what these are at a temperature; NaN is unknown."""
    mean, unknown = KINDS[kind]
    z, shared = rng.normal(mean, 2.0, (n, N_LABELS)), rng.normal(size=(n, 1))
    uniform = norm.cdf(np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * rng.normal(size=z.shape))
    labels = (uniform < expit(z / temperature)).astype(float)
    labels[rng.uniform(size=z.shape) < unknown] = np.nan
    return expit(z), labels


def interval(kind, probabilities, seed):
    """The error of all labels with its bootstrap interval, samples resampled, and its noise floor."""
    temperature = OVERCONFIDENT if probabilities == "overconfident" else 1.0
    proba, labels = drawn(kind, temperature, N_SAMPLES, np.random.default_rng(seed))
    error = partial(expected_calibration_error, average="micro")
    found = bootstrap_interval(error, labels, proba, random_state=seed)
    known = np.where(np.isnan(labels), np.nan, proba)
    floor = calibration_noise_floor(error, known, outputs="sigmoid", random_state=seed).quantile
    return {"value": found.value, "low": found.low, "high": found.high, "floor": floor}


def true_error(kind, probabilities):
    """The error of a very large draw; 0 of probabilities that labels are drawn from."""
    if probabilities == "calibrated":
        return 0.0
    proba, labels = drawn(kind, OVERCONFIDENT, 1_000_000, np.random.default_rng(0))
    return expected_calibration_error(labels, proba, average="micro")


def coverage_table(results):
    """One row for each kind of labels and of probabilities: how many intervals hold the true error."""
    rows = []
    for kind, part in results.groupby(["labels", "probabilities"], sort=False):
        truth = true_error(*kind)
        low, high = (part.high < truth).sum(), (part.low > truth).sum()
        told = [f"{number:.4f}" for number in (truth, part.value.mean(), (part.high - part.low).mean())]
        held = f"{len(part) - low - high} of {len(part)}"
        rows.append([*kind, *told, held, low, high, (part.value > part.floor).sum()])
    told = "true error", "found", "width", "held", "too low", "too high", "above the floor"
    return pd.DataFrame(rows, columns=["labels", "probabilities", *told])


@benchmark
def main(
    data: Path = None,
    methods: METHODS = tuple(METHODS),
    networks=(0,),
    sizes=(50, 100, 200, 500),
    seeds=20,
    out=RESULTS / "many_labels.csv",
    summary=False,
    coverage=False,
):
    if coverage:
        cells = () if summary else product(KINDS, ("calibrated", "overconfident"), range(seeds))
        path = RESULTS / "many_labels_coverage.csv" if out == RESULTS / "many_labels.csv" else out
        results = record(path, OF_INTERVALS, cells, interval)
        print(coverage_table(results).to_markdown(index=False, disable_numparse=True))
        return
    load = lru_cache(maxsize=1)(lambda: dict(np.load(data / RECORD)))

    def run(network, n, seed, method):
        proba, labels = load()["probabilities"][network].astype(np.float64), load()["labels"].astype(int)
        order = np.random.default_rng(seed).permutation(len(labels))
        half, test = order[:n], order[n:]
        calibrator, spent = measure(lambda: METHODS[method]().fit(proba[half], labels[half]))
        found = np.clip(calibrator.predict_proba(proba[test]), 0, 1)
        loss = np.mean([negative_log_likelihood(y, p) for y, p in zip(labels[test].T, found.T, strict=True)])
        return {"loss": loss, "cpu": spent.cpu}

    cells = () if summary else product(networks, sizes, range(seeds), methods)
    print(table(record(out, COLUMNS, cells, run)).to_markdown(index=False, disable_numparse=True))
