"""Speed of neural clamping in multiples of one plain float32 forward pass of the network over the same images.

Fits of one family and of "auto", the guard included, without and with a shift, beside a plain loop with the published
settings, of which a few epochs are measured and the rest extrapolated; gamma="auto" beside a GridSearchCV over the
same values.

    python benchmarks/clamping_speed.py --data DIR --fits "plain loop" affine auto
    python benchmarks/clamping_speed.py --data DIR --fits "gamma auto" GridSearchCV --size 1200
"""

import copy
from functools import cache, partial
from itertools import product

import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from _data import load_problem, split_off
from _networks import RESNETS
from _runner import RESULTS, benchmark, record, show
from _shifts import SHIFTS
from _timing import measure_relative
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator
from skclamp.metrics import neg_log_likelihood_scorer

KEY = ("network", "n", "shift", "what")
TIMES = ("relative_time", "relative_cpu")
COLUMNS = (*KEY, *TIMES, "forward", "backward", "kept")
GAMMAS, FOLDS = (0.0, 0.5, 1.0, 2.0), StratifiedKFold(2, shuffle=True, random_state=0)


def grid_search(network):
    """Without a guard in each fit: the search holds out as many folds as the guard does."""
    calibrator = NeuralClampingCalibrator(network, perturbation="affine", validation_fraction=None, random_state=0)
    return GridSearchCV(calibrator, {"gamma": GAMMAS}, scoring=neg_log_likelihood_scorer, cv=FOLDS)


CLAMPINGS = {
    family: partial(NeuralClampingCalibrator, perturbation=family, random_state=0) for family in ("affine", "auto")
}
SEARCHES = {
    "gamma auto": partial(NeuralClampingCalibrator, perturbation="affine", gamma="auto", random_state=0),
    "GridSearchCV": grid_search,
}
PLAIN = "plain loop"


def plain_loop(network, images, y_encoded, epochs):
    """The published training as one would write it: a full delta and T by SGD, and gradients of all weights."""
    settings = REFERENCE_SETTINGS
    training = settings["training"]
    delta = torch.normal(0.0, training.init_scale, images.shape[1:]).requires_grad_()
    temperature = torch.tensor(training.init_temperature, requires_grad=True)
    optimizer = training.optimizer([delta, temperature], lr=settings["lr"])
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


def measure(network, images, labels, what, epochs):
    """The time of a fit, and its passes."""
    if what == PLAIN:
        total = REFERENCE_SETTINGS["max_epochs"]
        trained = copy.deepcopy(network).requires_grad_()
        loop = partial(plain_loop, trained, images, torch.as_tensor(labels), epochs)
        _, relative = measure_relative(loop, network, images)
        times = (time * total / epochs for time in relative)
        return {**dict(zip(TIMES, times, strict=True)), "forward": total, "backward": total, "kept": 1}
    made = {**CLAMPINGS, **SEARCHES}[what](network)
    fitted, relative = measure_relative(lambda: made.fit(images.numpy(), labels), network, images)
    fitted = getattr(fitted, "best_estimator_", fitted)
    return {**dict(zip(TIMES, relative, strict=True)), **fitted.cost_, "kept": int(fitted.accepted_)}


@benchmark
def main(
    data=None,
    network: RESNETS = "cifar10_resnet20",
    fits: (PLAIN, *CLAMPINGS, *SEARCHES) = (PLAIN, *CLAMPINGS),
    shifts: SHIFTS = ("none", "darkness"),
    size=5000,
    epochs=1,
    out=RESULTS / "clamping_speed.csv",
):
    @cache
    def problem(name, shift, n):
        network, images, labels = load_problem(name, data)
        rows, _ = split_off(labels, n, 0)
        return network, SHIFTS[shift](images[rows]), labels[rows]

    cells = product([network], [size], shifts, fits)
    results = record(out, COLUMNS, cells, lambda name, n, shift, what: measure(*problem(name, shift, n), what, epochs))
    show(results, [*KEY], [*COLUMNS[len(KEY) :]])
