"""Bets on other temperatures and class frequencies against the probabilities of labelled samples.

A recalibration by T has log-probabilities ``beta z - log Z(beta)`` with beta = 1 / T and z those of the classifier, and
one by class weights w adds ``log w - log E_beta[w]``. ``log Z``, and ``log Z + log E_beta[w]`` as well, are convex in
beta: what holds on the grid bounds what holds between its points.
"""

import math

import numpy as np
from scipy.interpolate import PPoly, make_interp_spline
from scipy.signal import lfilter

from .._utils.least_probability import are_zeros

_LOG_TEMPERATURES = np.arange(-12, 13) / 10
_BETAS = np.exp(-_LOG_TEMPERATURES)
_N = len(_BETAS)
# Where T = 1 is.
_AS_IS = 12
# Gains of temperatures, those of class weights at these, and whether the label had at most the least probability.
N_SUMS = 2 * _N + 1
# Of beta, on the grid of the null. Between points the bound is above the supremum by a quarter of the squared spacing
# times the variance of z, at the most: 1.6e-4 nats a sample at a variance of 1.
_SPACING = 0.025
# Counts that each class starts with, found and predicted; and samples a class that are remembered.
PRIOR_COUNT = 5.0
_MEMORY = 100


def null_betas(tolerance):
    """Grid over 1 / T for T within [1 / (1 + tolerance), 1 + tolerance], which is the same interval."""
    low = 1 / (1 + tolerance)
    high = 1 + tolerance
    return np.linspace(low, high, 1 + math.ceil((high - low) / _SPACING))


def bets_on(log_p, y, weights, null):
    """Log e-values of labels, and sums by which `best_temperature` and `gain_of_frequencies` go.

    Parameters
    ----------
    log_p : ndarray of shape (n, n_classes)
        Log-probabilities.
    y : ndarray of shape (n,)
        Column indices of the labels.
    weights : ndarray of shape (n, n_classes)
        Those of classes.
    null : ndarray
        As `null_betas` returns it.

    Returns
    -------
    ndarrays of shape (n, n_bets) and (n, N_SUMS)
    """
    rows = np.arange(len(y))
    z = log_p - log_p.max(1, keepdims=True)
    betas = np.concatenate([_BETAS, null])
    total, mean, expected = np.empty((3, len(z), len(betas)))
    for column, beta in enumerate(betas):
        terms = np.exp(beta * z)
        total[:, column] = terms.sum(1)
        mean[:, column] = np.einsum("ij,ij->i", terms, z)
        expected[:, column] = np.einsum("ij,ij->i", terms, weights)
    log_total = np.log(total)
    tilt = np.log(expected / total)
    log_likelihood = betas * z[rows, y][:, None] - log_total
    gain = log_likelihood - log_likelihood[:, _AS_IS, None]
    log_weight = np.log(weights[rows, y])[:, None]
    of_weights = gain[:, :_N] + log_weight - tilt[:, :_N]
    sums = np.column_stack([gain[:, :_N], of_weights, are_zeros(log_p[rows, y])])
    # Of temperatures outside of the null, whatever T of it there is, and of class weights.
    outside = np.flatnonzero(_BETAS.clip(null[0], null[-1]) != _BETAS)
    nearest = np.where(_BETAS[outside] < null[0], _N, len(betas) - 1)
    most = _bound(tilt[:, _N:], log_total[:, _N:], (mean / total)[:, _N:], np.diff(null))
    return np.column_stack([gain[:, outside] - gain[:, nearest], log_weight - most[:, None]]), sums


def _bound(tilt, log_total, slope, width):
    """Upper bound, over the null, of the logarithm of the classes' expected weight.

    It is the difference of two convex functions: the first is below its chords, the second above its tangents at both
    ends, and so above the mean of these.
    """
    above_left = np.diff(log_total, axis=1) - slope[:, :-1] * width
    above_right = slope[:, 1:] * width - np.diff(log_total, axis=1)
    return np.hstack([tilt[:, :-1] + above_right / 2, tilt[:, 1:] + above_left / 2, tilt[:, :1]]).max(1)


def class_weights(log_p, y, label, sizes, frequencies):
    """Class frequencies of a row's label over those predicted, before its group, (n, K); and those after all.

    Parameters
    ----------
    log_p : ndarray of shape (n, n_classes)
        Log-probabilities.
    y, label : ndarray of shape (n,)
        Column indices, and which of several labels a sample a row is about, 0 of a single one.
    sizes : ndarray of shape (n_groups,)
        Of groups, whose rows stand one after another.
    frequencies : ndarray of shape (n_labels, 2, n_classes)
        Counts of labels and predicted ones so far, of a memory with an end.
    """
    n_labels, _, n_classes = frequencies.shape
    group = np.arange(len(sizes)).repeat(sizes)
    # Of each group and label the mean.
    cell = group * n_labels + label
    share = 1 / np.bincount(cell)[cell]
    counts = np.zeros((len(sizes), *frequencies.shape))
    np.add.at(counts[:, :, 0], (group, label, y), share)
    np.add.at(counts[:, :, 1], (group, label), share[:, None] * np.exp(log_p))
    # Each group leaves a share of the sums before it.
    kept = 1 - 1 / (_MEMORY * n_classes)
    path, _ = lfilter([1], [1, -kept], counts, axis=0, zi=kept * frequencies[None])
    found, predicted = np.concatenate([frequencies[None], path])[group, label].swapaxes(0, 1) + PRIOR_COUNT
    return found / predicted, path[-1]


def best_temperature(totals):
    """T of the largest likelihood, within the grid, and what it wins on T = 1."""
    gains = PPoly.from_spline(make_interp_spline(_LOG_TEMPERATURES, totals[:_N], k=5))
    flat = gains.derivative().roots(extrapolate=False)
    # Of ties T = 1.
    log_temperatures = np.concatenate([[0.0], _LOG_TEMPERATURES, flat[np.isfinite(flat)]])
    best = log_temperatures[gains(log_temperatures).argmax()]
    return float(np.exp(best)), max(0.0, float(gains(best)))


def gain_of_frequencies(totals):
    """Return the gain of the best bet on class frequencies, at whatever T."""
    return float(totals[_N : 2 * _N].max())
