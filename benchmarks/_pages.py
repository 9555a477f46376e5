"""What the pages print of the files of results: each measured table, by its head."""

from functools import cache
from pathlib import Path

import pandas as pd

import _corruption_tables
import _shift_tables
import _thesis_tables
from _estimates import ratio_estimate
from _peer_tables import compare as compare_records
from _peer_tables import read_records
from _records import RECORDS
from drift import METHODS as DRIFT_METHODS
from sample_sizes import table as sizes_table
from strong_networks import overview as strong_overview

RESULTS = Path(__file__).parent / "results"

SHIFTS = {
    "none": "none",
    "brightness": "brightness + 0.25, clipped",
    "darkness": "darkness × 0.35",
    "contrast": "contrast × 0.5",
    "color_cast": "colour cast",
    "normalization": "normalised with the wrong constants",
    "bgr": "channels in BGR order",
    "stain": "dark stain on the lens",
}
NETWORKS = {
    "cifar10_resnet20": "CIFAR-10 ResNet-20",
    "cifar10_resnet32": "CIFAR-10 ResNet-32",
    "cifar100_resnet20": "CIFAR-100 ResNet-20",
}
FAMILY_SHIFTS = {"color_cast": "colour cast", "normalization": "normalisation", "bgr": "BGR"}
THESIS_METHODS = {
    "uncalibrated": "uncalibrated",
    "temperature": "temperature scaling",
    "clamping": "neural clamping, our default",
    "reference": "neural clamping, the authors' settings",
}
CORRUPTION_METHODS = {
    "temperature": "temperature scaling",
    "structured_matrix": "structured matrix scaling",
    **{method: marks["label"] for method, marks in _corruption_tables.MARKS.items()},
}
CORRUPTION_COLUMNS = ("NLL ratio", "points", "ECE % (floor)", "fit", "predict", "weights", "worse than temperature")
CHANGES = {
    "uncalibrated": "uncalibrated network",
    "darkness": "darkness × .35",
    "noise": "noise, standard deviation .1",
    "class frequencies": "class frequencies from Dirichlet(.3)",
}
# What a page calls a method and its peer, and their records.
PEERS = (
    ("temperature scaling", "scikit-learn", "TemperatureScaling", "scikit-learn temperature"),
    ("vector scaling", "probmetrics", "VectorScaling", "probmetrics vector"),
    ("structured vector scaling", "probmetrics", "StructuredVectorScaling", "probmetrics SVS"),
    ("structured matrix scaling", "probmetrics", "StructuredMatrixScaling", "probmetrics SMS"),
    ("matrix scaling", "probmetrics", "MatrixScaling", "probmetrics matrix"),
    ("ensemble temperature scaling", "probmetrics", "EnsembleTemperatureScaling", "probmetrics ETS(ce)"),
    ("Platt scaling", "scikit-learn, sigmoid of log-odds", "PlattScaling", "scikit-learn sigmoid of log-odds"),
    ("beta calibration", "betacal", "BetaCalibration", "betacal one-vs-rest"),
    ("histogram binning", "netcal", "HistogramBinning", "netcal histogram binning"),
    ("Bayesian binning", "netcal", "BayesianBinningIntoQuantiles", "netcal BBQ"),
    ("isotonic regression", "scikit-learn (the same engine)", "IsotonicCalibration", "scikit-learn isotonic"),
    ("spline calibration", "probmetrics", "SplineCalibration", "probmetrics spline"),
    ("order-invariant networks", "probmetrics", "IntraOrderPreservingCalibration", "probmetrics IOP"),
)
# Whom the selector is compared with: the one of least mean NLL on each record.
FIVE = ("probmetrics vector", "probmetrics SVS", "probmetrics SMS", "probmetrics matrix", "probmetrics IOP")


SIZES, N_SPLITS = (500, 5000), 5


@cache
def read(name):
    """A file of results."""
    return pd.read_csv(RESULTS / name)


