"""What a monitor promises: false alarms, delays, run lengths, time, memory, and chunks that make no difference.

Labels drawn from the probabilities, or CIFAR-10 images through a ResNet-20 after temperature scaling.

    python benchmarks/monitor.py --data DIR
    python benchmarks/monitor.py --summary
"""

import copy
import math
import pickle
from functools import cache, partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from tabulate import tabulate

from _data import load_problem, load_record
from _networks import compute_logits
from _runner import RESULTS, benchmark, record
from _shifts import darkness
from _timing import least, measure
from skclamp import CalibrationMonitor, RiskMonitor, TemperatureScaling

PARTS = (
    "false alarms",
    "repeated",
    "undisturbed",
    "never true",
    "start",
    "delay",
    "late delay",
    "by part false alarms",
    "by part delay",
    "run length",
    "time",
    "memory",
    "chunks",
    "risk false alarms",
    "risk delay",
)
# Two standard errors of 1,000 streams above alpha.
FALSE_ALARMS = {0.01: 0.0163, 0.05: 0.0638}
TARGETS = (0.05, 0.1)
COLUMNS = ("part", "setting", "measure", "value", "floor")
# Delays are looked for in chunks, and then label by label in the chunk that alarmed.
CHUNK = 50


def drawn(rng, n, n_classes, temperature=1.0):
    """Logits, and labels that their softmax, or that over a temperature, gives; one of each, or one for all."""
    logits = rng.normal(scale=3, size=(n, n_classes))
    return logits, (logits / np.reshape(temperature, (-1, 1)) + rng.gumbel(size=logits.shape)).argmax(1)


def false_alarms(n_classes, tolerance, n_streams, temperatures=(1.0,), length=3000):
    """Share of streams without a change whose p value was ever as low; of several temperatures each has a part of them.

    Without any it is the predicted class that says which end of the tolerance a sample has.
    """
    p_values = []
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        if temperatures is None:
            X, _ = drawn(rng, length, n_classes)
            ends = np.where(X.argmax(1) % 2, 1 + tolerance, 1 / (1 + tolerance))
            y = (X / ends[:, None] + rng.gumbel(size=X.shape)).argmax(1)
        else:
            X, y = drawn(rng, length, n_classes, temperatures[seed % len(temperatures)])
        p_values.append(CalibrationMonitor(tolerance=tolerance).partial_fit(X, y).p_value_)
    for alpha in (0.01, 0.05):
        yield f"share of p <= {alpha:g}", np.mean(np.array(p_values) <= alpha), f"<= {FALSE_ALARMS[alpha]:.4f}"


def repeated(n_streams, in_groups, n_classes=10, n_scenes=1000, times=3):
    """Share of streams without a change that alarm where each sample comes several times."""
    alarms = []
    for seed in range(n_streams):
        scene = np.repeat(np.arange(n_scenes), times)
        X, y = (array[scene] for array in drawn(np.random.default_rng(seed), n_scenes, n_classes))
        alarms.append(CalibrationMonitor().partial_fit(X, y, groups=scene if in_groups else None).alarm_)
    yield "share of alarms", np.mean(alarms), f"<= {FALSE_ALARMS[0.01]:.4f}" if in_groups else ""


def calibrated_orders(logits, labels, n, n_orders):
    """For each order of real images a generator, temperature scaling of the first n, and the indices of the others."""
    for seed in range(n_orders):
        rng = np.random.default_rng(seed)
        calibration, rest = np.split(rng.permutation(len(labels)), [n])
        yield rng, TemperatureScaling().fit(logits[calibration], labels[calibration]), rest


def never_true(logits, labels, n_orders, n_calibration=2500):
    """Share of orders of real images where held-out ones tell that temperature scaling isn't enough, and that alarm."""
    said, alarms = [], []
    for _, calibrator, others in calibrated_orders(logits, labels, n_calibration, n_orders):
        held_out, rest = np.split(others, [n_calibration])
        monitor = CalibrationMonitor(calibrator).fit(logits[held_out], labels[held_out])
        said.append(monitor.never_true_)
        alarms.append(monitor.partial_fit(logits[rest], labels[rest]).alarm_)
    yield "share said before the watch", np.mean(said), ""
    yield "share of alarms", np.mean(alarms), ""


