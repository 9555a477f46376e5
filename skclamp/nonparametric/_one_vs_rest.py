"""OneVsRestCalibrator: a function of each class's probability, fitted to "this class or not"; rows are renormalised.

The functions of all classes are evaluated at once: their knots are rows of one padded matrix, so that a search is one
call however many classes there are.
"""

from operator import attrgetter
from typing import ClassVar

import numpy as np
import torch

from .._utils.least_probability import log_of
from ..base import BaseCalibrator, Map
from ..base._tags import MapTags

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


def distinct_values(values, hit, weight, rtol=SAME, atol=0.0):
    """Distinct values in ascending order, the weight of the samples that have each, and that of the hits among them.

    Values that only rounding errors tell apart are one: else the order of the samples could decide which comes first.
    Another one lies above its next lower neighbour by more than ``atol + rtol * abs(value)``. Weights are positive.
    """
    order = np.argsort(values, kind="stable")
    values, weight, hit = values[order], weight[order], hit[order]
    first = np.flatnonzero(np.diff(values, prepend=-np.inf) > atol + rtol * np.abs(values))
    return values[first], np.add.reduceat(weight, first), np.add.reduceat(weight * hit, first)


def padded(rows, **filling):
    """Rows of several lengths as one matrix; `filling` says how `np.pad` fills them up."""
    width = max(map(len, rows))
    return torch.from_numpy(np.stack([np.pad(row, (0, width - len(row)), **filling) for row in rows]))


def linear_between(knots, values, at):
    """Values at (K, n) of K functions that are linear between their knots (K, m), and constant beyond them.

    Knots ascend in each row, which is filled up with infinity.
    """
    right = torch.searchsorted(knots, at)
    left = (right - 1).clamp_(min=0)
    right.clamp_(max=knots.shape[1] - 1)
    start = values.gather(1, left)
    end = values.gather(1, right)
    low = knots.gather(1, left)
    high = knots.gather(1, right)
    # Beyond the knots both ends are one knot, or the right one is infinite: the slope is taken for 0.
    slope = torch.where(high > low, (end - start) / (high - low), 0.0)
    return start + slope * (at - low)


class MapsByClass(Map):
    """One function of each class's probability, ``at(probabilities)`` in subclasses; the rows are renormalised.

    Its `arrays` have a row for each class. The first holds places, to be searched among: they ascend in each row, which
    is filled up with infinity. The others are filled up with their last values.
    """

    arrays: ClassVar[tuple[str, ...]] = "knots", "values"

    def _apply(self, fn, recurse=True):
        # It stays on the CPU, where places are searched, in float64.
        return self

    def transform(self, logits):
        return log_of(self.at(softmax_of(logits).T).T).to(logits.device)

    @property
    def n_parameters(self):
        # Places come first; whatever there is of them is filled up as far as they are.
        return super().n_parameters - len(self.arrays) * int(getattr(self, self.arrays[0]).isinf().sum())


class StepMaps(MapsByClass):
    """Steps of heights `values`, shape (K, m + 1), between `edges`, shape (K, m).

    Each edge belongs to the step on its left. `even` ones are no news from the samples.
    """

    arrays = "edges", "values"
    even = False

    def at(self, proba):
        """Values at probabilities (K, n) in float64."""
        return self.values.gather(1, torch.searchsorted(self.edges, proba))

    @property
    def n_parameters(self):
        return self.values.numel() if self.even else super().n_parameters


class LinearMaps(MapsByClass):
    """Functions that are linear between their `knots`, where they have `values`, both of shape (K, m)."""

    def at(self, proba):
        """Values at probabilities (K, n) in float64."""
        return linear_between(self.knots, self.values, proba)


class OneVsRestCalibrator(BaseCalibrator):
    """The base of calibrators of one function per class.

    Subclasses implement ``_fit_class(proba, hit, weight)``: the `arrays` of one class's map, from its probabilities,
    which samples are of it, and positive weights, all (n,).

    Attributes
    ----------
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample with weight of each class. Nothing is learned of the others:
        temperature scaling sets their probabilities, and learned arrays have entries of the classes with samples alone.
    """

    _tags = MapTags(
        n_per_class=10,
        # Steps are worse by a tenth of the NLL on 190 samples a class, still.
        enough_per_number=20,
        takes_logarithms=False,
        takes_absent=False,
        learns_by_class=True,
        group="bins, isotonic and splines",
        # One class against the rest has as many positive samples as it has.
        compared_samples=10,
    )

    _map: type[MapsByClass]
    maps_ = property(attrgetter("map_"))

    def _fit_logits(self, logits, y, sample_weight):
        counted = sample_weight > 0
        y_encoded = y[counted].cpu().numpy()
        weight = sample_weight[counted].cpu().numpy()
        weight = weight * min(1.0, _MAX_SAMPLES / weight.sum())
        fits = [
            self._fit_class(proba, y_encoded == k, weight)
            for k, proba in enumerate(softmax_of(logits[counted]).T.numpy())
        ]
        places, *values = zip(*fits, strict=True)
        filled = [padded(places, constant_values=np.inf), *(padded(rows, mode="edge") for rows in values)]
        return self._map(**dict(zip(self._map.arrays, filled, strict=True)))
