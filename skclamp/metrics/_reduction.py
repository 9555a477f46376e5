"""From what the user gives to pairs of confidence and hit, on which the calibration errors are computed."""

import numpy as np

from .._utils.parameters import check_choice, check_number
from ._binning import Probabilities

NORMS = ("l1", "l2", "max")
STRATEGIES = ("uniform", "quantile")
MODES = ("top-label", "classwise")


def as_probabilities(y_proba, sample_weight=None):
    """Probabilities that share their passes: those given, or new ones of an array."""
    if not isinstance(y_proba, Probabilities):
        return Probabilities(y_proba, sample_weight)
    if sample_weight is not None:
        raise ValueError("sample_weight must be None where y_proba is a Probabilities object, which has its own")
    return y_proba


def check_options(*, norm="l1", strategy="uniform", mode="top-label", top_k=1, threshold=None):
    """Raise unless the options that calibration errors share are known and fit together."""
    check_choice(norm, "norm", NORMS)
    check_choice(strategy, "strategy", STRATEGIES)
    check_choice(mode, "mode", MODES)
    if threshold is not None:
        check_number(threshold, "threshold", 0, 1, closed="left")
    if mode == "classwise" and top_k != 1:
        raise ValueError(f"top_k must be 1 with mode='classwise'; got {top_k!r}")


def some_pairs(proba, y_encoded, top_k=1, threshold=None):
    """Pairs of the most probable classes above a threshold, of which there must be some.

    Raises
    ------
    ValueError
        If no sample is left.
    """
    pairs = proba.pairs(y_encoded, top_k, threshold)
    if threshold is not None and not pairs.masses.any():
        largest = proba.pairs(y_encoded, top_k).confidence.max()
        raise ValueError(
            f"threshold must be below the confidence of some sample, the largest of which is {largest:.6g}; "
            f"got {threshold!r}"
        )
    return pairs


def each_class(error, proba, y_encoded, threshold=None):
    """An error of every class's pairs, an array; 0 for a class that never has a probability above the threshold."""
    classes = proba.class_pairs(y_encoded, threshold)
    return np.array([error(pairs) if pairs.masses.any() else 0.0 for pairs in classes])


def reduced_error(error, y_true, y_proba, *, mode, top_k, threshold, labels, sample_weight):
    """An error of the most probable classes' pairs, or its mean over every class's."""
    check_options(mode=mode, top_k=top_k, threshold=threshold)
    proba = as_probabilities(y_proba, sample_weight)
    y_encoded = proba.encode(y_true, labels)
    if mode == "classwise":
        return float(each_class(error, proba, y_encoded, threshold).mean())
    return float(error(some_pairs(proba, y_encoded, top_k, threshold)))


def edges_of(pairs, proba, n_bins, strategy):
    """Edges of bins of equal width or of equal mass."""
    from_mass = strategy == "quantile"
    return pairs.equal_mass_edges(n_bins) if from_mass else proba.equal_width_edges(n_bins)


def adaptive_bins(pairs, proba, n_bins, include_lowest="auto"):
    """Edges of equal mass of the adaptive error, and its `include_lowest`.

    Those of one event are the ones of its classwise error, where every sample counts: only of the most probable class
    are there implementations to agree with.
    """
    if not proba.is_event:
        return pairs.equal_mass_edges(n_bins, side="right"), include_lowest
    return pairs.equal_mass_edges(n_bins), include_lowest == "auto" or include_lowest
