"""The least probability: whatever is below it counts as it wherever a logarithm is taken, in calibrators and metrics.

Votes, rounding and saturated networks give exact zeros, which aren't meant to be infinite log-odds. The same value
stands for them in scikit-learn's ``log_loss`` of float64 probabilities.
"""

import math

import torch

MIN_PROBABILITY = torch.finfo(torch.float64).eps
LOG_MIN_PROBABILITY = math.log(MIN_PROBABILITY)


def log_of(probability):
    """Logarithm of a tensor of probabilities, at least in float32, never below `LOG_MIN_PROBABILITY`."""
    wide = probability.to(torch.promote_types(probability.dtype, torch.float32))
    return floored(wide.clamp_min(torch.finfo(torch.float32).tiny).log())


def floored(log_probability):
    """Log-probabilities, never below `LOG_MIN_PROBABILITY`; their gradient is that of the argument all the same."""
    least = log_probability.clamp_min(LOG_MIN_PROBABILITY)
    # A flat floor would hide the way back from inputs that were moved far enough to saturate a network.
    return log_probability + (least - log_probability).detach() if torch.is_grad_enabled() else least
