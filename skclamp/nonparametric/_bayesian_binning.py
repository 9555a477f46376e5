"""BayesianBinningIntoQuantiles (BBQ): quantile bins of many numbers, averaged by their posterior probability."""

from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.special import betaln, softmax

from .._utils.docstrings import with_shared_docs
from .._utils.least_probability import MIN_PROBABILITY
from .._utils.sklearn_private import Interval
from ..base import BaseCalibrator
from ._class_maps import StepMaps
from ._one_vs_rest import OneVsRestCalibrator
from ._quantiles import SAME, bounds_between, distinct_values, quantile_places

# Numbers of bins from n^(1/3) / 10 to 10 n^(1/3), as the paper has them, and at least five samples per bin on average.
_RANGE = 10
_MIN_SAMPLES = 5
# Samples that a distinct probability counts for at the most: large weights ask for no more bins than there is to part.
_MAX_SAMPLES = 30


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class BayesianBinningIntoQuantiles(OneVsRestCalibrator):
    """Calibration by an average over quantile binnings of each class's probability (BBQ), the rows renormalised.

    A binning with B bins has the marginal likelihood of a beta-binomial model, whose prior in each bin has the bin's
    midpoint for its mean; all binnings with n^(1/3) / 10 to 10 n^(1/3) bins are averaged, each weighted by its
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
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample of each class; a class without keeps its probability.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class.

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

    _maps = StepMaps
    _parameter_constraints: ClassVar[dict] = {
        **BaseCalibrator._parameter_constraints,
        "prior_strength": [Interval(Real, 0, None, closed="neither")],
    }

    def _fit_class(self, proba, hit, weight):
        distinct, total, hits = distinct_values(proba, hit, weight, SAME * proba)
        bounds = bounds_between(distinct)
        binnings = _Binnings(total, hits, bounds, self.prior_strength)
        starts, heights = binnings.average()
        return bounds[starts[1:]], heights


class _Binnings:
    """Every bin of every binning of one class, side by side: between which places it lies, and what it holds."""

    def __init__(self, total, hits, bounds, prior_strength):
        sizes = _numbers_of_bins(min(total.sum(), _MAX_SAMPLES * len(total)))
        self.binning = np.repeat(np.arange(len(sizes)), sizes)
        n_bins = sizes[self.binning]
        part = np.arange(len(n_bins)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.start, self.end = quantile_places(total, part, n_bins), quantile_places(total, part + 1, n_bins)
        self.total, self.hits = (self._sums(each) for each in (total, hits))
        mean = np.clip((bounds[self.start] + bounds[self.end]) / 2, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        self.strength = prior_strength / n_bins
        self.alpha, self.beta = self.strength * mean, self.strength * (1 - mean)

    def _sums(self, values):
        left = np.concatenate([[0.0], np.cumsum(values)])
        return left[self.end] - left[self.start]

    def posterior(self):
        """Probability of each binning, all equally likely before the data."""
        misses = self.total - self.hits
        evidence = betaln(self.alpha + self.hits, self.beta + misses) - betaln(self.alpha, self.beta)
        return softmax(np.bincount(self.binning, evidence))

    def average(self):
        """Places where a bin of any binning starts, and the average height from each of them on."""
        height = self.posterior()[self.binning] * (self.alpha + self.hits) / (self.strength + self.total)
        n_places = self.end.max() + 1
        change = np.bincount(self.start, height, n_places) - np.bincount(self.end, height, n_places)
        starts = np.unique(self.start[self.start < self.end])
        return starts, np.cumsum(change)[starts]


def _numbers_of_bins(n_samples):
    root = np.cbrt(n_samples)
    least = max(1, int(root / _RANGE))
    most = min(np.ceil(n_samples / _MIN_SAMPLES), np.ceil(root * _RANGE))
    return np.arange(least, max(least, int(most)) + 1)
