"""Isotonic regressions: IsotonicCalibration has one per class, AccuracyPreservingIsotonic (IRM) one for all of them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn import config_context
from sklearn.isotonic import isotonic_regression

from .._utils.docstrings import with_shared_docs
from .._utils.parameters import POSITIVE
from ..base import BaseCalibrator
from ..base._map import Learned
from ..base._tags import MapTags
from ._one_vs_rest import LinearMaps, OneVsRestCalibrator, distinct_values, softmax_of

# Probabilities that lie no further apart are one.
_RESOLUTION = np.finfo(np.float64).resolution
# Of the uncalibrated probability, what is left where no sample is of the class: few samples don't say never.
_NEVER = 0.05


def isotonic_knots(proba, hit, weight):
    """Knots and values of an isotonic regression of hits on probabilities, linear in between.

    They are those of scikit-learn's IsotonicRegression, whose checks would take most of the time, but that each
    probability is told from its next lower one: scikit-learn compares it with the least of those that are one.
    """
    knots, total, hits = distinct_values(proba, hit, weight, rtol=0.0, atol=_RESOLUTION)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        values = isotonic_regression(hits / total, sample_weight=total)
    # Of equal values in a row the first and the last are enough.
    kept = (np.diff(values, prepend=np.nan) != 0) | (np.diff(values, append=np.nan) != 0)
    return knots[kept], values[kept]


@with_shared_docs
class IsotonicCalibration(OneVsRestCalibrator):
    """Calibration by one isotonic regression per class, the rows renormalised.

    Each class's probability goes through the monotone function of least squared error to "this class or not", as
    scikit-learn's ``CalibratedClassifierCV(method="isotonic")`` does it. Flexible, and prone to overfit small
    calibration sets. The predicted class can change. Few samples don't say never: where that function is 0, a twentieth
    of the uncalibrated probability is left, at most the function's least value above 0. Below the class's least
    probability in the calibration set the function stays what it is there. A class without a sample has the probability
    of temperature scaling.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Attributes
    ----------
    maps_ : LinearMaps
        Knots and values of the functions, one row per class.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class that the network expects.

    See Also
    --------
    skclamp.AccuracyPreservingIsotonic : One isotonic regression for all classes, which keeps the predicted class.

    References
    ----------
    B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates",
    KDD 2002, sections 3 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import IsotonicCalibration
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = IsotonicCalibration().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.22, 0.17, 0.62],
           [0.33, 0.13, 0.54]])
    """

    _map = LinearMaps

    def _fit_class(self, proba, hit, weight):
        knots, values = isotonic_knots(proba, hit, weight)
        return knots, np.maximum(values, np.minimum(_NEVER * knots, values[(values > 0).argmax()]))


class StrictMap(LinearMaps):
    """One function for the probabilities of all classes, in one row, and the ``slope_`` that makes it strict."""

    def transform(self, logits):
        log_proba = torch.log_softmax(logits.cpu(), 1)
        value = self.at(log_proba.exp().view(1, -1)).view_as(log_proba)
        return torch.logaddexp(value.log(), log_proba + math.log(self.slope_)).to(logits.device)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class AccuracyPreservingIsotonic(BaseCalibrator):
    """Calibration by one isotonic regression for the probabilities of all classes, made strict (IRM).

    All n_samples × n_classes probabilities are regressed together on whether each is the label's, and a small slope is
    added, so that different probabilities stay different: the predicted class stays what it was. Each row is
    renormalised.

    Parameters
    ----------
    {estimator}
    slope : float, default=None
        Weight of the uncalibrated probability beside the isotonic function's value, above 0. None takes
        1 / (n_samples + 1), the weight of one sample more: where the function is 0, the probability doesn't vanish.
        The paper's own code has 1e-9.
    {shared_parameters}

    Attributes
    ----------
    map_ : StrictMap
        Knots and values of the isotonic function, in one row.
    slope_ : float
        The weight of the uncalibrated probability.
    {shared_attributes}

    See Also
    --------
    skclamp.IsotonicCalibration : One function per class, and not strict.

    References
    ----------
    J. Zhang, B. Kailkhura and T. Y.-J. Han, "Mix-n-Match: Ensemble and Compositional Methods for Uncertainty
    Calibration in Deep Learning", ICML 2020, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import AccuracyPreservingIsotonic
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = AccuracyPreservingIsotonic().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.29, 0.16, 0.55],
           [0.33, 0.12, 0.55]])
    >>> bool((calibrator.predict(logits) == logits.argmax(axis=1)).all())
    True
    """

    slope: float | None = None

    _parameter_constraints = {"slope": [POSITIVE, None]}

    _tags = MapTags(takes_absent=False, group="order-preserving", treats_classes_alike=True)
    slope_ = Learned()

    def _fit_logits(self, logits, y, sample_weight):
        proba = softmax_of(logits).numpy()
        y_encoded = y.cpu().numpy()
        weight = sample_weight.cpu().numpy()
        counted = weight > 0
        hit = y_encoded[counted, None] == np.arange(proba.shape[1])
        knots, values = isotonic_knots(proba[counted].ravel(), hit.ravel(), weight[counted].repeat(proba.shape[1]))
        # Where no label is as improbable the function is 0, which its last knot there says alone.
        first = max((values == 0).sum() - 1, 0)
        slope = float(1 / (weight.sum() + 1) if self.slope is None else self.slope)
        return StrictMap(knots=knots[None, first:], values=values[None, first:], slope_=slope)