def short(value, digits=3):
    """Without the zero before the point."""
    return f"{value:.{digits}f}".removeprefix("0")


def difference_text(estimate):
    """0 where it rounds to that; in parentheses within two standard errors, as in choosing.csv."""
    mean, error = estimate
    if not round(mean, 4):
        return "0"
    return f"({mean:+.4f})" if abs(mean) < 2 * error else f"{mean:+.4f}"


def span_of_differences(part):
    return span(zip(part.difference, part.standard_error, strict=True), difference_text)


def span(values, text):
    """The least and the largest, once where they read the same."""
    values = sorted(values)
    low, high = text(values[0]), text(values[-1])
    return low if low == high else f"{low} to {high}"


# Tables: each function gives all rows, cell by cell as text.


@cache
def shift_runs():
    """ResNet-20 with 2,500 images, run by run."""
    runs = _shift_tables.pair(_shift_tables.read_results([RESULTS / "shift.csv"]))
    return runs[(runs["network"] == "cifar10_resnet20") & (runs["n_calibration"] == 2500)]


def shift_rows():
    return [
        (
            SHIFTS[shift],
            f"{part['accuracy temperature'].mean():.1f}, {part['nll temperature'].mean():.3f}",
            f"{_shift_tables.against_temperature(part, 'vector', 'nll', ratio_estimate).mean:.3f}",
            with_error(_shift_tables.against_temperature(part, "auto", "nll", ratio_estimate), "{:.3f}", 3),
            with_error(_shift_tables.against_temperature(part, "auto", "accuracy"), "{:+.1f}", 1),
        )
        for shift, part in _shift_tables.by_shift(shift_runs())
    ]


def with_error(estimate, mean, digits):
    error = f"{estimate.standard_error:.{digits}f}"
    return f"{mean.format(estimate.mean)} ± {error.removeprefix('0') if digits > 1 else error}"


def view_rows():
    plain = read("views.csv").query("part == 'plain'")
    plain = plain.assign(ratio=plain.nll / plain.nll_temperature, points=plain.accuracy - plain.accuracy_temperature)
    rows = []
    for network, own in plain.groupby("network", sort=False):
        cells = [
            f"{short(part.ratio.mean())} ({short(part.ratio.sem())}), {part.points.mean():+.1f}"
            for _, part in own.groupby("max_views")
        ]
        rows.append((NETWORKS[network], *cells))
    return rows


def drift_rows():
    means = read("drift.csv").pivot_table(["nll", "accuracy"], "n", "method")
    return [
        (str(n), *(f"{short(row['nll', method])}, {row['accuracy', method]:.1f} %" for method in DRIFT_METHODS))
        for n, row in means.iterrows()
    ]


@cache
def corruption_runs():
    """Every run, each with its NLL over temperature scaling's and points gained."""
    return _corruption_tables.against_temperature(read("corruptions.csv"))


def corruption_rows():
    """A method's row says how many corruptions and splits those are where its setting has more."""
    rows = []
    for network, severity, part in _corruption_tables.settings_of(corruption_runs()):
        means = _corruption_tables.means_rows(part)
        setting = f"{_corruption_tables.TITLES[network]}, severity {severity}"
        for row in means:
            title = CORRUPTION_METHODS[row["method"]]
            for what in ("corruptions", "splits"):
                if row[what] < max(other[what] for other in means):
                    title += f", {row[what]} {what.removesuffix('s') if row[what] == 1 else what}"
            rows.append((setting, title, *map(row.get, CORRUPTION_COLUMNS)))
    return rows


IMAGENET_CHANGES = {
    "none": "none",
    "darkness": "darkness × 0.25",
    "haze": "haze",
    "cast": "colour cast",
    "fog": "fog, severity 3",
    "defocus_blur": "defocus blur, severity 3",
    "jpeg_compression": "JPEG, severity 3",
}


