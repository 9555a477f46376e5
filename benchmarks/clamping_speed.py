"""Speed of neural clamping in multiples of one plain float32 forward pass of the network over the same images.

Fits of one family and of "auto", the guard included, without and with a shift, beside a plain loop with the published
settings, of which a few epochs are measured and the rest extrapolated; NeuralClampingCalibratorCV beside a
GridSearchCV over the same grid and folds. All in one process; factors are of processor times.

    python benchmarks/clamping_speed.py --data DIR
    python benchmarks/clamping_speed.py --data DIR --size 1000 --parts fit --shifts darkness
"""

import copy
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from tabulate import tabulate
from tqdm import tqdm

from _data import load_images, split_off
from _networks import RESNETS, load_resnet
from _runner import RESULTS, benchmark
from _shifts import SHIFTS
from _timing import least, measure, measure_relative, plain_pass
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, NeuralClampingCalibratorCV
from skclamp.metrics import neg_log_likelihood_scorer

TIMES = ("relative_time", "relative_cpu")
PARTS = {
    "fit": ("shift", "what", "precision", *TIMES, "forward", "backward", "kept", "factor"),
    "search": ("shift", "what", *TIMES, "factor", "choice", "lead", "same_choice", "score_difference"),
}
COLUMNS = ("part", "n", *dict.fromkeys(name for columns in PARTS.values() for name in columns))
# "auto" is float32 on processors without bfloat16.
PRECISIONS = ("auto", "float32")
GAMMAS, FAMILIES, N_FOLDS = (0.0, 0.5, 1.0, 2.0), ("affine", "color"), 3
# GridSearchCV's candidates without a guard, as NeuralClampingCalibratorCV compares them, and as they are by default.
GUARDS = {"GridSearchCV, no guard": None, "GridSearchCV, guard": 0.5}


def fit_rows(network, shifted, labels, *, epochs):
    """The published settings in a plain loop, each family and precision; "factor" is the first's time over theirs."""
    images, total = next(iter(shifted.values())), REFERENCE_SETTINGS["max_epochs"]
    trained = copy.deepcopy(network).requires_grad_()
    loop = partial(plain_loop, trained, images, torch.as_tensor(labels), epochs)
    _, relative = measure_relative(loop, network, images)
    times = dict(zip(TIMES, (spent * total / epochs for spent in relative), strict=True))
    reference = {"part": "fit", "shift": "any", "what": f"plain loop, {total} epochs", "precision": "float32", **times}
    yield {**reference, "forward": total, "backward": total, "kept": 1, "factor": 1.0}
    settings = [(*case, precision) for case in shifted.items() for precision in PRECISIONS]
    for (shift, images, precision), family in tqdm(
        [(s, f) for s in settings for f in ("affine", "auto")], disable=None
    ):
        calibrator = NeuralClampingCalibrator(network, perturbation=family, precision=precision, random_state=0)
        _, relative = measure_relative(partial(calibrator.fit, images, labels), network, images)
        yield {
            **{"part": "fit", "shift": shift, "what": family, "precision": precision},
            **dict(zip(TIMES, relative, strict=True)),
            **calibrator.cost_,
            **{"kept": int(calibrator.accepted_), "factor": reference["relative_cpu"] / relative.cpu},
        }


def plain_loop(network, images, y_encoded, epochs):
    """The published training as one would write it: a full delta and T by SGD, and gradients of all weights."""
    settings = REFERENCE_SETTINGS
    delta = torch.normal(0.0, settings["init_scale"], images.shape[1:]).requires_grad_()
    temperature = torch.tensor(settings["init_temperature"], requires_grad=True)
    optimizer = settings["optimizer"]([delta, temperature], lr=settings["lr"])
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(settings["batch_size"]):
            network.zero_grad()
            optimizer.zero_grad()
            log_proba = (network(images[rows] + delta) / temperature).log_softmax(1)
            own = log_proba.gather(1, y_encoded[rows, None])
            focal = -((1 - own.exp()) ** settings["gamma"] * own).mean()
            (focal + settings["penalty"] * delta.norm()).backward()
            optimizer.step()
    return delta.detach(), temperature.item()


