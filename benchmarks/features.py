"""A gain and an offset after each normalisation layer: no harm without a shift, and what they win under one.

Two ResNets with batch norm, small networks with layer norm and group norm, among them a transformer whose inputs are
whole numbers; 500 to 5,000 samples calibrate, the others judge. Without a shift the labels are the true ones, or drawn
from temperature scaling's probabilities, so that whatever is kept is kept wrongly; its excess NLL then is known without
noise. The order is such that what has been computed is balanced.

    python benchmarks/features.py --data DIR
    python benchmarks/features.py --data DIR --shifts none drawn --families norm
    python benchmarks/features.py --data DIR --networks digits_tokens --seeds 2 --out few.csv
"""

from functools import cache, lru_cache
from itertools import product

import numpy as np
import torch

from _data import split_off
from _networks import compute_logits
from _norm_networks import load_problem
from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature, draw_labels, facts, fit_temperature, nll_and_accuracy, scaled
from _shifts import defocus
from _timing import at_once, measure_relative
from skclamp import NeuralClampingCalibrator

KEY = ("network", "shift", "n", "seed", "family")
COLUMNS = (
    *KEY,
    *("n_test", "nll", "ts_nll", "accuracy", "ts_accuracy", "excess", "excess_se", "difference"),
    *("accepted", "families", "temperature", "forward", "backward", "relative_time", "reason"),
)
CIFAR, NOT_A_SHIFT = ("cifar10_resnet20", "cifar10_resnet32"), ("none", "drawn")
SIZES = {
    **dict.fromkeys(CIFAR, (500, 2500, 5000)),
    **{"mlp": (500, 1000, 2500, 5000), "cnn": (500, 1000, 2500), "vit": (500, 1000, 2500)},
    **dict.fromkeys(("digits_vit", "digits_tokens"), (500,)),
}
# Splits of each size: the small networks carry most.
N_SEEDS = {name: 3 if name in CIFAR else 12 for name in SIZES}


def noise(x, seed=0):
    """Of standard deviation .15."""
    return x + 0.15 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def wrong_tokens(x, share=0.2, seed=0):
    """A share of the tokens replaced by any."""
    rng = torch.Generator().manual_seed(seed)
    return torch.where(torch.rand(x.shape, generator=rng) < share, torch.randint(17, x.shape, generator=rng), x)


# Of images, and of tokens.
IMAGE_SHIFTS = {"noise": noise, "defocus": defocus, "darkness": lambda x: 0.35 * x}
TOKEN_SHIFTS = {
    "wrong_tokens": wrong_tokens,
    "levels_off": lambda x: (x + 4).clamp(max=16),
    "levels_reversed": lambda x: 16 - x,
}
SHIFTS = {"none": torch.clone, "drawn": torch.clone, **IMAGE_SHIFTS, **TOKEN_SHIFTS}


def shifts_of(network):
    """What its inputs can suffer; the ResNets' corruptions are in corruptions.py."""
    found = TOKEN_SHIFTS if network == "digits_tokens" else {} if network in ("mlp", *CIFAR) else IMAGE_SHIFTS
    return (*NOT_A_SHIFT, *found)


def measure(problem, logits, shift, n, seed, family):
    """The row of a fit: "excess" is its NLL less temperature scaling's, "difference" that of their probabilities."""
    network, X, y = problem
    calibration, test = split_off(y, n, seed)
    if shift == "drawn":
        proba = (logits.double() / (true := fit_temperature(logits, y))).softmax(1).numpy()
        y = draw_labels(logits, true, seed)
    calibrator = NeuralClampingCalibrator(
        network, perturbation=family, random_state=seed, classes=np.arange(logits.shape[1])
    )
    _, relative = measure_relative(lambda: calibrator.fit(X[calibration], y[calibration]), network, X[calibration])
    log_proba = calibrator.predict_log_proba(X[test])
    plain = scaled(logits[test], fit_temperature(logits[calibration], y[calibration]))
    excess = (plain - log_proba)[np.arange(len(test)), y[test]]
    if shift == "drawn":
        excess = (proba[test] * (plain - log_proba)).sum(1)
    return {
        **{"n_test": len(test), **nll_and_accuracy(log_proba, y[test])},
        **{f"ts_{score}": value for score, value in nll_and_accuracy(plain, y[test]).items()},
        **{"excess": excess.mean(), "excess_se": excess.std(ddof=1) / len(test) ** 0.5},
        **{"difference": np.abs(np.exp(log_proba) - np.exp(plain)).max(), **facts(calibrator)},
        **{"relative_time": relative.cpu, "reason": calibrator.verdict_.reason},
    }


@benchmark
def main(
    data=None,
    networks: SIZES = tuple(SIZES),
    shifts: SHIFTS = tuple(SHIFTS),
    families=("norm", "auto"),
    n: int = None,
    seeds: int = None,
    seed0=51,
    out=RESULTS / "features.csv",
    summary=False,
):
    problem_of = cache(lambda network: load_problem(network, data))

    @lru_cache(maxsize=1)
    def under(network, shift):
        problem = problem_of(network)
        problem = problem._replace(X=SHIFTS[shift](problem.X))
        return problem, compute_logits(problem.network, problem.X, at_once(problem.X))

    cells = [
        (network, shift, size, seed, family)
        for number, network, shift in product(range(max(N_SEEDS.values())), networks, shifts)
        for size, seed, family in product([n] if n else SIZES[network], [seed0 + number], families)
        if shift in shifts_of(network) and number < (seeds or N_SEEDS[network]) and not summary
    ]
    results = record(out, COLUMNS, cells, lambda network, shift, *cell: measure(*under(network, shift), shift, *cell))
    refused = results.accepted == 0
    # Of what is kept where nothing has shifted, and what probabilities are off by where nothing is kept.
    results = results.assign(harm=(results.excess > 0) & ~refused, off=results.difference.where(refused))
    values = ["ts_accuracy", "ts_nll", "ratio", "points", "excess", "accepted", "harm", "off", "relative_time"]
    show(beside_temperature(results), ["family", "shift", "network", "n"], values)
