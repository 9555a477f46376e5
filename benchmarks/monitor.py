"""What a monitor promises: false alarms, delays, run lengths, time, memory, and chunks that make no difference.

Labels drawn from the probabilities, or CIFAR-10 images through a ResNet-20 after temperature scaling. Rows are appended
to a CSV file as they are computed; what the file has already is left out.

    python benchmarks/monitor.py --data DIR
    python benchmarks/monitor.py --summary
"""

import argparse
import copy
import math
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tabulate import tabulate
from threadpoolctl import threadpool_limits

from _data import add_data_argument, load_images
from _networks import compute_logits, load_resnet
from _result_file import ResultFile
from _shifts import darkness
from skclamp import CalibrationMonitor, TemperatureScaling

RESULTS = Path(__file__).parent / "results" / "monitor.csv"
COLUMNS = ("part", "setting", "measure", "value", "floor")
# Delays are looked for in chunks, and then label by label in the chunk that alarmed.
CHUNK = 50


def drawn(rng, n, n_classes, temperature=1.0):
    """Logits, and labels that their softmax, or that over a temperature, gives."""
    logits = rng.normal(scale=3, size=(n, n_classes))
    return logits, (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)


def false_alarms(n_classes, tolerance, n_streams, length=3000):
    """Share of streams without a change whose p value was ever as low."""
    p_values = []
    for seed in range(n_streams):
        X, y = drawn(np.random.default_rng(seed), length, n_classes)
        p_values.append(CalibrationMonitor(tolerance=tolerance).partial_fit(X, y).p_value_)
    for alpha in (0.01, 0.05):
        bound = alpha + 2 * math.sqrt(alpha * (1 - alpha) / n_streams)
        yield f"share of p <= {alpha:g}", np.mean(np.array(p_values) <= alpha), f"<= {bound:.4f}"


def undisturbed(record, n, n_orders, tolerance=0.1):
    """Share of orders of real images that alarm, T having been fitted on some others."""
    logits, labels = record
    alarms = []
    for seed in range(n_orders):
        order = np.random.default_rng(seed).permutation(len(labels))
        calibration, rest = order[:n], order[n:]
        calibrator = TemperatureScaling().fit(logits[calibration], labels[calibration])
        alarms.append(
            CalibrationMonitor(calibrator, tolerance=tolerance).partial_fit(logits[rest], labels[rest]).alarm_
        )
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


def delay(clean, changed, floor, n_streams, n_calibration=2500, with_frequencies=False):
    """Median number of labels until the alarm, the change being there from the first one on."""
    logits, labels = clean
    found = []
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(labels))
        calibration, rest = order[:n_calibration], order[n_calibration:]
        calibrator = None
        if changed is not None:
            calibrator = TemperatureScaling().fit(logits[calibration], labels[calibration])
        if with_frequencies:
            rest = with_other_frequencies(rng, labels, rest)
        seen = logits if changed is None else changed
        found.append(first_alarm(CalibrationMonitor(calibrator), seen[rest], labels[rest]))
    yield "median delay", np.median(found), f"<= {floor}"
    yield "streams without an alarm", np.isinf(found).sum(), ""


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


def seconds(n_classes, floor, chunk=100, n=3000, repeats=5):
    """Microseconds a sample, processor and wall, the best of some runs."""
    X, y = drawn(np.random.default_rng(0), n, n_classes)
    found = []
    for _ in range(repeats):
        monitor, clocks = CalibrationMonitor(), (time.process_time(), time.perf_counter())
        for start in range(0, n, chunk):
            monitor.partial_fit(X[start : start + chunk], y[start : start + chunk])
        found.append([time.process_time() - clocks[0], time.perf_counter() - clocks[1]])
    processor, wall = 1e6 * np.min(found, axis=0) / n
    yield "microseconds a sample, processor", processor, ""
    yield "microseconds a sample, wall", wall, f"<= {floor}"


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
        monitor = CalibrationMonitor(average_run_length=10**9)
        for start in range(0, n, size):
            monitor.partial_fit(X[start : start + size], y[start : start + size])
        sums = monitor.log_e_value_, monitor.p_value_, monitor.temperature_, monitor.gain_, monitor.since_
        ends.append(np.concatenate([sums, monitor.trajectory_[1:].ravel()]))
    yield "largest difference", max(np.abs(end - ends[0]).max() for end in ends[1:]), "<= 1e-09"


