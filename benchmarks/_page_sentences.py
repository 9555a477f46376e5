"""Measured numbers in sentences of the pages: a pattern whose groups are the numbers, and what they are by the files.

A sentence is looked for on every page, with one space between words, without markup and with "-" for a minus sign.
"""

from functools import cache

import numpy as np
import pandas as pd

import _thesis_tables
from _estimates import ratio_estimate
from _pages import RESULTS, monitored, read, records, shift_runs, thesis_means
from _shift_tables import against_temperature, by_shift, pair, read_results

BINS = ["HistogramBinning", "BayesianBinningIntoQuantiles", "IsotonicCalibration"]
TEN_CLASSES = ["ResNet-20, 500", "ResNet-32, 500"]


def at_most(limit, value):
    """The limit where it holds, else what breaks it."""
    return limit if value <= limit else value


@cache
def maps():
    """Differences of NLL to temperature scaling's: a row for each method, a column for each record and size."""
    table = read("choosing.csv").set_index("method")
    return table.apply(lambda column: column.astype(str).str.strip("()").str.replace("−", "-").astype(float))


def of_maps(*cells):
    return [maps().loc[method, column] for method, column in cells]


def won_on_strong_networks():
    """The most of a single map on CIFAR-10, and what order-preserving maps win of temperature scaling's on sensors."""
    means = read("strong_networks.csv").groupby(["network", "n", "method"]).nll.mean().unstack()
    less = means.sub(means.TemperatureScaling, axis=0).filter(regex="^(?!CalibratorSelector)")
    largest = less.loc[[("CIFAR-10, ResNets", 5000), ("CIFAR-10, and features", 2500)]]
    weaker = maps().drop("CalibratorSelector")[["ResNet-20, 5,000", "ResNet-32, 5,000"]]
    most = -min(largest.to_numpy().min(), weaker.to_numpy().min())
    sensors = "gas sensors", 2500
    return [most, -less.IntraOrderPreservingCalibration[sensors], means.TemperatureScaling[sensors]]


def bins_cost():
    costs = maps().loc[BINS, [name for name in maps().columns if not name.startswith("fit ms")]]
    return [costs.to_numpy().min(), costs.to_numpy().max()]


def selector_seconds():
    times = [name for name in maps().columns if name.startswith("fit ms")]
    return list(maps().loc["CalibratorSelector", times].sort_values() / 1000)


def temperature_nll():
    own = records()["TemperatureScaling.csv"].query("n == 5000").groupby("record").nll.mean()
    return [own["cifar10_resnet20"], own["cifar100_wideresnet-16-4"]]


@cache
def selecting():
    """Means over draws of the NLL, and single draws: a column for each method."""
    draws = read("selecting.csv").pivot(index=["record", "seed"], columns="method", values="nll")
    return draws.groupby("record").mean(), draws


def selector_against_temperature():
    means, draws = selecting()
    return [
        (means.selector - means.temperature).max(),
        at_most(0.006, (draws.selector - draws.temperature).max()),
    ]


@cache
def votes(score):
    """Mean of each method over tables and classifiers, and how much more scikit-learn has on each."""
    means = read("votes.csv").pivot_table(score, ["table", "classifier"], "method")
    return means.mean(), means["scikit-learn"] - means.skclamp


def votes_of_forests():
    nll, less = votes("nll")
    ece, _ = votes("ece")
    return [nll.skclamp, ece.skclamp, nll["scikit-learn"], ece["scikit-learn"], at_most(0.0001, -less.min())]


def regrets(name):
    """The selector's mean NLL less that of the best single map of each record."""
    means = read(name).pivot_table("nll", "record", "method")
    return means.selector - means.drop(columns="selector").min(axis=1)


def selector_against_the_best():
    regret = regrets("selecting.csv")
    return [regret.mean(), regret.clip(lower=0).mean(), regret["gas sensors, batch 3"]]


def means_of_two_views():
    """NLL over temperature scaling's, and points, by network."""
    plain = read("views.csv").query("part == 'plain' and max_views == 2").set_index("network")
    ratio, points = plain.nll / plain.nll_temperature, plain.accuracy - plain.accuracy_temperature
    return pd.DataFrame({"ratio": ratio, "points": points}).groupby("network").mean()


