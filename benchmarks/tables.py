"""The measured tables of the pages, made from the files of results.

    python benchmarks/tables.py
    python benchmarks/tables.py --check

A table stands on any page between two comments, of which the first names an entry of `TABLES`; of a ``csv-table`` its
directive and options stay, and of a block of text its fence or directive. Tables that are files of their own are
in `FILES`. Numbers in prose, ``:abbr:`VALUE (NAME)```, are those of `_numbers.NUMBERS`. The first command writes anew
what differs, the second fails where anything does. Both fail where a number of the front pages has fewer splits than
these promise.
"""

import argparse
import re
from itertools import product
from pathlib import Path
from textwrap import indent

import pandas as pd
from tabulate import tabulate

import _thesis_tables
import ablation
import corruptions
import errors_needed
import rivals
import sample_sizes
import strong_networks
import unlabelled
import views
from _data import RECORDS
from _estimates import Estimate, paired_estimate, ratio_estimate, resampled_estimate
from _numbers import NUMBERS
from _runner import RESULTS
from _scores import beside_temperature
from peers import compare, file_name, read_records

ROOT = Path(__file__).resolve().parents[1]
# Folders of what is made otherwise, or no page.
MADE = {"_build", "_templates", "auto_examples", "examples", "generated"}
PAGES = [
    ROOT / "README.md",
    RESULTS / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.rst") if not MADE & set(page.relative_to(ROOT / "docs").parts)),
]
MARKED = re.compile(
    r"(?P<begin>(?:\.\.|<!--) table by benchmarks/tables\.py: (?P<name>[\w ]+?)(?: -->)?\n\n)"
    r"(?P<body>(?:(?! end of table).)*?)(?P<end>\n(?:\.\.|<!--) end of table)",
    re.DOTALL,
)
# Not where the markup itself is shown.
NUMBER = re.compile(r"(?<!``:abbr:`)(?<=:abbr:`)(?P<value>[^`(]+) \((?P<name>[^`]+)\)(?=`)")


# What a reader has and writes, and where its page and its number are.
READERS = """\
images of a camera that changed | NeuralClampingCalibrator(net).fit(X, y) | input_shift | corruptions
such images, but 100 labels | NeuralClampingCalibrator(net).fit(X, y, X_unlabelled=U) | neural_clamping | unlabelled
images, no change | NeuralClampingCalibrator(net, max_views=2).fit(X, y) | neural_clamping | views
logits | TemperatureScaling().fit(logits, y) | choosing | sample_sizes
two classes, weighted in training | PlattScaling(classifier).fit(table, y) | two_classes | two_classes
rare events, weighted in training | BetaCalibration(classifier).fit(table, y) | two_classes | two_classes
text (Hugging Face) | CalibratorSelector(model).fit(loader) | text | intents
answers of a language model | CovariateScaling(covariates=["category"]).fit(frame, y) | language_models | covariates
boxes of a detector | CovariateScaling(covariates=["class", "size"], response="probabilities")\
.fit(boxes, y, groups=image) | boxes | covariates
a class at each pixel | NeuralClampingCalibrator(net).fit(X, y, groups=number) | dense | street_scenes
a table whose sensors drift | CalibratorSelector(classifier).fit(table, y) | input_shift | drift
many classes | IntraOrderPreservingCalibration(net).fit(X, y) | choosing | choosing
other class frequencies, no labels | PriorShiftCorrection(net).fit(X, y).adapt(X_new) | class_frequencies | prior_shift
labels that come in later | CalibrationMonitor(calibrator).partial_fit(X_new, y_new) | monitoring | monitor
few answers may be wrong | SelectiveClassifier(calibrator, target_risk=0.05).fit(X_new, y_new) | abstention | abstention
"""
# Those of the README, which names the page with all of them.
MAIN_READERS = (
    *("images of a camera that changed", "logits", "text (Hugging Face)", "answers of a language model"),
    *("boxes of a detector", "a class at each pixel", "a table whose sensors drift"),
)

