"""Solves for one temperature on logits, exactly: a safeguarded Halley iteration on log(1/T), over chunks of rows.

The mean negative log-likelihood (NLL) of ``softmax(beta * z)`` is convex in ``beta = 1 / T``. Its derivative,

    mean_i ( sum_k p_ik z_ik - z_i[y_i] ),

has the mean variance and the mean third cumulant of z_i under p_i for derivatives of its own. One pass over the logits
sums p, p z, p z^2 and p z^3 while a chunk is in the cache, and so buys a step of third order. Focal losses (gamma > 0)
aren't convex: a grid on log T finds their valleys, a bracketing root finder the bottom of each.

Imports nothing of the package.
"""

import math
from typing import NamedTuple

import torch
from scipy.optimize import brentq

# What scikit-learn's own temperature scaling allows, rounded: exp(-10) to exp(10).
DEFAULT_BOUNDS = (1e-4, 1e4)

# A chunk and its exponentials stay in the second-level cache of a processor's core; a GPU wants fewer, longer kernels.
_CHUNK_SIZE = {"cpu": 2**17, "other": 2**20}
# Logits up to this many are centred once and kept (32 MB in float64); larger sets are centred anew in each pass.
_KEPT_SIZE = 2**22
# Below this many classes the sums run down the columns of a transposed chunk: long loops in place of many short ones.
_WIDE = 48
# Sums over classes become means over rows for at least this many rows at a time.
_BLOCK_ROWS = 2**13

# The first guess comes from every n-th row, for the largest n that leaves this many.
_SAMPLE_ROWS = 512
_SAMPLE_TOLERANCE = 3e-3
_TOLERANCE = 1e-11
_MAX_PASSES = 100
# The longest step on log T while only one side of the optimum has been seen: a factor of 12.
_MAX_STEP = 2.5
# Focal losses: grid points a factor of 10 of T, rows that the grid looks at, valleys that all rows then judge.
_GRID_DENSITY = 8
_GRID_ROWS = 2048
_MAX_VALLEYS = 3


class TemperatureSolution(NamedTuple):
    """Where the loss is least.

    Attributes
    ----------
    temperature : float
        The optimal T.
    loss : float
        Mean loss there.
    n_passes : int
        How often all the rows were read.
    converged : bool
        Whether the error of log T, as estimated from the last step, is below 1e-11.
    at_bound : bool
        Whether the loss still falls beyond the bound that `temperature` is.
    """

    temperature: float
    loss: float
    n_passes: int
    converged: bool
    at_bound: bool


def solve_temperature(logits, y, *, sample_weight=None, gamma=0.0, bounds=DEFAULT_BOUNDS):
    """Temperature at which ``softmax(logits / T)`` has the least mean focal loss.

    Memory beyond the logits stays below 64 MB whatever their number. float64 logits are treated in float64; all others
    are centred and exponentiated in float32, with sums over rows in float64.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_samples, n_classes)
        Finite, of any float dtype, on any device.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    sample_weight : torch.Tensor of shape (n_samples,), default=None
        Non-negative weights with a positive sum.
    gamma : float, default=0.0
        Focusing parameter; at 0 the loss is the NLL.
    bounds : tuple of two floats, default=(1e-4, 1e4)
        Least and largest T.

    Returns
    -------
    TemperatureSolution
        The global optimum for the NLL; for ``gamma > 0`` the best of the valleys that a grid on log T shows.
    """
    rows = _CentredRows(logits, y, sample_weight)
    if rows.labels_lead():
        return _solution_at(rows, bounds[0], gamma, at_bound=rows.any_spread())
    if gamma > 0:
        return _solve_focal(rows, gamma, bounds)
    return _solve_nll(rows, bounds)


def log_likelihoods(logits, y, temperature):
    """Log-probability of each sample's class under ``softmax(logits / temperature)``, in chunks and in float64.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_samples, n_classes)
        Finite, of any float dtype, on any device.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    temperature : float
        Positive.

    Returns
    -------
    torch.Tensor of shape (n_samples,), dtype float64
        At most 0, on the logits' device.
    """
    out = torch.empty(len(logits), dtype=torch.float64, device=logits.device)
    size = _rows_a_chunk(logits)
    for part, codes, values in zip(logits.split(size), y.split(size), out.split(size), strict=True):
        scaled = part.double() / temperature
        torch.sub(scaled.gather(1, codes[:, None]).squeeze(1), scaled.logsumexp(1), out=values)
    return out.clamp_(max=0.0)
