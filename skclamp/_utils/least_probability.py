"""The least probability: whatever is below it counts as it wherever a logarithm is taken, in calibrators and metrics.

Votes, rounding and saturated networks give exact zeros, which aren't meant to be infinite log-odds. The same value
stands for them in scikit-learn's ``log_loss`` of float64 probabilities.
"""

import math

import torch

MIN_PROBABILITY = torch.finfo(torch.float64).eps
LOG_MIN_PROBABILITY = math.log(MIN_PROBABILITY)
# Of that logarithm in float32.
_ROUNDING = 1e-5
# Less than one vote of ten million.
_LEAST_STEP = 1e-7


def log_of(probability):
    """Logarithm of a tensor of probabilities, at least in float32, never below `LOG_MIN_PROBABILITY`."""
    wide = probability.to(torch.promote_types(probability.dtype, torch.float32))
    return floored(wide.clamp_min(torch.finfo(torch.float32).tiny).log())


def stand_in_for_zero(log_probability):
    """Half of the least probability above 0 among these rows, where some are exactly 0 and come in steps; else 0.

    It is at most half of what each class would have by chance: rows of ones and zeros tell nothing of the limit. Rows
    that aren't logarithms of probabilities have no zeros, and where a softmax underflows, others come close to them.

    A class for which none of 25 trees votes hasn't a probability of 2.2e-16: votes just don't tell what is less than
    one of them. Half of the limit of detection is what stands for such values elsewhere (Hornung and Reed, Applied
    Occupational and Environmental Hygiene 5, 1990). Logits of networks don't end at the logarithm that zeros get.
    """
    # Nearly all logits of networks are told apart by a row, which costs nothing.
    if (log_probability[:1] > _ROUNDING).any():
        return 0.0
    least = log_probability.min()
    if log_probability.max() > _ROUNDING or not math.isclose(least, LOG_MIN_PROBABILITY, abs_tol=_ROUNDING):
        return 0.0
    positive = log_probability[log_probability > least]
    if not len(positive):
        return 0.0
    step = positive.min().double().exp().item()
    return min(step / 2, 1 / (2 * log_probability.shape[1])) if step > _LEAST_STEP else 0.0


def without_zeros(log_probability, stand_in):
    """Log-probabilities, up to a constant per row, with another in place of exact zeros, if that isn't 0 itself."""
    if not stand_in:
        return log_probability
    whole = log_probability.logsumexp(1, keepdim=True)
    return torch.where(are_zeros(log_probability - whole), whole + math.log(stand_in), log_probability)


def are_zeros(log_probability):
    """Which log-probabilities, of an array or a tensor, stand for a probability of exactly 0."""
    return log_probability <= LOG_MIN_PROBABILITY + _ROUNDING


def floored(log_probability):
    """Log-probabilities, never below `LOG_MIN_PROBABILITY`; their gradient is that of the argument all the same."""
    least = log_probability.clamp_min(LOG_MIN_PROBABILITY)
    # A flat floor would hide the way back from inputs that were moved far enough to saturate a network.
    return log_probability + (least - log_probability).detach() if torch.is_grad_enabled() else least
