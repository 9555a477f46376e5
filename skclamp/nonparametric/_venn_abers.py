"""VennAbersCalibration: inductive Venn-Abers predictors a class, by the package venn-abers."""

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch

from .._class_maps import padded
from .._distinct import SAME, distinct_scores
from .._docstrings import with_shared_docs
from .._encoding import register
from .._validation import Interval
from ..base import BaseCalibrator
from ._one_vs_rest import OneVsRestCalibrator


@with_shared_docs
class VennAbersCalibration(OneVsRestCalibrator):
    """Calibration by one inductive Venn-Abers predictor a class, the rows renormalised.

    Two isotonic regressions a class and probability p, one with (p, 0) and one with (p, 1) added to the calibration
    set, give p0 and p1; the class's calibrated probability is p1 / (1 - p0 + p1). Needs the package venn-abers:
    ``pip install 'skclamp[venn]'``. The predicted class can change.

    Parameters
    ----------
    {estimator}
    precision : int, default=None
        Decimals to which probabilities are rounded in `fit`, which makes it faster; None doesn't round.
    {shared_parameters}

    Attributes
    ----------
    maps_ : VennAbersMaps
        Distinct probabilities of the calibration set, and p0 and p1 at them, one row a class.
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample of each class; a class without keeps its probability.
    {shared_attributes}

    Raises
    ------
    ImportError
        In `fit`, without the package venn-abers.
    ValueError
        In `fit`, if `sample_weight` isn't of whole numbers: the package has no weights, so samples are repeated.

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class.

    See Also
    --------
    skclamp.IsotonicCalibration : One isotonic regression a class.

    References
    ----------
    V. Vovk, I. Petej and V. Fedorova, "Large-Scale Probabilistic Predictors With and Without Guarantees of Validity",
    NeurIPS 2015, sections 2 to 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import VennAbersCalibration
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = VennAbersCalibration().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.22, 0.18, 0.6 ],
           [0.32, 0.13, 0.55]])
    """

    _parameter_constraints: dict = {
        **BaseCalibrator._parameter_constraints,
        "precision": [Interval(Integral, 0, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        precision=None,
        response="auto",
        classes=None,
        cv=None,
        device=None,
        batch_size=64,
        num_workers=0,
        pin_memory=False,
        integer_scale=None,
    ):
        super().__init__(
            estimator,
            response=response,
            classes=classes,
            cv=cv,
            device=device,
            batch_size=batch_size,
            num_workers=num_workers,
            pin_memory=pin_memory,
            integer_scale=integer_scale,
        )
        self.precision = precision

    def _fit_class(self, score, hit, weight):
        if (weight != np.rint(weight)).any():
            fraction = weight[weight != np.rint(weight)][0]
            raise ValueError(f"sample_weight must be of whole numbers for VennAbersCalibration; got {fraction}")
        distinct, total, hits = distinct_scores(score, hit, weight, SAME * score)
        counts = np.stack([hits, total - hits], 1).astype(int)
        label = np.resize([1.0, 0.0], counts.size).repeat(counts.ravel())
        return _p0_p1(distinct.repeat(counts.sum(1)), label, self.precision)

    def _join(self, maps):
        return VennAbersMaps.of(maps)


@register
class VennAbersMaps(NamedTuple):
    """One Venn-Abers predictor a class.

    Attributes
    ----------
    knots : torch.Tensor of shape (K, m)
        Distinct probabilities of the calibration set, ascending in each row. Filled up with infinity.
    p0, p1 : torch.Tensor of shape (K, m + 1)
        Values of the regressions with a further miss and a further hit.
    """

    knots: torch.Tensor
    p0: torch.Tensor
    p1: torch.Tensor

    @classmethod
    def of(cls, maps):
        """From one triple (knots, p0, p1) a class, of any lengths."""
        knots, p0, p1 = zip(*maps, strict=True)
        return cls(padded(knots, np.inf), padded(p0), padded(p1))

    def __call__(self, scores):
        """Calibrated probabilities at scores (K, n) in float64."""
        # A score that only rounding errors tell from a knot is at the knot.
        low = self.p0.gather(1, torch.searchsorted(self.knots, scores * (1 + SAME), right=True))
        high = self.p1.gather(1, torch.searchsorted(self.knots, scores * (1 - SAME)))
        return high / (1 - low + high)

    def sizes(self):
        """How many numbers the predictor of each class has, knots and values together."""
        return (3 * self.knots.isfinite().sum(1) + 2).numpy()


def _p0_p1(score, hit, precision):
    """Distinct scores and the package's two regressions, one value left of the first and one after each."""
    # The package turns numpy's warnings off, for everyone, when it is imported.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        calc_p0p1 = _import_calc_p0p1()
        p0, p1, knots = calc_p0p1(np.stack([1 - score, score], 1), hit, precision)
    return knots, p0[:, 1], p1[:, 1]


def _import_calc_p0p1():
    try:
        from venn_abers import calc_p0p1
    except ImportError as error:
        raise ImportError("VennAbersCalibration needs the package venn-abers: pip install 'skclamp[venn]'") from error
    return calc_p0p1
