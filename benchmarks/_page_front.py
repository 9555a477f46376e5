"""Measured numbers in sentences of the front page and on corruptions, as `_page_sentences` has those of the others."""

from _corruption_tables import TITLES
from _page_sentences import of_maps, selector_seconds, thesis, two_views
from _pages import corruption_runs, monitored, read

RESNET32 = {"network": "cifar10_resnet32"}
LOGITS_ALONE = ("vector", "structured_matrix")


def of_network(network="cifar10_resnet20"):
    return corruption_runs().query("network == @network")


def means(score, of="clamping", **network):
    """Mean over the splits that a method has, then severities: a row for each corruption, a column for each method."""
    runs = of_network(**network).pivot_table(score, ["severity", "corruption", "seed"], "method", observed=True)
    settings = runs.dropna(subset=of).groupby(["severity", "corruption"], observed=True).mean()
    return settings.groupby("corruption", observed=True).mean()


def listed(names):
    """Words in the order of the benchmark."""
    *first, last = [name.replace("_", " ") for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def better_than_clamping(method, **network):
    """The corruptions on which a method's NLL is lower."""
    ratios = means("ratio", of=method, **network)
    return listed(ratios.index[ratios[method] < ratios.clamping])


def worse_than_temperature(method, **network):
    ratios = means("ratio", of=method, **network)
    return listed(ratios.index[ratios[method] > 1])


def agreed(answers):
    """The one answer, or all that differ."""
    return " or ".join(dict.fromkeys(answers))


def corruptions_in_short():
    ratios = means("ratio")
    worse = (ratios.clamping > 1).sum()
    others = ratios[["batch_norm", "last_layer", "vector"]].mean()
    return [ratios.clamping.mean(), means("points").clamping.mean(), len(ratios), str(worse or "none"), *others]


def losses():
    """On how many corruptions clamping's NLL is higher than temperature scaling's, its accuracy lower."""
    higher = agreed(str((means("ratio", **network).clamping > 1).sum() or "no") for network in ({}, RESNET32))
    lower = agreed(str((means("points", **network).clamping < 0).sum() or "none") for network in ({}, RESNET32))
    return [higher, lower]


def all_weights():
    """Mean NLL ratios of fine-tuning and, on the same corruptions, of clamping; on how many the first is lower."""
    tried = means("ratio", of="fine_tuned")
    return [tried.fine_tuned.mean(), tried.clamping.mean(), (tried.fine_tuned < tried.clamping).sum(), len(tried)]


def costs_of_clamping():
    """Medians over corruptions of the passes forward and backward."""
    return list(of_network().query("method == 'clamping'")[["forward", "backward"]].median())


def corruptions_measured():
    """The number of corruptions, networks, severities, seeds: all that the file has."""
    runs = corruption_runs()
    severities, seeds = (", ".join(map(str, sorted(set(runs[name])))) for name in ("severity", "seed"))
    return [runs.corruption.nunique(), listed(TITLES[name] for name in runs.network.unique()), severities, seeds]


def passes_of_two_views():
    return [read("views.csv").query("part == 'plain' and max_views == 2").forward.median()]


def votes():
    nll = read("votes.csv").groupby("method").nll.mean()
    return list(nll[["skclamp", "scikit-learn"]])


def drifted_sensors():
    """Accuracy and NLL of temperature scaling and the selector, and the NLL of a network retrained."""
    scores = read("drift.csv").query("n == 150").groupby("method")[["accuracy", "nll"]].mean()
    pairs = [scores.loc[method, score] for score in ("accuracy", "nll") for method in ("temperature", "selector")]
    return [*pairs, scores.nll["retrained"]]


def seconds_of_sensors():
    return [read("drift.csv").query("n == 150 and method == 'selector'").seconds.mean()]


def seconds_of_order_preserving():
    return [
        read("choosing.csv").set_index("method").loc["IntraOrderPreservingCalibration", "fit ms, WideResNet"] / 1000
    ]


def order_preserving_and_vector():
    """By what the one lowers the NLL and the other raises it."""
    own, other = of_maps(("IntraOrderPreservingCalibration", "WideResNet, 500"), ("VectorScaling", "WideResNet, 500"))
    return [-own, other]


def watched():
    """Labels until the alarm under darkness and noise, and microseconds a label at ten classes."""
    wanted = ("delay", "darkness"), ("delay", "noise"), ("time", "K = 10")
    found = monitored().groupby(level=["part", "setting"]).first()
    return [found[place] for place in wanted]


def drawn_frequencies(network, n_unlabelled):
    """Draws with other class frequencies: how many kept them, of how many, and with what NLL ratio; and the draws."""
    draws = read("prior_shift.csv").query("network == @network and n_unlabelled == @n_unlabelled")
    changed = draws.query("change == 'classes'")
    return [changed.kept.sum(), len(changed), (changed.nll / changed.ts_nll).mean()], draws


def other_frequencies():
    """NLL ratio where class frequencies changed, how many draws kept it, and how many did where images changed."""
    (kept, n_draws, ratio), draws = drawn_frequencies("cifar10_resnet20", 500)
    others = draws.query("change not in ('classes', 'none')")
    return [ratio, kept, n_draws, str(others.kept.sum() or "none"), len(others)]


def frequencies_in_the_guide():
    first, draws = drawn_frequencies("cifar10_resnet20", 500)
    accuracy = 100 * draws.query("change == 'classes'")[["accuracy", "ts_accuracy"]].mean()
    return [*first, *accuracy, *(cell for n in (500, 2000) for cell in drawn_frequencies("cifar100_resnet20", n)[0])]


FRONT_SENTENCES = (
    # Corruptions that others wrote.
    (
        r"(0\.\d\d) of temperature scaling's NLL and \+(\d+) points of accuracy on (\d+) corruptions of CIFAR-10 that "
        r"others wrote \(ResNet-20, two severities\), worse on (\w+)\. Batch norm adapted has (0\.\d\d), the last "
        r"layer anew (0\.\d\d), vector scaling (0\.\d\d)",
        corruptions_in_short,
    ),
    (
        r"fine-tuned have (0\.\d\d) where this has (0\.\d\d), less on (\d) of (\d)",
        all_weights,
    ),
    (r"last layer is better on ([a-z, ]+)\.", lambda: [better_than_clamping("last_layer")]),
    (r"With ResNet-32 it is better on ([a-z, ]+)\.", lambda: [better_than_clamping("last_layer", **RESNET32)]),
    (
        r"Adapted, it is better on ([a-z, ]+), and worse than temperature scaling on ([a-z, ]+); "
        r"with ResNet-32 better on ([a-z, ]+), and worse on ([a-z, ]+)\.",
        lambda: [
            answer("batch_norm", **network)
            for network in ({}, RESNET32)
            for answer in (better_than_clamping, worse_than_temperature)
        ],
    ),
    (
        r"Vector scaling is better on ([a-z, ]+), structured matrix scaling on ([a-z, ]+)\.",
        lambda: [better_than_clamping(method) for method in LOGITS_ALONE],
    ),
    (
        r"With ResNet-32 both are better on ([a-z, ]+)\.",
        lambda: [agreed(better_than_clamping(method, **RESNET32) for method in LOGITS_ALONE)],
    ),
    (
        r"Clamping's NLL was on (\w+) corruption above temperature scaling's, and its accuracy on (\w+) below",
        losses,
    ),
    (r"(\d+) forward passes over the calibration set and (\d+) backward", costs_of_clamping),
    (
        r"All (\d+) corruptions of the package corrupt-tta, which .* on CIFAR-10: ([\w ,-]+), severity ([\d, ]+), "
        r"seed ([\d, ]+)\. Of each",
        corruptions_measured,
    ),
    # The front page.
    (r"after (\d+) labels where the light went, after (\d+) where noise came", lambda: watched()[:2]),
    (r"the prediction, and (\d+) microseconds a label", lambda: watched()[2:]),
    (
        r"(0\.\d\d) of temperature scaling's NLL with 2,500 labelled and 500 unlabelled images; "
        r"kept in (\d+) of (\d+) draws, and in (\w+) of (\d+) where the images had changed",
        other_frequencies,
    ),
    (
        r"it was kept in (\d+) of (\d+) draws, with (0\.\d\d) of temperature scaling's NLL, and (\d+\.\d) % accuracy "
        r"in place of (\d+\.\d) %\. On CIFAR-100 it was kept in (\d+) of (\d+) draws, with (0\.\d\d); "
        r"with 2,000 unlabelled images in (\d+) of (\d+), with (0\.\d\d)",
        frequencies_in_the_guide,
    ),
    (
        r"(0\.\d+) of temperature scaling's NLL and \+(\d\.\d) points of accuracy on CIFAR-10, "
        r"(0\.\d+) and \+(\d\.\d) on CIFAR-100",
        two_views,
    ),
    (r"(\d+) passes to fit, two a prediction", passes_of_two_views),
    (r"single trees the NLL is (0\.\d+), with scikit-learn's temperature scaling (0\.\d+)", votes),
    (r"(\d+) s for the selector on 5,000 × 10 logits, (\d+) s on 5,000 × 100", selector_seconds),
    (
        r"150 labels: (\d+) → (\d+) % right, NLL (\d\.\d+) → (\d\.\d+)\. A network retrained has (\d\.\d+)",
        drifted_sensors,
    ),
    (r"one prediction, and (\d\.\d+) seconds", seconds_of_sensors),
    (
        r"100 classes, 500 images: the NLL falls by (0\.\d+); with vector scaling it rises by (\d\.\d)",
        order_preserving_and_vector,
    ),
    (r"one pass, and (\d\.\d+) seconds", seconds_of_order_preserving),
    (
        r"CIFAR-100 its ECE is (\d\.\d+) % to temperature scaling's (\d\.\d+), within the noise floor of (\d\.\d), "
        r"and its NLL is worse, (\d\.\d+) to (\d\.\d+)",
        lambda: thesis(
            *(("reference", "ece"), ("temperature", "ece"), ("reference", "ece_floor")),
            *(("reference", "nll"), ("temperature", "nll")),
        ),
    ),
)