def load_logits(data_dir):
    """Logits of clean, dark and noisy test images, and the labels."""
    images, labels = load_images("cifar10_test", data_dir)
    network = load_resnet("cifar10_resnet20", data_dir)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    versions = {"clean": images, "dark": darkness(images, factor=0.35), "noisy": (images + 0.1 * noise).clamp_(0, 1)}
    return {name: compute_logits(network, each).double().numpy() for name, each in versions.items()}, labels


def jobs(scale, load):
    """Each part and setting with what computes it; `scale` divides the numbers of streams, `load` gives the images."""
    n = lambda number: max(2, number // scale)  # noqa: E731
    for n_classes, n_streams in ((2, 1000), (10, 1000), (100, 1000), (1000, 200)):
        yield "false alarms", f"K = {n_classes}", lambda k=n_classes, m=n_streams: false_alarms(k, 0.1, n(m))
    for n_classes in (2, 10):
        yield "false alarms", f"K = {n_classes}, sharp", lambda k=n_classes: false_alarms(k, 0, n(1000))

    def images(function, *changed, **options):
        logits, labels = load()
        return function((logits["clean"], labels), *(logits.get(name, name) for name in changed), **options)

    for size in (500, 1000, 2500):
        yield "undisturbed", f"fitted on {size}", lambda size=size: images(undisturbed, n=size, n_orders=n(100))
    sharp = {"n": 500, "n_orders": n(100), "tolerance": 0}
    yield "undisturbed", "fitted on 500, sharp", lambda: images(undisturbed, **sharp)
    yield "delay", "uncalibrated", lambda: images(delay, None, floor=120, n_streams=n(50))
    yield "delay", "darkness", lambda: images(delay, "dark", floor=700, n_streams=n(50))
    yield "delay", "noise", lambda: images(delay, "noisy", floor=20, n_streams=n(50))
    options = {"floor": 450, "n_streams": n(50), "with_frequencies": True}
    yield "delay", "class frequencies", lambda: images(delay, "clean", **options)
    for average, tolerance in ((1000, 0.1), (1000, 0), (10_000, 0.1)):
        setting = f"{average}{', sharp' * (not tolerance)}"
        yield "run length", setting, lambda a=average, t=tolerance: run_length(a, t, n(200))
    for n_classes, floor in ((10, 50), (1000, 500)):
        yield "time", f"K = {n_classes}", lambda k=n_classes, f=floor: seconds(k, f)
    yield "memory", "K = 10", lambda: memory(n(1_000_000))
    yield "chunks", "1, 7, 1000", chunks


def main(argv=None):
    """Compute what the file lacks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_data_argument(parser)
    parser.add_argument("--parts", nargs="+", help="default: all")
    parser.add_argument("--scale", type=int, default=1, help="divides the numbers of streams, for a quick look")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="print what the file has")
    args = parser.parse_args(argv)
    results, loaded = ResultFile(args.out, COLUMNS, n_key=2), []

    def load():
        if not loaded:
            loaded.append(load_logits(args.data))
        return loaded[0]

    for part, setting, compute in () if args.summary else jobs(args.scale, load):
        if (part, setting) in results or (args.parts and part not in args.parts):
            continue
        with threadpool_limits(1):
            rows = [dict(zip(COLUMNS, (part, setting, *row), strict=True)) for row in compute()]
        results.append(rows)
    table = pd.read_csv(args.out, keep_default_na=False)
    print(tabulate(table, headers="keys", showindex=False, floatfmt=".4g"))


if __name__ == "__main__":
    main()
