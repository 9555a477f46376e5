"""IntraOrderPreservingCalibration (IOP): maps of logits that keep the order within each row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .._utils.docstrings import with_shared_docs
from .._utils.parameters import Choices, check_whole_number
from ._order_preserving import OrderPreservingCalibrator
from ._rank_maps import GapNetwork

# How many ranks the network sees and sets: all of them up to so many classes.
_MAX_RANKS = 16


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class IntraOrderPreservingCalibration(OrderPreservingCalibrator):
    """Calibration by a network that stretches the gaps between sorted logits (IOP): the order of each row stays.

    After temperature scaling, each gap between neighbours among a row's sorted log-probabilities is multiplied by a
    positive number, which a small network gives from these log-probabilities. The network starts at 1 for every gap,
    which is temperature scaling, and minimises the negative log-likelihood with a quadratic penalty by L-BFGS. With
    more than 16 classes it sees and sets 16 ranks, dense at the top; the others are interpolated.

    Parameters
    ----------
    {estimator}
    variant : {"order-invariant", "order-preserving"}, default="order-invariant"
        What the gaps depend on: the sorted log-probabilities, so that the classes are treated alike; or these and the
        class of each.
    hidden_layer_sizes : sequence of int, default=(10,)
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
    skclamp.ParameterizedTemperatureScaling : One factor per row in place of one per gap.

    References
    ----------
    A. Rahimi, A. Shaban, C.-A. Cheng, R. Hartley and B. Boots, "Intra Order-Preserving Functions for Calibration of
    Multi-Class Neural Networks", NeurIPS 2020, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import IntraOrderPreservingCalibration
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = IntraOrderPreservingCalibration().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.2 , 0.13, 0.4 , 0.19, 0.07],
           [0.14, 0.51, 0.31, 0.03, 0.01]])
    >>> bool((calibrator.predict_proba(logits).argsort(axis=1) == logits.argsort(axis=1)).all())
    True
    """

    variant: str = "order-invariant"
    hidden_layer_sizes: Sequence[int] = (10,)

    _parameter_constraints: ClassVar[dict] = {
        **OrderPreservingCalibrator._parameter_constraints,
        "variant": [Choices("order-invariant", "order-preserving")],
    }

    _group = "order-preserving"

    @classmethod
    def _default_candidates(cls):
        return [("order-preserving", cls())]

    @property
    def _treats_classes_alike(self):
        return self.variant == "order-invariant"

    def _module(self, ordered, weight):
        n_classes = ordered.shape[1]
        n_class_features = n_classes if self.variant == "order-preserving" else 0
        sizes = check_layer_sizes(self.hidden_layer_sizes)
        network = GapNetwork(n_classes, _MAX_RANKS, sizes, n_class_features)
        network.standardise(ordered, weight)
        return network

    def _by_class(self, scaled):
        if self.variant != "order-preserving":
            return None
        # All the classes' weights together may be as large as those of one rank.
        return (scaled - scaled.mean(1, keepdim=True)) / math.sqrt(scaled.shape[1])


def check_layer_sizes(sizes):
    """Widths of hidden layers as a tuple; ValueError or TypeError unless there are some and all are whole."""
    sizes = tuple(check_whole_number(size, "each of hidden_layer_sizes") for size in sizes)
    if not sizes:
        raise ValueError("hidden_layer_sizes must hold at least one width; got none")
    return sizes
