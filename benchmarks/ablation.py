"""What each mechanism of clamping brings: fits without it, beside fits with all of them, on the same samples.

A switch takes a mechanism out of the package while a fit runs. What it is worth is the test NLL without it less that
with all, in per cent of temperature scaling's; its standard error is over draws, which both share. Where nothing that
the mechanism does has acted in the fit with all, that counts for both, passes included. Where nothing has changed what
is kept is kept in vain. Needs the group `bench`.

    python benchmarks/ablation.py --data DIR
    python benchmarks/ablation.py --settings "color, 500" "no change, 500" --switches strayed "score test" --draws 20
    python benchmarks/ablation.py --summary
"""

from functools import cache, lru_cache
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.neural_network import MLPClassifier
from tabulate import tabulate
from torch import nn

import truth
from _data import load_problem, load_record, split_off
from _estimates import Estimate
from _mechanisms import NODES, SWITCHES, watching, without
from _norm_networks import load_problem as load_small
from _runner import RESULTS, benchmark, record
from _shifts import corrupt
from _tabular import TABLES, TABULAR_SHIFTS, load_sensors, train_mlp
from features import SHIFTS
from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling

ALL = "all"
KEY = ("setting", "draw", "switch")
COLUMNS = (*KEY, "acted", "kept", "taught", "nll", "ts_nll", "forward", "backward", "seconds")
# Draws with smaller seeds helped to choose the defaults.
FIRST_DRAW = 70_000
N_TEST, N_UNLABELLED = 2000, 2000
N_GROUPS, GROUP_SIZE, GROUP_SPREAD = 125, 8, 0.15
N_SEEN = 6


class Case(NamedTuple):
    """What calibrates, and what judges: a function of a fitted calibrator that returns the mean NLL."""

    network: Any
    X: Any
    y: np.ndarray
    judge: Any
    n_classes: int | None = truth.N_CLASSES
    # What clamping's `fit` and the calibrator take beside these.
    told: dict = {}
    parameters: dict = {}


def on(X, y):
    """What judges by samples and labels."""
    return lambda calibrator: -calibrator.predict_log_proba(X)[np.arange(len(y)), y].mean()


def of_truth(problem):
    """Problems of known truth, see `truth`."""

    def case(draw, data):
        x, proba = truth.test_inputs()
        return Case(truth.network(), *problem.draw(draw), by_truth(problem.seen(x), proba))

    return case


def by_truth(X, proba):
    """What judges by true probabilities."""
    return lambda calibrator: -(proba * calibrator.predict_log_proba(X)).sum(1).mean()


