"""The test whether each class is as probable on average as labelled samples have it."""

import numpy as np
from scipy import stats
from scipy.special import softmax


def means_p_value(log_proba, y_encoded, weight):
    """Of the score test that the classes' mean probabilities are their frequencies, as calibrated ones' are.

    Labels are drawn from the probabilities under the null hypothesis, which gives the differences' covariance.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Logarithms of the labelled samples' probabilities.
    y_encoded : ndarray of shape (n_samples,)
        Column indices of the labels.
    weight : ndarray of shape (n_samples,)
        Positive weights, the largest of which is 1.

    Returns
    -------
    float
        Small where the probabilities are off class by class.
    """
    counts = np.bincount(y_encoded, weight, log_proba.shape[1])
    # Classes without a label may still come: the others' probabilities are those that it is none of them.
    proba, counts = softmax(log_proba[:, counts > 0], axis=1), counts[counts > 0]
    difference = counts - weight @ proba
    squared = weight**2
    # One sample more of each class: a rare class has no chi-squared distribution.
    covariance = np.diag(squared @ proba + 1) - (proba.T * squared) @ proba
    return float(stats.chi2.sf(difference @ np.linalg.solve(covariance, difference), max(1, len(counts) - 1)))
