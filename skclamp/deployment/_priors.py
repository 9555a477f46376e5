"""Class frequencies of unlabelled samples by expectation maximisation, and the evidence that they have changed."""

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import rel_entr

# EM ends where no frequencies have a log-likelihood of all samples together that is higher by this, in nats.
_TOLERANCE = 1e-3
_MAX_STEPS = 2000
# Logarithms of the numbers of samples between which a constraint's multiplier is sought.
_LOG_STRENGTHS = -5.0, 20.0


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
    found = priors
    for _ in range(_MAX_STEPS):
        gradient = (1 / (ratio @ found)) @ ratio
        # The log-likelihood is concave: this bounds what is left to gain.
        slack = (gradient + strength * priors / np.maximum(found, np.finfo(float).tiny)).max() - total
        found = (found * gradient + strength * priors) / total
        if slack < _TOLERANCE:
            break
    return found / found.sum()


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
    old = _best_possible(log_proba, priors, n_labelled, level)
    return float((_log_likelihood(log_proba, priors, new) - _log_likelihood(log_proba, priors, old)).sum())


def _best_possible(log_proba, priors, n_labelled, level):
    """The likeliest frequencies within the confidence region of those of the labelled samples."""
    radius = stats.chi2.isf(level, len(priors) - 1) / (2 * n_labelled)

    def excess(log_strength):
        found = estimate_priors(log_proba, priors, strength=np.exp(log_strength))
        return rel_entr(priors, found).sum() - radius

    low, high = _LOG_STRENGTHS
    # The strength is the multiplier of the constraint; where that doesn't bind there is none.
    log_strength = low if excess(low) <= 0 else brentq(excess, low, high, xtol=0.05)
    return estimate_priors(log_proba, priors, strength=np.exp(log_strength))


def _log_likelihood(log_proba, priors, new):
    """Of each sample at the new frequencies, up to a constant that doesn't depend on them."""
    ratio, top = _likelihood_ratios(log_proba, priors)
    return np.log(ratio @ new) + top


def _likelihood_ratios(log_proba, priors):
    """``p(y|x) / priors_y``, each row divided by its largest entry, and the logarithms of these."""
    log_ratio = log_proba - np.log(priors)
    top = log_ratio.max(1)
    return np.exp(log_ratio - top[:, None]), top
