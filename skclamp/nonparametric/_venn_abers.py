"""VennAbersCalibration: inductive Venn-Abers predictors per class."""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
import torch

from .._utils.docstrings import with_shared_docs
from .._utils.sklearn_private import Interval
from ._one_vs_rest import SAME, MapsByClass, OneVsRestCalibrator, distinct_values


class VennAbersMaps(MapsByClass):
    """Venn-Abers predictors.

    The knots, shape (K, m), are the distinct probabilities of the calibration set. `p0` and `p1`, shape (K, m + 1), are
    values of the regressions with a further miss and a further hit.
    """

    arrays = "knots", "p0", "p1"

    def at(self, proba):
        """Calibrated values of probabilities (K, n) in float64."""
        # A probability that only rounding errors tell from a knot is at the knot. TorchScript takes factors of
        # 1 + SAME and 1 - SAME for one and the same.
        rounding = SAME * proba
        low = self.p0.gather(1, torch.searchsorted(self.knots, proba + rounding, right=True))
        high = self.p1.gather(1, torch.searchsorted(self.knots, proba - rounding))
        return high / (1 - low + high)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class VennAbersCalibration(OneVsRestCalibrator):
    """Calibration by one inductive Venn-Abers predictor per class, the rows renormalised.

    Two isotonic regressions per class and probability p, one with (p, 0) and one with (p, 1) added to the calibration
    set, give p0 and p1. The class's calibrated probability is p1 / (1 - p0 + p1). The predicted class can change.

    Parameters
    ----------
    {estimator}
    precision : int, default=None
        Decimals to which probabilities are rounded in `fit`, which makes it faster; None doesn't round.
    {shared_parameters}

    Attributes
    ----------
    maps_ : VennAbersMaps
        Distinct probabilities of the calibration set, and p0 and p1 at them, one row per class.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class that the network expects.

    See Also
    --------
    skclamp.IsotonicCalibration : One isotonic regression per class.

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

    precision: int | None = None

    _map = VennAbersMaps
    # Its time grows as the square of the samples.
    _tags = replace(OneVsRestCalibrator._tags, n_per_class=3, compared_classes=0)
    _parameter_constraints = {"precision": [Interval(Integral, 0, 15, closed="both"), None]}

    def _fit_class(self, proba, hit, weight):
        if self.precision is not None:
            proba = np.round(proba, self.precision)
        distinct, total, hits = distinct_values(proba, hit, weight)
        # Whatever holds of hits holds of misses in the opposite order.
        return distinct, _with_a_miss(total, hits), 1 - _with_a_miss(total[::-1], (total - hits)[::-1])[::-1]


def _with_a_miss(total, hits):
    """Value at a further miss of the isotonic regression with it, for each of the m + 1 places among m probabilities.

    It is the slope of the greatest convex minorant of the cumulated hits over the cumulated weights, the miss among
    them; from right to left it changes only where a sum lies below the minorant's last line. `total` and `hits` are the
    weight of each distinct probability, in ascending order, and that of its hits.
    """
    x, y = (np.append(0.0, np.cumsum(values)) for values in (total, hits))
    values = np.zeros(len(x))
    corner_x = x[-1] + 1
    corner_y = np.inf
    slope = 0.0
    for i in range(len(x) - 1, 0, -1):
        if y[i] < corner_y + (x[i] + 1 - corner_x) * slope:
            corner_x = x[i] + 1
            corner_y = y[i]
            slope = ((corner_y - y[:i]) / (corner_x - x[:i])).max()
        values[i] = slope
    return values
