"""Calibrators by bins of each class's probability: HistogramBinning, and BayesianBinningIntoQuantiles (BBQ)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, softmax

from .._utils.docstrings import with_shared_docs
from .._utils.least_probability import MIN_PROBABILITY
from .._utils.parameters import COUNT, NOT_NEGATIVE, POSITIVE, Choices
from ._one_vs_rest import OneVsRestCalibrator, StepMaps, distinct_values

# Numbers of bins from n^(1/3) / 10 to 10 n^(1/3), as the paper has them, and at least five samples per bin on average.
_RANGE = 10
_MIN_SAMPLES = 5
# Samples that a distinct probability counts for at the most: large weights ask for no more bins than there is to part.
_MAX_SAMPLES = 30


def bounds_between(distinct):
    """0, the midpoints between m distinct ascending probabilities, and 1: m + 1 bounds."""
    low = distinct[:-1]
    high = distinct[1:]
    middle = (low + high) / 2
    # Between neighbouring floats the midpoint may round to the upper one, which belongs to the right.
    return np.concatenate([[0.0], np.where(middle < high, middle, low), [1.0]])


def quantile_places(total, part, n_parts):
    """Return how many of m distinct values lie left of the cut at ``part / n_parts`` of their weight `total`.

    A value's weight isn't divided: the cut is at the first place that has enough on its left.
    """
    left = np.append(0.0, np.cumsum(total))
    return np.minimum(np.searchsorted(left, left[-1] * part / n_parts), len(total))


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class HistogramBinning(OneVsRestCalibrator):
    """Calibration by the share of hits in bins of each class's probability, the rows renormalised.

    The predicted class can change, and probabilities of one bin can no longer be told apart.

    Parameters
    ----------
    {estimator}
    n_bins : int, default=15
        Number of bins per class.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins that are equally wide, or that hold equally many samples, as far as equal probabilities allow. With many
        classes, quantile bins lump the probabilities that decide together: n_bins must then be large.
    prior_strength : float, default=1.0
        How many samples the uncalibrated probability counts for: so many, with the bin's mean probability for their
        share of hits, are added to each bin. At 0 a bin is its share of hits alone, which may be 0 (then 2.2e-16
        stands for it), and an empty bin is its midpoint.
    {shared_parameters}

    Attributes
    ----------
    maps_ : StepMaps
        Inner edges and heights of the bins, one row per class. An edge belongs to the bin on its left.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class that the network expects.

    See Also
    --------
    skclamp.BayesianBinningIntoQuantiles : Averages over numbers of bins.

    References
    ----------
    B. Zadrozny and C. Elkan, "Obtaining Calibrated Probability Estimates from Decision Trees and Naive Bayesian
    Classifiers", ICML 2001, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import HistogramBinning
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = HistogramBinning(n_bins=5).fit(logits, y)
    >>> calibrator.maps_.values[0].numpy().round(2)
    array([0.1 , 0.3 , 0.43, 0.61, 0.78])
    """

    n_bins: int = 15
    strategy: str = "uniform"
    prior_strength: float = 1.0

    _parameter_constraints = {
        "n_bins": [COUNT],
        "strategy": [Choices("quantile", "uniform")],
        "prior_strength": [NOT_NEGATIVE],
    }

    _map = StepMaps

    def _fit_logits(self, logits, y, sample_weight):
        return super()._fit_logits(logits, y, sample_weight).learn(even=self.strategy == "uniform")

    def _fit_class(self, proba, hit, weight):
        bounds = np.linspace(0, 1, self.n_bins + 1)
        if self.strategy == "quantile":
            distinct, total, _ = distinct_values(proba, hit, weight)
            cuts = quantile_places(total, np.arange(self.n_bins + 1), self.n_bins)
            bounds = bounds_between(distinct)[np.unique(cuts)]
        inner = bounds[1:-1]
        place = np.searchsorted(inner, proba)
        total, sums, hits = (np.bincount(place, of, len(inner) + 1) for of in (weight, weight * proba, weight * hit))
        # Share of hits in each bin, the prior added; its mean probability, or midpoint, where it has neither.
        heights = (bounds[1:] + bounds[:-1]) / 2
        np.divide(sums, total, out=heights, where=total > 0)
        total = total + self.prior_strength
        np.divide(hits + self.prior_strength * heights, total, out=heights, where=total > 0)
        return inner, heights


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class BayesianBinningIntoQuantiles(OneVsRestCalibrator):
    """Calibration by an average over quantile binnings of each class's probability (BBQ), the rows renormalised.

    A binning with B bins has the marginal likelihood of a beta-binomial model, whose prior in each bin has the bin's
    midpoint for its mean. All binnings with n^(1/3) / 10 to 10 n^(1/3) bins are averaged, each weighted by its
    likelihood. The predicted class can change.

    Parameters
    ----------
    {estimator}
    prior_strength : float, default=2.0
        How many samples the priors of a binning's bins count for, together (N' in the paper).
    {shared_parameters}

    Attributes
    ----------
    maps_ : StepMaps
        Inner edges and heights of the averages, one row per class. An edge belongs to the step on its left.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class that the network expects.

    See Also
    --------
    skclamp.HistogramBinning : One binning.

    References
    ----------
    M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015, equations 2 to 5.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import BayesianBinningIntoQuantiles
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = BayesianBinningIntoQuantiles().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.31, 0.16, 0.53],
           [0.33, 0.17, 0.5 ]])
    """

    prior_strength: float = 2.0

    _parameter_constraints = {"prior_strength": [POSITIVE]}

    _map = StepMaps

    def _fit_class(self, proba, hit, weight):
        distinct, total, hits = distinct_values(proba, hit, weight)
        bounds = bounds_between(distinct)
        n_samples = min(total.sum(), _MAX_SAMPLES * len(total))
        root = np.cbrt(n_samples)
        least = max(1, int(root / _RANGE))
        most = min(np.ceil(n_samples / _MIN_SAMPLES), np.ceil(root * _RANGE))
        sizes = np.arange(least, max(least, int(most)) + 1)
        # Every bin of every binning, side by side: between which places it lies, and what it holds.
        binning = np.repeat(np.arange(len(sizes)), sizes)
        n_bins = sizes[binning]
        part = np.concatenate([np.arange(size) for size in sizes])
        start = quantile_places(total, part, n_bins)
        end = quantile_places(total, part + 1, n_bins)
        left = [np.append(0.0, np.cumsum(values)) for values in (total, hits)]
        inside, hits = (sums[end] - sums[start] for sums in left)
        mean = np.clip((bounds[start] + bounds[end]) / 2, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        strength = self.prior_strength / n_bins
        alpha = strength * mean
        beta = strength * (1 - mean)
        evidence = betaln(alpha + hits, beta + inside - hits) - betaln(alpha, beta)
        # All binnings are equally likely before the data.
        height = softmax(np.bincount(binning, evidence))[binning] * (alpha + hits) / (strength + inside)
        change = np.bincount(start, height, len(bounds)) - np.bincount(end, height, len(bounds))
        starts = np.unique(start[start < end])
        return bounds[starts[1:]], np.cumsum(change)[starts]
