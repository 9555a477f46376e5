"""Whether "auto" sees what a family proves by its name: its NLL beside that of each family, on shifted images.

For each network, shift, number of calibration images and split, "auto" and the families are fitted to the same images
and judged by the others.

    python benchmarks/families.py --data DIR
    python benchmarks/families.py --data DIR --networks cifar10_resnet20 --shifts none --families full --seeds 10
"""

from functools import lru_cache
from itertools import product

from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature, facts, fit_temperature, nll_and_accuracy, predicted, scaled
from _shifts import SEVEN, SHIFTS
from shift import KEY, NETWORKS, fit_clamping, image_splits

FAMILIES = ("auto", "affine", "color", "filter", "grid")
COLUMNS = (
    *("family", *KEY, "n_test", "nll", "ts_nll", "accuracy", "ts_accuracy"),
    *("accepted", "families", "relative_time"),
)


def measure(split, family, seed):
    """The row of one fit."""
    clamping, relative = fit_clamping(split, seed, perturbation=family)
    logits, y = split.logits[split.test], split.labels[split.test]
    temperature = fit_temperature(split.logits[split.calibration], split.labels[split.calibration])
    plain = nll_and_accuracy(scaled(logits, temperature), y)
    return {
        "n_test": len(y),
        **nll_and_accuracy(predicted(clamping, split.inputs[split.test], logits), y),
        **{f"ts_{score}": value for score, value in plain.items()},
        **facts(clamping),
        "relative_time": relative.wall,
    }


@benchmark
def main(
    data=None,
    networks: NETWORKS = tuple(NETWORKS),
    shifts: SHIFTS = SEVEN,
    families=FAMILIES,
    sizes=(1000, 2500),
    seeds=3,
    seed0=50,
    out=RESULTS / "families.csv",
):
    split_of = lru_cache(maxsize=1)(image_splits(data))
    runs = product(networks, shifts, sizes, range(seed0, seed0 + seeds))
    cells = [(family, *run) for run in runs for family in families]
    results = record(out, COLUMNS, cells, lambda family, *run: measure(split_of(*run), family, run[-1]))
    values = ["ratio", "over", "points", "accepted", "relative_time"]
    show(beside_temperature(results), ["network", "n_calibration", "shift", "family"], values)
