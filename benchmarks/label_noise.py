"""Wrong labels in the calibration set: what is lost on right ones, with and without a rate beside the temperature.

    python benchmarks/label_noise.py
    python benchmarks/label_noise.py --methods selector --n 300 1000 --classes 2 10 --out selector.csv

Logits are drawn, labels drawn from their softmax, and a share of them, the noise, replaced by any other class each. The
calibrator sees the logits times 1.6. `over` is the expected NLL of 4,000 new samples whose labels are right, above that
of the truth: it has no noise of labels. Shown are means over draws and their standard errors.
"""

import warnings
from itertools import product

import numpy as np
from scipy.special import log_softmax

from _runner import RESULTS, benchmark, record
from skclamp import CalibratorSelector, PlattScaling, TemperatureScaling

SPREAD, SHARPNESS, N_TEST = 3.0, 1.6, 4000
METHODS = {
    "temperature": lambda rate: TemperatureScaling(),
    "temperature, auto": lambda rate: TemperatureScaling(label_noise="auto"),
    "temperature, rate": lambda rate: TemperatureScaling(label_noise=rate),
    "platt": lambda rate: PlattScaling(),
    "platt, auto": lambda rate: PlattScaling(label_noise="auto"),
    "platt, rate": lambda rate: PlattScaling(label_noise=rate),
    "selector": lambda rate: CalibratorSelector(),
}
COLUMNS = ("classes", "n", "noise", "method", "draw", "over", "rate", "warned")


def measure(n_classes, n, noise, method, draw):
    rng = np.random.default_rng(draw)
    logits = rng.normal(scale=SPREAD, size=(n, n_classes))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    wrong = (y + rng.integers(1, n_classes, n)) % n_classes
    y = np.where(rng.random(n) < noise, wrong, y)
    calibrator = METHODS[method](noise).set_params(classes=np.arange(n_classes))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(SHARPNESS * logits, y)
    test = rng.normal(scale=SPREAD, size=(N_TEST, n_classes))
    truth = log_softmax(test, 1)
    over = (np.exp(truth) * (truth - calibrator.predict_log_proba(SHARPNESS * test))).sum(1).mean()
    told = any("labels may be wrong" in str(warning.message) for warning in caught)
    return {"over": over, "rate": getattr(calibrator, "label_noise_", np.nan), "warned": int(told)}


@benchmark
def main(
    methods: METHODS = tuple(METHODS)[:-1],
    classes=(2, 10, 100),
    n=(300, 1000),
    noise=(0.0, 0.1, 0.3),
    draws=20,
    out=RESULTS / "label_noise.csv",
):
    cells = product(classes, n, noise, methods, range(draws))
    # Of two classes a rate has to be given.
    cells = [cell for cell in cells if cell[0] > 2 or "auto" not in cell[3]]
    results = record(out, COLUMNS, cells, measure)
    groups = results.groupby(["classes", "n", "noise", "method"], sort=False)
    table = groups.over.agg(["mean", "sem", "max"]).join(groups[["rate", "warned"]].mean())
    print(table.reset_index().to_markdown(index=False, floatfmt=".4f"))