def two_views():
    """The first network of each data set."""
    return list(means_of_two_views().loc[["cifar10_resnet20", "cifar100_resnet20"]].to_numpy().ravel())


def span_of_two_views():
    """Per cent off the NLL and points, least and largest."""
    means = means_of_two_views()
    less = 100 * (1 - means.ratio)
    return [less.min(), less.max(), means.points.min(), means.points.max()]


def views_of_nothing():
    """How many fits, of which none may have kept a view."""
    nothing = read("views.csv").query("part == 'nothing'")
    return [len(nothing) if (nothing.n_views == 1).all() else np.nan]


def fits_without_a_shift():
    """How many, of which none may have kept a perturbation."""
    plain = read("views.csv").query("part == 'plain'").perturbed
    thesis = read("thesis.csv").query("method == 'clamping'").accepted
    return [len(plain) + len(thesis) if not (plain.any() or thesis.any()) else np.nan]


def thesis(*cells):
    return [thesis_means().loc[method, name] for method, name in cells]


def best_of_the_thesis():
    others = thesis_means().drop(["uncalibrated", "temperature"])
    best = others.loc[others.nll.idxmin()]
    return [-best.nll_difference, best.nll_difference_low, best.nll_difference_high]


def ece_of_the_reference():
    means = thesis_means()
    return [means.ece["temperature"] - means.ece["reference"], means.ece_floor["reference"], *ece_of_seeds()]


def ece_of_seeds():
    """Least and largest ECE of three seeds of the authors' settings."""
    seeds = read("thesis.csv").query("method == 'reference' and gamma == 1 and n_calibration == 5000")
    return [seeds.ece.min(), seeds.ece.max()] if len(seeds) == 3 else np.nan


def cost_of_few_samples():
    """NLL with 500 samples less that with 5,000."""
    sized = _thesis_tables.select(_thesis_tables.read_results(RESULTS / "thesis.csv"), "size")
    nll = sized.pivot(index="label", columns="n_calibration", values="nll")
    return list((nll[500] - nll[5000])[["temperature", "SMS", "vector"]])


def gammas_of_temperature():
    swept = _thesis_tables.select(_thesis_tables.read_results(RESULTS / "thesis.csv"), "gamma")
    own = swept[swept.label == "temperature"].set_index("gamma")
    return [*own.nll[[0, 1, 5]], *own.ece[[0, 1, 5]]]


def passes():
    """Forward and backward, of our default where nothing is to be found and of the authors' settings."""
    return thesis(*((method, way) for method in ("clamping", "reference") for way in ("forward", "backward")))


def passes_under_shifts():
    forward = read("views.csv").query("part == 'shift' and max_views == 1").forward
    return [forward.min(), forward.max()]


@cache
def sensors():
    return pair(read_results([RESULTS / "shift_tabular.csv"]))


def drifted_sensors():
    """NLL over temperature scaling's, then points of accuracy, of the three tables."""
    drifted = sensors()[sensors()["shift"] != "none"]
    parts = [drifted[drifted.network == f"{name}_mlp"] for name in ("breast_cancer", "digits_coarse", "digits")]
    ratios = [against_temperature(part, "auto", "nll", ratio_estimate).mean for part in parts]
    return [*ratios, *(against_temperature(part, "auto", "accuracy").mean for part in parts)]


def steady_sensors():
    plain = sensors()[sensors()["shift"] == "none"]
    return [plain.accepted.sum(), len(plain)]


def cost_of_monitoring():
    """Microseconds a sample, kB of a pickle at the most, and what chunks change, in 1e-14."""
    seconds = monitored()["time"].xs("microseconds a sample, wall", level="measure")
    return [*seconds[["K = 10", "K = 1000"]], monitored()["memory"].max() / 1000, monitored()["chunks"].max() * 1e14]


def matrix_times():
    ratios = read("matrix_speed.csv").set_index(["samples", "classes"]).ratio
    return [ratios[samples, classes] for samples in (500, 5000) for classes in (2, 4)]


