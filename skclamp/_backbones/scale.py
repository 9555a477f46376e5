"""Scale of a fit's inputs, a small record, and the look for other inputs on another scale."""

from typing import NamedTuple

import numpy as np
import torch

from .._utils.arrays import at_least_single, tensor_of
from .._utils.encoding import register
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning

# Of more samples the record is of the first.
MAX_SAMPLES = 2048
# So small a share of samples that aren't all 0 may have smaller largest entries than is usual.
_UNUSUAL = 0.05
# A single row of a table with fewer entries may be anything.
_MIN_ENTRIES = 10
# By which factor all entries are smaller than those of the fit, or a part of them larger than all of it: contrast in
# fog, and tails that are heavier, do less, and bytes for fractions, or the reverse, more.
_FAR_BELOW = 30.0
_FAR_BEYOND = 10.0
_PART_BEYOND = 0.2
# Where a fit had nothing below 0, so large a part is, by more than so much of the largest: noise does less.
_BELOW_ZERO = 0.2
# By which factor half of so many samples have larger root mean squares than any of the fit, if it had so many.
_MIN_SAMPLES, _BEYOND_ALL, _MIN_OF_FIT = 5, 2.0, 20
_PART_BELOW = 0.3


@register
class Scale(NamedTuple):
    """Sizes of inputs.

    Attributes
    ----------
    low, high : float
        Of all their entries.
    usual : float
        What the largest entry of nearly all samples exceeds, by its magnitude.
    root_mean_square : float
        The largest of all samples; infinity where these are few.
    """

    low: float
    high: float
    usual: float
    root_mean_square: float = float("inf")


def sizes_of(x):
    """Least and largest entry of floating-point inputs, and of each sample its magnitude and its root mean square.

    They are on the inputs' device. None of what isn't floating-point.
    """
    if x is None or not x.is_floating_point() or not x.numel():
        return None
    return *x.aminmax(), x.reshape(len(x), -1).abs().amax(1), _root_mean_squares(x)


def _root_mean_squares(x):
    """Of each sample, in single precision at least: squares of half precision overflow."""
    return torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1, dtype=at_least_single(x)) * (x[0].numel() ** -0.5)


def scale_of(sizes):
    """The scale of batches, from the sizes of each or None; None of nothing, and where all of it is 0."""
    if not (sizes := list(filter(None, sizes))):
        return None
    lows, highs, magnitudes, roots = zip(*sizes, strict=True)
    bounds = torch.stack([torch.stack(lows).min(), torch.stack(highs).max(), torch.cat(roots).max()])
    # One way to the host for all batches.
    told = torch.cat([bounds, *magnitudes]).cpu().double().numpy()
    low, high, root = told[:3].tolist()
    largest = told[3:]
    if len(largest) < _MIN_OF_FIT:
        root = float("inf")
    return Scale(low, high, float(np.quantile(largest[largest > 0], _UNUSUAL)), root) if largest.any() else None


def joined(scales):
    """The scale of inputs of which several processes have a part each."""
    if not (scales := list(filter(None, scales))):
        return None
    lows, highs, usual, roots = zip(*scales, strict=True)
    return Scale(min(lows), max(highs), min(usual), max(roots))


def look_at_scale(x, scale):
    """Tell that a batch is on another scale than a fit's inputs, by a factor or as what was normalised."""
    if scale is None or x is None or not x.is_floating_point() or x.numel() < _MIN_ENTRIES:
        return
    low, high = torch.stack(x.aminmax()).tolist()
    largest = max(-low, high)
    beyond = _FAR_BEYOND * max(-scale.low, scale.high)
    below = -_BELOW_ZERO * scale.high if scale.low >= 0 else -float("inf")
    # Background says nothing.
    n_entries = max(1, int(torch.count_nonzero(x)))
    if (
        0 < largest < scale.usual / _FAR_BELOW
        or int((x.abs() > beyond).sum()) >= _PART_BEYOND * n_entries
        or int((x < below).sum()) >= _PART_BELOW * n_entries
        or (len(x) >= _MIN_SAMPLES and _root_mean_squares(x).median() > _BEYOND_ALL * scale.root_mean_square)
    ):
        note(
            f"X holds from {low:.4g} to {high:.4g}, on another scale than in fit: those of fit ranged from "
            f"{scale.low:.4g} to {scale.high:.4g}. Scale and normalise them as those; integer_scale goes for integers",
            CalibrationSetWarning,
        )


def finite_rows(values):
    """The first rows of what holds numbers, as floats, with 0 for infinity and NaN; None of anything else."""
    try:
        rows = tensor_of(values[:MAX_SAMPLES], "X")
    except (TypeError, ValueError, LookupError, NotImplementedError):
        return None
    return torch.nan_to_num(rows if rows.is_floating_point() else rows.double(), 0.0, 0.0, 0.0)
