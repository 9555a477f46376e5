"""Functions of one probability for each of K classes, all evaluated at once: steps, and lines between knots.

The functions' knots are rows of one padded matrix, so that a search is one call however many classes there are.
"""

from typing import NamedTuple

import numpy as np
import torch

from .._utils.encoding import register


def padded(rows, fill=None):
    """Rows of several lengths as one float64 matrix, each filled up with `fill`, or with its own last value."""
    out = np.empty((len(rows), max(map(len, rows))))
    for row, place in zip(rows, out, strict=True):
        place[: len(row)] = row
        place[len(row) :] = row[-1] if fill is None else fill
    return torch.from_numpy(out)


@register
class StepMaps(NamedTuple):
    """One function per class, with steps of heights `values`, shape (K, m + 1), between `edges`, shape (K, m).

    Edges ascend in each row, which is filled up with infinity; each belongs to the step on its left.
    """

    edges: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, maps):
        """From one pair (edges, values) per class, of any lengths."""
        edges, values = zip(*maps, strict=True)
        return cls(padded(edges, np.inf), padded(values))

    def __call__(self, proba):
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

    @classmethod
    def of(cls, maps):
        """From one pair (knots, values) per class, of any lengths."""
        knots, values = zip(*maps, strict=True)
        return cls(padded(knots, np.inf), padded(values))

    def __call__(self, proba):
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
