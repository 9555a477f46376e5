"""Class frequencies of unlabelled samples by expectation maximisation, and the evidence that they have changed."""

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import rel_entr

# EM ends where no frequencies have a log-likelihood of all samples together that is higher by this, in nats.
_TOLERANCE = 1e-3
_MAX_STEPS = 2000
# Between which a constraint's multiplier is sought, times the number of samples.
_MULTIPLIERS = 0.1, 1e4


def estimate_priors(log_proba, priors, *, strength=0.0):
    """Class frequencies at which samples are most likely, if nothing else has changed.

    The likelihood of frequencies q is ``prod_i sum_y q_y p(y|x_i) / priors_y``, up to a constant. It is concave in q;
    EM climbs it from `priors`.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Logarithms of probabilities that are calibrated where the classes have the frequencies `priors`.
    priors : ndarray of shape (n_classes,)
        These frequencies, all positive.
    strength : float, default=0.0
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
    ratio, _ = _likelihood_ratios(log_proba, priors)
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


def evidence_of_change(log_proba, priors, new, n_labelled, level):
    """Logarithm of the likelihood ratio of new frequencies to the best of those that the labelled samples allow.

    By universal inference its expectation isn't above 1 where nothing has changed and other samples chose `new`. The
    labelled samples' frequencies have a sampling error: all that their likelihood ratio test doesn't reject count as
    what they may have been.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Of samples that `new` wasn't estimated from.
    priors, new : ndarray of shape (n_classes,)
        Frequencies of the labelled samples, all positive, and the new ones.
    n_labelled : float
        How many samples `priors` come from.
    level : float
        Of the test that says which old frequencies are possible.

    Returns
    -------
    float
        In nats, of all samples together.

    References
    ----------
    L. Wasserman, A. Ramdas and S. Balakrishnan, "Universal Inference", PNAS 2020.
    """
    radius = stats.chi2.isf(level, len(priors) - 1) / (2 * n_labelled)
    return float(_log_likelihood(log_proba, priors, new) - _largest_likelihood(log_proba, priors, radius))


def _largest_likelihood(log_proba, priors, radius):
    """The least upper bound found for the log-likelihood of any frequencies so near to `priors`.

    Near is the relative entropy within which the labelled samples' likelihood ratio test rejects nothing. Lagrange's
    dual function is a bound at any multiplier, which is a number of samples that EM adds.
    """

    def bound(log_strength):
        strength = np.exp(log_strength)
        estimate = estimate_priors(log_proba, priors, strength=strength)
        excess = rel_entr(priors, estimate).sum() - radius
        return _log_likelihood(log_proba, priors, estimate) - strength * excess

    bounds = np.log(len(log_proba) * np.array(_MULTIPLIERS))
    return minimize_scalar(bound, bounds=bounds, method="bounded", options={"xatol": 0.2}).fun


def _log_likelihood(log_proba, priors, new):
    """Of all samples at the new frequencies, up to a constant that doesn't depend on them."""
    ratio, top = _likelihood_ratios(log_proba, priors)
    return (np.log(ratio @ new) + top).sum()


def _likelihood_ratios(log_proba, priors):
    """``p(y|x) / priors_y``, each row divided by its largest entry, and the logarithms of these."""
    log_ratio = log_proba - np.log(priors)
    top = log_ratio.max(1)
    return np.exp(log_ratio - top[:, None]), top
