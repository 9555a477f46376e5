"""The measured tables of the pages, made from the files of results.

    python benchmarks/tables.py
    python benchmarks/tables.py --check

A table stands on any page between two comments, of which the first names an entry of `TABLES`; of a ``list-table`` what
comes before the first row stays. Tables that are files of their own are in `FILES`. The first command writes anew what
differs, the second fails where anything does.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import _corruption_tables
import _shift_tables
import _thesis_tables
import sample_sizes
import strong_networks
from _estimates import ratio_estimate
from _peer_tables import compare, read_records
from _records import RECORDS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Folders of what is made otherwise, or no page.
MADE = {"_build", "_templates", "auto_examples", "examples", "generated"}
PAGES = [
    ROOT / "README.md",
    RESULTS / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.rst") if not MADE & set(page.relative_to(ROOT / "docs").parts)),
]
MARKED = re.compile(
    r"(?P<begin>(?:\.\.|<!--) table by benchmarks/tables\.py: (?P<name>[\w ]+?)(?: -->)?\n\n)"
    r"(?P<body>.*?)(?P<end>\n(?:\.\.|<!--) end of table)",
    re.DOTALL,
)


class Table(NamedTuple):
    """A file of results or several, the head of a table, and what makes its rows of the files' frames."""

    source: str | tuple[str, ...]
    head: tuple[str, ...]
    rows: Callable


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
TABULAR = {"breast_cancer": "breast cancer", "digits_coarse": "digits of 16 pixels", "digits": "digits"}
DRIFT_METHODS = ("temperature", "selector", "clamping", "clamping_selector", "retrained", "new_model")
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
IMAGENET_CHANGES = {
    "none": "none",
    "darkness": "darkness × 0.25",
    "haze": "haze",
    "cast": "colour cast",
    "fog": "fog, severity 3",
    "defocus_blur": "defocus blur, severity 3",
    "jpeg_compression": "JPEG, severity 3",
}
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


def short(value, digits=3):
    """Without the zero before the point."""
    return f"{value:.{digits}f}".removeprefix("0")


def span(values, text):
    """The least and the largest, once where they read the same."""
    values = sorted(values)
    low, high = text(values[0]), text(values[-1])
    return low if low == high else f"{low} to {high}"


def with_error(estimate, mean, digits):
    error = f"{estimate.standard_error:.{digits}f}"
    return f"{mean.format(estimate.mean)} ± {error.removeprefix('0') if digits > 1 else error}"


# Rows of each table, cell by cell as text.


def measured(corruptions, views, drift, prior_shift):
    """NLL over temperature scaling's and points of accuracy, one line for each kind of reader."""
    own = _corruption_tables.against_temperature(corruptions).query("network == 'cifar10_resnet20'")
    own = own.groupby(["method", "severity", "corruption"], observed=True)[["ratio", "points"]].mean()
    own = own.groupby("method", observed=True).mean()
    plain = two_views(views).groupby("network").mean()
    sensors = drift.query("n == 150").groupby("method")[["nll", "accuracy"]].mean()
    sensors["ratio"] = sensors.nll / sensors.nll["temperature"]
    sensors["points"] = sensors.accuracy - sensors.accuracy["temperature"]
    draws = prior_shift.query("network == 'cifar10_resnet20' and n_unlabelled == 500 and change == 'classes'")
    frequencies = pd.Series(
        {"ratio": (draws.nll / draws.ts_nll).mean(), "points": 100 * (draws.accuracy - draws.ts_accuracy).mean()}
    )
    n = corruptions.corruption.nunique()
    lines = (
        (f"{n} corruptions of CIFAR-10 that others wrote", "`NeuralClampingCalibrator`", own.loc["clamping"]),
        ("the same", "batch norm adapted, T", own.loc["batch_norm"]),
        ("CIFAR-10, no shift", "`max_views=2`: the mirror image too", plain.loc["cifar10_resnet20"]),
        ("gas sensors that drifted, 150 labels", "`CalibratorSelector`", sensors.loc["selector"]),
        ("the same", "the network retrained", sensors.loc["retrained"]),
        ("other class frequencies", "`PriorShiftCorrection`", frequencies),
    )
    return [(what, who, f"{found.ratio:.2f}", f"{found.points:+.1f}") for what, who, found in lines]


def shift_runs(results):
    """ResNet-20 with 2,500 images, run by run."""
    runs = _shift_tables.pair(_shift_tables.in_order(results))
    return runs[(runs["network"] == "cifar10_resnet20") & (runs["n_calibration"] == 2500)]