# Of each table the files of results, its head, and what makes its rows of their frames.
TABLES = {}
STREET_CAMERAS = {
    "contrast": "half of the contrast",
    "dark": "dark",
    "noise": "noise",
    "blur": "blur",
    "none": "nothing changed",
}
NETWORKS = {
    "cifar10_resnet20": "CIFAR-10 ResNet-20",
    "cifar10_resnet32": "CIFAR-10 ResNet-32",
    "cifar100_resnet20": "CIFAR-100 ResNet-20",
    "efficientnet_lite0": "ImageNet EfficientNet-Lite0",
    "espnet": "CamVid ESPNet",
    "minilm": "Banking77 MiniLM",
}
CORRUPTION_METHODS = {
    "temperature": "temperature scaling",
    "structured_matrix": "structured matrix scaling",
    **{method: marks["label"] for method, marks in corruptions.MARKS.items()},
}
# Of the ResNet-20 at severity 2.
ON_FIVE_SPLITS = ("temperature", "vector", "batch_norm", "last_layer", "clamping")
RIVALS = {
    "uncalibrated": "uncalibrated",
    "noise_refined": "noise-refined temperature scaling",
    "pseudocal": "PseudoCal",
    "temperature": "temperature scaling",
    "selector": "`CalibratorSelector`",
    "smart": "SMART",
    "batch_norm": "batch norm adapted",
    "last_layer": "last layer anew",
    "head": "last layer refined",
    "last_layers": "last layers fine-tuned",
    "normalised": "normalisation layers trained, a part of EATTA",
    "clamping": "neural clamping",
}
RIVAL_NETWORKS = "cifar10_resnet20", "cifar100_resnet20", "efficientnet_lite0", "espnet", "minilm"
# What a page calls a method and its peer, and their records.
PEERS = (
    ("temperature scaling", "scikit-learn", "TemperatureScaling", "scikit-learn temperature"),
    ("vector scaling", "probmetrics", "VectorScaling", "probmetrics vector"),
    ("structured vector scaling", "probmetrics", "StructuredVectorScaling", "probmetrics SVS"),
    ("structured matrix scaling", "probmetrics", "StructuredMatrixScaling", "probmetrics SMS"),
    ("matrix scaling", "probmetrics", "MatrixScaling", "probmetrics matrix"),
    ("ensemble temperature scaling", "probmetrics", "EnsembleTemperatureScaling", "probmetrics ETS(ce)"),
    ("Platt scaling", "scikit-learn, of log-odds", "PlattScaling", "scikit-learn sigmoid of log-odds"),
    ("beta calibration", "betacal", "BetaCalibration", "betacal one-vs-rest"),
    ("histogram binning", "netcal", "HistogramBinning", "netcal histogram binning"),
    ("Bayesian binning", "netcal", "BayesianBinningIntoQuantiles", "netcal BBQ"),
    ("isotonic regression", "scikit-learn", "IsotonicCalibration", "scikit-learn isotonic"),
    ("spline calibration", "probmetrics", "SplineCalibration", "probmetrics spline"),
    ("order-invariant networks", "probmetrics", "IntraOrderPreservingCalibration", "probmetrics IOP"),
)
# Whom the selector is compared with: the one of least mean NLL on each record.
FIVE = ("probmetrics vector", "probmetrics SVS", "probmetrics SMS", "probmetrics matrix", "probmetrics IOP")
N_SPLITS = 5


def short(value, digits=3):
    """Without the zero before the point."""
    return f"{value:.{digits}f}".removeprefix("0")


def span(values, text):
    """The least and the largest, once where they read the same."""
    values = sorted(values)
    low, high = text(values[0]), text(values[-1])
    return low if low == high else f"{low} to {high}"


def refuse_few(n, least=N_SPLITS):
    """A front page's numbers are of so many splits at least."""
    if n < least:
        raise ValueError(f"a number of a front page must be of {least} splits or more, got {n}")


def of_many(estimate, least=N_SPLITS):
    """An estimate that refuses few splits."""

    def guarded(values, *others):
        refuse_few(len(values), least)
        return estimate(values, *others)

    return guarded


mean_of, ratio_of, gain_of = map(of_many, (resampled_estimate, ratio_estimate, paired_estimate))


def table(name, files, head):
    """Enter what makes the rows of a table of the frames of some files; cells are parted by " | "."""

    def enter(rows):
        TABLES[name] = (files.split(), head, rows)
        return rows

    return enter


@table("cameras", "demo.csv", "camera | calibrator | accuracy % | NLL | Brier | ECE % (floor)")
def cameras_rows(results):
    """The same with the clear camera, and more scores."""
    for fog, part in results.groupby("fog"):
        for name, row in part.groupby("calibrator", sort=False).mean().iterrows():
            scores = f"{row.accuracy:.1f} | {row.nll:.3f} | {row.brier:.3f} | {row.ece:.1f} ({row.ece_floor:.1f})"
            yield f"{'fogged' if fog else 'clear'} | {name} | {scores}"


def of_resnet20(results):
    """The ResNet-20 at severity 2, all labels, beside temperature scaling."""
    runs = corruptions.against_temperature(results)
    return runs.query("network == 'cifar10_resnet20' and severity == 2 and n_labels == 2500")


def measured(corrupted, viewed, drifted, adapted):
    """Estimates of the NLL over temperature scaling's, and of the points of accuracy won, of what readers may do."""
    by_split = of_resnet20(corrupted).groupby(["method", "seed"], observed=True)[["ratio", "points"]].mean()
    plain = views.beside_one_view(viewed.query("part == 'plain' and max_views == 2 and network == 'cifar10_resnet20'"))
    draws = adapted.query("network == 'cifar10_resnet20' and n_unlabelled == 500 and change == 'classes'")
    # There accuracy is a share.
    draws = beside_temperature(draws).assign(points=lambda own: 100 * own.points)
    # Each with the share of the samples that judges.
    runs = {"clamping": (by_split.loc["clamping"], 1 / 2), "two views": (plain, 3 / 4), "frequencies": (draws, 1 / 6)}
    won = {name: (mean_of(own.ratio, judges), mean_of(own.points, judges)) for name, (own, judges) in runs.items()}
    sensors = drifted.query("n == 150").pivot_table(["nll", "accuracy", "n_test"], "seed", "method")
    judges = (sensors.n_test / (sensors.n_test + 150)).to_numpy().mean()
    for method in ("selector", "retrained"):
        ratio = ratio_of(sensors.nll[method], sensors.nll.temperature, judges)
        won[method] = ratio, gain_of(sensors.accuracy[method], sensors.accuracy.temperature, judges)
    return won


@table(
    "measured",
    "corruptions.csv views.csv drift.csv prior_shift.csv",
    "measured on what nothing was fitted to | with | NLL, temperature scaling = 1 | accuracy, points",
)
def measured_rows(corrupted, *others):
    """One line for each kind of reader."""
    won, n = measured(corrupted, *others), corrupted.corruption.nunique()
    for name, what in {
        "clamping": f"{n} corruptions of CIFAR-10 that others wrote | `NeuralClampingCalibrator`",
        "two views": "CIFAR-10, no shift | `max_views=2`: the mirror image too",
        "selector": "gas sensors that drifted, 150 labels | `CalibratorSelector`",
        "retrained": "the same | the network retrained",
        "frequencies": "other class frequencies | `PriorShiftCorrection`",
    }.items():
        ratio, points = won[name]
        yield f"{what} | {ratio:.3f} | {points:+.1f}"


