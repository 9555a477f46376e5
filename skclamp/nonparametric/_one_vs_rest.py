"""OneVsRestCalibrator: a function of each class's probability, fitted to "this class or not"; rows are renormalised.

The functions of all classes are evaluated at once: their knots are rows of one padded matrix, so that a search is one
call however many classes there are.
"""

from typing import NamedTuple

import numpy as np
import torch

from .._utils.encoding import register
from .._utils.least_probability import log_of
from ..base import BaseCalibrator

# Beside so many samples one more, which smooths, can just be told from none.
_MAX_SAMPLES = 1e12
# Relative difference of two values up to which they are one.
SAME = 1e-12


def softmax_of(logits):
    """Probabilities of logits (n, K) in float64 on the CPU; a class lies together, which is faster for short rows.

    They are the same, bit by bit, whatever other rows there are: what was fitted meets itself again.
    """
    columns = torch.empty(logits.T.shape, dtype=torch.float64).copy_(logits.T)
    columns.sub_(columns.amax(0)).exp_()
    # Added one after another: torch.sum's order depends on the number of rows.
    return columns.div_(sum(columns)).T


def distinct_values(values, hit, weight, noise):
    """Distinct values in ascending order, the weight of the samples that have each, and that of the hits among them.

    Values that only rounding errors tell apart are one: else the order of the samples could decide which comes first.
    `noise` is how far above its next lower neighbour a value must lie to be another one. Weights are positive.
    """
    order = np.argsort(values, kind="stable")
    values, noise, weight, hit = values[order], noise[order], weight[order], hit[order]
    first = np.flatnonzero(np.diff(values, prepend=-np.inf) > noise)
    return values[first], np.add.reduceat(weight, first), np.add.reduceat(weight * hit, first)


def padded(rows, fill=None):
    """Rows of several lengths as one float64 matrix, each filled up with `fill`, or with its own last value."""
    out = np.empty((len(rows), max(map(len, rows))))
    for row, place in zip(rows, out, strict=True):
        place[: len(row)] = row
        place[len(row) :] = row[-1] if fill is None else fill
    return torch.from_numpy(out)


def joined(kind, maps):
    """The maps of all classes, of a kind below, from each class's arrays: places that ascend, and what is there."""
    places, *values = zip(*maps, strict=True)
    return kind(padded(places, np.inf), *map(padded, values))


@register
class StepMaps(NamedTuple):
    """One function per class, with steps of heights `values`, shape (K, m + 1), between `edges`, shape (K, m).

    Edges ascend in each row, which is filled up with infinity; each belongs to the step on its left.
    """

    edges: torch.Tensor
    values: torch.Tensor

    def at(self, proba):
        """Values at probabilities (K, n) in float64."""
        return self.values.gather(1, torch.searchsorted(self.edges, proba))

    def sizes(self):
        """How many numbers the function of each class has, edges and heights together."""
        return (2 * self.edges.isfinite().sum(1) + 1).numpy()


@register
class LinearMaps(NamedTuple):
    """One function per class that is linear between its knots, and constant beyond them.

    `knots` and `values` have shape (K, m). Knots ascend in each row, which is filled up with infinity.
    """

    knots: torch.Tensor
    values: torch.Tensor

    def at(self, proba):
        """Values at probabilities (K, n) in float64."""
        right = torch.searchsorted(self.knots, proba)
        left = (right - 1).clamp_(min=0)
        right.clamp_(max=self.knots.shape[1] - 1)
        start, end = self.values.gather(1, left), self.values.gather(1, right)
        low, high = self.knots.gather(1, left), self.knots.gather(1, right)
        # Beyond the knots both ends are one knot, or the right one is infinite: the slope is taken for 0.
        slope = torch.where(high > low, (end - start) / (high - low), 0.0)
        return start + slope * (proba - low)

    def sizes(self):
        """How many numbers the function of each class has, knots and values together."""
        return (2 * self.knots.isfinite().sum(1)).numpy()


class OneVsRestCalibrator(BaseCalibrator):
    """What the calibrators by class share.

    Subclasses implement ``_fit_class(proba, hit, weight)``, which learns a class's map from its probabilities, whether
    it is the sample's class, and positive weights; ``_maps`` joins those of all. Or they implement ``_fit_maps``.

    Attributes
    ----------
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample with weight of each class. Nothing is learned of the others:
        temperature scaling sets their probabilities, and learned arrays have entries of the classes with samples alone.
    """

    _n_per_class = 10
    # Steps are worse by a tenth of the NLL on 190 samples a class, still.
    _enough_per_number = 20
    _takes_logarithms = False
    _takes_absent = False
    _learns_by_class = True
    _group = "bins, isotonic and splines"
    # One class against the rest has as many positive samples as it has.
    _compared_samples = 10

    def _fit_logits(self, logits, y, sample_weight):
        counted = sample_weight > 0
        if not counted.all():
            logits, y, sample_weight = logits[counted], y[counted], sample_weight[counted]
        y_encoded, weight = y.cpu().numpy(), sample_weight.cpu().numpy()
        if weight.sum() > _MAX_SAMPLES:
            weight = weight * (_MAX_SAMPLES / weight.sum())
        columns = softmax_of(logits).T.numpy()
        self.maps_ = self._fit_maps(columns, y_encoded, weight)

    def _fit_maps(self, columns, y_encoded, weight):
        """The maps of all classes: a function of probabilities (K, n); columns (K, n) are those of the fit."""
        maps = [self._fit_class(proba, y_encoded == k, weight) for k, proba in enumerate(columns)]
        return joined(self._maps, maps)

    def _transform_logits(self, logits):
        return log_of(self.maps_.at(softmax_of(logits).T).T).to(logits.device)

    @property
    def _n_parameters(self):
        return int(self.maps_.sizes().sum())