def shift(results):
    return [
        (
            SHIFTS[name],
            f"{part['accuracy temperature'].mean():.1f}, {part['nll temperature'].mean():.3f}",
            f"{_shift_tables.against_temperature(part, 'vector', 'nll', ratio_estimate).mean:.3f}",
            with_error(_shift_tables.against_temperature(part, "auto", "nll", ratio_estimate), "{:.3f}", 3),
            with_error(_shift_tables.against_temperature(part, "auto", "accuracy"), "{:+.1f}", 1),
        )
        for name, part in _shift_tables.by_shift(shift_runs(results))
    ]


def tabular(results):
    runs = _shift_tables.pair(_shift_tables.in_order(results))
    rows = []
    for name, title in TABULAR.items():
        own = runs[runs.network == f"{name}_mlp"]
        drifted, steady = (own[own["shift"] == kind] for kind in ("drift", "none"))
        ratio = _shift_tables.against_temperature(drifted, "auto", "nll", ratio_estimate)
        points = _shift_tables.against_temperature(drifted, "auto", "accuracy")
        kept = (f"{part.accepted.sum():.0f} of {len(part)}" for part in (drifted, steady))
        rows.append((title, f"{ratio.mean:.3f}", f"{points.mean:+.1f}", *kept))
    return rows


def two_views(results):
    two = results.query("part == 'plain' and max_views == 2").set_index("network")
    return pd.DataFrame({"ratio": two.nll / two.nll_temperature, "points": two.accuracy - two.accuracy_temperature})


def views(results):
    plain = results.query("part == 'plain'")
    plain = plain.assign(ratio=plain.nll / plain.nll_temperature, points=plain.accuracy - plain.accuracy_temperature)
    return [
        (
            NETWORKS[network],
            *(
                f"{short(part.ratio.mean())} ({short(part.ratio.sem())}), {part.points.mean():+.1f}"
                for _, part in own.groupby("max_views")
            ),
        )
        for network, own in plain.groupby("network", sort=False)
    ]


def drift(results):
    means = results.pivot_table(["nll", "accuracy"], "n", "method")
    return [
        (str(n), *(f"{short(row['nll', method])}, {row['accuracy', method]:.1f} %" for method in DRIFT_METHODS))
        for n, row in means.iterrows()
    ]


def corruptions(results):
    """A method's row says how many corruptions and splits those are where its setting has more."""
    columns = ("NLL ratio", "points", "ECE % (floor)", "fit", "predict", "weights", "worse than temperature")
    rows = []
    for network, severity, part in _corruption_tables.settings_of(_corruption_tables.against_temperature(results)):
        means = _corruption_tables.means_rows(part)
        setting = f"{_corruption_tables.TITLES[network]}, severity {severity}"
        for row in means:
            title = CORRUPTION_METHODS[row["method"]]
            for what in ("corruptions", "splits"):
                if row[what] < max(other[what] for other in means):
                    title += f", {row[what]} {what.removesuffix('s') if row[what] == 1 else what}"
            rows.append((setting, title, *map(row.get, columns)))
    return rows


def corruption_winners(results):
    """For each method and network: where its NLL is below clamping's, and where above temperature scaling's."""
    runs = _corruption_tables.against_temperature(results)
    rows = []
    for method in ("vector", "structured_matrix", "batch_norm", "last_layer", "fine_tuned"):
        for network, title in _corruption_tables.TITLES.items():
            own = runs[(runs.network == network) & runs.method.isin([method, "clamping"])]
            # Over the splits that both have, then severities.
            ratios = own.pivot_table("ratio", ["severity", "corruption", "seed"], "method", observed=True).dropna()
            if method in ratios and len(ratios):
                ratios = ratios.groupby(["severity", "corruption"], observed=True).mean()
                ratios = ratios.groupby("corruption", observed=True).mean()
                better, worse = ratios.index[ratios[method] < ratios.clamping], ratios.index[ratios[method] > 1]
                names = [", ".join(name.replace("_", " ") for name in found) or "—" for found in (better, worse)]
                better = f"all {len(ratios)} of noise and blur" if len(better) == len(ratios) else names[0]
                rows.append((CORRUPTION_METHODS[method], title, better, names[1]))
    return rows