_OF_READERS = (
    "corruptions.csv views.csv drift.csv prior_shift.csv sample_sizes.csv two_classes.csv intents.csv records "
    "monitor.csv abstention.csv unlabelled.csv covariates.csv street_scenes.csv",
    "which of these are you? | you write | what was measured, means of five splits or more | result ± standard error",
)


@table("readers", *_OF_READERS)
def readers_rows(
    corrupted, viewed, drifted, adapted, sized, rare, texts, maps, monitored, selective, pooled, within, streets
):
    """One line and one number for each kind of reader, with its page and its file."""
    won = {name: ratio for name, (ratio, _) in measured(corrupted, viewed, drifted, adapted).items()}
    few = sized[sized.record == "cifar10_resnet20"].pivot_table("nll", "seed", ["method", "n"])
    rare = rare.query("training == 'balanced' and positives == 100").pivot_table("nll", "seed", ["share", "method"])
    texts = texts.query("n == 500 and change in @CHANGES and change != 'none'")
    texts = beside_temperature(texts, ["change", "n", "draw"]).query("method == 'selector'")
    within = within.query("n == 500").pivot(index=["record", "seed"], columns="method", values="nll").reset_index()
    detectors = (within.guarded / within.shared)[within.record.str.startswith("coco")].groupby(within.record).mean()
    detectors = [f"{ratio:.2f}" for ratio in sorted(detectors)]
    within = (within.guarded / within.shared).groupby([within.record.str.split("_").str[0], within.seed]).mean()
    order, plain = (
        maps[file_name(method)].query("record == 'cifar100_wideresnet-16-4' and n == 500").nll
        for method in ("IntraOrderPreservingCalibration", "TemperatureScaling")
    )
    delay = of_monitor(monitored)["delay", "darkness", "median delay"]
    answered = selective.query("risk == 0.05 and n == 500 and method == 'skclamp'")
    errors = 100 * answered.coverage_error
    answered = Estimate(100 * answered.coverage.mean(), (errors**2).sum() ** 0.5 / len(errors))
    taught = pooled.query("n_labels == 100 and corruption not in @unlabelled.UNSHIFTED")
    taught = beside_temperature(taught, ["corruption", "draw"]).query("method == 'taught'")
    later = of_drives(streets).query("judge == 'later' and change != 'none'")
    # Cameras that all draws have.
    later = later.pivot(index="seed", columns="change", values="ratio").dropna(axis="columns")
    of_temperature = "NLL / temperature scaling's"
    numbers = {
        "images of a camera that changed": (of_temperature, f"{won['clamping']:.3f}"),
        "such images, but 100 labels": (of_temperature, f"{mean_of(taught.groupby('draw').ratio.mean()):.3f}"),
        "images, no change": (of_temperature, f"{won['two views']:.3f}"),
        "logits": ("NLL / uncalibrated", f"{ratio_of(few['temperature', 500], few['uncalibrated', 5000]):.3f}"),
        # Each draw has samples of its own.
        "two classes, weighted in training": (
            of_temperature,
            f"{ratio_of(rare[0.3, 'Platt'], rare[0.3, 'temperature'], 0):.3f}",
        ),
        "rare events, weighted in training": (
            of_temperature,
            f"{ratio_of(rare[0.01, 'beta'], rare[0.01, 'temperature'], 0):.3f}",
        ),
        "text (Hugging Face)": (
            f"{of_temperature}, 500 changed texts",
            f"{mean_of(texts.groupby('draw').ratio.mean()):.3f}",
        ),
        "answers of a language model": ("NLL / one shared map's, 500 answers", f"{mean_of(within.llm):.3f}"),
        "boxes of a detector": (
            f"NLL / one shared map's, 500 boxes, mean of two detectors ({' and '.join(detectors)})",
            f"{mean_of(within.coco):.3f}",
        ),
        "a class at each pixel": (
            f"{of_temperature}, later frames of the same drive, frames declared independent, {later.shape[1]} cameras",
            f"{mean_of(later.mean(axis=1)):.3f}",
        ),
        "a table whose sensors drift": (of_temperature, f"{won['selector']:.3f}"),
        "many classes": ("NLL − temperature scaling's, nats", f"−{gain_of(plain, order):.3f}"),
        "other class frequencies, no labels": (of_temperature, f"{won['frequencies']:.3f}"),
        "labels that come in later": ("labels until the alarm in the dark, median of 50 orders", f"{delay:.0f}"),
        "few answers may be wrong": ("share answered, 500 labels, five records", f"{answered:.1f} %"),
    }
    for reader in READERS.splitlines():
        what, code, page, file = reader.split(" | ")
        how, number = numbers[what]
        yield f"[{what}](docs/guide/{page}.rst) | `{code}` | {how} | [{number}](benchmarks/results/{file}.csv)"


@table("main readers", *_OF_READERS)
def main_readers_rows(*results):
    """Those of the README."""
    return [row for row in readers_rows(*results) if row[1:].partition("]")[0] in MAIN_READERS]


@table("unlabelled", "unlabelled.csv", "images, 100 labels | method | NLL ratio | accuracy won, points | worse by .02")
def unlabelled_rows(results):
    """Of 2,000 images of a changed camera a hundred have labels."""
    for row in unlabelled.table(results):
        # Tent is about as batch norm.
        if int(row["labels"]) == 100 and row["method"] in ("batch_norm", "taught"):
            method = row["method"].replace("taught", "what they teach alone")
            worse = f"{row['worse by more than .02']} of {row['cells']}"
            yield " | ".join((row["images"], method, row["NLL ratio"], row["points"], worse))


