"""Numbers that prose names: ``:abbr:`VALUE (FILE: WHAT)``` on a page, which shows where the number is from."""

import pandas as pd

from _scores import beside_temperature
from _thesis_tables import table_means

# Of each file, or several, what yields the numbers that are made of its frame: what they are, and their text.
NUMBERS = {}


def numbers_of(files):
    """Enter what yields the numbers of some files."""

    def enter(make):
        NUMBERS[files] = make
        return make

    return enter


def share(holds):
    """Of how many rows something holds."""
    return f"{holds.sum():.0f} of {len(holds)}"


def won(runs):
    """On how many of some changes temperature scaling's mean NLL is undercut by 2 % and its accuracy surpassed."""
    means = runs.groupby("shift")[["ratio", "points"]].mean()
    return share((means.ratio < 0.98) & (means.points > 0))


@numbers_of("shift.csv views.csv thesis.csv")
def without_a_shift(shifted, viewed, fitted):
    """Runs on the same images, with more views or none, are one fit."""
    shifted = shifted[(shifted["shift"] == "none") & (shifted.method == "auto")]
    columns = {"n_calibration": "n", "accepted": "perturbed"}
    runs = pd.concat([shifted.rename(columns=columns), viewed[viewed.part == "plain"]])
    by_images = runs.groupby(["network", "n", "seed"]).perturbed.max()
    fits = pd.concat([by_images, fitted[fitted.method == "clamping"].accepted])
    yield "fits without a shift that kept a perturbation", share(fits)


@numbers_of("shift.csv")
def of_shifts(results):
    runs = beside_temperature(results[results["shift"] != "none"], ["network", "shift", "n_calibration", "seed"])
    yield "shifts where temperature scaling's NLL falls by 2 % and its accuracy rises", won(runs[runs.method == "auto"])


@numbers_of("features.csv")
def of_features(results):
    norm = results.query("network == 'digits_tokens' and family == 'norm' and shift not in ('none', 'drawn')")
    yield "changes of tokens where the NLL falls by 2 % and the accuracy rises", won(beside_temperature(norm))
    unchanged = results[results["shift"].isin(["none", "drawn"]) & results.family.isin(["norm", "auto"])]
    yield "fits without a change that kept something", share(unchanged.accepted == 1)
    yield "fits without a change that were worse on others", share((unchanged.accepted == 1) & (unchanged.excess > 0))


@numbers_of("matrix_speed.csv")
def of_matrix_scaling(results):
    yield "times of the peer's", f"{results.ratio.min():.1f} to {results.ratio.max():.1f}"


@numbers_of("prior_shift.csv")
def of_frequencies(results):
    yield "draws without a change", share(results[results.change == "none"].kept)
    yield "draws of changed images", share(results[~results.change.isin(["classes", "none"])].kept)


@numbers_of("label_shift.csv")
def of_label_shifts(results):
    """Draws that are kept in vain, and shares of those kept after a shift."""
    null, shifted = results[results["shift"] == "none"], results[results["shift"] != "none"]
    yield "draws without a change", f"{null.kept.sum()} of {null.draws.sum():,}"
    yield "% of kept corrections worse", f"{100 * shifted.worse.sum() / shifted.kept.sum():.1f}"
    yield "% of shifts corrected", f"{100 * shifted.kept.sum() / shifted.draws.sum():.0f}"


@numbers_of("strong_networks.csv")
def of_strong_networks(results):
    nll = results.query("network == 'gas sensors' and n == 2500").groupby("method").nll.mean()
    ratios = nll[nll.index.str.startswith("IntraOrderPreserving")] / nll["TemperatureScaling"]
    yield "NLL ratio, 2,500 samples", f"{ratios.min():.2f} to {ratios.max():.2f}"


@numbers_of("selecting.csv")
def of_the_selector(results):
    nll = results.pivot_table("nll", ["record", "n", "seed"], "method")
    yield "NLL above temperature scaling's at the most", f"{(nll.selector - nll.temperature).max():.4f}"


@numbers_of("sample_sizes.csv")
def of_few_samples(results):
    part = results.query("record == 'cifar10_resnet20' and n == 500")
    nll = part.pivot(index="seed", columns="method", values="nll")
    yield "draws that are worse than temperature scaling's", share(nll.selector > nll.temperature)


@numbers_of("views.csv")
def of_passes(results):
    forward = results.query("part == 'shift' and max_views == 1").forward
    yield "passes of a fit under a shift", f"{forward.min():.0f} to {forward.max():.0f}"


@numbers_of("thesis.csv")
def of_the_published_settings(results):
    rows = table_means(results)
    yield "passes with nothing to find", f"{rows.forward['clamping']:.1f}"
    yield "passes by the authors' settings", f"{rows.forward['reference']:.0f}"