@cache
def normalised_network():
    """As `truth.network`, but with batch norms that know the moments of what they see."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(21)
        layers = [nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12, momentum=None), nn.ReLU()]
        layers += [nn.Conv2d(12, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16, momentum=None), nn.ReLU()]
        made = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, truth.N_CLASSES))
        logits = made(torch.randn(truth.N_TEST, 3, 8, 8))
        made[-1].bias.sub_(logits.mean(0))
        for parameter in made[-1].parameters():
            parameter.mul_(truth.SPREAD / (logits - logits.mean(0)).std())
    return made.eval()


def of_unlabelled(change, strength, n):
    """Inputs of which a network with batch norm knows how they were, and many that have no labels."""

    def case(draw, data):
        network, rng = normalised_network(), torch.Generator().manual_seed(draw)
        x, beside, before = (torch.randn(m, 3, 8, 8, generator=rng) for m in (n, N_UNLABELLED, N_UNLABELLED))
        test, _ = truth.test_inputs()
        with torch.no_grad():
            given, proba = (network(part).double().softmax(1) for part in (x, test))
        y = torch.multinomial(given, 1, generator=rng)[:, 0].numpy()
        told = {"X_unlabelled": change(beside, strength), "X_reference": before}
        return Case(network, change(x, strength), y, by_truth(change(test, strength), proba.numpy()), told=told)

    return case


def noise(x, strength):
    """Of the sensor: the same wherever the input is."""
    return x + strength * torch.sin(1e4 * x)


def of_groups(draw, data):
    """Nothing has changed on average, but each group of samples has gains and offsets of its own."""

    def seen(x, rng):
        gains, offsets = GROUP_SPREAD * torch.randn(2, len(x) // GROUP_SIZE, 3, 1, 1, generator=rng)
        return x * (1 + gains.repeat_interleave(GROUP_SIZE, 0)) + offsets.repeat_interleave(GROUP_SIZE, 0)

    rng, others = (torch.Generator().manual_seed(seed) for seed in (draw, 1))
    x, proba = truth.test_inputs()
    X = torch.randn(N_GROUPS * GROUP_SIZE, 3, 8, 8, generator=rng)
    y = torch.multinomial(truth.true_probabilities(X), 1, generator=rng)[:, 0].numpy()
    told = {"groups": np.repeat(np.arange(N_GROUPS), GROUP_SIZE)}
    return Case(truth.network(), seen(X, rng), y, by_truth(seen(x, others), proba), told=told)


def of_missing_classes(draw, data):
    """Channels have changed, and of some classes there are no samples to calibrate on."""
    case = of_truth(truth.Problem(1500, truth.affine, 0.1))(draw, data)
    kept = case.y < N_SEEN
    return case._replace(X=case.X[kept], y=case.y[kept])


def of_valleys(draw, data):
    """Squares of inputs on one side of 0, which a network that takes them for both fits as well on the other."""

    def drawn(seed):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(800, 6)).astype(np.float32)
        return 0.3 * x + 1, (x[:, :3] ** 2 + rng.logistic(scale=0.3, size=(800, 3)) > 1).astype(int)

    x, y = drawn(0)
    network = MLPClassifier(32, alpha=1.0, max_iter=500, random_state=0).fit((x - 1) / 0.3, y)
    new, truths = drawn(draw + 1)

    def judge(calibrator):
        proba = calibrator.predict_proba(new)
        return -np.log(np.where(truths, proba, 1 - proba)).sum(1).mean()

    return Case(network, *drawn(draw), judge, n_classes=None)


def of_images(corruption, n, *, unlabelled=False, **parameters):
    """CIFAR-10 through a ResNet-20, corrupted or not; perhaps with as many images beside that have no labels."""

    def case(draw, data):
        network, images, labels = resnet(data)
        order = np.random.default_rng(draw).permutation(len(labels))
        rows, test, beside, reference = np.split(order, np.cumsum([n, N_TEST, N_UNLABELLED]))
        seen = lambda rows: images[rows] if corruption is None else corrupt(images[rows], rows, corruption, 2)  # noqa: E731
        told = {"X_unlabelled": seen(beside), "X_reference": images[reference[:N_UNLABELLED]]} if unlabelled else {}
        return Case(network, seen(rows), labels[rows], on(seen(test), labels[test]), told=told, parameters=parameters)

    return case


@cache
def resnet(data):
    return load_problem("cifar10_resnet20", data)


def of_small(name, shift, n):
    """A small network with layer norm, see `_norm_networks`."""

    def case(draw, data):
        network, X, y = small(name, data)
        rows, test = split_off(y, n, draw)
        X, test = SHIFTS[shift](X), test[:N_TEST]
        return Case(network, X[rows], y[rows], on(X[test], y[test]))

    return case


small = cache(load_small)


def of_table(name):
    """Sensors that drift, of one of scikit-learn's tables."""

    def case(draw, data):
        network, X, y = train_mlp(name, draw)
        X = TABULAR_SHIFTS["drift"](X, draw)
        rows, test = split_off(y, TABLES[name][2], draw)
        return Case(network, X[rows], y[rows], on(X[test], y[test]), n_classes=len(np.unique(y)))

    return case


def of_sensors(n, batch):
    """Gas sensors, months later."""

    def case(draw, data):
        network, X, y, batches = sensors(data)
        X, y = X[batches == batch], y[batches == batch]
        rows, test = split_off(y, n, draw)
        return Case(network, X[rows], y[rows], on(X[test], y[test]), n_classes=6)

    return case


sensors = cache(load_sensors)


def of_logits(name, n):
    """A record of logits, for a selector."""

    def case(draw, data):
        logits, y = recorded(name, data)
        rows, test = split_off(y, n, draw)
        return Case(None, logits[rows], y[rows], on(logits[test], y[test]), n_classes=logits.shape[1])

    return case


@cache
def recorded(name, data):
    if name != "gas sensors":
        return load_record(name, data)
    network, X, y, batches = sensors(data)
    with torch.no_grad():
        logits = network(torch.from_numpy(X[batches == 3]).to(next(network.parameters()).dtype))
    return logits.numpy(), y[batches == 3]


