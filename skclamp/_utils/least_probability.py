"""The least probability: whatever is below it counts as it wherever a logarithm is taken, in calibrators and metrics.

Votes, rounding and saturated networks give exact zeros, which aren't meant to be infinite log-odds. The same value
stands for them in scikit-learn's ``log_loss`` of float64 probabilities.
"""

import math

import torch

from .arrays import at_least_single

MIN_PROBABILITY = torch.finfo(torch.float64).eps
LOG_MIN_PROBABILITY = math.log(MIN_PROBABILITY)
# Of that logarithm in float32.
_ROUNDING = 1e-5
# Of a class that a fold's classifier doesn't know: as little, but no vote of zero.
LOG_UNKNOWN = LOG_MIN_PROBABILITY - 3 * _ROUNDING
# Of the sum of a row, and so of its greatest logarithm.
_ROW_ROUNDING = 2e-3
# Less than one vote of ten million.
_LEAST_STEP = 1e-7
# The share of the probabilities above 0 that may lie below the least vote: single rows don't decide.
_RARE = 0.01


def log_of(probability):
    """Logarithm of a tensor of probabilities, at least in float32, never below `LOG_MIN_PROBABILITY`."""
    wide = probability.to(at_least_single(probability))
    return floored(wide.clamp_min(torch.finfo(torch.float32).tiny).log())


def stand_in_for_zero(log_probability, n_classes):
    """Half of the least vote: of the least probability above 0 among these rows, rare ones aside.

    It is 0 where none is exactly 0, as in rows that aren't logarithms of probabilities, or where the votes say too
    little: where a softmax underflows, say. It is at most half of what each class would have by chance: rows of ones
    and zeros tell nothing of the limit.

    A class for which none of 25 trees votes hasn't a probability of 2.2e-16: votes just don't tell what is less than
    one of them. Half of the limit of detection is what stands for such values elsewhere (Hornung and Reed, Applied
    Occupational and Environmental Hygiene 5, 1990). Logits of networks don't end at the logarithm that zeros get.
    """
    # Nearly all logits of networks are told apart by a row, which costs nothing.
    if not len(log_probability) or (log_probability[:1] > _ROW_ROUNDING).any():
        return 0.0
    least = LOG_MIN_PROBABILITY + _ROUNDING
    if log_probability.min() > least or log_probability.max() > _ROW_ROUNDING:
        return 0.0
    above = log_probability[log_probability > least]
    if not len(above) or not are_zeros(log_probability).any():
        return 0.0
    rare = 1 + int(_RARE * len(above))
    least_vote = above.kthvalue(rare).values.double().exp().item()
    return min(least_vote / 2, 1 / (2 * n_classes)) if least_vote > _LEAST_STEP else 0.0


def raised(log_probability, least_probability):
    """Log-probabilities, up to a constant per row, none of them below that of the least probability, if that isn't 0.

    All that lies below it is raised, so that the order of the classes stays. Not to be done twice: the rows then sum to
    more than 1.
    """
    if not least_probability:
        return log_probability
    least = log_probability.logsumexp(1, keepdim=True) + math.log(least_probability)
    # A logit of minus infinity isn't a small probability: the sample doesn't have that class.
    return log_probability.maximum(least).masked_fill_(log_probability == -math.inf, -math.inf)


def are_zeros(log_probability):
    """Which log-probabilities, of an array or a tensor, stand for a probability of exactly 0."""
    return abs(log_probability - LOG_MIN_PROBABILITY) <= _ROUNDING


def floored(log_probability):
    """Log-probabilities, never below `LOG_MIN_PROBABILITY`; their gradient is that of the argument all the same."""
    least = log_probability.clamp_min(LOG_MIN_PROBABILITY)
    # A flat floor would hide the way back from inputs that were moved far enough to saturate a network.
    return log_probability + (least - log_probability).detach() if torch.is_grad_enabled() else least