def imagenet(results):
    runs = _corruption_tables.against_temperature(results)
    rows = []
    for change, title in IMAGENET_CHANGES.items():
        own = runs[runs.corruption == change]
        means = own.groupby("method", observed=True)[["ratio", "points", "accuracy", "nll"]].mean()
        plain = means.loc["temperature"]
        cells = [f"{means.ratio[method]:.3f}, {means.points[method]:+.1f}" for method in ("batch_norm", "clamping")]
        rows.append((title, str(own.seed.nunique()), f"{plain.accuracy:.1f}, {plain.nll:.3f}", *cells))
    return rows


def front(results):
    return [
        (
            row.corruption.replace("_", " "),
            f"{row.temperature_accuracy:.1f}, {row.temperature_nll:.3f}",
            f"{row.clamping_accuracy:.1f}, {row.clamping_nll:.3f}",
        )
        for row in results.itertuples()
    ]


def prior_shift(draws):
    kinds = draws.change.where(draws.change.isin(["classes", "none"]), "images")
    rows, previous = [], None
    for (_, n), part in draws.groupby([draws.network.map(list(NETWORKS).index), "n_unlabelled"]):
        network = part.network.iloc[0]
        cells = []
        for kind in ("classes", "none", "images"):
            own = part[kinds[part.index] == kind]
            ratio = (own.nll / own.ts_nll).mean()
            cells.append(f"{short(ratio) if round(ratio, 3) != 1 else 1}, {own.kept.sum()} of {len(own)}")
        rows.append((NETWORKS[network] if network != previous else "", f"{n:,}", *cells))
        previous = network
    return rows


def of_monitor(results):
    return results.set_index(["part", "setting", "measure"]).value


def delays(results):
    found = of_monitor(results)
    return [(title, f"{found['delay', change, 'median delay']:.0f}") for change, title in CHANGES.items()]


def false_alarms(results):
    found = of_monitor(results)
    undisturbed = found["undisturbed"].xs("share of alarms", level="measure") * 100
    lengths = found["run length"].xs("mean run length at least", level="measure").astype(int)
    shares = found["false alarms"].unstack() * 100
    sharp = shares.index.str.endswith("sharp")
    wide, narrow = (" %, ".join(short(worst, 1) for worst in part.max()) for part in (shares[~sharp], shares[sharp]))
    fitted = ", ".join(f"{undisturbed[f'fitted on {n}']:.0f}" for n in (500, 1000, 2500))
    return [
        (
            "streams of 3,000 labels drawn from the probabilities, K = 2, 10, 100, 1,000: alarms at .01, at .05",
            f"at most {wide} %",
        ),
        ("the same, `tolerance=0`, K = 2 and 10", f"at most {narrow} %"),
        ("100 orders of images, T fitted on 500, 1,000, 2,500: alarms", f"{fitted} %"),
        ("the same, T fitted on 500, `tolerance=0`", f"{undisturbed['fitted on 500, sharp']:.0f} %"),
        (
            "`average_run_length` of 1,000, 10,000: mean run length, streams cut off at three times that",
            f"above {lengths['1000']:,}, {lengths['10000']:,}",
        ),
        ("the same, `tolerance=0`, 1,000", f"above {lengths['1000, sharp']:,}"),
    ]


def monitor_cost(results):
    """Microseconds a label, bytes of a pickle at the most, and what chunks change."""
    found = of_monitor(results)
    seconds = found["time"].xs("microseconds a sample, wall", level="measure")
    return [
        (
            "microseconds a label, in chunks of 100, K = 10, 1,000",
            f"{seconds['K = 10']:.0f}, {seconds['K = 1000']:.0f}",
        ),
        ("kB of a pickle, after 10,000 to 1,000,000 labels", f"at most {found['memory'].max() / 1000:.0f}"),
        ("largest difference, chunks of 1, 7 and 1,000", f"{found['chunks'].max():.0e}"),
    ]


def families(results):
    results = results.assign(ratio=results.nll / results.ts_nll)
    rows = []
    for name, part in results.groupby("shift", sort=False):
        means = part.groupby("family").ratio.mean()
        best = means.drop("auto").idxmin()
        rows.append((FAMILY_SHIFTS.get(name, name), short(means["auto"]), f"{best} {short(means[best])}"))
    return rows


def thesis(results):
    means = _thesis_tables.select(_thesis_tables.means(results), "table").set_index("label")
    return [
        (
            title,
            f"{row['accuracy']:.2f}",
            f"{row['nll']:.4f}",
            f"{row['brier']:.4f}",
            f"{row['ece']:.2f} ({row['ece_floor']:.2f})",
        )
        for title, row in ((title, means.loc[method]) for method, title in THESIS_METHODS.items())
    ]


