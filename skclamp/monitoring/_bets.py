"""Numerics of the bets: likelihoods of recalibrations on a grid, class frequencies so far, a bound between grid points.

A recalibration by T has log-probabilities ``beta z - log Z(beta)`` with beta = 1 / T and z those of the classifier, and
one by class weights w adds ``log w - log E_beta[w]``. ``log Z``, and ``log Z + log E_beta[w]`` as well, are convex in
beta: what holds on the grid bounds what holds between its points.
"""

import math

import numpy as np

LOG_TEMPERATURES = np.arange(-12, 13) / 10
BETAS = np.exp(-LOG_TEMPERATURES)
# Where T = 1 is.
AS_IS = 12
# Of beta, on the grid of the null. Between points the bound is above the supremum by an eighth of the squared spacing
# times the variance of z, at the most: 7e-5 nats a sample at a variance of 1.
_SPACING = 0.025
# Counts that each class starts with, found and predicted.
PRIOR_COUNT = 5.0


def null_betas(tolerance):
    """Grid over 1 / T for T within [1 / (1 + tolerance), 1 + tolerance], which is the same interval."""
    if tolerance == 0:
        return np.ones(1)
    low = 1 / (1 + tolerance)
    high = 1 + tolerance
    return np.linspace(low, high, 1 + math.ceil((high - low) / _SPACING))


def likelihoods(log_p, y, betas, weights):
    """Log-likelihoods of samples on a grid of betas, and what bounds them between its points.

    Parameters
    ----------
    log_p : ndarray of shape (n_samples, n_classes)
        Log-probabilities.
    y : ndarray of shape (n_samples,)
        Column indices of the labels.
    betas : ndarray of shape (n_betas,)
        The first ones are `BETAS`.
    weights : ndarray of shape (n_samples, n_classes)
        Those of classes.

    Returns
    -------
    five ndarrays of shape (n_samples, n_betas)
        Log-likelihood of the labels, less that at beta = 1; its derivative; of the classes' ``exp(beta z)``, with z 0
        at the top class, the logarithm of the sum and its derivative; the logarithm of the classes' expected weight.
    """
    z = log_p - log_p.max(1, keepdims=True)
    total, mean, tilt = np.empty((3, len(z), len(betas)))
    for column, beta in enumerate(betas):
        terms = np.exp(beta * z)
        total[:, column] = terms.sum(1)
        mean[:, column] = np.einsum("ij,ij->i", terms, z)
        tilt[:, column] = np.einsum("ij,ij->i", terms, weights)
    of_label = z[np.arange(len(y)), y][:, None]
    log_total = np.log(total)
    mean /= total
    log_likelihood = betas * of_label - log_total
    gain = log_likelihood - log_likelihood[:, AS_IS, None]
    return gain, of_label - mean, log_total, mean, np.log(tilt / total)


def bound_of_tilt(tilt, log_total, mean, betas):
    """Upper bound, over betas, of the logarithm of the classes' expected weight.

    It is the difference of two convex functions: the first is below its chords, the second above its tangents.
    """
    width = np.diff(betas)
    chord = np.diff(tilt + log_total, axis=1) / width
    # The highest of the values, and of the crossings of lines from neighbouring ones.
    left = chord - mean[:, :-1]
    right = chord - mean[:, 1:]
    opening = left - right
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (np.diff(tilt, axis=1) - right * width) / opening
    place = np.where(opening > 0, np.clip(place, 0, width), 0.0)
    return np.maximum(tilt.max(1), (tilt[:, :-1] + left * place).max(1, initial=-np.inf))
