"""Curves of reliability diagrams: the smoothed one, and bootstrap intervals of it or of bins."""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.utils import check_random_state

from .._judging.paired import n_effective
from .._utils.parameters import check_whole_number
from ..metrics._binning import bin_indices, ratios
from ..metrics._resampling import grouped, resampling_counts
from ..metrics._smooth import cells_beside, cosines_of, pairs_smooth_error, smooth

# Points of the curve are 1 / _N_CELLS apart.
_N_CELLS = 2**10
# Narrower kernels would make the curve noisier than the bars beside it: this covers as much as a bin of ten.
_MIN_BANDWIDTH = 0.03
# Where the kernel covers fewer samples than this, a curve would show noise.
_MIN_SAMPLES = 5.0
# As much of a sample as rounding may leave where there is none.
_NO_SAMPLES = 1e-6


@dataclass(frozen=True)
class SmoothCurve:
    """Accuracy as a smooth function of the confidence.

    At each confidence the kernel's mean residual (hits minus confidence) is added to it. The mean gap between curve and
    diagonal, over the smoothed confidences, is the smooth calibration error where that is the bandwidth, but for parts
    that aren't shown. A calibrated classifier has the diagonal as its curve, ends included, where the kernel's mean of
    the hits would be drawn to the middle. As an accuracy the curve is cut off at 0 and 1.

    Attributes
    ----------
    confidence : ndarray of shape (n_points,)
        From 0 to 1.
    accuracy : ndarray of shape (n_points,)
        NaN where there are too few samples, and beyond the least and the greatest confidence.
    low, high : ndarray of shape (n_points,) or None
        Bootstrap band; None where none was asked for.
    density : ndarray of shape (n_points,)
        Of the smoothed confidences; its integral is 1.
    bandwidth : float
        Standard deviation of the kernel: the smooth calibration error, or 0.03 where that is less.
    error : float
        Smooth calibration error.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    density: np.ndarray
    bandwidth: float
    error: float


def resampler(proba, n_resamples, random_state):
    """A function that yields how often samples are drawn, in the same blocks each time; none for 0 replicates."""
    check_whole_number(n_resamples, "n_resamples", low=0)
    seed = check_random_state(random_state).randint(2**31 - 1)
    return lambda: resampling_counts(proba, n_resamples, check_random_state(seed))


def smooth_curve(pairs, resamples, confidence_level):
    """Smoothed accuracy of pairs of confidence and hit; the bandwidth is the smooth calibration error, 0.03 at least.

    `resamples` yields how often samples are drawn in bootstrap replicates, shape (n_replicates, n_samples); without any
    there is no band, which covers the accuracy at each confidence with probability `confidence_level`.
    """
    error = float(pairs_smooth_error(pairs))
    bandwidth = max(error, _MIN_BANDWIDTH)
    cells = cells_beside(pairs.confidence, _N_CELLS)
    confidence = np.arange(_N_CELLS + 1) / _N_CELLS
    of_units = pairs.in_units(cells, pairs.residual)

    def accuracy_and_density(counts):
        residual, mass = (counts @ each for each in of_units)
        residual, density = smooth(cosines_of(np.stack([residual, mass]) / mass.sum()), bandwidth)
        # The mean residual is 0 where there are no samples.
        mean = np.where(density > _NO_SAMPLES, residual / np.maximum(density, _NO_SAMPLES), 0.0)
        return (confidence + mean).clip(0, 1), density

    accuracy, density = accuracy_and_density(np.ones(pairs.n_units))
    shown = _is_supported(pairs, confidence, density * bandwidth)
    replicates = [accuracy_and_density(each)[0] for counts in resamples for each in counts]
    low, high = np.where(shown, _interval(replicates, confidence_level), np.nan) if replicates else (None, None)
    return SmoothCurve(confidence, np.where(shown, accuracy, np.nan), low, high, density, bandwidth, error)


def _is_supported(pairs, confidence, share):
    """Where enough samples are below the kernel, and others are on either side; `share` is density times bandwidth."""
    n_samples = n_effective(pairs.masses)
    # A mean of so many samples has the variance of the kernel's.
    n_below_kernel = n_samples * share * 2 * np.sqrt(np.pi)
    weighing = pairs.confidence[pairs.masses > 0]
    inside = (confidence > weighing.min() - 1 / _N_CELLS) & (confidence < weighing.max() + 1 / _N_CELLS)
    return inside & (n_below_kernel >= min(_MIN_SAMPLES, n_samples / 4))


def accuracy_intervals(pairs, edges, resamples, confidence_level):
    """Intervals of the bins' accuracies, shape (2, n_bins), by Wilson's formula or the bootstrap, and their counts.

    Counts are numbers of units; of weighted ones, how many equally weighted would tell as much. Of units of several
    rows those count as weights that are in the bin. Intervals of empty bins are NaN.

    Wilson's (Journal of the American Statistical Association 22, 1927) are taken without `resamples`, which are as for
    `smooth_curve`, and in bins whose samples are all right, or all wrong: replicates are so, too, every time. The bins
    stay as they are.
    """
    accuracy = pairs.table(edges).accuracy
    groups = grouped(bin_indices(pairs.confidence, edges), len(edges) - 1)
    hits, mass = pairs.in_units(groups, pairs.hits)
    counts = ratios(mass.sum(0) ** 2, mass.power(2).sum(0))
    intervals = wilson(accuracy, counts, confidence_level)
    with np.errstate(invalid="ignore"):
        # A replicate may miss a bin of few samples.
        replicates = [(drawn @ hits) / (drawn @ mass) for drawn in resamples]
    if replicates:
        varied = (accuracy > 0) & (accuracy < 1)
        intervals[:, varied] = _interval(np.concatenate(replicates)[:, varied], confidence_level)
    return intervals, counts


def wilson(share, count, confidence_level=0.95):
    """Wilson's intervals of shares, shape (2, n); NaN where there is nothing to count."""
    square = stats.norm.isf((1 - confidence_level) / 2) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = share + square / (2 * count)
        half = np.sqrt(square * (share * (1 - share) + square / (4 * count)) / count)
        intervals = np.array([centre - half, centre + half]) / (1 + square / count)
    # At the ends rounding would leave something.
    intervals[0, share == 0] = 0
    intervals[1, share == 1] = 1
    intervals[:, count == 0] = np.nan
    return intervals


def _interval(replicates, confidence_level):
    """Quantiles that hold this share of the replicates between them."""
    tail = (1 - confidence_level) / 2
    return np.nanquantile(replicates, [tail, 1 - tail], axis=0)
