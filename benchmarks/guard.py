"""How often the guard lets a perturbation pass that does nothing: a simulation in which none can help.

Labels are drawn from the network itself: with probabilities ``softmax(f(x) / T)`` for a frozen random network f, the
identity and T are the optimum. Every accepted perturbation is then a false one, and what it costs is known without
noise: the cross-entropy from the true probabilities, on inputs that nothing was fitted to. With a shift the network
sees other inputs than the labels come from, by as much as makes the gain that is possible, in nats: what is accepted
then is rightly so, and the share is the guard's power.

    python benchmarks/guard.py
    python benchmarks/guard.py --sizes 100 1000 --repetitions 500 --out guard.csv
    python benchmarks/guard.py --settings auto --sizes 300 1500 --copies 2 4 5 10 --repetitions 100 --out copies.csv
    python benchmarks/guard.py --settings auto --sizes 300 1500 --copies 5 10 --noise .02 .05 .1 --out frames.csv
    python benchmarks/guard.py --settings auto --sizes 300 --copies 5 10 --noise .05 --shifts affine --gains .045
    python benchmarks/guard.py --networks cnn --settings auto --sizes 300 --shifts affine --gains .024 .045
"""

import warnings
from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.optimize import bisect
from scipy.stats import binomtest
from tabulate import tabulate
from torch import nn

from _runner import RESULTS, benchmark, record
from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining
from skclamp.exceptions import CalibrationWarning

LEVEL = 0.02
TRUE_TEMPERATURE = 1.7
N_TEST = 2000
# Of the logits of each class.
N_CLASSES, SPREAD = 10, 14.0
SETTINGS = {
    "auto": {},
    "affine": {"perturbation": "affine"},
    "auto, gamma": {"gamma": "auto"},
    # A free offset of every entry by gradient descent: what happens without a guard, and without a prior.
    "full by Adam, unguarded": {"perturbation": "full", "training": TorchTraining(), "validation_fraction": None},
}
KEY = ("network", "setting", "n", "copies", "noise", "shift", "gain", "repetition")
COLUMNS = (*KEY, "accepted", "ratio", "excess", "difference", "p_value", "warned")


def cnn():
    """Convolutions of images of 3 x 8 x 8."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(144, N_CLASSES)),
    )


def mlp():
    """A perceptron of 8 features."""
    return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, N_CLASSES))


NETWORKS = {"cnn": (cnn, (3, 8, 8)), "mlp": (mlp, (8,))}


def offsets_and_gains(X, s):
    """Each channel by itself."""
    sizes = torch.linspace(-1, 1, X.shape[1])[(...,) + (None,) * (X.ndim - 2)]
    return X * (1 + s * (0.3 + sizes)) + s * sizes.flip(0)


def colours(X, s):
    """Channels of images mixed."""
    return (1 - s) * X + s * X.roll(1, 1)


def blur(X, s):
    """A box of 3 x 3, in part."""
    return (1 - s) * X + s * nn.functional.avg_pool2d(X, 3, 1, 1)


SHIFTS = {"none": None, "affine": offsets_and_gains, "color": colours, "blur": blur}


class Truth:
    """A frozen random network, one of `NETWORKS`, the probabilities that labels are drawn with, and the shift."""

    def __init__(self, name, shift="none", gain=0.0):
        (make, self.shape), self.shift, self.strength = NETWORKS[name], SHIFTS[shift], 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            X = self.inputs(N_TEST)
            self.network = standardised(make(), X)
            self.X_test = self.inputs(N_TEST)
        self.proba_test = self.probabilities(self.X_test)
        if self.shift:
            self.strength = bisect(lambda strength: self.possible_gain(strength) - gain, 0.0, 0.9, xtol=1e-4)

    def inputs(self, n, rng=None):
        """Independent ones."""
        return torch.randn(n, *self.shape, generator=rng)

    def seen(self, X, strength=None):
        """What becomes of inputs before the network has them."""
        return self.shift(X, self.strength if strength is None else strength) if self.shift else X

    @torch.no_grad()
    def probabilities(self, X):
        """True ones, (n, K), float64."""
        return (self.network(X).double() / TRUE_TEMPERATURE).softmax(1)

    @torch.no_grad()
    def possible_gain(self, strength):
        """By how much the true probabilities' expected NLL is below that of temperature scaling, at its best."""
        logits = self.network(self.seen(self.X_test, strength)).double()
        temperatures = np.geomspace(0.5, 20, 200) * TRUE_TEMPERATURE
        losses = [-(self.proba_test * (logits / t).log_softmax(1)).sum(1).mean().item() for t in temperatures]
        return min(losses) + torch.special.entr(self.proba_test).sum(1).neg().mean().item()

    def draw(self, n, seed, copies=1, noise=0.0):
        """Inputs and labels of n samples, each of which comes so often, with noise of its own, under one label."""
        rng = torch.Generator().manual_seed(seed)
        X = self.inputs(n, rng)
        y = torch.multinomial(self.probabilities(X), 1, generator=rng)[:, 0].numpy()
        X = self.seen(X).repeat(copies, *[1] * len(self.shape))
        return (X + noise * torch.randn(X.shape, generator=rng) if noise else X), np.tile(y, copies)

    def cross_entropy(self, calibrator):
        """The expected NLL of a calibrator on the test inputs, without noise from labels."""
        return -(self.proba_test.numpy() * calibrator.predict_log_proba(self.seen(self.X_test))).sum(1).mean()


