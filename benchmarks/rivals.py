"""Calibration under shift by others, of the last years, beside clamping: the same inputs, labels and judges.

What has changed is a camera, or how texts are typed; images of before the change are as they were:

- A CIFAR-10 and a CIFAR-100 ResNet-20, and EfficientNet-Lite0 on a thousand images of ImageNet: corruptions of severity
  2. A thousand images (300 of ImageNet's) have no labels, 0, 100 or 500 others (0 or 100) have, and 2,000 (500) judge.
- ESPNet on street scenes of a drive of CamVid, changed as in street_scenes.py. A window of each of the first 55 frames
  has labels, or none has; the other window has none, and windows of later frames judge. Of their pixels every fourth
  counts, in rows and in columns.
- MiniLM on Banking77's texts that it hasn't seen, changed as in intents.py: as many as of CIFAR's images.

Without labels temperature scaling, the selector, SMART and noise-refined temperature scaling learn from 500 images of
before the change (200 of ImageNet's, or a window of each of the 55 frames), and what trains weights is left out, as
clamping is. A method is also left out where it has no meaning or can't be judged: statistics of batch norm where no
layer is one; noise and mix-up where inputs are token ids; a last linear layer where the last one isn't linear; what
learns each class on ImageNet's images, no two of which are of one class.

NLL is over that of temperature scaling on the same split. rivals.csv has three splits of all but ImageNet's. Needs the
group `bench`.

    python benchmarks/rivals.py --data DIR
    python benchmarks/rivals.py --data DIR --corruptions fog --n-labels 100 --seeds 1 --methods temperature smart head
    python benchmarks/rivals.py --data DIR --networks espnet minilm --methods temperature selector normalised
    python benchmarks/rivals.py --data DIR --summary
"""

from functools import lru_cache
from itertools import product

from tabulate import tabulate

from _estimates import Estimate
from _rival_methods import ASKS, WITH_LABELS, WITHOUT_LABELS, fitted_clamping, rows_of
from _rival_settings import PROBLEMS
from _runner import RESULTS, benchmark, record
from _scores import beside_temperature, evaluate, facts, predicted

METHODS = (*dict.fromkeys((*WITHOUT_LABELS, *WITH_LABELS)), "clamping")
# Of noise, blur, weather and what is digital, before any result; then of street scenes and of texts.
COMPARED = (
    *("gaussian_noise", "defocus_blur", "fog", "contrast", "pixelate"),
    *("noise", "blur", "dark"),
    *("typos50", "drop20", "voice", "glued"),
)
CHANGES = tuple(dict.fromkeys(change for problem in PROBLEMS.values() for change in problem.changes))
KEY = ("seed", "corruption", "network", "n_labels", "method")
COLUMNS = (*KEY, "nll", "accuracy", "ece", "ece_floor", "accepted", "families", "temperature", "forward", "backward")


def measure(setting, method):
    """A row of a method."""
    test = setting.task.test
    if method != "clamping":
        methods = WITH_LABELS if setting.labelled else WITHOUT_LABELS
        return scores(test, methods[method](setting))
    clamping = fitted_clamping(setting)
    return {**scores(test, predicted(clamping, test.images, test.logits)), **facts(clamping)}


def scores(part, log_proba):
    log_proba, labels = rows_of(log_proba, part.labels)
    return evaluate(labels.numpy(), log_proba.numpy())


def possible(corruption, network, n_labels, method):
    """Whether a network has a change and so many labels, and a method what it asks for, and can do with the labels."""
    problem = PROBLEMS[network]
    by_labels = method in ((*WITH_LABELS, "clamping") if n_labels else WITHOUT_LABELS)
    has = corruption in problem.changes and n_labels in problem.n_labels and ASKS.get(method, set()) <= problem.has
    return by_labels and has


def table(results):
    """A row for each network, number of labels and method: means and standard errors over corruptions, after splits."""
    joined = beside_temperature(results, [name for name in KEY if name != "method"])
    for network, n_labels, method in product(PROBLEMS, sorted(joined.n_labels.unique()), METHODS):
        own = joined.query("network == @network and n_labels == @n_labels and method == @method")
        if len(own):
            means = own.groupby("corruption")[["ratio", "points"]].mean()
            ratio, points = (Estimate(means[column].mean(), means[column].sem()) for column in means)
            yield {
                "network": network,
                "labels": n_labels,
                "method": method,
                "runs": len(own),
                "NLL ratio": f"{ratio:.3f}",
                "points": f"{points:+.1f}",
                "ECE % (floor)": f"{own.ece.mean():.1f} ({own.ece_floor.mean():.1f})",
            }


@benchmark
def main(
    data=None,
    corruptions: CHANGES = COMPARED,
    networks: PROBLEMS = tuple(PROBLEMS),
    n_labels: (0, 55, 100, 500) = (0, 55, 100, 500),
    methods: METHODS = METHODS,
    seeds=3,
    n_unlabelled=1000,
    n_test=2000,
    out=RESULTS / "rivals.csv",
    summary=False,
):
    @lru_cache(maxsize=1)
    def setting(seed, corruption, network, n):
        return PROBLEMS[network].setting(seed, corruption, network, n, n_unlabelled, n_test, data)

    cells = product(range(seeds), corruptions, networks, n_labels, methods)
    cells = [] if summary else [cell for cell in cells if possible(*cell[1:])]
    results = record(out, COLUMNS, cells, lambda *cell: measure(setting(*cell[:-1]), cell[-1]))
    print(tabulate(table(results), headers="keys", disable_numparse=True))
