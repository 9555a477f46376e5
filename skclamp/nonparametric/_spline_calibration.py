"""SplineCalibration: the top probability by a spline through the cumulative gap between accuracy and confidence."""

from dataclasses import dataclass
from numbers import Integral
from operator import attrgetter

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PPoly
from scipy.special import expit

from .._utils.docstrings import with_shared_docs
from .._utils.encoding import register
from .._utils.sklearn_private import Interval
from .._utils.warnings import warn_caller
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._tags import MapTags
from ..exceptions import CalibrationSetWarning
from ._one_vs_rest import SAME, distinct_values, linear_between

# By how much the log-odds of the predicted class stay above the next, at least.
_LEAD = 1e-9


class SplineMap(Map):
    """The top probability, by its log-odds; the other classes share what remains in proportion."""

    n_parameters = property(attrgetter("n_knots"))

    def transform(self, logits):
        top, odds, others = top_and_others(logits)
        log_odds, accuracy = (values[None].to(odds) for values in (self.log_odds_, self.accuracy_))
        lead = torch.logit(linear_between(log_odds, accuracy, odds[None])[0]).maximum(others.amax(1) + _LEAD)
        return others.scatter(1, top[:, None], lead[:, None])


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class SplineCalibration(BaseCalibrator):
    """Calibration of the top probability by a spline; the other classes share what remains in proportion.

    Along the samples in the order of their top probability, the running sum of (hits − top probabilities) is
    approximated by a natural cubic spline, by least squares with a knot at equal shares of the samples. Its slope is
    the accuracy less the top probability there. The predicted class stays what it was.

    Parameters
    ----------
    {estimator}
    n_knots : int, default=6
        Number of the spline's knots, the two ends included.
    {shared_parameters}

    Attributes
    ----------
    spline_ : scipy.interpolate.PPoly
        The natural cubic spline: the cumulative gap as a function of the share of the samples.
    log_odds_ : ndarray of shape (n_distinct,)
        Log-odds of the top class in the calibration set, ascending.
    accuracy_ : ndarray of shape (n_distinct,)
        The calibrated top probability at each of them; linear in between.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If there are fewer distinct top probabilities than knots.

    References
    ----------
    K. Gupta, A. Rahimi, T. Ajanthan, T. Mensink, C. Sminchisescu and R. Hartley, "Calibration of Neural Networks using
    Splines", ICLR 2021, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import SplineCalibration
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = SplineCalibration().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.22, 0.1 , 0.43, 0.21, 0.03],
           [0.07, 0.49, 0.43, 0.  , 0.  ]])
    """

    n_knots: int = 6

    _parameter_constraints = {"n_knots": [Interval(Integral, 3, None, closed="left")]}

    _tags = MapTags(takes_absent=False, group="bins, isotonic and splines", treats_classes_alike=True)
    log_odds_, accuracy_ = Learned(), Learned()

    def _fit_logits(self, logits, y, sample_weight):
        counted = sample_weight > 0
        top, odds, _ = top_and_others(logits[counted].double())
        hit = (top == y[counted]).cpu().numpy()
        weight = sample_weight[counted].cpu().numpy()
        log_odds, total, hits = distinct_values(odds.cpu().numpy(), hit, weight, atol=SAME)
        proba = expit(log_odds)
        n_samples = total.sum()
        share = np.cumsum(total) / n_samples
        gap = np.cumsum(hits - total * proba) / n_samples
        self.spline_ = natural_spline(share, gap, total, self.n_knots)
        ends = np.append(0.0, share)
        width = np.diff(ends)
        # Weights that are lost in the sum have no width.
        slope = np.divide(np.diff(self.spline_(ends)), width, out=self.spline_(share, 1), where=width > 0)
        # As sure as n samples can make one: Laplace's rule of succession. Nearer to 1 there is no number.
        least = max(1 / (n_samples + 2), np.finfo(float).eps)
        accuracy = np.clip(proba + slope, least, 1 - least)
        if len(total) < self.n_knots:
            warn_caller(
                f"the calibration set has {len(total)} distinct top probabilities, fewer than n_knots={self.n_knots}",
                CalibrationSetWarning,
            )
        # The spline's heights at fixed knots; log-odds and accuracies are its slope along the samples.
        return SplineMap(log_odds_=log_odds, accuracy_=accuracy, n_knots=len(self.spline_.x))


def top_and_others(logits):
    """Index and log-odds of each row's top class, and log-probabilities of the others given that it isn't the top."""
    best, top = logits.max(1)
    others = logits.scatter(1, top[:, None], -torch.inf)
    rest = others.logsumexp(1)
    return top, best - rest, others - rest[:, None]


# By its coefficients: heights at the knots would be rounded anew each time.
register(PPoly, lambda spline: {"c": spline.c, "x": spline.x})


def natural_spline(x, y, weight, n_knots):
    """Natural cubic spline on [0, 1] with equidistant knots that has the least weighted squared error."""
    knots = np.linspace(0, 1, n_knots)
    basis = CubicSpline(knots, np.eye(n_knots), bc_type="natural")(x)
    root = np.sqrt(weight)
    heights, *_ = np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)
    spline = CubicSpline(knots, heights, bc_type="natural")
    return PPoly(spline.c, spline.x)