def standardised(network, X):
    """The network, its logits scaled so that about 85 % of the labels are the likeliest class; classes are even."""
    with torch.no_grad():
        logits = network(X)
        last = network[-1]
        last.weight.mul_(SPREAD / logits.std(0)[:, None])
        last.bias.sub_(logits.mean(0)).mul_(SPREAD / logits.std(0))
    return network.eval()


def measure(truth, setting, n, copies, noise, seed):
    """One calibration set: whether a perturbation passed, the true cost of that, and whether near-copies were told."""
    X, y = truth.draw(n, seed, copies, noise)
    classes = np.arange(N_CLASSES)
    calibrator = NeuralClampingCalibrator(
        truth.network, classes=classes, batch_size=1000, random_state=seed, **SETTINGS[setting]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CalibrationWarning)
        calibrator.fit(X, y)
    excess, ratio = 0.0, 1.0
    if calibrator.accepted_:
        plain = truth.cross_entropy(TemperatureScaling(truth.network, classes=classes).fit(X, y))
        excess, ratio = truth.cross_entropy(calibrator) - plain, truth.cross_entropy(calibrator) / plain
    # Without a guard there is none.
    verdict = getattr(calibrator, "verdict_", None)
    return {
        "accepted": int(calibrator.accepted_),
        "ratio": ratio,
        "excess": excess,
        "difference": verdict.difference if verdict else 0.0,
        "p_value": verdict.p_value if verdict else 1.0,
        "warned": int(any("GroupKFold" in str(warning.message) for warning in caught)),
    }


def table(results):
    """One line per network, setting and size: false acceptances with their 95 % interval, and their mean cost."""
    rows = []
    for setting, part in results.groupby([*KEY[:-1]], sort=False):
        rate, low, high = acceptance(part["accepted"])
        rows.append(
            {
                **dict(zip(KEY, setting, strict=False)),
                "runs": len(part),
                "accepted %": f"{100 * rate:.1f}",
                "95 % interval": f"{100 * low:.1f} to {100 * high:.1f}",
                "within the level": "yes" if low <= LEVEL else "no",
                "mean excess NLL": f"{part['excess'].mean():+.1e}",
                "excess where accepted": f"{part['excess'][part['accepted'] == 1].mean():+.1e}",
                "worst ratio": f"{part['ratio'].max():.2f}",
                "warned %": f"{100 * part['warned'].mean():.0f}",
            }
        )
    return tabulate(rows, headers="keys", disable_numparse=True)


def acceptance(accepted):
    """Share of runs with an accepted perturbation, and its Clopper-Pearson interval."""
    test = binomtest(int(accepted.sum()), len(accepted))
    interval = test.proportion_ci()
    return test.statistic, interval.low, interval.high


@benchmark
def main(
    networks: NETWORKS = ("cnn", "mlp"),
    settings: SETTINGS = tuple(SETTINGS),
    sizes=(50, 100, 200, 500, 1000),
    copies=(1,),
    noise=(0.0,),
    shifts: SHIFTS = ("none",),
    gains=(0.0,),
    repetitions=300,
    seed0=0,
    out=RESULTS / "guard.csv",
):
    truth = cache(Truth)
    cells = product(networks, settings, sizes, copies, noise, shifts, gains, range(seed0, seed0 + repetitions))
    results = record(
        out,
        COLUMNS,
        cells,
        lambda name, setting, n, copies, noise, shift, gain, seed: measure(
            truth(name, shift, gain), setting, n, copies, noise, seed
        ),
    )
    print(f"accepted, without a shift to be at most {100 * LEVEL:.0f} %; excess: true NLL minus temperature scaling's")
    print(table(results))
