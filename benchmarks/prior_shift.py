"""Class frequencies that change after calibration: what correcting them wins, and what it leaves alone.

A calibrator is fitted to labelled images, adapts to unlabelled ones, and is judged by others, against temperature
scaling. "classes" draws class frequencies from a Dirichlet distribution (alpha 0.3), and images without replacement:
the class that most are wanted of bounds their number. "none" draws images as they come. All else changes the images
and keeps the frequencies, but for "classes, darker" and the like, which change images a little beside the frequencies.

    python benchmarks/prior_shift.py --data DIR
    python benchmarks/prior_shift.py --data DIR --network cifar100_resnet20 --sizes 2000 --out cifar100.csv
    python benchmarks/prior_shift.py --data DIR --labelled 200 --sizes 500 --changes "classes, darker" --out mixed.csv
    python benchmarks/prior_shift.py --summary
"""

from functools import cache, lru_cache, partial
from itertools import product

import numpy as np
import torch

from _data import load_problem
from _networks import RESNETS, compute_logits
from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature
from _shifts import SEVEN, SHIFTS
from skclamp import PriorShiftCorrection
from skclamp.metrics import negative_log_likelihood

N_JUDGING = 500
ALPHA = 0.3
DRAWS = {"classes": 30, "none": 30, **dict.fromkeys((*SEVEN, "noise"), 20)}
N_MIXED = 40
KEY = ("network", "n_labelled", "n_unlabelled", "change", "seed")
COLUMNS = (*KEY, *("n", "kept", "nll", "ts_nll", "accuracy", "ts_accuracy", "p_value", "fit_p_value", "inputs_changed"))


def noise(images, *, sd=0.1, seed=0):
    """Gaussian noise anew in every pixel."""
    generator = torch.Generator().manual_seed(seed)
    return (images + sd * torch.randn(images.shape, generator=generator)).clamp_(0, 1)


CHANGES = {
    "classes": SHIFTS["none"],
    "none": SHIFTS["none"],
    "noise": noise,
    **{name: SHIFTS[name] for name in SEVEN},
    "classes, darker": partial(SHIFTS["darkness"], factor=0.8),
    "classes, brighter": partial(SHIFTS["brightness"], amount=0.08),
    "classes, noisier": partial(noise, sd=0.03),
}


def draw(labels, n_labelled, n_unlabelled, change, seed):
    """Indices of the images that are labelled, unlabelled, and that judge, drawn without replacement.

    Those that aren't labelled have new class frequencies if these change.
    """
    rng = np.random.default_rng(seed)
    labelled, rest = np.split(rng.permutation(len(labels)), [n_labelled])
    n_chosen = n_unlabelled + N_JUDGING
    if change.startswith("classes"):
        rest = with_frequencies(labels, rest, n_chosen, rng)
    n = len(rest) * n_unlabelled // n_chosen if len(rest) < n_chosen else n_unlabelled
    return labelled, rest[:n], rest[n : n + N_JUDGING]


def with_frequencies(labels, rows, n_wanted, rng):
    """Of shuffled rows so many that classes have frequencies drawn from a Dirichlet distribution."""
    n_classes = labels.max() + 1
    frequencies = rng.dirichlet(np.full(n_classes, ALPHA))
    there = np.bincount(labels[rows], minlength=n_classes)
    n = min(n_wanted, int((there / np.maximum(frequencies, 1e-12)).min()))
    counts = np.minimum(rng.multinomial(n, frequencies), there)
    return rng.permutation(np.concatenate([rows[labels[rows] == k][:count] for k, count in enumerate(counts)]))


def measure(clean, logits, labels, *cell):
    """The result of one draw."""
    labelled, unlabelled, judging = draw(labels, *cell)
    calibrator = PriorShiftCorrection(classes=range(logits.shape[1])).fit(clean[labelled], labels[labelled])
    before = scores(calibrator, logits[judging], labels[judging])
    verdict = calibrator.adapt(logits[unlabelled]).verdict_
    return {
        "n": verdict.n_samples,
        "kept": int(verdict.accepted),
        **scores(calibrator, logits[judging], labels[judging]),
        **{f"ts_{name}": value for name, value in before.items()},
        "p_value": f"{verdict.p_value:.3g}",
        "fit_p_value": f"{verdict.fit_p_value:.3g}",
        "inputs_changed": int(verdict.inputs_changed),
    }


def scores(calibrator, X, y):
    proba = calibrator.predict_proba(X)
    nll = negative_log_likelihood(y, proba, labels=calibrator.classes_)
    return {"nll": round(nll, 6), "accuracy": round(float((proba.argmax(1) == y).mean()), 5)}


@benchmark
def main(
    data=None,
    network: RESNETS = "cifar10_resnet20",
    changes: CHANGES = tuple(DRAWS),
    labelled=2500,
    sizes=(500, 200, 2000),
    # Draws with smaller seeds helped to choose the tests.
    seed0=1000,
    draws: int = None,
    out=RESULTS / "prior_shift.csv",
    summary=False,
):
    problem = cache(lambda: load_problem(network, data))

    @lru_cache(maxsize=2)
    def logits(change):
        model, images, _ = problem()
        return compute_logits(model, CHANGES[change](images)).numpy()

    def run(_, *cell):
        change = "none" if cell[2] == "classes" else cell[2]
        return measure(logits("none"), logits(change), problem()[2], *cell)

    cells = [
        (network, labelled, n, change, seed)
        for change, n in product(changes, sizes)
        for seed in range(seed0, seed0 + (draws or DRAWS.get(change, N_MIXED)))
    ]
    results = beside_temperature(record(out, COLUMNS, () if summary else cells, run))
    show(results, [*KEY[:-1]], ["n", "kept", "ratio", "ts_accuracy", "accuracy"])
