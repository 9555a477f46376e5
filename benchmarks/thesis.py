"""Tang's (2022) experiments: neural clamping and the state of the art on CIFAR-100, with intervals.

A ResNet-20 for CIFAR-100 is calibrated on the 5,000 training images that it hasn't seen and judged by the 10,000 test
images. Parts: the table of all methods; the ablation (input only, output only, joint); gamma of the focal loss; and the
size of the calibration set. A Markdown file of tables is written beside the file of results.

    python benchmarks/thesis.py --data DIR
    python benchmarks/thesis.py --data DIR --parts table --methods uncalibrated temperature clamping
    python benchmarks/thesis.py --data DIR --parts table ablation --epochs 10
    python benchmarks/thesis.py --summary --figure benchmarks/results/thesis_size.png

The reference's settings take 100 epochs: hours on a few processor cores. Intervals are for the randomness of the test
images alone; seeds vary what a method draws, and the smaller calibration sets.

Y.-C. Tang, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for Neural Network Calibration", thesis,
2022; published as Tang, Chen and Ho, TMLR 2024.
"""

from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

import _thesis_tables
from _data import load_images
from _networks import compute_logits, load_resnet
from _runner import RESULTS, benchmark, record
from _thesis_methods import FACTS, Problem, Run, Samples, calibrate
from _thesis_tables import CIFAR100, GAMMAS, METHODS, REFERENCE, draw, means, report
from skclamp import REFERENCE_SETTINGS, TemperatureScaling, metrics

PARTS = ("table", "ablation", "gamma", "size")
ERRORS = {
    "ece": metrics.expected_calibration_error,
    "aece": metrics.adaptive_expected_calibration_error,
    "sce": metrics.classwise_calibration_error,
}
PROPER = {"nll": metrics.negative_log_likelihood, "brier": metrics.brier_score}
SCORES = ("entropy", "accuracy", *PROPER, *ERRORS, "nll_difference")
COLUMNS = (
    *Run._fields,
    "n_test",
    *(f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")),
    *(f"{error}_floor{end}" for error in ERRORS for end in ("", "_95")),
    *FACTS,
)
LEVEL = 0.95


def settings_of(part, n_calibration, gammas, sizes):
    """Method, gamma and number of calibration samples of each run of a part."""
    if part == "table":
        return [(method, GAMMAS.get(method, ""), n_calibration) for method in _thesis_tables.TABLE]
    if part == "ablation":
        return [(method, _thesis_tables.ABLATION_GAMMA, n_calibration) for method in _thesis_tables.ABLATION.values()]
    if part == "gamma":
        return [(method, gamma, n_calibration) for method in _thesis_tables.SWEPT for gamma in gammas]
    return [(method, GAMMAS.get(method, ""), n) for method in _thesis_tables.SIZED for n in sizes if n <= n_calibration]


def runs_of(parts, n_calibration, *, methods, gammas, sizes, seeds, epochs):
    """The runs of some parts, each once, those that take hours last.

    There is one for each seed, or one alone where neither the method nor the calibration set is random.
    """
    runs = []
    for part in parts:
        for method, gamma, n in settings_of(part, n_calibration, gammas, sizes):
            reference = method in REFERENCE
            n_seeds = seeds if n < n_calibration or reference or method == "clamping" else 1
            loop = epochs if reference else ""
            runs += [Run(CIFAR100, method, gamma, n, seed, loop) for seed in range(n_seeds) if method in methods]
    return sorted(dict.fromkeys(runs), key=lambda run: run.method in REFERENCE)


def cifar100(data):
    """The CIFAR-100 network, the 5,000 training images that it hasn't seen, and the 10,000 test images."""
    network, parts = load_resnet(CIFAR100, data), []
    for name in ("cifar100_calibration", "cifar100_test"):
        images, labels = load_images(name, data)
        parts.append(Samples(images, compute_logits(network, images), labels))
    return Problem(network, *parts)


def measure(problem, run, resamples):
    """The row of a run; the baseline is temperature scaling of the same calibration samples."""
    log_proba, facts = calibrate(run, problem)
    samples, test = problem.calibration.part(run.n_calibration, run.seed), problem.test
    baseline = TemperatureScaling(classes=np.arange(test.logits.shape[1])).fit(samples.logits, samples.labels)
    baseline = baseline.predict_log_proba(test.logits)
    return {"n_test": len(test.labels), **evaluate(test.labels, log_proba, baseline, resamples), **facts}


def evaluate(y, log_proba, baseline, n_resamples=1000):
    """Scores by the names of `COLUMNS`; accuracy and calibration errors in per cent, NLL and entropy in nats.

    Intervals are of 95 %, for the test samples' randomness alone; those of calibration errors are of the true error
    and may lie below the value, which noise enlarges. `nll_difference` is to a baseline's log-probabilities.
    """
    proba, options = np.exp(log_proba), {"n_resamples": n_resamples, "confidence_level": LEVEL}
    scores = {}

    def add(name, value, low, high, factor=1):
        scores.update({name: factor * value, f"{name}_low": factor * low, f"{name}_high": factor * high})

    entropies = -(proba * np.maximum(log_proba, -1e3)).sum(1)
    for name, values in (("entropy", entropies), ("accuracy", 100.0 * (log_proba.argmax(1) == y))):
        rng = np.random.default_rng(0)
        ends = bootstrap((values,), np.mean, batch=100, method="percentile", random_state=rng, **options)
        add(name, values.mean(), ends.confidence_interval.low, ends.confidence_interval.high)
    pair = proba, np.exp(baseline)
    if np.array_equal(*pair):
        add("nll_difference", 0.0, 0.0, 0.0)
    else:
        found = metrics.paired_bootstrap_test(metrics.negative_log_likelihood, y, *pair, random_state=0, **options)
        add("nll_difference", found.difference, found.low, found.high)
    for name, metric in {**PROPER, **ERRORS}.items():
        found = metrics.bootstrap_interval(metric, y, proba, random_state=0, **options)
        add(name, found.value, found.low, found.high, 100 if name in ERRORS else 1)
    for name, metric in ERRORS.items():
        floor = metrics.calibration_noise_floor(metric, proba, random_state=0)
        scores |= {f"{name}_floor": 100 * floor.mean, f"{name}_floor_95": 100 * floor.quantile}
    return scores


@benchmark
def main(
    data=None,
    parts: PARTS = PARTS,
    methods: METHODS = METHODS,
    gammas=(0.0, 0.5, 1.0, 2.0, 3.0, 5.0),
    sizes=(500, 1000, 2500, 5000),
    seeds=3,
    epochs=REFERENCE_SETTINGS["max_epochs"],
    resamples=1000,
    out=RESULTS / "thesis.csv",
    summary=False,
    figure: Path = None,
):
    options = {"methods": methods, "gammas": gammas, "sizes": sizes, "seeds": seeds, "epochs": epochs}
    problem = None if summary else cifar100(data)
    runs = () if summary else runs_of(parts, len(problem.calibration.labels), **options)
    results = means(record(out, COLUMNS, runs, lambda *run: measure(problem, Run(*run), resamples)))
    text = report(results)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    if figure:
        draw(results, figure)