def of_drives(results, method="clamping"):
    """A method, fitted to frames that are said to be independent, beside temperature scaling."""
    own = beside_temperature(results[results.design == "independent"], ["change", "seed", "judge"])
    return own[own.method == method]


@table(
    "street scenes",
    "street_scenes.csv",
    "camera | T: NLL, accuracy % | clamping, later frames | features, later frames | clamping, another drive | "
    "features, another drive",
)
def street_scenes_rows(results):
    """Frames that are said to be independent, and judged on their own drive and on another."""
    methods = pd.concat({method: of_drives(results, method) for method in ("clamping", "features")}, names=["named"])
    means = methods.groupby(["change", "judge", "named"], sort=False)[
        ["ts_nll", "ts_accuracy", "ratio", "points"]
    ].mean()
    for change in means.index.unique("change"):
        rows = [
            means.loc[change].T.get((judge, named))
            for judge in ("later", "0001TP")
            for named in ("clamping", "features")
        ]
        told = " | ".join("—" if row is None else f"{short(row.ratio, 2)}, {row.points:+.1f}" for row in rows)
        yield f"{STREET_CAMERAS[change]} | {rows[0].ts_nll:.2f}, {rows[0].ts_accuracy:.1f} | {told}"


@table("views", "views.csv", "network | two views | four views")
def views_rows(results):
    plain = views.beside_one_view(results.query("part == 'plain'"))
    for network, own in plain.groupby("network", sort=False):
        parts = [part for _, part in own.groupby("max_views")]
        cells = (f"{short(p.ratio.mean())} ({short(p.ratio.sem())}), {p.points.mean():+.1f}" for p in parts)
        yield " | ".join((NETWORKS[network], *cells))


@table(
    "drift",
    "drift.csv",
    "samples | temperature scaling | selector | clamping | network retrained | new logistic regression",
)
def drift_rows(results):
    methods = ("temperature", "selector", "clamping", "retrained", "new_model")
    for n, row in results.pivot_table(["nll", "accuracy"], "n", "method").iterrows():
        cells = (f"{short(row['nll', method])}, {row['accuracy', method]:.1f} %" for method in methods)
        yield " | ".join((str(n), *cells))


OF_CORRUPTIONS = ("NLL ratio", "points", "ECE % (floor)", "fit", "predict", "weights", "worse than temperature")
CORRUPTIONS_HEAD = (
    "NLL ratio | accuracy won, points | ECE % (floor) | fit, in passes | prediction, in passes | weights | "
    "worse than temperature scaling"
)


@table(
    "corruptions",
    "corruptions.csv",
    "method | NLL ratio | accuracy won, points | ECE % (floor) | fit, in passes | worse than temperature scaling",
)
def corruptions_rows(results):
    runs = of_resnet20(results)
    for row in corruptions.means_rows(runs[runs.method.isin(ON_FIVE_SPLITS)]):
        refuse_few(row["splits"])
        shown = ("NLL ratio", "points", "ECE % (floor)", "fit", "worse than temperature")
        yield " | ".join((CORRUPTION_METHODS[row["method"]], *map(row.get, shown)))


@table("all corruptions", "corruptions.csv", f"network, severity | method | corruptions, splits | {CORRUPTIONS_HEAD}")
def all_corruptions_rows(results):
    for setting, part in corruptions.settings_of(corruptions.against_temperature(results)):
        for row in corruptions.means_rows(part):
            title = f"{CORRUPTION_METHODS[row['method']]} | {row['corruptions']}, {row['splits']}"
            yield " | ".join((setting, title, *map(row.get, OF_CORRUPTIONS)))


def of_rival(part):
    """NLL ratio and points of accuracy; the ratio alone where no prediction changes."""
    same = (part.points == 0).all()
    if same and (part.ratio == 1).all():
        return "1"
    ratio = f"{Estimate(part.ratio.mean(), part.ratio.sem()):.3f}"
    return ratio if same else f"{ratio}, {part.points.mean():+.1f}"


OF_RIVALS = f"labels | method | {' | '.join(map(NETWORKS.get, RIVAL_NETWORKS))}"


def of_rivals(results):
    """(labels, method, runs) of each row; ESPNet's 55 frames are its hundred labels."""
    results = results[results.network.isin(RIVAL_NETWORKS)]
    refuse_few(results.groupby(["network", "n_labels"]).seed.nunique().min(), least=3)
    runs = beside_temperature(results, [name for name in rivals.KEY if name != "method"])
    runs = runs.assign(n_labels=runs.n_labels.replace(55, 100)).groupby(["n_labels", "method"])
    for n, method in product(sorted(results.n_labels.replace(55, 100).unique()), RIVALS):
        if (n, method) not in runs.groups:
            continue
        yield str(n or "none"), RIVALS[method], runs.get_group((n, method))


@table("rivals", "rivals.csv", OF_RIVALS)
def rivals_rows(results):
    """The ratios alone."""
    for n, method, own in of_rivals(results):
        ratios = own.groupby(["network", "corruption"]).ratio.mean().groupby("network").mean()
        told = (short(ratios[name]) if name in ratios else "—" for name in RIVAL_NETWORKS)
        yield " | ".join((n, method, *told))


