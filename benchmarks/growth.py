"""How the time of fits and metrics grows with the samples, to a million, and with the classes, to 20,000.

    python benchmarks/growth.py --figure docs/images/growth.png

Processor time on one thread, the least of some calls, on the float32 logits of `speed.py`. A slope is that of the last
two decades on logarithmic axes, beyond the least time of the line, which is the fixed cost. Vector scaling isn't asked
to learn more classes than there are samples.
"""

from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.special import softmax

from _runner import RESULTS, benchmark, record
from _timing import measure
from skclamp import TemperatureScaling, VectorScaling
from skclamp.metrics import bootstrap_interval, expected_calibration_error
from speed import FIT, TRUE_TEMPERATURE, inputs

COLUMNS = ("growth", "what", "samples", "classes", "seconds")
SAMPLES, CLASSES = (100, 1000, 10_000, 100_000, 1_000_000), (2, 20, 200, 2000, 20_000)
SIZES = {
    "samples, 10 classes": [(n, 10) for n in SAMPLES],
    "samples, 100 classes": [(n, 100) for n in SAMPLES],
    "classes, 2,000 samples": [(2000, n_classes) for n_classes in CLASSES],
}
MARKS = {"temperature scaling": "o", "vector scaling": "s", "ECE": "^", "ECE, 1,000 replicates": "v"}


def work(what, n_samples, n_classes):
    """A function without arguments: what is timed."""
    y, logits = inputs(FIT, n_samples, n_classes)
    if what.endswith("scaling"):
        kind = TemperatureScaling if what.startswith("temperature") else VectorScaling
        return partial(kind(classes=np.arange(n_classes)).fit, logits, y)
    proba = softmax(logits / np.float32(TRUE_TEMPERATURE), axis=1)
    if what == "ECE":
        return partial(expected_calibration_error, y, proba, labels=np.arange(n_classes))
    options = {"labels": np.arange(n_classes), "random_state": 0}
    return partial(bootstrap_interval, expected_calibration_error, y, proba, **options)


def least_time(growth, what, n_samples, n_classes, budget):
    """A row: the least processor time of as many calls as the budget, in seconds, has room for."""
    function, stop, times = work(what, n_samples, n_classes), perf_counter() + budget, []
    while not times or perf_counter() < stop:
        times.append(measure(function)[1].cpu)
    return {"seconds": min(times)}


def slope(part):
    """Of one line of the picture."""
    size = (part.samples * part.classes).to_numpy()
    beyond = part.seconds.to_numpy() - part.seconds.min()
    return np.polyfit(np.log(size[-3:]), np.log(beyond[-3:]), 1)[0]


def draw(path, results):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = results.groupby("growth", sort=False)
    for axes, (growth, part) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        counted, _, others = growth.partition(", ")
        for what, own in part.groupby("what", sort=False):
            axes.loglog(own[counted], own.seconds, marker=MARKS[what], ms=4, lw=1, label=what)
        axes.set(title=others, xlabel=counted)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("processor time, s")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(MARKS), frameon=False)
    figure.savefig(path, dpi=160, pil_kwargs={"optimize": True})


@benchmark
def main(growths: SIZES = SIZES, most=10**8, budget=3.0, out=RESULTS / "growth.csv", figure: Path = None):
    sizes = [(growth, size) for growth in growths for size in SIZES[growth] if np.prod(size) <= most]
    cells = [
        (growth, what, *size)
        for growth, size in sizes
        for what in MARKS
        if what != "vector scaling" or size[1] <= size[0]
    ]
    results = record(out, COLUMNS, cells, partial(least_time, budget=budget))
    print(results.pivot_table("seconds", ["growth", "samples", "classes"], "what", sort=False).to_string())
    if figure:
        draw(figure, results)
