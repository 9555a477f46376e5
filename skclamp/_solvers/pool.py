"""Solves for the weights of a pool: log-probabilities that join those of a base, each unit of weight at its price.

The pool is ``softmax(l_0 + sum_j w_j (l_j - l_0))`` with w >= 0 and sum(w) <= 1. Its total negative log-likelihood
(NLL) is convex in w, and so is the sum with a linear price. Where no slope at 0 is steeper than its price, w = 0 is the
optimum, exactly; elsewhere scipy's SLSQP finds it.

A price keeps out what gains by chance, and would hold down as much what gains clearly. So it falls as the slope at 0
exceeds it, as in the adaptive lasso (Zou, "The adaptive lasso and its oracle properties", JASA 2006).
"""

import numpy as np
import torch
from scipy.optimize import minimize

from .._utils.arrays import absent_again, absent_among, without
from .weights import Sums

# The least price of a unit of weight, in nats, and how many standard deviations of its slope where nothing is to gain.
# Chosen on the records of ``benchmarks/selecting.py``, on seeds 0 and 1 with 200 and 500 samples. Maps of two classes
# have few parameters, and pay less: chosen on tables and drawn labels that no benchmark has.
_LEAST_PRICE = 3.0
_DEVIATIONS = 2.0
_DEVIATIONS_OF_TWO = 1.5
# A step that saves less, in nats of the total, is the last.
_TOLERANCE = 1e-13
# Weights below are none.
_LEAST_WEIGHT = 1e-5


def pooled(log_proba, weights):
    """Log-probabilities, up to a constant per row, of a base (the first) and others at some weights."""
    base = log_proba[0]
    absent = absent_among(log_proba[0])
    base = without(base, absent)
    for weight, other in zip(weights, log_proba[1:], strict=True):
        if weight:
            base = base + weight * (without(other, absent) - without(log_proba[0], absent))
    return absent_again(base, absent)


def solve_pool(log_proba, y, weight, totals, spreads):
    """Weights of all but the first of several log-probabilities, and their prices.

    Parameters
    ----------
    log_proba : sequence of torch.Tensor of shape (n_samples, n_classes)
        Normalised, those of the base first; none of samples that their maps were fitted to. -inf in all or in none.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each sample's class.
    weight : torch.Tensor of shape (n_samples,)
        Non-negative weights with a positive sum.
    totals : ndarray of shape (n_candidates,)
        How many independent samples these are to each of the others, by which it multiplies the mean NLL.
    spreads : ndarray of shape (n_candidates,)
        Standard deviation of the slope of the total NLL at 0, where nothing is to be gained: see `leads`.

    Returns
    -------
    weights, prices : ndarray of shape (n_candidates,)
        w, and what a unit of each costs, in nats.
    """
    sums = Sums(log_proba, y, weight)
    start = np.zeros(len(spreads))
    total = max(totals, default=1.0)
    shares = totals / total

    def point(w):
        loss, gradient, _ = sums(torch.from_numpy(np.r_[1 - w.sum(), w]))
        return total * loss.item(), total * (gradient[1:] - gradient[0]).numpy()

    loss, gradient = point(start)
    n_deviations = _DEVIATIONS_OF_TWO if log_proba[0].shape[1] == 2 else _DEVIATIONS
    prices = np.maximum(_LEAST_PRICE, n_deviations * spreads)
    if (shares * gradient + prices >= 0).all():
        return start, prices
    prices = np.maximum(_LEAST_PRICE, prices * np.minimum(1.0, prices / np.maximum(-shares * gradient, _LEAST_PRICE)))
    costs = prices / shares

    def gained(w):
        reached, slope = point(w)
        return reached - loss + costs @ w, slope + costs

    w = minimize(
        gained,
        start,
        jac=True,
        bounds=[(0.0, None)] * len(start),
        constraints={"type": "ineq", "fun": lambda w: 1 - w.sum(), "jac": lambda w: -np.ones(len(w))},
        method="SLSQP",
        options={"ftol": _TOLERANCE, "maxiter": 200},
    ).x.clip(0, None)
    return np.where(w < _LEAST_WEIGHT, 0.0, w) / max(1.0, w.sum()), prices


def leads(base, other):
    """Return how far another is above a base in each class, less its mean under the base, and its deviation there."""
    absent = absent_among(base)
    proba = base.double().exp()
    lead = without(other, absent).double() - without(base, absent).double()
    lead -= (proba * lead).sum(1, keepdim=True)
    return lead, (proba * lead.square()).sum(1).sqrt()
