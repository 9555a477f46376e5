"""The experiments of Tang (2022) as lists of runs: which method, with what settings, on how many samples."""

from typing import NamedTuple

CIFAR100 = "cifar100_resnet20"

# Maps of the logits, which need the network no more, and then what goes through it.
OUTPUT_ONLY = (
    "uncalibrated",
    "temperature",
    "temperature, ECE",
    "vector",
    "MS-ODIR",
    "Dir-ODIR",
    "ETS",
    "IRM",
    "spline",
    "PTS",
    "SMS",
    "order-invariant",
    "order-preserving",
)
REFERENCE = ("reference", "reference, augmented", "reference, input only")
METHODS = (*OUTPUT_ONLY, "clamping", *REFERENCE)
# With K = 1000 these have a million parameters.
MATRICES = ("MS-ODIR", "Dir-ODIR", "SMS")
# The focal loss's gamma, where a method has one.
GAMMAS = {"temperature": 0.0, "clamping": 0.0, **dict.fromkeys(REFERENCE, 1.0)}

TABLE = tuple(method for method in METHODS if method != "reference, input only")
IMAGENET = tuple(method for method in TABLE if method not in MATRICES)
# Output only is temperature scaling by the same loss.
ABLATION = {"input only": "reference, input only", "output only": "temperature", "joint": "reference"}
ABLATION_GAMMA = 1.0
SWEPT = ("temperature", "clamping", "reference")
SIZED = ("temperature", "vector", "SMS", "order-invariant", "clamping", "reference")
PARTS = ("table", "ablation", "gamma", "size", "imagenet")


class Run(NamedTuple):
    """What tells one run from another; "" where a method has no such setting."""

    network: str
    method: str
    gamma: float | str
    n_calibration: int
    seed: int
    epochs: int | str
    precision: str


def cifar_runs(options, n_calibration):
    """The runs of all chosen parts but ImageNet's, each once, those that take hours last."""
    runs = [
        run
        for part in options.parts
        if part != "imagenet"
        for method, gamma, size in _settings(part, options, n_calibration)
        for run in _repeated(CIFAR100, method, gamma, size, size < n_calibration, options)
    ]
    return _in_order(runs, options)


def imagenet_runs(options, n_calibration):
    """The runs on ImageNet."""
    runs = [
        run
        for method in IMAGENET
        for run in _repeated(options.imagenet_network, method, GAMMAS.get(method, ""), n_calibration, False, options)
    ]
    return _in_order(runs, options)


def _settings(part, options, n_calibration):
    """Method, gamma and number of calibration samples of each run of a part."""
    if part == "table":
        return [(method, GAMMAS.get(method, ""), n_calibration) for method in TABLE]
    if part == "ablation":
        return [(method, ABLATION_GAMMA, n_calibration) for method in ABLATION.values()]
    if part == "gamma":
        return [(method, gamma, n_calibration) for method in SWEPT for gamma in options.gammas]
    sizes = [size for size in options.sizes if size <= n_calibration]
    return [(method, GAMMAS.get(method, ""), size) for method in SIZED for size in sizes]


def _repeated(network, method, gamma, size, drawn, options):
    """A run for each seed, or one where neither the method nor the calibration set is random."""
    reference = method in REFERENCE
    loop = (options.epochs, options.precision) if reference else ("", "")
    n_seeds = options.seeds if drawn or reference or method == "clamping" else 1
    return [Run(network, method, gamma, size, seed, *loop) for seed in range(n_seeds)]


def _in_order(runs, options):
    chosen = dict.fromkeys(run for run in runs if run.method in options.methods)
    return sorted(chosen, key=lambda run: run.method in REFERENCE)
