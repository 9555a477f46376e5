"""Class frequencies of unlabelled samples by expectation maximisation."""

import numpy as np

# EM ends where no frequencies have a log-likelihood of all samples together that is higher by this, in nats.
_TOLERANCE = 1e-3
_MAX_STEPS = 2000


def estimate_priors(log_proba, priors, *, strength):
    """Class frequencies at which samples are most likely, if nothing else has changed.

    The likelihood of frequencies q is ``prod_i sum_y q_y p(y|x_i) / priors_y``, up to a constant. It is concave in q;
    EM climbs it from `priors`.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Logarithms of probabilities that are calibrated where the classes have the frequencies `priors`.
    priors : ndarray of shape (n_classes,)
        These frequencies, all positive.
    strength : float
        How many samples with labels of these frequencies are added. Without any, classes that aren't seen get a
        frequency of 0.

    Returns
    -------
    ndarray of shape (n_classes,)
        They sum to 1.

    References
    ----------
    M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A
    Simple Procedure", Neural Computation 14, 2002.
    """
    log_ratio = log_proba - np.log(priors)
    # A factor of a row's own leaves its responsibilities.
    ratio = np.exp(log_ratio - log_ratio.max(1, keepdims=True))
    total = len(ratio) + strength
    estimate = priors
    for _ in range(_MAX_STEPS):
        gradient = (1 / (ratio @ estimate)) @ ratio
        # The log-likelihood is concave: this bounds what is left to gain.
        slack = (gradient + strength * priors / np.maximum(estimate, np.finfo(float).tiny)).max() - total
        estimate = (estimate * gradient + strength * priors) / total
        if slack < _TOLERANCE:
            break
    return estimate / estimate.sum()