def search_rows(network, images, labels, shift):
    """Our search and each grid search; "factor" is the row's processor time over our search's."""
    X = images.numpy()
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, labels))
    one_pass = least(*(plain_pass(network, images) for _ in range(3)))
    parameters = {"perturbations": FAMILIES, "gammas": GAMMAS, "cv": folds, "random_state": 0}
    searches = {"NeuralClampingCalibratorCV": NeuralClampingCalibratorCV(network, **parameters)}
    for name, fraction in GUARDS.items():
        calibrator = NeuralClampingCalibrator(network, validation_fraction=fraction, random_state=0)
        grid = {"gamma": GAMMAS, "perturbation": FAMILIES}
        searches[name] = GridSearchCV(calibrator, grid, scoring=neg_log_likelihood_scorer, cv=folds)
    ours = None
    for name, search in searches.items():
        _, spent = measure(partial(search.fit, X, labels))
        ours = ours or (search, spent)
        yield {
            **{"part": "search", "shift": shift, "what": name, "precision": "auto"},
            **dict(zip(TIMES, spent.over(one_pass), strict=True)),
            "factor": spent.over(ours[1]).cpu,
            **agreement(search, ours[0]),
        }


def agreement(search, ours):
    """What a search chose, how clearly, and how far its scores are from those of ours.

    "lead" is by how many paired standard errors over the folds the best candidate beats the second.
    """
    scores, our_scores = fold_scores(search.cv_results_), fold_scores(ours.cv_results_)
    best, second = sorted(scores, key=lambda candidate: -scores[candidate].mean())[:2]
    gains = scores[best] - scores[second]
    return {
        "choice": "{}, gamma={}".format(*best),
        "lead": gains.mean() / gains.std(ddof=1) * np.sqrt(len(gains)) if gains.any() else 0.0,
        "same_choice": int(best == max(our_scores, key=lambda candidate: our_scores[candidate].mean())),
        "score_difference": max(abs(scores[c].mean() - our_scores[c].mean()) for c in scores),
    }


def fold_scores(results):
    """Scores on each fold of each candidate, (family, gamma)."""
    columns = np.array([results[f"split{k}_test_score"] for k in range(N_FOLDS)]).T
    candidates = [(params["perturbation"], params["gamma"]) for params in results["params"]]
    return dict(zip(candidates, columns, strict=True))


@benchmark
def main(
    data=None,
    network: RESNETS = "cifar10_resnet20",
    parts: PARTS = tuple(PARTS),
    size=5000,
    shifts: SHIFTS = ("none", "darkness"),
    epochs=1,
    search_size=1200,
    search_shifts: SHIFTS = ("darkness",),
    out=RESULTS / "clamping_speed.csv",
):
    network = load_resnet(network, data)

    def images_of(n):
        images, labels = load_images("cifar10_test", data)
        rows, _ = split_off(labels, n, 0)
        return images[rows], labels[rows]

    def rows():
        if "fit" in parts:
            images, labels = images_of(size)
            yield from fit_rows(network, {shift: SHIFTS[shift](images) for shift in shifts}, labels, epochs=epochs)
        for shift in search_shifts:
            if "search" in parts:
                images, labels = images_of(search_size)
                yield from search_rows(network, SHIFTS[shift](images), labels, shift)

    out.parent.mkdir(parents=True, exist_ok=True)
    found = []
    for row in rows():
        found.append({**row, "n": size if row["part"] == "fit" else search_size})
        pd.DataFrame(found, columns=COLUMNS).to_csv(out, index=False)
    for part, own in pd.DataFrame(found, columns=COLUMNS).groupby("part", sort=False):
        print(f"\n{part}: {own.n.iloc[0]} images")
        print(tabulate(own[list(PARTS[part])], headers="keys", showindex=False, floatfmt=".4g"))
