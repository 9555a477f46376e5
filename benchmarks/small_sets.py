"""Calibration sets of 10 to 300 samples: how far above the truth calibrators come, and how often they warn.

    python benchmarks/small_sets.py
    python benchmarks/small_sets.py --summary

Logits are normal, labels drawn from their softmax, or of ten labels with correlation 0.7 from their sigmoid, see
many_labels.py; what calibrates are these logits or, overconfident, 1.6 times them. The table has the mean divergence
of the predictions from the true probabilities of 2,000 new samples, in nats (of labels, a label), its standard error
over draws and the worst, and the share of fits with a warning.
"""

import warnings
from itertools import product

import numpy as np
from scipy.special import log_expit, log_softmax, logit, xlogy

import skclamp
from _runner import RESULTS, benchmark, record
from many_labels import drawn

METHODS = {
    "uncalibrated": skclamp.TemperatureScaling(bounds=(1, 1)),
    "temperature": skclamp.TemperatureScaling(),
    "vector": skclamp.VectorScaling(),
    "platt": skclamp.PlattScaling(),
    "isotonic": skclamp.IsotonicCalibration(),
}
PROBLEMS = {"2 classes": 2, "10 classes": 10, "labels": "common", "rare labels": "rare"}
CONFIDENCES = {"calibrated": 1.0, "overconfident": 1.6}
COLUMNS = ("problem", "confidence", "n", "draw", "method", "divergence", "warned")
SPREAD, N_NEW = 2.5, 2000


def draw(problem, factor, n, rng):
    """Logits to calibrate, labels, and the true probabilities of each class, or of 0 and 1 of each label."""
    kind = PROBLEMS[problem]
    if isinstance(kind, str):
        # Their logits are a factor times the true ones.
        proba, labels = drawn(kind, factor, n, rng)
        truth = logit(proba) / factor
        return logit(proba), labels.astype(int), np.exp(log_expit(np.stack([-truth, truth])))
    logits = rng.normal(scale=SPREAD, size=(n, kind))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return factor * logits, labels, np.exp(log_softmax(logits, 1))


def measure(problem, confidence, n, seed, method):
    """Mean divergence from the truth on new samples, and whether the fit warned."""
    factor = CONFIDENCES[confidence]
    logits, y, _ = draw(problem, factor, n, np.random.default_rng([seed, n]))
    new, _, truth = draw(problem, factor, N_NEW, np.random.default_rng(0))
    of_labels = y.ndim > 1
    calibrator = METHODS[method]
    calibrator.set_params(classes=None if of_labels else np.arange(logits.shape[1]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(logits, y)
    log_proba = calibrator.predict_log_proba(new)
    if of_labels:
        scores = calibrator.transform_logits(new)
        log_proba = log_expit(np.stack([-scores, scores]))
    divergence = (xlogy(truth, truth) - truth * log_proba).sum(0 if of_labels else 1).mean()
    return {"divergence": divergence, "warned": int(bool(caught))}


def cells_of(problems, sizes, draws, methods):
    for cell in product(problems, CONFIDENCES, sizes, range(draws), methods):
        # Vector scaling takes no labels.
        if cell[-1] != "vector" or isinstance(PROBLEMS[cell[0]], int):
            yield cell


def table(results):
    """One row a problem and method, one column a size."""
    shown = results.groupby(["problem", "confidence", "method", "n"], sort=False).agg(
        mean=("divergence", "mean"), error=("divergence", "sem"), worst=("divergence", "max"), warned=("warned", "mean")
    )
    text = [
        f"{row.average:.4f} ± {row.error:.4f} ({row.worst:.3g}; {row.warned:.0%})"
        for row in shown.rename(columns={"mean": "average"}).itertuples()
    ]
    return shown.assign(text=text).text.unstack("n", sort=False).reset_index()


@benchmark
def main(
    problems: PROBLEMS = tuple(PROBLEMS),
    methods: METHODS = tuple(METHODS),
    sizes=(10, 20, 40, 100, 300),
    draws=100,
    out=RESULTS / "small_sets.csv",
    summary=False,
):
    cells = () if summary else cells_of(problems, sizes, draws, methods)
    print(table(record(out, COLUMNS, cells, measure)).to_markdown(index=False, disable_numparse=True))