def of_drawn(n, temperature):
    """Logits whose labels are drawn at a temperature, for a selector: nothing is better than that."""

    def case(draw, data):
        rng = np.random.default_rng(draw)
        logits = rng.normal(0, truth.SPREAD, (n + truth.N_TEST, truth.N_CLASSES))
        proba = softmax(logits / temperature, 1)
        y = (logits[:n] / temperature + rng.gumbel(size=(n, truth.N_CLASSES))).argmax(1)
        return Case(None, logits[:n], y, by_truth(logits[n:], proba[n:]))

    return case


class Setting(NamedTuple):
    """What draws a `Case`, and how many are drawn."""

    draw: Any
    n_draws: int
    # Whether nothing has changed that a perturbation could mend.
    is_null: bool = False


SETTINGS = {
    "affine, 1,000": Setting(of_truth(truth.PROBLEMS["affine, 1,000"]), 20),
    "color, 500": Setting(of_truth(truth.PROBLEMS["color, 500"]), 20),
    "blur, 500": Setting(of_truth(truth.PROBLEMS["blur, 500"]), 12),
    "no change, 500": Setting(of_truth(truth.PROBLEMS["no change, 500"]), 20, True),
    "near-copies, 1,500": Setting(of_truth(truth.Problem(1500, copies=5)), 12, True),
    "near-copies, affine, 1,500": Setting(of_truth(truth.Problem(1500, truth.affine, 0.1, copies=5)), 12),
    "groups, 1,000": Setting(of_groups, 12, True),
    "missing classes": Setting(of_missing_classes, 12),
    "valleys, 800": Setting(of_valleys, 12),
    "digits drift, 800": Setting(of_table("digits_mlp"), 6),
    "sensors, batch 3, 500": Setting(of_sensors(500, 3), 3),
    "tokens, 500": Setting(of_small("digits_tokens", "wrong_tokens", 500), 6),
    "tokens, no change, 500": Setting(of_small("digits_tokens", "none", 500), 6, True),
    "contrast, 500": Setting(of_images("contrast", 500), 3),
    "noise, 500": Setting(of_images("gaussian_noise", 500), 3),
    "images, no change, 500": Setting(of_images(None, 500), 3, True),
    "contrast, 200, unlabelled": Setting(of_images("contrast", 200, unlabelled=True), 3),
    "noise, 200, unlabelled": Setting(of_images("gaussian_noise", 200, unlabelled=True), 3),
    "noise, 500, unlabelled": Setting(of_images("gaussian_noise", 500, unlabelled=True), 3),
    **{
        f"{change.__name__}, {n}, beside unlabelled": Setting(of_unlabelled(change, strength, n), 8)
        for change, strength in ((truth.affine, 0.5), (truth.blur, 0.7), (noise, 0.3))
        for n in (200, 600)
    },
    "patches, noise, 2,500": Setting(of_small("vit", "noise", 2500), 3),
    "patches, darkness, 2,500": Setting(of_small("vit", "darkness", 2500), 3),
    "views, 500": Setting(of_images(None, 500, max_views=2), 3),
    **{
        f"maps of drawn logits, T = {temperature}, 200": Setting(of_drawn(200, temperature), 12, True)
        for temperature in (1.0, 1.1, 1.25)
    },
    **{
        f"maps of {name}, {n}": Setting(of_logits(name, n), 6)
        for name in ("cifar10_resnet20", "gas sensors")
        for n in (200, 500)
    },
}


def classes_of(case):
    """Those of all columns; of several labels there are none to name."""
    return None if case.n_classes is None else np.arange(case.n_classes)


def fitted(case, draw):
    """Clamping or, of logits, a selector; and the seconds of a processor that it took."""
    classes, start = classes_of(case), process_time()
    if case.network is None:
        calibrator = CalibratorSelector(classes=classes).fit(case.X, case.y)
    else:
        calibrator = NeuralClampingCalibrator(case.network, random_state=draw, classes=classes, **case.parameters)
        calibrator.fit(case.X, case.y, **case.told)
    return calibrator, process_time() - start


def row_of(case, calibrator, seconds):
    """What a fit has come to."""
    verdict = getattr(calibrator, "unlabelled_verdict_", None)
    cost = getattr(calibrator, "cost_", {"forward": 0.0, "backward": 0.0})
    return {
        "kept": int(getattr(calibrator, "accepted_", False)),
        "taught": int(verdict is not None and verdict.accepted),
        "nll": case.judge(calibrator),
        "forward": cost["forward"],
        "backward": cost["backward"],
        "seconds": seconds,
    }


