"""What little changes are worth to the default settings, and to another random state, on problems of known truth.

Labels are drawn from the probabilities of a random network, which then sees the inputs changed by little, or as they
are. So the expected NLL on 4,000 test inputs is known without noise of labels. `over` is that of neural clamping less
that of temperature scaling; `kept` tells whether a perturbation was.

    python benchmarks/truth.py
    python benchmarks/truth.py --problems "no change, 500" --draws 500 --out nulls.csv
    python benchmarks/truth.py --problems "affine, 1,000" --states 0 1 2 3 --draws 8 --out states.csv
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from _runner import RESULTS, benchmark, record, show
from skclamp import NeuralClampingCalibrator, TemperatureScaling

N_CLASSES, SPREAD, N_TEST = 10, 4.0, 4000
GAINS, OFFSETS = (torch.tensor(each).view(1, 3, 1, 1) for each in ([1.0, -0.6, 0.3], [0.5, -1.0, 0.8]))
MIXED = torch.tensor([[0.0, 1.0, -0.5], [0.7, 0.0, 0.6], [-0.8, 0.5, 0.0]])
KEY = ("problem", "draw", "state")
COLUMNS = (*KEY, "kept", "over", "forward", "backward")


def affine(x, strength):
    """Gains and offsets of the channels."""
    return x * (1 + strength * GAINS) + strength * OFFSETS


def color(x, strength):
    """Channels mixed."""
    return x + strength * torch.einsum("ij,njhw->nihw", MIXED, x)


def blur(x, strength):
    """A box of 3 x 3, in part."""
    return (1 - strength) * x + strength * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)


class Problem(NamedTuple):
    """How many samples there are, and what has become of their inputs; near-copies come so often each."""

    n_samples: int
    change: object = None
    strength: float = 0.0
    copies: int = 1

    def seen(self, x):
        """What becomes of inputs before the network has them."""
        return self.change(x, self.strength) if self.change else x

    def draw(self, seed):
        """Inputs as they are seen, and labels."""
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(self.n_samples // self.copies, 3, 8, 8, generator=rng)
        y = torch.multinomial(true_probabilities(x), 1, generator=rng)[:, 0].repeat(self.copies)
        x = x.repeat(self.copies, 1, 1, 1)
        return self.seen(x + (self.copies > 1) * 0.02 * torch.randn(x.shape, generator=rng)), y.numpy()


PROBLEMS = {
    "affine, 1,000": Problem(1000, affine, 0.07),
    "color, 500": Problem(500, color, 0.08),
    "blur, 500": Problem(500, blur, 0.15),
    "no change, 15": Problem(15),
    "no change, 30": Problem(30),
    "no change, 50": Problem(50),
    "no change, 100": Problem(100),
    "no change, 300": Problem(300),
    "no change, 500": Problem(500),
    "near-copies, 300": Problem(300, copies=5),
}


@cache
def network():
    """A random network of images of 3 x 8 x 8, whose logits have such a spread, and classes about as much."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(11)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
        layers += [nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(256, N_CLASSES)]
        made = nn.Sequential(*layers).eval()
        logits = made(torch.randn(N_TEST, 3, 8, 8))
        made[-1].bias.sub_(logits.mean(0))
        factor = SPREAD / (logits - logits.mean(0)).std()
        for parameter in made[-1].parameters():
            parameter.mul_(factor)
    return made


@torch.no_grad()
def true_probabilities(x):
    """Those that labels are drawn with, (n, K), float64."""
    return network()(x).double().softmax(1)


@cache
def test_inputs():
    """New inputs, before they change, and their true probabilities."""
    x = torch.randn(N_TEST, 3, 8, 8, generator=torch.Generator().manual_seed(12))
    return x, true_probabilities(x).numpy()


@cache
def drawn(name, seed):
    """A calibration set, and the expected NLL of temperature scaling."""
    samples = PROBLEMS[name].draw(seed)
    return samples, expected_nll(name, TemperatureScaling(network()).fit(*samples))


def expected_nll(name, calibrator):
    """Under the true probabilities of the test inputs."""
    x, proba = test_inputs()
    return -(proba * calibrator.predict_log_proba(PROBLEMS[name].seen(x))).sum(1).mean()


def measure(name, draw, state):
    """One calibration set, and one random state."""
    samples, of_temperature = drawn(name, draw)
    calibrator = NeuralClampingCalibrator(network(), random_state=state).fit(*samples)
    over = expected_nll(name, calibrator) - of_temperature
    return {"kept": int(calibrator.accepted_), "over": round(over, 6), **calibrator.cost_}


@benchmark
def main(problems: PROBLEMS = tuple(PROBLEMS), draws=60, states=(0,), seed0=0, out=RESULTS / "truth.csv"):
    results = record(out, COLUMNS, product(problems, range(seed0, seed0 + draws), states), measure)
    show(results, ["problem"], ["kept", "over", "forward", "backward"])
    shares = results.groupby(["problem", "draw"], sort=False).kept.mean()
    changing = ((shares > 0) & (shares < 1)).groupby("problem", sort=False).sum()
    print(f"\ndraws whose verdict depends on the random state\n{changing.to_string()}")