def starts(n_before, n_streams, n_classes=3, length=2000, chunk=400):
    """What summaries advise where the temperature has changed after so many labels, of streams that alarm."""
    summaries = []
    for seed in range(n_streams):
        rng, temperature = np.random.default_rng([seed, n_before]), (2.0, 1.5, 0.5)[seed % 3]
        X, y = drawn(rng, n_before + length, n_classes, np.repeat([1.0, temperature], [n_before, length]))
        monitor = CalibrationMonitor()
        for start in range(0, len(y), chunk):
            if monitor.partial_fit(X[start : start + chunk], y[start : start + chunk]).alarm_:
                summaries.append(monitor.summary())
                break
    advice = {"all labels": "on all of them", "the newest": "on the newest", "those since a change": "since then"}
    floors = ("<= 0.2", "", "") if n_before else (">= 0.5", "", "")
    for (name, words), floor in zip(advice.items(), floors, strict=True):
        yield f"share advised {name}", np.mean([words in summary for summary in summaries]), floor


def undisturbed(load, n, n_orders, tolerance=0.1):
    """Share of orders of real images that alarm, T having been fitted on some others."""
    (logits, *_), labels = load()
    alarms = []
    for _, calibrator, rest in calibrated_orders(logits, labels, n, n_orders):
        monitor = CalibrationMonitor(calibrator, tolerance=tolerance)
        alarms.append(monitor.partial_fit(logits[rest], labels[rest]).alarm_)
    yield "share of alarms", np.mean(alarms), "<= 0.05" if tolerance else ""


def first_alarm(monitor, X, y, attribute="alarm_", chunk=CHUNK):
    """Number of labels until an alarm; infinite without one."""
    for start in range(0, len(y), chunk):
        before = copy.deepcopy(monitor)
        if not getattr(monitor.partial_fit(X[start : start + chunk], y[start : start + chunk]), attribute):
            continue
        for i in range(start, start + chunk):
            if getattr(before.partial_fit(X[i : i + 1], y[i : i + 1]), attribute):
                return i + 1
    return math.inf


def delay(load, change, floor, n_streams, n_calibration=2500):
    """Median number of labels until the alarm, the change being there from the first one on."""
    (clean, dark, noisy), labels = load()
    seen = {"darkness": dark, "noise": noisy}.get(change, clean)
    found = []
    for rng, calibrator, rest in calibrated_orders(clean, labels, n_calibration, n_streams):
        calibrator = None if change == "uncalibrated" else calibrator
        if change == "class frequencies":
            rest = with_other_frequencies(rng, labels, rest)
        found.append(first_alarm(CalibrationMonitor(calibrator), seen[rest], labels[rest]))
    yield "median delay", np.median(found), f"<= {floor}"
    yield "streams without an alarm", np.isinf(found).sum(), ""


def late_delay(n_before, floors, n_streams, n_classes=10, longest=5000):
    """Median number of labels until the alarm of another T, after so many that were true; `floors` by T."""
    found = {temperature: [] for temperature in floors}
    for seed in range(n_streams):
        rng, monitor = np.random.default_rng(seed), CalibrationMonitor()
        for start in range(0, n_before, 10_000):
            monitor.partial_fit(*drawn(rng, min(10_000, n_before - start), n_classes))
        if getattr(monitor, "alarm_", False):
            continue
        for temperature, delays in found.items():
            X, y = drawn(np.random.default_rng([seed, n_before]), longest, n_classes, temperature)
            delays.append(first_alarm(copy.deepcopy(monitor), X, y))
    for temperature, delays in found.items():
        yield f"median delay, T = {temperature}", np.median(delays), f"<= {floors[temperature]}"
    yield "share of alarms before", 1 - len(delays) / n_streams, "<= 0.05"


def by_part_false_alarms(n_streams, n_parts, n_classes=3, length=3000):
    """Share of streams without a change whose p value, over all parts, was ever as low."""
    p_values = []
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        X, y = drawn(rng, length, n_classes)
        p_values.append(CalibrationMonitor().partial_fit(X, y, by=rng.integers(n_parts, size=length)).p_value_)
    for alpha in (0.01, 0.05):
        yield f"share of p <= {alpha:g}", np.mean(np.array(p_values) <= alpha), f"<= {FALSE_ALARMS[alpha]:.4f}"


def by_part_delay(temperature, n_changed, n_streams, n_parts=4, n_classes=3, n_before=1000, length=8000):
    """Labels of all parts until the alarm where some of these have another T, after labels that were true."""
    found = {"by part": [], "together": []}
    named = []
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        by = rng.integers(n_parts, size=n_before + length)
        changed = (by < n_changed) & (np.arange(len(by)) >= n_before)
        X, y = drawn(rng, len(by), n_classes, np.where(changed, temperature, 1.0))
        for name, delays in found.items():
            monitor = CalibrationMonitor()
            delays.append(math.inf)
            for start in range(0, len(y), 20):
                own = slice(start, start + 20)
                if monitor.partial_fit(X[own], y[own], by=by[own] if name == "by part" else None).alarm_:
                    delays[-1] = own.stop - n_before
                    break
            if name == "by part":
                named.append([part for part, told in monitor.parts_.items() if told["alarm"]] == [0])
    for name, delays in found.items():
        yield f"median delay, {name}", np.median(delays), ""
        yield f"streams without an alarm, {name}", np.isinf(delays).sum(), ""
    if n_changed == 1:
        yield "share that names the part alone", np.mean(named), ""