def runs(data, path):
    """What measures a cell; fits with all that a file has aren't made again."""
    known = {}
    if path.exists():
        rows = pd.read_csv(path, keep_default_na=False).query("switch == @ALL")
        known = {(row.setting, row.draw): row._asdict() for row in rows.itertuples(index=False)}
    case_of = lru_cache(maxsize=1)(lambda setting, draw: SETTINGS[setting].draw(draw, data))

    def measure(setting, draw, switch):
        if switch == ALL:
            case = case_of(setting, draw)
            plain = TemperatureScaling(case.network, classes=classes_of(case)).fit(case.X, case.y)
            with watching(SWITCHES) as acting:
                calibrator, seconds = fitted(case, draw)
            told = {"acted": "; ".join(name for name in SWITCHES if name in acting), "ts_nll": case.judge(plain)}
            known[setting, draw] = row_of(case, calibrator, seconds) | told
            return known[setting, draw]
        whole = known[setting, draw]
        if switch not in whole["acted"].split("; "):
            return {**whole, "acted": 0, "switch": switch}
        case = case_of(setting, draw)
        with without(SWITCHES[switch]):
            calibrator, seconds = fitted(case, draw)
        return row_of(case, calibrator, seconds) | {"acted": 1, "ts_nll": whole["ts_nll"]}

    return measure


def paired(results):
    """Rows of each switch with what the fit with all its mechanisms came to on the same draw."""
    whole = results[results.switch == ALL].set_index(["setting", "draw"]).add_suffix("_all")
    rows = results[results.switch != ALL].join(whole, on=["setting", "draw"], how="inner")
    worth = 100 * (rows.nll - rows.nll_all) / rows.ts_nll
    is_null = rows.setting.map(lambda name: SETTINGS[name].is_null)
    return rows.assign(worth=worth, acted=rows.acted.astype(int), is_null=is_null)


def pooled(rows):
    """Mean over settings of the means over draws, and its standard error: unknown of a single draw that isn't 0."""
    by_setting = rows.groupby("setting").worth
    means, sizes = by_setting.mean(), by_setting.size()
    errors = (by_setting.var() / sizes).mask((sizes == 1) & (means == 0), 0.0)
    return means.mean(), np.sqrt(errors.sum(skipna=False)) / len(errors)


def table(rows):
    """A row for each switch: what its mechanism is worth, how often it acts, what is kept, and passes."""
    for switch in dict.fromkeys([*SWITCHES, *rows.switch]):
        own = rows[rows.switch == switch]
        if not len(own):
            continue
        acting, null = own[own.acted == 1], own[own.is_null]
        mean, error = pooled(own)
        changed = own[~own.is_null]
        yield {
            "without": switch,
            "settings": own.setting.nunique(),
            "fits": len(own),
            "acts": len(acting),
            "worth %": f"{Estimate(mean, error):+.3f}",
            "where it acts": f"{acting.worth.mean():+.2f} ± {acting.worth.sem():.2f}" if len(acting) > 1 else "",
            "least, most": f"{acting.worth.min():+.2f}, {acting.worth.max():+.2f}" if len(acting) else "",
            "kept": f"{changed.kept_all.sum()} → {changed.kept.sum()} of {len(changed)}",
            "in vain": f"{null.kept_all.sum()} → {null.kept.sum()} of {len(null)}",
            "forward": f"{own.forward_all.mean():.1f} → {own.forward.mean():.1f}",
            "backward": f"{own.backward_all.mean():.1f} → {own.backward.mean():.1f}",
            "nodes": NODES.get(switch, ""),
        }


@benchmark
def main(
    data=None,
    settings: SETTINGS = tuple(SETTINGS),
    switches: SWITCHES = tuple(SWITCHES),
    draws: int = None,
    out=RESULTS / "ablation.csv",
    summary=False,
):
    numbers = {name: range(FIRST_DRAW, FIRST_DRAW + (draws or SETTINGS[name].n_draws)) for name in settings}
    cells = [
        (name, draw, switch)
        for draw in range(FIRST_DRAW, max(own.stop for own in numbers.values()))
        for name, own in numbers.items()
        for switch in (ALL, *switches)
        if draw in own and not summary
    ]
    rows = paired(record(out, COLUMNS, cells, runs(data, out)))
    print(tabulate(table(rows), headers="keys", disable_numparse=True))
    acting = rows[rows.acted == 1]
    print("\nwhat each is worth where it acts, in per cent of temperature scaling's NLL")
    print(
        acting.pivot_table("worth", "setting", "switch", sort=False).to_string(float_format="{:+.2f}".format, na_rep="")
    )