def gammas(results):
    swept = _thesis_tables.select(_thesis_tables.means(results), "gamma")
    own = swept[swept.label == "temperature"].sort_values("gamma")
    return [(f"{row.gamma:g}", f"{row.nll:.3f}", f"{row.ece:.2f}") for row in own.itertuples()]


def passes(results, found):
    """Passes of a fit, where there is nothing to find and under shifts."""
    means = _thesis_tables.select(_thesis_tables.means(results), "table").set_index("label")
    shifted = found.query("part == 'shift' and max_views == 1").forward
    return [
        ("CIFAR-100, 5,000 images, nothing to find", *(f"{means.loc['clamping', way]:.1f}" for way in WAYS)),
        ("the same by the authors' settings, 100 epochs", *(f"{means.loc['reference', way]:.0f}" for way in WAYS)),
        ("CIFAR-10 under a shift, 2,500 images", span(shifted, "{:.0f}".format), ""),
    ]


WAYS = ("forward", "backward")


def votes(results):
    means = results.groupby("method")[["nll", "ece"]].mean()
    return [(title, f"{means.nll[method]:.3f}", f"{means.ece[method]:.1f}") for method, title in VOTES.items()]


VOTES = {
    "uncalibrated": "uncalibrated",
    "scikit-learn": "scikit-learn's temperature scaling",
    "skclamp": "TemperatureScaling",
}


def selecting(results):
    rows = []
    for (record, n), part in results.groupby(["record", "n"], sort=False):
        nll = part.pivot(index="seed", columns="method", values="nll")
        over, best = nll.selector - nll.temperature, nll.drop(columns="selector").mean().idxmin()
        behind = (nll.selector - nll[best]).mean()
        cells = f"{nll.temperature.mean():.3f}", f"{over.mean():+.4f}", f"{over.max():+.4f}"
        rows.append((f"{record.replace('_', ' ')}, {n}", *cells, f"{behind:+.3f}, {best}"))
    return rows


def matrix_times(results):
    ratios = results.set_index(["samples", "classes"]).ratio
    counts = sorted(set(results.classes))
    return [(f"{n:,}", *(f"{ratios[n, k]:.1f}" for k in counts)) for n in sorted(set(results.samples))]


def peers(records):
    """A dash for a size that not all networks and splits have been run at."""
    rows = []
    for title, peer, method, other in PEERS:
        parts = whole_sizes(compare(records, (method, other)))
        ratios = pd.concat(parts).ratio
        cells = [span_of_differences(part) if len(part) else "—" for part in parts]
        rows.append((title, peer, *cells, span(ratios, "{:.2f}".format) if len(ratios) else "—"))
    # For each size, the selector's NLL less the least of the five's on each record.
    against = pd.concat([compare(records, ("CalibratorSelector", peer)) for peer in FIVE])
    cells = [
        span_of_differences(pd.concat(parts).sort_values("difference").groupby("record").tail(1))
        if all(map(len, parts))
        else "—"
        for parts in zip(*(whole_sizes(part) for _, part in against.groupby("peer")), strict=True)
    ]
    return [*rows, ("CalibratorSelector", "the best of five", *cells, "")]


def whole_sizes(found):
    """The comparisons at each size, none where a network or a split is missing."""
    parts = [found[found.n == n] for n in SIZES]
    return [part if part.splits.sum() == N_SPLITS * len(RECORDS) else part[:0] for part in parts]


def span_of_differences(part):
    """0 where it rounds to that; in parentheses within two standard errors."""

    def text(estimate):
        mean, error = estimate
        if not round(mean, 4):
            return "0"
        return f"({mean:+.4f})" if abs(mean) < 2 * error else f"{mean:+.4f}"

    return span(zip(part.difference, part.standard_error, strict=True), text)