def with_other_frequencies(rng, labels, rest):
    """Images in an order with class frequencies from Dirichlet(.3), each once, until a class has none left."""
    pools = [rest[labels[rest] == k].tolist() for k in range(labels.max() + 1)]
    chosen = []
    for k in rng.choice(len(pools), size=len(rest), p=rng.dirichlet(np.full(len(pools), 0.3))):
        if not pools[k]:
            break
        chosen.append(pools[k].pop())
    return np.array(chosen)


def run_length(average, tolerance, n_streams, longest=3, n_classes=10):
    """Mean number of labels until a false alarm of the restarting test, streams being cut off at so many times it."""
    lengths = []
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        monitor = CalibrationMonitor(average_run_length=average, tolerance=tolerance)
        length = 0
        while length < longest * average:
            X, y = drawn(rng, 1000, n_classes)
            found = first_alarm(monitor, X, y, "change_alarm_", chunk=1000)
            length += min(found, 1000)
            if found < math.inf:
                break
        lengths.append(length)
    yield "mean run length at least", np.mean(lengths), f">= {average}"
    yield "streams cut off", np.mean(np.array(lengths) >= longest * average), ""


def fed(X, y, size, **parameters):
    """A monitor that has seen samples in chunks."""
    monitor = CalibrationMonitor(**parameters)
    for start in range(0, len(y), size):
        monitor.partial_fit(X[start : start + size], y[start : start + size])
    return monitor


def seconds(n_classes, floor, n=3000, repeats=5):
    """Microseconds a sample, processor and wall, the best of some runs."""
    X, y = drawn(np.random.default_rng(0), n, n_classes)
    spent = least(*(measure(lambda: fed(X, y, 100))[1] for _ in range(repeats)))
    yield "microseconds a sample, processor", 1e6 * spent.cpu / n, ""
    yield "microseconds a sample, wall", 1e6 * spent.wall / n, f"<= {floor}"


def memory(n_samples=1_000_000, n_classes=10, chunk=10_000):
    """Bytes of a pickled monitor on the way."""
    rng, monitor = np.random.default_rng(0), CalibrationMonitor(average_run_length=10**9)
    for start in range(0, n_samples, chunk):
        monitor.partial_fit(*drawn(rng, chunk, n_classes))
        if start + chunk in (10_000, 100_000, 1_000_000):
            yield f"bytes after {start + chunk}", len(pickle.dumps(monitor)), "constant"


def chunks(n=2000, n_classes=10):
    """The largest difference that chunks of 1, 7 and 1,000 make."""
    X, y = drawn(np.random.default_rng(0), n, n_classes, temperature=1.3)
    ends = []
    for size in (n, 1, 7, 1000):
        monitor = fed(X, y, size, average_run_length=10**9)
        sums = monitor.log_e_value_, monitor.p_value_, monitor.temperature_, monitor.gain_, monitor.since_
        ends.append(np.concatenate([sums, monitor.trajectory_[1:].ravel()]))
    yield "largest difference", max(np.abs(end - ends[0]).max() for end in ends[1:]), "<= 1e-09"


class AlwaysZero(ClassifierMixin, BaseEstimator):
    """A selective classifier that answers 0 to everything, so that labels are losses."""

    def __init__(self, target_risk=0.05, costs=None):
        self.target_risk = target_risk
        self.costs = costs

    def fit(self, X=None, y=None):
        self.classes_, self.threshold_ = np.arange(2), 0.0
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)

    def is_answered(self, X):
        return np.ones(len(X), dtype=bool)


def losses(rng, n, risk):
    """Inputs, of which nothing depends, and labels."""
    return np.zeros((n, 1)), (rng.random(n) < risk).astype(int)


def risk_false_alarms(target, n_streams, length=3000):
    """Share of streams whose risk is the target, and whose p value was ever as low."""
    selective = AlwaysZero(target).fit()
    streams = (losses(np.random.default_rng(seed), length, target) for seed in range(n_streams))
    p_values = np.array([RiskMonitor(selective).partial_fit(*stream).p_value_ for stream in streams])
    for alpha in (0.01, 0.05):
        yield f"share of p <= {alpha:g}", np.mean(p_values <= alpha), f"<= {alpha:g}"


