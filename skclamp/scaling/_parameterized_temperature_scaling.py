"""ParameterizedTemperatureScaling (PTS): a temperature for each sample, from its largest logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

from .._utils.docstrings import with_shared_docs
from .._utils.sklearn_private import Interval
from ._intra_order_preserving import check_layer_sizes
from ._order_preserving import OrderPreservingCalibrator
from ._rank_maps import RowNetwork


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class ParameterizedTemperatureScaling(OrderPreservingCalibrator):
    """Calibration by a temperature that a small network gives for each sample from its largest logits (PTS).

    After temperature scaling, each row's log-probabilities are multiplied by a positive number, which the network
    gives from the largest of them. It starts at 1 for every row, which is temperature scaling, and minimises the
    negative log-likelihood (the paper: the squared error) with a quadratic penalty by L-BFGS. The order of each row
    stays.

    Parameters
    ----------
    {estimator}
    n_top : int, default=10
        How many of a row's largest log-probabilities the network sees.
    hidden_layer_sizes : sequence of int, default=(5, 5)
        Widths of the network's layers.
    {lbfgs_parameters}
    {shared_parameters}

    Attributes
    ----------
    {stretching_attributes}
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or L-BFGS stops at `max_iter`.

    See Also
    --------
    skclamp.TemperatureScaling : One temperature for all samples.
    skclamp.IntraOrderPreservingCalibration : One factor per gap between sorted logits.

    References
    ----------
    C. Tomani, D. Cremers and F. Buettner, "Parameterized Temperature Scaling for Boosting the Expressive Power in
    Post-Hoc Uncertainty Calibration", ECCV 2022, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import ParameterizedTemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = ParameterizedTemperatureScaling().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.19, 0.13, 0.41, 0.19, 0.08],
           [0.13, 0.52, 0.31, 0.03, 0.01]])
    """

    n_top: int = 10
    hidden_layer_sizes: Sequence[int] = (5, 5)

    _parameter_constraints: ClassVar[dict] = {
        **OrderPreservingCalibrator._parameter_constraints,
        "n_top": [Interval(Integral, 1, None, closed="left")],
    }

    _group = "temperatures"
    _treats_classes_alike = True

    def _module(self, ordered, weight):
        n_top = min(self.n_top, ordered.shape[1])
        network = RowNetwork(n_top, check_layer_sizes(self.hidden_layer_sizes))
        network.standardise(ordered, weight)
        return network