PLAIN = "temperature scaling: accuracy %, NLL"
TABLES = {
    "measured": Table(
        ("corruptions.csv", "views.csv", "drift.csv", "prior_shift.csv"),
        ("measured on what nothing was fitted to", "with", "NLL, temperature scaling = 1", "accuracy, points"),
        measured,
    ),
    "shift": Table(
        "shift.csv",
        ("shift", PLAIN, "NLL ratio, vector scaling", "NLL ratio, neural clamping", "accuracy won, points"),
        shift,
    ),
    "tabular": Table(
        "shift_tabular.csv",
        ("data", "NLL ratio", "accuracy won, points", "kept under drift", "kept without"),
        tabular,
    ),
    "views": Table("views.csv", ("network", "two views", "four views"), views),
    "drift": Table(
        "drift.csv",
        (
            *("samples", "temperature scaling", "selector", "clamping", "clamping, then selector"),
            *("network retrained", "new logistic regression"),
        ),
        drift,
    ),
    "families": Table("families.csv", ("shift", '"auto"', "the best by name"), families),
    "thesis": Table("thesis.csv", ("method", "accuracy %", "NLL", "Brier", "ECE % (floor)"), thesis),
    "gammas": Table("thesis.csv", ("gamma", "NLL", "ECE %"), gammas),
    "passes": Table(("thesis.csv", "views.csv"), ("fit", "passes forward", "backward"), passes),
    "peers": Table(
        "records",
        ("method", "peer", "NLL difference, 500 images", "NLL difference, 5,000 images", "time ratio"),
        peers,
    ),
    "corruptions": Table(
        "corruptions.csv",
        (
            *("network, severity", "method", "NLL ratio", "accuracy won, points", "ECE % (floor)", "fit, in passes"),
            *("prediction, in passes", "weights", "worse than temperature scaling"),
        ),
        corruptions,
    ),
    "corruption winners": Table(
        "corruptions.csv",
        ("method", "network", "better than clamping on", "worse than temperature scaling on"),
        corruption_winners,
    ),
    "imagenet": Table("imagenet.csv", ("change", "splits", PLAIN, "batch norm adapted", "neural clamping"), imagenet),
    "front": Table("front.csv", ("corruption", PLAIN, "neural clamping: accuracy %, NLL"), front),
    "prior shift": Table(
        "prior_shift.csv",
        ("network", "unlabelled asked for", "frequencies change", "nothing changes", "images change"),
        prior_shift,
    ),
    "delays": Table("monitor.csv", ("change", "labels until the alarm"), delays),
    "false alarms": Table("monitor.csv", ("no change", ""), false_alarms),
    "monitor cost": Table("monitor.csv", ("cost", ""), monitor_cost),
    "votes": Table("votes.csv", ("method", "NLL", "ECE %"), votes),
    "selecting": Table(
        "selecting.csv",
        ("record, samples", "temperature scaling", "selector less it", "worst of five draws", "less the best map"),
        selecting,
    ),
    "matrix speed": Table("matrix_speed.csv", ("samples", "2 classes", "4", "10"), matrix_times),
}


def as_csv(frame):
    return frame.to_csv(index=False, lineterminator="\n")


# A file, the file of results that it is made from, and what makes its text.
FILES = {
    "sample_sizes_table.csv": ("sample_sizes.csv", lambda results: as_csv(sample_sizes.table(results))),
    "strong_networks_table.csv": ("strong_networks.csv", lambda results: as_csv(strong_networks.table(results))),
    "thesis.md": ("thesis.csv", lambda results: _thesis_tables.report(_thesis_tables.means(results))),
}


def read(name):
    """The frame of a file of results; of a folder, of each file by its name."""
    path = RESULTS / name
    return read_records(path) if path.is_dir() else pd.read_csv(path)


def rows_of(name):
    """All rows of a table, the head first, with the minus signs of numbers."""
    table = TABLES[name]
    sources = (table.source,) if isinstance(table.source, str) else table.source
    rows = table.rows(*map(read, sources))
    return [table.head, *([re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", cell) for cell in row] for row in rows)]


def renewed(match):
    """A table and its two comments."""
    head, *rows = rows_of(match["name"])
    if match["begin"].startswith("<"):
        lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in (head, ["---"] * len(head), *rows)]
        body = "\n".join(lines) + "\n"
    else:
        kept = re.split(r"^   \* - ", match["body"], maxsplit=1, flags=re.MULTILINE)[0]
        cells = [f"   {'  ' if n else '* '}- {cell}".rstrip() for row in (head, *rows) for n, cell in enumerate(row)]
        body = kept + "\n".join(cells) + "\n"
    return match["begin"] + body + match["end"]


def expected():
    """(path, text) of everything that is made here."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if MARKED.search(text):
            yield page, MARKED.sub(renewed, text)
    for name, (source, make) in FILES.items():
        yield RESULTS / name, make(read(source))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where anything differs")
    check = parser.parse_args(arguments).check
    stale = [(path, text) for path, text in expected() if path.read_text(encoding="utf-8") != text]
    for path, text in stale:
        print(f"{path.relative_to(ROOT)} {'differs: make tables' if check else 'is written anew'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