def imagenet_rows():
    runs = _corruption_tables.against_temperature(read("imagenet.csv"))
    rows = []
    for change, title in IMAGENET_CHANGES.items():
        own = runs[runs.corruption == change]
        means = own.groupby("method", observed=True)[["ratio", "points", "accuracy", "nll"]].mean()
        plain = means.loc["temperature"]
        cells = [f"{means.ratio[method]:.3f}, {means.points[method]:+.1f}" for method in ("batch_norm", "clamping")]
        rows.append((title, str(own.seed.nunique()), f"{plain.accuracy:.1f}, {plain.nll:.3f}", *cells))
    return rows


def front_rows():
    return [
        (
            row.corruption.replace("_", " "),
            f"{row.temperature_accuracy:.1f}, {row.temperature_nll:.3f}",
            f"{row.clamping_accuracy:.1f}, {row.clamping_nll:.3f}",
        )
        for row in read("front.csv").itertuples()
    ]


def prior_shift_rows():
    draws = read("prior_shift.csv")
    kinds = draws.change.where(draws.change.isin(["classes", "none"]), "images")
    rows, previous = [], None
    order = draws.network.map(list(NETWORKS).index)
    for (_, n), part in draws.groupby([order, "n_unlabelled"]):
        network = part.network.iloc[0]
        cells = []
        for kind in ("classes", "none", "images"):
            own = part[kinds[part.index] == kind]
            ratio = (own.nll / own.ts_nll).mean()
            cells.append(f"{short(ratio) if round(ratio, 3) != 1 else 1}, {own.kept.sum()} of {len(own)}")
        rows.append((NETWORKS[network] if network != previous else "", f"{n:,}", *cells))
        previous = network
    return rows


def strong_rows():
    return list(strong_overview(read("strong_networks.csv")).reset_index().itertuples(index=False, name=None))


def sample_size_rows():
    return list(sizes_table(read("sample_sizes.csv")).itertuples(index=False, name=None))


@cache
def monitored():
    """What was measured of the monitor, by part, setting and measure."""
    return read("monitor.csv").set_index(["part", "setting", "measure"]).value


def delay_rows():
    return [(title, f"{monitored()['delay', change, 'median delay']:.0f}") for change, title in CHANGES.items()]


def false_alarm_rows():
    undisturbed = monitored()["undisturbed"].xs("share of alarms", level="measure") * 100
    lengths = monitored()["run length"].xs("mean run length at least", level="measure").astype(int)
    shares = monitored()["false alarms"].unstack() * 100
    sharp = shares.index.str.endswith("sharp")
    wide, narrow = (" %, ".join(short(worst, 1) for worst in part.max()) for part in (shares[~sharp], shares[sharp]))
    fitted = ", ".join(f"{undisturbed[f'fitted on {n}']:.0f}" for n in (500, 1000, 2500))
    return [
        (
            "streams of 3,000 labels drawn from the probabilities, K = 2, 10, 100, 1,000: alarms at .01, at .05",
            f"at most {wide} %",
        ),
        ("the same, tolerance=0, K = 2 and 10", f"at most {narrow} %"),
        ("100 orders of images, T fitted on 500, 1,000, 2,500: alarms", f"{fitted} %"),
        ("the same, T fitted on 500, tolerance=0", f"{undisturbed['fitted on 500, sharp']:.0f} %"),
        (
            "average_run_length of 1,000, 10,000: mean run length, streams cut off at three times that",
            f"above {lengths['1000']:,}, {lengths['10000']:,}",
        ),
        ("the same, tolerance=0, 1,000", f"above {lengths['1000, sharp']:,}"),
    ]


def family_rows():
    results = read("families.csv")
    results = results.assign(ratio=results.nll / results.ts_nll)
    rows = []
    for shift, part in results.groupby("shift", sort=False):
        means = part.pivot(index="seed", columns="family", values="ratio").mean()
        best = means.drop("auto").idxmin()
        rows.append((FAMILY_SHIFTS.get(shift, shift), short(means["auto"]), f"{best} {short(means[best])}"))
    return rows


