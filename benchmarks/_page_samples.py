"""Measured numbers in sentences on the number of samples, as `_page_sentences` has those of the other pages."""

from functools import cache

from _page_sentences import at_most
from _pages import read

# Those of sample_sizes.csv without a shift.
IMAGES = ["cifar10_resnet20", "cifar100_resnet20", "cifar100_wideresnet-16-4"]
WORDS = ["no", "one", "two", "three"]


@cache
def draws():
    """NLL by record, draw, method and size, less that of temperature scaling on the whole half."""
    results = read("sample_sizes.csv").set_index(["record", "seed", "method", "n"]).nll
    return results - results.xs("temperature, all", level="method").droplevel("n")


@cache
def sizes():
    """The means over draws."""
    return draws().groupby(["record", "method", "n"]).mean()


def of_sizes(method, *cells):
    return [sizes()[record, method, n] for record, n in cells]


def temperature_of_few():
    """The largest of the networks' mean NLL without a shift and that of their draws, with 100 samples and with 500."""
    single, mean = (nll[IMAGES].xs("temperature", level="method").groupby("n").max() for nll in (draws(), sizes()))
    return [mean[100], single[100], mean[500], single[500]]


def vector_of_few():
    ten, *hundred = of_sizes("vector", *((record, 500) for record in IMAGES))
    return [ten, sizes()[IMAGES[0], "uncalibrated", 5000], *hundred]


def structured_matrix_of_many():
    """What it wins with 5,000 where it wins, and the least and the most that it costs with 500."""
    own = sizes()[IMAGES].xs("structured matrix", level="method").unstack()
    return [-own.loc[IMAGES[0], 5000], -own.loc[IMAGES[2], 5000], own[500].min(), own[500].max()]


def selector_of_many():
    """What it wins with 1,000 samples, and how far it is from temperature scaling where it doesn't."""
    gaps = (sizes().xs("selector", level="method") - sizes().xs("temperature", level="method")).xs(1000, level="n")
    return [-sizes()[IMAGES[2], "selector", 1000], at_most(0.001, gaps[IMAGES[:2]].abs().max())]


def selector_of_few():
    """With 500: NLL by record, and how many draws of the first cost more than 0.01 against temperature scaling's."""
    ten, hundred, wide = of_sizes("selector", *((record, 500) for record in IMAGES))
    level = abs(hundred - of_sizes("temperature", (IMAGES[1], 500))[0]) < 0.001
    single = draws()[IMAGES[0]].xs(500, level="n").unstack("method")
    costs = single.selector - single.temperature
    return [
        -wide,
        "level" if level else "not level",
        ten,
        *of_sizes("temperature", (IMAGES[0], 500)),
        WORDS[(costs > 0.01).sum()],
        costs.max(),
    ]


def clamping_in_the_dark():
    own = sizes()["cifar10_resnet20, dark", "clamping"]
    kept = read("sample_sizes.csv").query("method == 'clamping' and n == 100").kept
    return [-own[500], -own[1000], -own[200], WORDS[int(kept.sum())], WORDS[len(kept)]]


SAMPLE_SENTENCES = (
    (
        r"NLL is then at most (0\.\d+) above what 5,000 give, and (0\.\d+) in the worst draw; "
        r"with 500 it is (0\.\d+) and (0\.\d+)",
        temperature_of_few,
    ),
    (
        r"no calibration \((0\.\d+) for (0\.\d+)\), with a hundred classes far worse \((\d\.\d+) and (\d\.\d+)\)",
        vector_of_few,
    ),
    (
        r"It then wins (0\.\d+) and (0\.\d+) on two of three networks, .* With 500 it costs (0\.\d+) to (0\.\d+)",
        structured_matrix_of_many,
    ),
    (
        r"With so many it wins (0\.\d+) on the WideResNet, and is within (0\.\d+) of temperature scaling",
        selector_of_many,
    ),
    (
        r"With 500 it wins (0\.\d+) and is ([a-z ]+) on 100 classes\. On ten it is at (\+0\.\d+), where temperature "
        r"scaling is at (\+0\.\d+), since (\w+) draw of ten cost (0\.\d+)",
        selector_of_few,
    ),
    (
        r"In the dark 500 images win (0\.\d+) of the (0\.\d+) that 1,000 win, and 200 already (0\.\d+); with 100, "
        r"a perturbation was proved in (\w+) draw of (\w+)",
        clamping_in_the_dark,
    ),
)