@table("all rivals", "rivals.csv", f"{OF_RIVALS} | CIFAR: ECE % (floor)")
def all_rivals_rows(results):
    """With errors, points of accuracy and the ECE."""
    for n, method, own in of_rivals(results):
        means = own.groupby(["network", "corruption"])[["ratio", "points"]].mean().groupby("network")
        told = {network: of_rival(part) for network, part in means}
        # Of those networks that all methods can be had for.
        scores = own[own.network.str.startswith("cifar")].groupby("network")[["ece", "ece_floor"]].mean().mean()
        ece = f"{scores.ece:.1f} ({scores.ece_floor:.1f})"
        yield " | ".join((n, method, *(told.get(name, "—") for name in RIVAL_NETWORKS), ece))


# Files of texts by what has happened to these; the model reads no capitals, so that "upper" is "none".
CHANGES = {
    "none": "nothing",
    "typos15": "typing errors in 15 % of the words",
    "typos50": "typing errors in half of the words",
    "glued": "words run together",
    "drop20": "one word in five is gone",
    "trunc6": "cut after six words",
    "voice": "spoken, and written by a machine",
}


def of_texts(results):
    """The mean NLL of each method over temperature scaling's, by change, and temperature scaling's own."""
    wide = results.pivot_table(index=["change", "n", "draw"], columns="method", values="nll")
    ratios = wide[["selector", "clamping"]].div(wide.temperature, axis=0).assign(temperature=wide.temperature)
    return ratios.groupby(["change", "n"]).mean().reset_index("n").loc[lambda own: own.index.isin(CHANGES)]


@table(
    "intents",
    "intents.csv",
    "what has happened to the texts | T: NLL | selector, 500 texts | clamping | selector, 2,000 | clamping",
)
def intents_rows(results):
    found = of_texts(results).set_index("n", append=True)
    for change, title in CHANGES.items():
        few, many = found.loc[change, 500], found.loc[change, 2000]
        ratios = " | ".join(f"{own.selector:.3f} | {own.clamping:.3f}" for own in (few, many))
        yield f"{title} | {few.temperature:.3f} | {ratios}"


@table(
    "positives",
    "two_classes.csv",
    "positives of 1 %, training | uncalibrated | temperature | Platt | beta | isotonic | true",
)
def positives_rows(results):
    for (training, n), part in results.query("share == 0.01").groupby(["training", "positives"]):
        nll = part.groupby("method").nll.mean()
        cells = [f"{nll[method]:.3f}" for method in ("uncalibrated", "temperature", "Platt", "beta", "isotonic")]
        yield " | ".join((f"{n}, {training}", *cells, f"{part.true_nll.mean():.3f}"))


@table(
    "norm cost",
    "norm_cost.csv",
    "family | passes forward, backward | fit, in passes | prediction, in passes | saved file, kB",
)
def norm_cost_rows(results):
    for row in results.itertuples():
        passes = f"{row.forward:.1f}, {row.backward:.1f}"
        yield f"{row.family} | {passes} | {row.relative_cpu:.1f} | {row.predict_ratio:.2f} | {row.file_kb:.1f}"


IMAGENET_CHANGES = {
    "none": "none",
    "drawn": "none, labels drawn from softmax(z / T)",
    "darkness": "darkness × 0.25",
    "haze": "haze",
    "cast": "colour cast",
    "fog": "fog, severity 3",
    "defocus_blur": "defocus blur, severity 3",
    "jpeg_compression": "JPEG, severity 3",
    "jpeg_10": "JPEG, quality 10",
    "noise": "noise of sd 25 of 255",
    "noise_60": "noise of sd 60",
}
OF_IMAGENET = "change | temperature scaling: accuracy %, NLL | batch norm adapted"


def of_lite0(results):
    """Of each change and method the runs of the smallest network."""
    runs = corruptions.against_temperature(results.query("network == 'efficientnet_lite0'"), whole=False)
    return dict(tuple(runs.groupby(["corruption", "method"], observed=True)))


def plain_scores(part):
    return f"{part.accuracy.mean():.1f}, {part.nll.mean():.3f}"


@table("imagenet", "imagenet.csv", f"{OF_IMAGENET} | clamping")
def imagenet_rows(results):
    runs = of_lite0(results)
    for change in ("none", "darkness", "fog"):
        cells = [IMAGENET_CHANGES[change], plain_scores(runs[change, "temperature"])]
        for method in ("batch_norm", "clamping"):
            own = runs.get((change, method))
            cells.append("—" if own is None else f"{mean_of(own.ratio):.3f}, {own.points.mean():+.1f}")
        yield " | ".join(cells)


@table("all imagenet", "imagenet.csv", f"{OF_IMAGENET} | clamping, input alone | clamping")
def all_imagenet_rows(results):
    runs = of_lite0(results)
    for change, title in IMAGENET_CHANGES.items():
        cells = [title, f"{plain_scores(runs[change, 'temperature'])} ({len(runs[change, 'temperature'])})"]
        for method in ("batch_norm", "input_clamping", "clamping"):
            own = runs.get((change, method))
            found = own is not None
            told = f"{resampled_estimate(own.ratio):.3f}, {own.points.mean():+.1f} ({len(own)})" if found else ""
            cells.append(told or "not measured")
        yield " | ".join(cells)


@table(
    "imagenet networks",
    "imagenet.csv",
    "network, labels | change | temperature scaling: accuracy %, NLL | clamping | splits",
)
def imagenet_networks_rows(results):
    """NLL over temperature scaling's and points of accuracy, of networks of larger images."""
    runs = corruptions.against_temperature(results.query("network != 'efficientnet_lite0'"), whole=False)
    for (network, n, change), part in runs.groupby(["network", "n_labels", "corruption"], observed=True):
        own = part[part.method == "clamping"]
        plain = part[part.method == "temperature"]
        scores = plain_scores(plain)
        won = f"{resampled_estimate(own.ratio):.3f}, {own.points.mean():+.1f}"
        title = network.replace("efficientnet_lite", "EfficientNet-Lite")
        yield f"{title}, {n} | {change} | {scores} | {won} | {len(own)}"