def won_on_shifts():
    """Points of accuracy and NLL over temperature scaling's of clamping, least and largest of the seven shifts."""
    parts = [part for shift, part in by_shift(shift_runs()) if shift != "none"]
    points = [against_temperature(part, "auto", "accuracy").mean for part in parts]
    ratios = [against_temperature(part, "auto", "nll", ratio_estimate).mean for part in parts]
    return pd.Series({"points": (min(points), max(points)), "ratios": (min(ratios), max(ratios))})


SHIFT_SENTENCES = (
    (
        r"between (\d\.\d) and (\d\.\d) points of accuracy on seven shifts out of seven, "
        r"and brought the NLL down to (0\.\d\d) to (0\.\d\d) of temperature scaling's",
        lambda: [*won_on_shifts().points, *won_on_shifts().ratios],
    ),
    (
        r"-(\d\d) to -(\d\d) % of temperature scaling's NLL and \+(\d\.\d) to \+(\d\.\d) points of accuracy on seven",
        lambda: [*(100 * (1 - ratio) for ratio in reversed(won_on_shifts().ratios)), *won_on_shifts().points],
    ),
)
SENTENCES = (
    *SHIFT_SENTENCES,
    # Every output map.
    (
        r"With 500 images and 10 classes nothing was better by more than (0\.\d+)",
        lambda: [at_most(0.001, -maps()[TEN_CLASSES].to_numpy().min())],
    ),
    (r"bias per class cost (\d\.\d) \(WideResNet\)", lambda: of_maps(("VectorScaling", "WideResNet, 500"))),
    (
        r"no single map won more than (0\.\d+), and those that keep the order are level\. On gas sensors, 98 % right, "
        r"these won (0\.\d+) of (0\.\d+) with 2,500",
        won_on_strong_networks,
    ),
    (
        r"WideResNet, 100 classes: (-0\.\d+) with 500 images, (-0\.\d+) with 5,000",
        lambda: of_maps(*(("IntraOrderPreservingCalibration", f"WideResNet, {n}") for n in ("500", "5,000"))),
    ),
    (
        r"5,000 images, 100 classes: (-0\.\d+) and (-0\.\d+) \(WideResNet\), (-0\.\d+) and (-0\.\d+) \(LeNet\)",
        lambda: of_maps(
            *(
                (method, f"{record}, 5,000")
                for record in ("WideResNet", "LeNet")
                for method in ("StructuredMatrixScaling", "MatrixScaling")
            )
        ),
    ),
    (
        r"With 500, MatrixScaling costs (0\.\d+) on the WideResNet",
        lambda: of_maps(("MatrixScaling", "WideResNet, 500")),
    ),
    (
        r"5,000 images: (-0\.\d+) \(WideResNet\), (-0\.\d+) \(LeNet\)\.",
        lambda: of_maps(*(("CalibratorSelector", f"{record}, 5,000") for record in ("WideResNet", "LeNet"))),
    ),
    (r"It takes (\d\.\d) to (\d+) seconds", selector_seconds),
    (r"One-vs-rest on ten classes, 5,000 images: (-0\.\d+)", lambda: of_maps(("PlattScaling", "ResNet-20, 5,000"))),
    (
        r"Costs NLL: (\+0\.\d+) with 5,000 images and ten classes, (\+0\.\d+) with 500",
        lambda: of_maps(*(("VennAbersCalibration", f"ResNet-20, {n}") for n in ("5,000", "500"))),
    ),
    (r"An NLL of (0\.\d+) \(ResNet-20\) and of (0\.\d+) \(WideResNet\)", temperature_nll),
    (r"lose (0\.\d+) to (\d+) nats on these networks", bins_cost),
    # The selector.
    (
        r"on no record worse than temperature scaling by more than (0\.\d+), and in no draw by (0\.\d+)",
        selector_against_temperature,
    ),
    (
        r"It is (0\.\d+) behind the best single map of each record, on the mean, and (0\.\d+) where gains count as "
        r"nothing; most on sensors of batch 3 \((0\.\d+)\)",
        selector_against_the_best,
    ),
    (
        r"temperature scaling so has a mean NLL of (0\.\d+) and an ECE of (\d\.\d) %\. scikit-learn's, .*, has "
        r"(0\.\d+) and (\d\.\d) %\. On none of the twelve was ours worse by more than (0\.\d+)",
        votes_of_forests,
    ),
    (
        r"the LeNet got temperature scaling, which is (0\.\d+) behind the best map",
        lambda: [regrets("selecting_stratified.csv")["cifar100_lenet-5"]],
    ),
    # Views.
    (
        r"down to (0\.\d+) of temperature scaling's and the accuracy up by (\d\.\d) points on CIFAR-10; "
        r"to (0\.\d+) and by (\d\.\d) points on CIFAR-100",
        two_views,
    ),
    (
        r"2,500 images: -(\d+) to -(\d+) % of temperature scaling's NLL, and \+(\d\.\d) to \+(\d\.\d) points",
        span_of_two_views,
    ),
    (r"no view was kept in any of (\d+) fits", views_of_nothing),
    (r"[Ii]n (\d+) fits without a shift", fits_without_a_shift),
    # The thesis's experiments.
    (
        r"its ECE, (\d\.\d+) %, is what a perfectly calibrated classifier would show on as many images "
        r"\((\d\.\d+) % on average\)",
        lambda: thesis(("temperature", "ece"), ("temperature", "ece_floor")),
    ),
    (r"with (0\.\d+) less \(95 % interval (-0\.\d+) to (\+0\.\d+)\)", best_of_the_thesis),
    (
        r"has the ECE of temperature scaling, (\d\.\d+) for (\d\.\d+) %, where the noise floor is (\d\.\d+): "
        r"three seeds have (\d\.\d+) to (\d\.\d+), and one in float32 (\d\.\d+)",
        lambda: [
            *thesis(("reference", "ece"), ("temperature", "ece"), ("reference", "ece_floor")),
            *ece_of_seeds(),
            *read("thesis_float32.csv").ece,
        ],
    ),
    (
        r"NLL rises from (1\.\d+) to (1\.\d+)",
        lambda: thesis(("temperature", "nll"), ("reference", "nll")),
    ),
    (
        r"ECE stays about what it was, (\d\.\d+) and (\d\.\d+) %",
        lambda: thesis(("temperature", "ece"), ("reference", "ece")),
    ),
    (
        r"lower by (0\.\d+) points, where the noise floor is (\d\.\d) and three seeds have (\d\.\d+) to (\d\.\d+) %",
        ece_of_the_reference,
    ),
    (
        r"temperature scaling (?:loses )?(0\.\d+)(?: in NLL)?, "
        r"structured matrix scaling (0\.\d+) and vector scaling (\d\.\d)",
        cost_of_few_samples,
    ),
    (
        r"an NLL of (1\.\d+) at gamma 0, (1\.\d+) at 1 and (1\.\d+) at 5, "
        r"and an ECE of (\d\.\d+), (\d\.\d+) and (\d\.\d+) %",
        gammas_of_temperature,
    ),
    (
        r"nothing to find (\d\.\d) and (\d\.\d); by the authors' settings(?:, 100 epochs,)? (\d+) and (\d+)",
        passes,
    ),
    (r"with 2,500 images of CIFAR-10, it took (\d+) to (\d+) passes forward", passes_under_shifts),
    # The monitor, sensors, and the time of matrix scaling.
    (
        r"it takes (\d+) microseconds a sample at K = 10, (\d+) at K = 1,000\. A pickled monitor has at most "
        r"(\d+) kB .* differ by (\d)e-14 at the most",
        cost_of_monitoring,
    ),
    (
        r"NLL ratios (0\.\d+) \(breast cancer\), (0\.\d+) \(digits of 16 pixels\) and (0\.\d+) \(digits\), "
        r"accuracy (\+\d+\.\d), (\+\d+\.\d) and (\+\d+\.\d) points",
        drifted_sensors,
    ),
    (r"Without a drift a perturbation was kept in (\d+) of (\d+) runs", steady_sensors),
    (
        r"with 500 samples (\d\.\d) times the peer's time at two classes and (\d\.\d) at four; "
        r"with 5,000, (\d\.\d) and (\d\.\d)",
        matrix_times,
    ),
)
