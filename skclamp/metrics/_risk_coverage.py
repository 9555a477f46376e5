"""The risk-coverage curve: how often the most confident answers are wrong, whatever share of them is given."""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma

from ._binning import ratios
from ._metric import FACTS, Facts, of_outputs, split_rows
from ._resampling import QuickMetric

# Of the greatest weight: less is no sample of its own.
_LEAST_WEIGHT = np.finfo(float).eps


class RiskCoverageCurve(NamedTuple):
    """Selective risk over coverage, and the area under it beside those of chance and of the best order.

    Attributes
    ----------
    coverages : ndarray of shape (n_points,), dtype float64
        Share of the samples that are answered, ascending to 1: one point for each distinct confidence.
    risks : ndarray of shape (n_points,), dtype float64
        Share of the answered samples that are wrong.
    thresholds : ndarray of shape (n_points,), dtype float64
        Least confidence that is answered, descending.
    area : float
        Area under the curve (AURC), as :func:`area_under_risk_coverage`.
    area_by_chance : float
        Area in expectation where the order says nothing: the error rate.
    area_at_best : float
        Area where all wrong answers are the least confident ones.

    Examples
    --------
    >>> from skclamp.metrics import risk_coverage_curve
    >>> curve = risk_coverage_curve([0, 1, 1, 0], [0.2, 0.9, 0.6, 0.55])
    >>> round(curve.area, 4), curve.area_by_chance, curve.area_at_best
    (0.0625, 0.25, 0.0625)
    """

    coverages: np.ndarray
    risks: np.ndarray
    thresholds: np.ndarray
    area: float
    area_by_chance: float
    area_at_best: float


def risk_coverage_curve(y_true, y_proba, *, labels=None, pos_label=None, sample_weight=None, ignore_index=-100):
    """Risk-coverage curve: how often answers are wrong if only the most confident ones are given.

    A sample's answer is its most probable class, and its confidence that class's probability. The risk is the share of
    wrong answers among those given. Samples of one confidence are answered together.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class that probabilities of one dimension are of; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; see :func:`expected_calibration_error`.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`. All places are answered, or not, by themselves.

    Returns
    -------
    RiskCoverageCurve
        Named tuple of `coverages`, `risks` and `thresholds`, arrays from the most confident answers on, and of `area`,
        `area_by_chance` and `area_at_best`, the areas under the curve, under that of a random order, and under the best
        one that as many errors allow.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`.

    References
    ----------
    R. El-Yaniv and Y. Wiener, "On the Foundations of Noise-free Selective Classification", Journal of Machine Learning
    Research 11, 2010; Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.

    Examples
    --------
    >>> from skclamp.metrics import risk_coverage_curve
    >>> curve = risk_coverage_curve([0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.3, 0.7]])
    >>> curve.coverages, curve.risks, curve.thresholds
    (array([0.25, 0.5 , 1.  ]), array([0.  , 0.  , 0.25]), array([0.9, 0.8, 0.7]))
    """
    rows = split_rows(y_true, y_proba, labels, sample_weight, ignore_index, takes_labels=False, pos_label=pos_label)
    proba = rows.proba
    wrong = proba.prediction != rows.y_encoded
    thresholds, group = proba.ties
    masses = proba.masses
    weights = np.bincount(group, masses)
    errors = np.bincount(group, masses * wrong)
    weighs = weights > 0
    answered = weights[weighs].cumsum()
    risks = errors[weighs].cumsum() / answered
    n_wrong = errors.sum()

    def area(weights, risks):
        return float(_areas(weights[None], risks[None], masses[None])[0])

    return RiskCoverageCurve(
        answered / answered[-1],
        risks,
        thresholds[weighs],
        area(weights, ratios(errors, weights)),
        float(risks[-1]),
        area(np.array([answered[-1] - n_wrong, n_wrong]), np.array([0.0, 1.0])),
    )


@of_outputs(takes_labels=False)
def area_under_risk_coverage(y_true, y_proba):
    """Area under the risk-coverage curve (AURC): mean selective risk over the coverages 1/n, 2/n, ..., 1.

    It falls with the error rate, and with how well confidence tells right answers from wrong ones: maps that keep the
    order of all confidences leave it as it is. Random order has the error rate r as its area, in expectation, and the
    best order about r + (1 - r) log(1 - r); :func:`risk_coverage_curve` tells both exactly for these samples.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, or of their places.
    average : {"macro", "micro", "samples"} or None, default="macro"
        Of a class at each place of a sample "macro" and "micro" both stand for the value of all places, "samples" is
        the mean over samples of each one's own value, and None an array of these.
    ignore_index : int, default=-100
        Of a class at each place of a sample, what stands for one that isn't known; see
        :func:`expected_calibration_error`.

    Returns
    -------
    area : float
        Between 0 (best) and 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`expected_calibration_error`.

    Notes
    -----
    Samples of one confidence come in random order, over which the area is the expectation. Of m samples, e of them
    wrong, behind a others, E of them wrong, the risks sum up to ``e + (E - e a / m) (H(a + m) - H(a))`` with the
    harmonic numbers H, which the digamma function continues to weights that aren't whole: the least positive weight
    stands for one sample, and its multiples for as many of the same confidence.

    With fewer than some twenty wrong samples a bootstrap interval of the area is a little too narrow.

    References
    ----------
    Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017; Y. Geifman, G. Uziel
    and R. El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019, section 2 (the area,
    and its best value).

    Examples
    --------
    >>> from skclamp.metrics import area_under_risk_coverage
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    >>> round(area_under_risk_coverage([0, 1, 0, 0], y_proba), 4)  # risks of 0, 0, 1/3 and 1/4
    0.1458
    """
    return risk_coverage_curve(y_true, y_proba).area


def _areas(weights, risks, masses):
    """Area of each row, from the weights of groups and the risk in each.

    A wrong answer at place p of n counts at the coverages p/n, ..., 1: with H(n) - H(p - 1), of which the mean over
    the places of its group is a difference of `left`. `masses` are those of the single samples.
    """
    positive = np.where(masses > 0, masses, np.inf)
    least = np.maximum(positive.min(1), _LEAST_WEIGHT * masses.max(1))
    reached = (weights / least[:, None]).cumsum(1)
    n = reached[:, -1:]
    falls = -np.diff(risks, append=0)
    # Most neighbours have one risk, and harmonic numbers take the time.
    row, place = falls.nonzero()
    ahead = reached[row, place]
    left = ahead * (digamma(n[row, 0] + 1) - digamma(ahead + 1) + 1)
    return (np.bincount(row, left * falls[row, place], len(n)) / n[:, 0]).clip(0, 1)


def _resampled(value, y_encoded, proba, **_):
    kept = np.flatnonzero(proba.masses)
    kept = kept[proba.ties[1][kept].argsort(kind="stable")]
    wrong = proba.prediction[kept] != y_encoded[kept]
    first, group = np.unique(proba.ties[1][kept], return_index=True, return_inverse=True)[1:]
    share = np.bincount(group, wrong) / np.bincount(group)
    # Groups in a row that are all right, or all wrong, have one risk whatever their weights.
    starts = first[(np.diff(share, prepend=-1) != 0) | ((share > 0) & (share < 1))]

    def areas(masses):
        weights, errors = (np.add.reduceat(part, starts, axis=1) for part in (masses, masses * wrong))
        return _areas(weights, ratios(errors, weights), masses)

    return QuickMetric(value, areas, proba, kept)


FACTS[area_under_risk_coverage] = Facts(of_event=False, resampled=_resampled, is_error=False)