@table(
    "errors needed",
    "errors_needed.csv",
    "calibrated with | CIFAR-100 WideResNet-16-4 | CIFAR-100 ResNet-50 | CIFAR-10 ResNet-20 | CIFAR-10 ResNet-34 | "
    "gas sensors",
)
def errors_needed_rows(results):
    """Of each count T's error and the NLL above that of the best T; the first row says how many are right."""
    names = ("cifar100_wideresnet-16-4", "cifar100_resnet50", "cifar10_resnet20", "cifar10_resnet34", "gas sensors")
    right = results.groupby("record").accuracy.mean()
    yield " | ".join(("right, %", *(f"{right[name]:.0f}" for name in names)))
    counts = ("3 errors", "10 errors", "30 errors", "100 errors", "100 samples", "1,000 samples")
    for what, row in errors_needed.table(results).reindex(counts, columns=names).iterrows():
        yield " | ".join((what, *row.fillna("too few")))


@table(
    "fit times",
    "fit_times.csv",
    "pixels | temperature scaling: time | nothing changed: passes, time | half of the contrast: passes, time",
)
def fit_times_rows(results):
    """Of 2,000 samples; times in plain forward passes over them."""
    for side, part in results[results.n == 2000].groupby("side"):
        own = part[part.method == "clamping"].set_index("change")
        cells = [f"{part[part.method == 'temperature'].relative_cpu.mean():.1f}"]
        for change in ("none", "contrast"):
            fit = own.loc[change]
            cells.append(f"{fit.forward:.0f} + {fit.backward:.0f}, {fit.relative_cpu:.0f}")
        yield " | ".join((f"{side} × {side}", *cells))


@table(
    "boxes",
    "covariates.csv",
    "detector | boxes (images) | scores as they are | one map | by covariates | less one map",
)
def boxes_rows(results):
    names = {"coco_faster-rcnn-resnet-50": "Faster R-CNN", "coco_ssd-inception-v2": "SSD-Inception"}
    methods = ["uncalibrated", "shared", "guarded"]
    own = results[results.record.isin(names) & results.method.isin(methods) & (results.n > 200)]
    for (name, n), part in own.groupby(["record", "n"]):
        means = part.groupby("method")[["nll", "worst_ece"]].mean().loc[methods]
        nll = part.pivot(index="seed", columns="method", values="nll")
        cells = (f"{short(row.nll)} ({row.worst_ece:.1f})" for row in means.itertuples())
        gained = f"{paired_estimate(nll.guarded, nll.shared):+.4f}"
        yield " | ".join((names[name], f"{n:,} ({part.units.mean():,.0f})", *cells, gained))


@table(
    "covariates",
    "covariates.csv",
    "calibrated on | one map a group | MCGrad | `CovariateScaling` | worst group: ECE % with one map, here",
)
def covariates_rows(results):
    """NLL less that of one map for all, of the fewest and the most samples; a dash is not measured."""
    kinds = results.record.str.split("_").str[0]
    for kind, what in {"llm": "answers", "coco": "boxes", "cifar10": "images"}.items():
        own = results[kinds == kind]
        for n in (own.n.min(), own.n.max()):
            part = own[own.n == n]
            over = part.pivot_table("nll", "seed", "method")
            over = over.sub(over.shared, axis="index").reindex(columns=["Platt per group", "MCGrad", "guarded"])
            groups, boosted, _ = over.mean()
            worst = part.groupby("method").worst_ece.mean()
            cells = f"{groups:+.3f} | {boosted:+.3f} | {resampled_estimate(over.guarded):+.3f}"
            told = f"{n:,} {what} | {cells} | {worst.shared:.1f}, {worst.guarded:.1f}"
            yield re.sub(r"\+?nan(, nan)?", "\N{EM DASH}", told)


@table(
    "prior shift",
    "prior_shift.csv",
    "network | unlabelled asked for | frequencies change | nothing changes | images change",
)
def prior_shift_rows(draws):
    kinds = draws.change.where(draws.change.isin(["classes", "none"]), "images")
    previous = None
    for (_, n), part in draws.groupby([draws.network.map(list(NETWORKS).index), "n_unlabelled"]):
        network, cells = NETWORKS[part.network.iloc[0]], []
        for kind in ("classes", "none", "images"):
            own = part[kinds[part.index] == kind]
            ratio = (own.nll / own.ts_nll).mean()
            cells.append(f"{short(ratio) if round(ratio, 3) != 1 else 1}, {own.kept.sum()} of {len(own)}")
        yield " | ".join((network if network != previous else "", f"{n:,}", *cells))
        previous = network


def of_monitor(results):
    return results.set_index(["part", "setting", "measure"]).value


@table("delays", "monitor.csv", "change | labels until the alarm")
def delays_rows(results):
    for change, title in {
        "uncalibrated": "uncalibrated network",
        "darkness": "darkness × .35",
        "noise": "noise, standard deviation .1",
        "class frequencies": "class frequencies from Dirichlet(.3)",
    }.items():
        yield f"{title} | {of_monitor(results)['delay', change, 'median delay']:.0f}"


