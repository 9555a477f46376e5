"""A metric that takes all that those of the package take: labels by name, weights, several labels, places, tensors.

In the package it is a function of ``skclamp/metrics``, named in its ``__all__``; a row in ``tests/_metrics.py`` holds
it to what all metrics promise.
"""

import numpy as np

from skclamp.metrics._metric import FACTS, Facts, of_outputs
from skclamp.metrics._resampling import MeanScore


@of_outputs
def spherical_score(y_true, y_proba):
    """Spherical loss: one less the label's probability over the norm of all, a proper score.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
        Class labels, or column indices; or 0, 1 or NaN for each of several labels.
    y_proba : array-like or tensor of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        Probabilities; of one dimension, those of the second of two classes.

    Returns
    -------
    loss : float
        From 0, the best, to 1.

    References
    ----------
    T. Gneiting and A. E. Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 102, 2007.

    Examples
    --------
    >>> round(spherical_score([0, 1], [[0.8, 0.2], [0.4, 0.6]]), 3)
    0.099
    """
    return y_proba.average(spherical_losses(y_proba, y_true))


def spherical_losses(proba, y_encoded):
    """Loss of each row."""
    return 1 - proba.of_label(y_encoded) / np.linalg.norm(proba.values.astype(float), axis=1)


def _mean(value, y_encoded, proba, **_):
    """What resamples of it are made of."""
    losses = spherical_losses(proba, y_encoded)
    return MeanScore(value, losses - value, proba.masses, proba.unit)


FACTS[spherical_score] = Facts(of_event=False, resampled=_mean, is_error=False)
