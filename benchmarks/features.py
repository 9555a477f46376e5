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
from tabulate import tabulate

from _data import split_off
from _networks import compute_logits
from _norm_networks import KINDS, load_problem
from _runner import RESULTS, benchmark, record
from _scores import draw_labels, facts, fit_temperature, nll_and_accuracy, scaled
from _shifts import defocus
from _timing import BATCH_SIZE, measure_relative
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


def harm_rows(results):
    """Without a shift: what was kept, and what that did to others, for each network and all."""
    groups = [*results.groupby(["family", "shift", "network"], sort=False)]
    groups += [((*key, "all"), part) for key, part in results.groupby(["family", "shift"], sort=False)]
    for (family, shift, network), part in groups:
        kept, refused = part[part.accepted == 1], part[part.accepted == 0]
        worse = (kept.excess > 0).sum()
        yield {
            **{"family": family, "labels": "true" if shift == "none" else shift, "network": network},
            **{"norm": KINDS.get(network, ""), "accuracy %": f"{part.ts_accuracy.mean():.1f}"},
            "kept": f"{len(kept)} of {len(part)}, {100 * len(kept) / len(part):.1f} %",
            "kept and worse": f"{worse}, {100 * worse / len(part):.1f} %",
            "mean excess NLL": f"{part.excess.mean():+.5f}",
            "worst": f"{part.excess.max():+.4f}",
            "where nothing was kept, probabilities off by": f"{refused.difference.max():.0e}",
            "time": f"{part.relative_time.median():.1f}",
        }


def gain_rows(results):
    """Under a shift: NLL over temperature scaling's, and points of accuracy."""
    for (network, shift, n, family), part in results.groupby([*KEY[:3], "family"], sort=False):
        yield {
            **{"network": network, "shift": shift, "n": n, "family": family, "splits": len(part)},
            "TS acc / NLL": f"{part.ts_accuracy.mean():.1f} / {part.ts_nll.mean():.3f}",
            "NLL ratio": f"{(part.nll / part.ts_nll).mean():.3f}",
            "points": f"{(part.accuracy - part.ts_accuracy).mean():+.1f}",
            "kept": f"{part.accepted.sum()} of {len(part)}",
            "worse by two errors": int((part.excess > 2 * part.excess_se).sum()),
            "families": ", ".join(sorted(set(part.families.dropna()))),
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
        return problem, compute_logits(problem.network, problem.X, BATCH_SIZE)

    cells = [
        (network, shift, size, seed, family)
        for number, network, shift in product(range(max(N_SEEDS.values())), networks, shifts)
        for size, seed, family in product([n] if n else SIZES[network], [seed0 + number], families)
        if shift in shifts_of(network) and number < (seeds or N_SEEDS[network]) and not summary
    ]
    results = record(out, COLUMNS, cells, lambda network, shift, *cell: measure(*under(network, shift), shift, *cell))
    still = results["shift"].isin(NOT_A_SHIFT)
    for part, rows in ((results[still], harm_rows), (results[~still], gain_rows)):
        if len(part):
            print(tabulate(rows(part), headers="keys", disable_numparse=True), "\n")