@table("late delays", "monitor.csv", "labels before | until the alarm of T = 1.4 | of T = 2")
def late_delays_rows(results):
    late = of_monitor(results)["late delay"].unstack()
    for n in (0, 1000, 5000, 20_000):
        medians = (late.loc[f"after {n}", f"median delay, T = {temperature}"] for temperature in (1.4, 2.0))
        yield f"{n:,} | {' | '.join(f'{median:.0f}' for median in medians)}"


@table("false alarms", "monitor.csv", "nothing changes, `alpha=0.01` | alarms")
def false_alarms_rows(results):
    found = of_monitor(results) * 100
    alarms = found.xs("share of alarms", level="measure")
    drawn = found.xs("share of p <= 0.01", level="measure")
    within = drawn["false alarms"].loc[lambda own: ~own.index.str.endswith("sharp")].max()
    fitted = ", ".join(f"{alarms['undisturbed', f'fitted on {n}']:.0f}" for n in (500, 1000, 2500))
    at_target = ", ".join(short(drawn["risk false alarms", f"target {target}"], 1) for target in (0.05, 0.1))
    repeated = ", ".join(f"{alarms['repeated', setting]:.0f}" for setting in ("3 times", "3 times, in groups"))
    yield f"labels drawn within the tolerance | at most {short(within, 1)} %"
    yield f"T fitted on 500, 1,000, 2,500 images | {fitted} %"
    yield f"T fitted on 500, `tolerance=0` | {alarms['undisturbed', 'fitted on 500, sharp']:.0f} %"
    yield f"labels that come three times, without and with `groups` | {repeated} %"
    yield f"one T, most classes wrong (LeNet-5) | {alarms['never true', 'CIFAR-100, LeNet-5']:.0f} %"
    yield f"`RiskMonitor`, risk at its target of 5 %, 10 % | {at_target} %"


@table(
    "risk delays", "monitor.csv", "target, risk before | labels until `alarm_` at twice the target | `change_alarm_`"
)
def risk_delays_rows(results):
    delays = of_monitor(results)["risk delay"].unstack()
    for target in (0.05, 0.1):
        for before, told in (
            (f"0 at {target:g}", "none before"),
            (f"1000 at {target / 2:g}", f"1,000 labels at {target / 2:g}"),
            (f"1000 at {target:g}", f"1,000 labels at {target:g}"),
        ):
            of_both = delays.loc[f"target {target:g}, after {before}"]
            medians = (of_both[f"median delay of {name}"] for name in ("alarm_", "change_alarm_"))
            yield f"{target:g}, {told} | {' | '.join(f'{median:.0f}' for median in medians)}"


@table("monitor cost", "monitor.csv", "cost | ")
def monitor_cost_rows(results):
    found = of_monitor(results)
    seconds = found["time"].xs("microseconds a sample, wall", level="measure")
    ten, thousand = seconds["K = 10"], seconds["K = 1000"]
    yield f"microseconds a label, in chunks of 100, K = 10, 1,000 | {ten:.0f}, {thousand:.0f}"
    yield f"kB of a pickle, after 10,000 to 1,000,000 labels | at most {found['memory'].max() / 1000:.0f}"
    yield f"largest difference, chunks of 1, 7 and 1,000 | {found['chunks'].max():.0e}"


@table("families", "families.csv", 'shift | "auto" | the best by name')
def families_rows(results):
    titles = {"color_cast": "colour cast", "normalization": "normalisation", "bgr": "BGR"}
    for name, part in results.assign(ratio=results.nll / results.ts_nll).groupby("shift", sort=False):
        means = part.groupby("family").ratio.mean()
        best = means.drop("auto").idxmin()
        yield f"{titles.get(name, name)} | {short(means['auto'])} | {best} {short(means[best])}"


@table("thesis", "thesis.csv", "method | accuracy % | NLL | Brier | ECE % (floor)")
def thesis_rows(results):
    for method, title in {
        "uncalibrated": "uncalibrated",
        "temperature": "temperature scaling",
        "clamping": "neural clamping, our default",
        "reference": "neural clamping, the authors' settings",
    }.items():
        row = _thesis_tables.table_means(results).loc[method]
        ece = f"{row['ece']:.2f} ({row['ece_floor']:.2f})"
        yield f"{title} | {row['accuracy']:.2f} | {row['nll']:.4f} | {row['brier']:.4f} | {ece}"


@table("gammas", "thesis.csv", "gamma | NLL | ECE %")
def gammas_rows(results):
    swept = _thesis_tables.select(_thesis_tables.means(results), "gamma")
    for row in swept[swept.label == "temperature"].sort_values("gamma").itertuples():
        yield f"{row.gamma:g} | {row.nll:.3f} | {row.ece:.2f}"


@table("ablation", "ablation.csv ablation_last_layer.csv", "without | worth, % | kept | passes")
def ablation_rows(*results):
    """What each part is worth, of those that stay; parts with the same numbers share a row."""
    parts = {}
    for row in ablation.table(pd.concat(map(ablation.paired, results))):
        if row["without"] in ablation.SWITCHES:
            cells = " | ".join(str(row[name]) for name in ("worth %", "kept", "forward"))
            parts.setdefault(cells, []).append(row["without"])
    for cells, names in parts.items():
        yield f"{'; '.join(names)} | {cells}"


@table("passes", "thesis.csv views.csv", "fit | passes forward | backward")
def passes_rows(results, viewed):
    own, reference = (_thesis_tables.table_means(results).loc[method] for method in ("clamping", "reference"))
    shifted = viewed.query("part == 'shift' and max_views == 1").forward
    yield f"CIFAR-100, 5,000 images, nothing to find | {own.forward:.1f} | {own.backward:.1f}"
    passes = f"{reference.forward:.0f} | {reference.backward:.0f}"
    yield f"the same by the authors' settings, 100 epochs | {passes}"
    yield f"CIFAR-10 under a shift, 2,500 images | {span(shifted, '{:.0f}'.format)} | "


