"""Solves for one temperature beside a rate of wrong labels, each of which may be any of a sample's other classes."""

import math

import torch

from .by_gradient import minimise_by_gradient
from .temperature import DEFAULT_BOUNDS, solve_temperature

# Of log T and the rate, twice what they cost squared, in nats: few errors leave T open, whatever their number, since
# nobody knows which labels are some. On rates it hardly acts.
_PENALTY = 4.0
# Rates that are searched, where most labels are right; and where the search starts: how much log(1 / T) is above what
# it is without a rate, and the rate.
_RATES = 1e-6, 0.49
_FURTHER, _FIRST_RATE = 0.5, 0.1
# In nats of all samples: a likelihood ratio of 20. A rate that gains less is none.
_LEAST_GAIN = 3.0
_OPTIONS = {"ftol": 1e-13, "gtol": 1e-7}
_TINY = 1e-9


def solve_label_noise(logits, y, sample_weight, label_noise="auto", bounds=DEFAULT_BOUNDS):
    """Return T and e of the greatest likelihood where a label is another than the true class at the rate e.

    A penalty holds log T near 0, the less the larger the sum of weights. Without a rate, given or found, T is that of
    `solve_temperature`.

    Parameters
    ----------
    logits, y, sample_weight, bounds
        As `solve_temperature` takes them; logits may be -inf.
    label_noise : "auto" or float, default="auto"
        The rate, or "auto" for one that gains three nats and isn't the largest that is searched.

    Returns
    -------
    solution : TemperatureSolution
    rate : float
    gain : float
        Of the rate, in nats of all samples.
    """
    plain = solve_temperature(logits, y, sample_weight=sample_weight, bounds=bounds, prior=True)
    if label_noise == 0:
        return plain, 0.0, 0.0
    limits = [
        (-math.log(bounds[1]), -math.log(bounds[0])),
        _RATES if label_noise == "auto" else (label_noise, label_noise),
    ]
    weight = sample_weight.to(logits.device)

    def loss(part, y, weight):
        place, rate = theta
        n_others = (part > -torch.inf).sum(1) - 1
        # Classes that a sample doesn't have must have gradients.
        scaled = part.double().clamp(min=torch.finfo(torch.float32).min) * place.exp()
        log_proba = torch.log_softmax(scaled, 1).gather(1, y[:, None])[:, 0]
        # A label that is its sample's only class is right.
        return -(weight * (n_others > 0)) @ noisy(log_proba, n_others.clamp(min=1), rate)

    place = -math.log(plain.temperature)
    start = [place + _FURTHER, _FIRST_RATE]
    theta = torch.tensor(start, dtype=torch.float64, device=logits.device, requires_grad=True)
    data = logits, y.to(logits.device), weight
    found = minimise_by_gradient(loss, [theta], data, penalty=_PENALTY, bounds=limits, **_OPTIONS)
    gain = weight.sum().item() * plain.loss - found.fun
    penalty = _PENALTY / 2 * place**2
    place, rate = found.x.tolist()
    # What the penalty alone gains is no reason. Logits that are off in another way take any rate.
    if label_noise == "auto" and (gain < _LEAST_GAIN or rate >= _RATES[1]):
        return plain, 0.0, gain + penalty
    at_limits = dict(zip(limits[0], reversed(bounds), strict=True))
    solution = plain._replace(
        temperature=at_limits.get(place, math.exp(-place)),
        n_passes=plain.n_passes + found.nfev,
        at_bound=bounds[0] < bounds[1] and place in at_limits,
        prior_strength=0.0,
    )
    return solution, rate, gain + penalty


def noisy(log_proba, n_others, rate):
    """Log-probabilities of labels that are wrong at a rate, a tensor, each any of so many others, by those of right."""
    shared = rate / n_others
    return torch.logaddexp((1 - rate - shared).clamp(min=_TINY).log() + log_proba, shared.log())


def noisy_proba(logits, rate):
    """Probabilities of labels that are wrong at a rate, each any of the other classes that its sample has."""
    proba = logits.softmax(1)
    n_others = (logits > -torch.inf).sum(1, keepdim=True) - 1
    wrong = rate * (1 - proba) / n_others.clamp(min=1)
    return torch.where((logits > -torch.inf) & (n_others > 0), (1 - rate) * proba + wrong, proba)


def probability_right(logits, y, rate):
    """Probability of each label to be right, of labels that are wrong at a rate.

    Samples that count as much teach the probabilities of right labels.
    """
    of_labels = torch.log_softmax(logits, 1).gather(1, y[:, None])[:, 0]
    return (1 - rate) * (of_labels - noisy(of_labels, logits.shape[1] - 1, torch.tensor(rate))).exp()


def check_rate(label_noise, n_classes):
    """Raise unless a rate of wrong labels leaves the true class more often than any other."""
    most = 1 - 1 / n_classes
    if label_noise != "auto" and label_noise >= most:
        raise ValueError(f"label_noise must be less than {most:.4g}, guesses' among {n_classes}; got {label_noise!r}")