def risk_delay(target, before, n_before, n_streams, longest=5000):
    """Median number of labels until the alarms of twice the target, after so many of another risk."""
    selective = AlwaysZero(target).fit()
    for attribute, floors in (("alarm_", ("<= 300", "<= 0.01")), ("change_alarm_", ("", ""))):
        delays = []
        for seed in range(n_streams):
            rng, monitor = np.random.default_rng(seed), RiskMonitor(selective, average_run_length=10_000)
            monitor.partial_fit(*losses(rng, n_before, before))
            if not getattr(monitor, attribute):
                delays.append(first_alarm(monitor, *losses(rng, longest, 2 * target), attribute))
        yield f"median delay of {attribute}", np.median(delays), floors[0]
        yield f"share of {attribute} before", 1 - len(delays) / n_streams, floors[1]


def load_logits(data):
    """Logits of clean, dark and noisy test images, and the labels."""
    network, images, labels = load_problem("cifar10_resnet20", data)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    versions = images, darkness(images, factor=0.35), (images + 0.1 * noise).clamp_(0, 1)
    return [compute_logits(network, seen).double().numpy() for seen in versions], labels


def jobs(n, load, data):
    """What computes each part and setting; `n` scales the numbers of streams, `load` gives the images' logits."""
    delays = {"uncalibrated": 120, "darkness": 700, "noise": 20, "class frequencies": 450}
    # A tenth above what a prototype of the mixture over starts took, or its mean with another test.
    late = {0: (260, 29), 1000: (495, 67), 5000: (509, 86), 20_000: (579, 101), 80_000: (620, 111)}
    runs = {"1000": (1000, 0.1), "1000, sharp": (1000, 0), "10000": (10_000, 0.1)}
    kinds = {"": (1.0,), ", at the ends": (1.1, 1 / 1.1), ", switching": None}
    return {
        **{
            ("false alarms", f"K = {k}{name}"): partial(false_alarms, k, 0.1, n(300), temperatures)
            for k in (2, 10, 100, 1000)
            for name, temperatures in kinds.items()
        },
        **{("false alarms", f"K = {k}, sharp"): partial(false_alarms, k, 0, n(1000)) for k in (2, 10)},
        ("repeated", "3 times"): partial(repeated, n(300), in_groups=False),
        ("repeated", "3 times, in groups"): partial(repeated, n(300), in_groups=True),
        **{("undisturbed", f"fitted on {m}"): partial(undisturbed, load, m, n(100)) for m in (500, 1000, 2500)},
        ("undisturbed", "fitted on 500, sharp"): partial(undisturbed, load, 500, n(100), tolerance=0),
        ("never true", "CIFAR-100, LeNet-5"): lambda: never_true(*load_record("cifar100_lenet-5", data), n(20)),
        **{("start", f"after {n_before}"): partial(starts, n_before, n(150)) for n_before in (0, 50, 200, 1000)},
        **{("delay", change): partial(delay, load, change, floor, n(50)) for change, floor in delays.items()},
        **{
            ("late delay", f"after {n_before}"): partial(late_delay, n_before, {1.4: floor, 2.0: lower}, n(60))
            for n_before, (floor, lower) in late.items()
        },
        **{("by part false alarms", f"{m} parts"): partial(by_part_false_alarms, n(200), m) for m in (4, 20)},
        **{
            ("by part delay", f"T = {T} in {m} of 4"): partial(by_part_delay, T, m, n(30))
            for T in (1.5, 2.0)
            for m in (1, 4)
        },
        **{("run length", name): partial(run_length, *setting, n(200)) for name, setting in runs.items()},
        **{("time", f"K = {k}"): partial(seconds, k, floor) for k, floor in ((10, 15), (1000, 250))},
        ("memory", "K = 10"): partial(memory, n(1_000_000)),
        ("chunks", "1, 7, 1000"): chunks,
        **{
            ("risk false alarms", f"target {target:g}"): partial(risk_false_alarms, target, n(300))
            for target in TARGETS
        },
        **{
            ("risk delay", f"target {target:g}, after {n_before} at {before:g}"): partial(
                risk_delay, target, before, n_before, n(300)
            )
            for target in TARGETS
            for n_before, before in ((0, target), (1000, target / 2), (1000, target))
        },
    }


@benchmark
def main(data=None, parts: PARTS = PARTS, scale=1, out=RESULTS / "monitor.csv", summary=False):
    """`scale` divides the numbers of streams, for a quick look."""
    found = jobs(lambda number: max(2, number // scale), cache(lambda: load_logits(data)), data)
    cells = [cell for cell in found if cell[0] in parts and not summary]

    def run(*cell):
        return [dict(zip(COLUMNS[2:], row, strict=True)) for row in found[cell]()]

    print(tabulate(record(out, COLUMNS, cells, run).fillna(""), headers="keys", showindex=False, floatfmt=".4g"))
