"""Vector scaling, the benchmarks' second baseline: one gain and one bias a class on the logits.

Guo, Pleiss, Sun and Weinberger, *On Calibration of Modern Neural Networks* (ICML 2017), section 4.2.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from skclamp import TemperatureScaling


def fit_vector_scaling(logits, labels):
    """Gains and biases of least NLL, by L-BFGS from the optimum of temperature scaling.

    Parameters
    ----------
    logits : array of shape (n, K)
        Computed with in float64.
    labels : array of shape (n,)
        Column indices.

    Returns
    -------
    gain, bias : arrays of shape (K,), float64
    """
    logits = np.asarray(logits, dtype=np.float64)
    n, n_classes = logits.shape
    one_hot = np.eye(n_classes)[labels]

    def loss_and_gradient(parameters):
        gain, bias = np.split(parameters, 2)
        log_proba = log_softmax(gain * logits + bias, axis=1)
        slope = (np.exp(log_proba) - one_hot) / n
        gradient = np.concatenate([(slope * logits).sum(0), slope.sum(0)])
        return -log_proba[np.arange(n), labels].mean(), gradient

    scale = 1 / TemperatureScaling(classes=np.arange(n_classes)).fit(logits, labels).temperature_
    start = np.concatenate([np.full(n_classes, scale), np.zeros(n_classes)])
    return np.split(minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B").x, 2)


def vector_scaled(logits, gain, bias):
    """Log-probabilities of vector scaling, float64."""
    return log_softmax(gain * np.asarray(logits, dtype=np.float64) + bias, axis=1)