def of_records(results, column):
    """A column of the results of abstention by target and labels, record and method."""
    return results.pivot(index=["risk", "n"], columns=["method", "record"], values=column)


@table(
    "abstention",
    "abstention.csv",
    "target, labels | broken: mean, worst | by the usual threshold | coverage: best | ours | MAPIE | "
    "its fixed sequence",
)
def abstention_rows(results):
    broken, coverage = of_records(results, "broken") * 100, of_records(results, "coverage")
    best = of_records(results, "best_coverage")["skclamp"].mean(axis=1)
    for risk, n in broken.query("n != 500").index:
        shares = (
            f"{values.mean():.1f}, {values.max():.1f} %"
            for values in (broken.loc[(risk, n), method] for method in ("skclamp", "empirical"))
        )
        means = (coverage.loc[(risk, n), method].mean() for method in ("skclamp", "MAPIE", "MAPIE fixed sequence"))
        yield f"{risk * 100:.0f} %, {n:,} | {' | '.join((*shares, short(best[risk, n]), *map(short, means)))}"


@table("votes", "votes.csv", "temperature scaling | NLL | ECE %")
def votes_rows(results):
    means = results.groupby("method")[["nll", "ece"]].mean()
    for method, title in {"uncalibrated": "none", "scikit-learn": "scikit-learn's", "skclamp": "ours"}.items():
        yield f"{title} | {means.nll[method]:.3f} | {means.ece[method]:.1f}"


@table(
    "selecting",
    "selecting.csv",
    "record, samples | temperature scaling | selector less it | worst of five draws | less the best map",
)
def selecting_rows(results):
    for (name, n), part in results.groupby(["record", "n"], sort=False):
        nll = part.pivot(index="seed", columns="method", values="nll")
        over, best = nll.selector - nll.temperature, nll.drop(columns="selector").mean().idxmin()
        cells = f"{nll.temperature.mean():.3f} | {over.mean():+.4f} | {over.max():+.4f}"
        yield f"{name.replace('_', ' ')}, {n} | {cells} | {(nll.selector - nll[best]).mean():+.3f}, {best}"


@table("peers", "records", "method | peer | NLL difference | time ratio")
def peers_rows(records):
    """A dash where not all networks and splits have been run."""
    for title, peer, method, other in PEERS:
        part = if_whole(compare(records, method, other))
        cells = (span_of_differences(part), span(part.ratio, "{:.2f}".format)) if len(part) else "——"
        yield " | ".join((title, peer, *cells))
    # The selector's NLL less the least of the five's on each record.
    parts = [if_whole(compare(records, "CalibratorSelector", peer)) for peer in FIVE]
    best = pd.concat(parts).sort_values("difference").groupby("record").tail(1)
    told = span_of_differences(best) if all(map(len, parts)) else "—"
    yield f"CalibratorSelector | the best of five | {told} | "


def if_whole(found):
    """The comparisons at 500 samples, none where a network or a split is missing."""
    part = found[found.n == 500]
    return part if part.splits.sum() == N_SPLITS * len(RECORDS) else part[:0]


def span_of_differences(part):
    """0 where it rounds to that; in parentheses within two standard errors."""

    def text(estimate):
        mean, error = estimate
        if not round(mean, 4):
            return "0"
        return f"({mean:+.4f})" if abs(mean) < 2 * error else f"{mean:+.4f}"

    return span(zip(part.difference, part.standard_error, strict=True), text)


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
    files, head, rows = TABLES[name]
    try:
        texts = [re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", row) for row in rows(*map(read, files))]
    except ValueError as error:
        raise ValueError(f"table {name}: {error}") from error
    return [text.split(" | ") for text in (head, *texts)]


def as_rst(cell):
    """A cell of Markdown: links to pages stay, those to files of results become their names."""
    cell = re.sub(r"\[([^]]+)\]\(docs/(\S+)\.rst\)", r":doc:`\1 </\2>`", cell)
    return re.sub(r"\[([^]]+)\]\(benchmarks/results/(\S+)\)", r"\1, `\2`", cell)


def renewed(match):
    """A table and its two comments."""
    head, *rows = rows_of(match["name"])
    first = match["body"].partition("\n")[0]
    if first == "```":
        body = f"```\n{tabulate(rows, head, disable_numparse=True)}\n```\n"
    elif first.startswith(".. code-block::"):
        kept = match["body"].partition("\n\n")[0]
        body = f"{kept}\n\n{indent(tabulate(rows, head, disable_numparse=True), '   ')}\n"
    elif match["begin"].startswith("<"):
        lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in (head, ["---"] * len(head), *rows)]
        body = "\n".join(lines) + "\n"
    else:
        kept = match["body"].partition("\n\n")[0]
        cells = pd.DataFrame([[as_rst(cell) for cell in row] for row in rows], columns=[as_rst(cell) for cell in head])
        body = f"{kept}\n\n{indent(as_csv(cells), '   ')}"
    return match["begin"] + body + match["end"]


def name_of(match):
    """The name of a number, which lines may break."""
    return " ".join(match["name"].split())


def numbers():
    """The name and the text of every number that prose may have."""
    for files, make in NUMBERS.items():
        for what, text in make(*map(read, files.split())):
            yield f"{files}: {what}", text


def expected():
    """(path, text) of everything that is made here."""
    known = dict(numbers())
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        text = MARKED.sub(renewed, text)
        yield page, NUMBER.sub(lambda match: f"{known[name_of(match)]} ({match['name']})", text)
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
