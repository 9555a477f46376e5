"""The stand-in for probabilities of 0: half a vote, or the share of labels among such zeros."""

from .._utils.least_probability import MIN_PROBABILITY, are_zeros, raised
from .temperature import log_likelihoods, solve_temperature

# Standard errors by which the labels' word must be better.
_MARGIN = 2.0


def least_by_labels(log_proba, y, weight, half_a_vote):
    """Half a vote, or the share of labels among the zeros, whichever has the lower NLL after temperature scaling.

    A forest's vote of none is a small share of a chance; a zero of a class that a sample doesn't have, such as a masked
    action, is none at all, and half a vote for each of them adds up. One label more counts among the zeros, as in
    Laplace's rule of succession, and half a vote stays unless the other has a lower NLL by two standard errors. The
    choice is judged on the same samples from which the share and the temperatures are learned: two standard errors are
    all the margin there is for that.

    Parameters
    ----------
    log_proba : torch.Tensor of shape (n_samples, n_classes)
        Logarithms of probabilities, some of which are exactly 0.
    y : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each label.
    weight : torch.Tensor of shape (n_samples,), float64
        Sample weights.
    half_a_vote : float
        See `stand_in_for_zero`.
    """
    zeros = are_zeros(log_proba)
    weight = weight.to(log_proba.device)
    n_zeros = weight @ zeros.sum(1).double()
    n_hits = weight @ zeros.gather(1, y[:, None])[:, 0].double()
    rate = max(((n_hits + 1) / n_zeros).item(), MIN_PROBABILITY)
    if rate >= half_a_vote:
        return half_a_vote
    fits = []
    for least in (half_a_vote, rate):
        floored = raised(log_proba, least)
        T = solve_temperature(floored, y, sample_weight=weight, prior=True).temperature
        fits.append(log_likelihoods(floored, y, T))
    gain = fits[1] - fits[0]
    mean = weight @ gain / weight.sum()
    error = (weight * (gain - mean)).norm() / weight.sum()
    return rate if mean > _MARGIN * error else half_a_vote