@cache
def thesis_means():
    """The rows of the thesis's table, by method."""
    results = _thesis_tables.read_results(RESULTS / "thesis.csv")
    return _thesis_tables.select(results, "table").set_index("label")


def thesis_rows():
    return [
        (
            title,
            f"{row['accuracy']:.2f}",
            f"{row['nll']:.4f}",
            f"{row['brier']:.4f}",
            f"{row['ece']:.2f} ({row['ece_floor']:.2f})",
        )
        for title, row in ((title, thesis_means().loc[method]) for method, title in THESIS_METHODS.items())
    ]


@cache
def records():
    return read_records(RESULTS / "records")


def peer_rows():
    """A dash for a size that not all networks and splits have been run at."""
    rows = []
    for title, peer, method, other in PEERS:
        parts = whole_sizes(compare_records(records(), (method, other)))
        differences = [span_of_differences(part) if len(part) else "—" for part in parts]
        ratios = pd.concat(parts).ratio
        rows.append((title, peer, *differences, span(ratios, "{:.2f}".format) if len(ratios) else "—"))
    return [*rows, ("CalibratorSelector", "the best of five", *selector_differences(), "")]


def whole_sizes(found):
    """The comparisons at each size, none where a network or a split is missing."""
    parts = [found[found.n == n] for n in SIZES]
    return [part if part.splits.sum() == N_SPLITS * len(RECORDS) else part[:0] for part in parts]


def selector_differences():
    """For each size, the selector's NLL less the least of the peers' on each record, least and largest."""
    found = pd.concat([compare_records(records(), ("CalibratorSelector", peer)) for peer in FIVE])
    by_peer = [whole_sizes(part) for _, part in found.groupby("peer")]
    return [
        span_of_differences(pd.concat(parts).sort_values("difference").groupby("record").tail(1))
        if all(map(len, parts))
        else "—"
        for parts in zip(*by_peer, strict=True)
    ]


_TEMPERATURE = "temperature scaling: accuracy %, NLL"
SHIFT_TABLES = {
    (
        "shift",
        _TEMPERATURE,
        "NLL ratio, vector scaling",
        "NLL ratio, neural clamping",
        "accuracy won, points",
    ): shift_rows,
}
TABLES = {
    **SHIFT_TABLES,
    ("network", "two views", "four views"): view_rows,
    (
        *("samples", "temperature scaling", "selector", "clamping", "clamping, then selector"),
        *("network retrained", "new logistic regression"),
    ): drift_rows,
    ("shift", '"auto"', "the best by name"): family_rows,
    ("method", "accuracy %", "NLL", "Brier", "ECE % (floor)"): thesis_rows,
    ("method", "peer", "NLL difference, 500 images", "NLL difference, 5,000 images", "time ratio"): peer_rows,
    (
        *("network, severity", "method", "NLL ratio", "accuracy won, points", "ECE % (floor)", "fit, in passes"),
        *("prediction, in passes", "weights", "worse than temperature scaling"),
    ): corruption_rows,
    ("corruption", _TEMPERATURE, "neural clamping: accuracy %, NLL"): front_rows,
    ("data: method", "50", "100", "200", "500", "1,000", "2,000", "5,000"): sample_size_rows,
    (
        *("method", "CIFAR-10, ResNets, 500", "CIFAR-10, ResNets, 1,000", "CIFAR-10, ResNets, 2,500"),
        *("CIFAR-10, ResNets, 5,000", "gas sensors, 500", "gas sensors, 1,000", "gas sensors, 2,500"),
        *("CIFAR-10, and features, 500", "CIFAR-10, and features, 1,000", "CIFAR-10, and features, 2,500"),
    ): strong_rows,
    ("change", "labels until the alarm"): delay_rows,
    ("no change", ""): false_alarm_rows,
    ("change", "splits", _TEMPERATURE, "batch norm adapted", "neural clamping"): imagenet_rows,
    (*("network", "unlabelled asked for", "frequencies change", "nothing changes", "images change"),): prior_shift_rows,
}
