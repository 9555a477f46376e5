"""Coverage of bootstrap intervals of the ECE where neighbouring pixels agree: labels drawn by a Gaussian random field.

    python benchmarks/dense_metrics.py
    python benchmarks/dense_metrics.py --units places --sizes 100 --draws 20
    python benchmarks/dense_metrics.py --summary

Images of 24 x 24 pixels and four classes, whose logits are smooth fields. The label of a pixel is the quantile of its
true probabilities at the value of another smooth field's distribution function, one for each image, so that each label
is drawn from the probabilities while neighbours agree. Classifiers tell the true probabilities, or too sure ones. The
truth is the ECE of many images with the true probability of being right in the place of hits: 0 where calibrated. Units
of the bootstrap are images or, as if pixels were independent, places.
"""

from functools import lru_cache
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from scipy.stats import norm

from _runner import RESULTS, benchmark, record
from skclamp.metrics import bootstrap_interval, expected_calibration_error

SIZE, N_CLASSES, SHARPNESS, N_TRUTH = 24, 4, 1.5, 3000
# Of the kernels that white noise is smoothed by, in pixels.
OF_LOGITS, OF_LABELS = 3.0, 4.0
UNITS, KINDS = ("images", "places"), {"calibrated": 1.0, "overconfident": SHARPNESS}
COLUMNS = ("units", "kind", "n", "seed", "truth", "value", "debiased", "low", "high")


def fields(rng, shape, width):
    """Gaussian random fields of variance 1; the noise goes beyond the image's edges."""
    margin = int(3 * width)
    noise = rng.normal(size=(*shape, SIZE + 2 * margin, SIZE + 2 * margin))
    smoothed = gaussian_filter(noise, (*[0] * len(shape), width, width), mode="wrap")
    return smoothed[..., margin:-margin, margin:-margin] * 2 * np.sqrt(np.pi) * width


def images(n, kind, rng):
    """Labels of some images, probabilities that a classifier tells, and the true ones."""
    logits = 2 * fields(rng, (n, N_CLASSES), OF_LOGITS)
    true = softmax(logits, axis=1)
    drawn = norm.cdf(fields(rng, (n, 1), OF_LABELS))
    y = (true.cumsum(1)[:, :-1] < drawn).sum(1)
    return y, softmax(KINDS[kind] * logits, axis=1), true


@lru_cache
def truth(kind):
    """ECE of many images, without the noise of labels."""
    _, proba, true = images(N_TRUTH, kind, np.random.default_rng(2**20))
    # Logits scaled keep their order.
    gap = (true.max(1) - proba.max(1)).ravel()
    sums = np.bincount(np.searchsorted(np.arange(1, 15) / 15, proba.max(1).ravel()), gap, 15)
    return float(np.abs(sums).sum() / len(gap))


def table(results):
    """One row a setting: share of the intervals that hold the truth, and their mean ends."""
    results["holds"] = (results.low <= results.truth) & (results.truth <= results.high)
    groups = results.groupby(["units", "kind", "n"], sort=False)
    means = groups[["holds", "truth", "value", "debiased", "low", "high"]].mean()
    means.insert(0, "draws", groups.size())
    return means.reset_index()


@benchmark
def main(
    units: UNITS = ("images",),
    kinds: KINDS = tuple(KINDS),
    sizes=(100, 300),
    draws=100,
    out=RESULTS / "dense_metrics.csv",
    summary=False,
):
    def run(unit, kind, n, seed):
        y, proba, _ = images(n, kind, np.random.default_rng(seed))
        if unit == "places":
            y, proba = y.ravel(), np.moveaxis(proba, 1, -1).reshape(-1, N_CLASSES)
        found = bootstrap_interval(expected_calibration_error, y, proba, random_state=seed)
        return {"truth": truth(kind), **found._asdict()}

    cells = () if summary else product(units, kinds, sizes, range(draws))
    print(table(record(out, COLUMNS, cells, run)).to_markdown(index=False, floatfmt=".3g"))
