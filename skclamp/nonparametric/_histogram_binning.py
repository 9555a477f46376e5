"""HistogramBinning: in each bin of a class's probability, the share of samples that are of the class."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch

from .._utils.docstrings import with_shared_docs
from .._utils.parameters import Choices
from .._utils.sklearn_private import Interval
from ..base import BaseCalibrator
from ._class_maps import StepMaps, padded
from ._one_vs_rest import OneVsRestCalibrator
from ._quantiles import SAME, bounds_between, distinct_values, quantile_places


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
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample of each class; a class without keeps its probability.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class.

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

    _parameter_constraints: ClassVar[dict] = {
        **BaseCalibrator._parameter_constraints,
        "n_bins": [Interval(Integral, 1, None, closed="left")],
        "strategy": [Choices("quantile", "uniform")],
        "prior_strength": [Interval(Real, 0, None, closed="left")],
    }

    def _fit_maps(self, columns, y_encoded, weight):
        edges = padded(self._edges(columns, y_encoded, weight), np.inf)
        n_classes, n_steps = len(columns), edges.shape[1] + 1
        place = torch.searchsorted(edges, torch.from_numpy(columns)).numpy() + n_steps * np.arange(n_classes)[:, None]
        # Samples of weight 1 are counted, in half the time of a sum.
        shared = None if (weight == 1).all() else np.broadcast_to(weight, columns.shape).ravel()
        total = np.bincount(place.ravel(), shared, n_classes * n_steps)
        sums = np.bincount(place.ravel(), (weight * columns).ravel(), n_classes * n_steps)
        hits = np.bincount(place[y_encoded, np.arange(len(y_encoded))], weight, n_classes * n_steps)
        bounds = np.pad(edges.numpy(), ((0, 0), (1, 1)), constant_values=(0, 1)).clip(max=1)
        middle = (bounds[:, 1:] + bounds[:, :-1]).ravel() / 2
        heights = self._heights(total, hits, np.divide(sums, total, out=middle, where=total > 0))
        return StepMaps(edges, torch.from_numpy(heights.reshape(n_classes, n_steps)))

    def _heights(self, total, hits, mean):
        """Share of hits in each bin, the prior added; its mean probability or midpoint where it has neither."""
        strength = self.prior_strength
        return np.divide(hits + strength * mean, total + strength, out=mean, where=total + strength > 0)

    @property
    def _n_parameters(self):
        if self.strategy == "quantile":
            return super()._n_parameters
        # Edges of equally wide bins are no news from the samples.
        return int(self.seen_.sum()) * self.maps_.values.shape[1]

    def _edges(self, columns, y_encoded, weight):
        """Inner edges, one array per class."""
        if self.strategy == "uniform":
            return [np.linspace(0, 1, self.n_bins + 1)[1:-1]] * len(columns)
        return [self._quantiles(proba, y_encoded == k, weight) for k, proba in enumerate(columns)]

    def _quantiles(self, proba, hit, weight):
        distinct, total, _ = distinct_values(proba, hit, weight, SAME * proba)
        places = quantile_places(total, np.arange(1, self.n_bins), self.n_bins)
        return bounds_between(distinct)[np.unique(places[(places > 0) & (places < len(distinct))])]
