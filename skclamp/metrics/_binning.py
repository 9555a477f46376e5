"""Bins of confidence and what falls into them: one implementation for every metric and every picture."""

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from .._utils.arrays import (
    are_distributions,
    as_probability_matrix,
    at_least_single,
    check_probability_rows,
    n_axes,
    row_sum_tolerance,
    tensor_of,
    tensor_over,
)
from .._utils.labels import check_sample_weight, group_numbers, names_of_columns
from .._utils.parameters import check_whole_number

# Entries that are looked at or copied at a time: 0.5 MB of float32, which the caches of processors hold.
_CHUNK_SIZE = 2**17
# Relative errors that sums of weights may have: what they tell apart alone is a tie.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class BinTable:
    """Count, confidence and accuracy of each bin; ``pandas.DataFrame(dataclasses.asdict(table))`` shows it.

    Attributes
    ----------
    lower, upper : ndarray of shape (n_bins,)
        Edges of the bins; a bin is open on the left and closed on the right, but for the first, which holds its lower
        edge too.
    count : ndarray of shape (n_bins,)
        Number of samples, or the sum of their weights. Here and below shape (n_bins, n_classes) where every class has
        its own bins.
    confidence : ndarray of shape (n_bins,)
        Mean confidence; 0 in an empty bin.
    accuracy : ndarray of shape (n_bins,)
        Share of the samples that are right (or of the class in question); 0 in an empty bin.
    """

    lower: np.ndarray
    upper: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @classmethod
    def from_sums(cls, edges, count, confidence_sum, hit_sum):
        """Build the table from sums over the samples of each bin."""
        return cls(edges[:-1], edges[1:], count, ratios(confidence_sum, count), ratios(hit_sum, count))

    @property
    def edges(self):
        """All edges, one more than there are bins."""
        return np.append(self.lower, self.upper[-1])

    @property
    def share(self):
        """Part of all samples (or of their weight) in each bin."""
        return ratios(self.count, self.count.sum(0))

    @property
    def gap(self):
        """Accuracy minus confidence: below 0 where the classifier is over-confident."""
        return self.accuracy - self.confidence

    def expected_gap(self):
        """Mean absolute gap over the samples: a float, or one per class."""
        return self.error()

    def error(self, norm="l1"):
        """Norm of the gaps, weighted by the samples in each bin: "l1", "l2" (a root mean square) or "max"."""
        gap = abs(self.gap)
        if norm == "max":
            return gap.max(0)
        return (self.share * gap).sum(0) if norm == "l1" else np.sqrt((self.share * gap**2).sum(0))


@dataclass(frozen=True)
class Pairs:
    """A confidence for each sample, and whether it came true: what calibration errors reduce K columns to.

    Attributes
    ----------
    confidence : ndarray of shape (n_samples,), dtype float64
        Probability that was given to an event.
    hits : ndarray of shape (n_samples,), dtype float64
        1 where the event came true, else 0.
    weight : ndarray of shape (n_samples,), default=None
        Weights of the samples; None stands for ones.
    unit : ndarray of shape (n_samples,), default=None
        Numbers that samples share which depend on each other.
    n_units : int, default=0
        How many numbers there are, those of other samples among them.
    n_classes : int, default=1
        Of how many classes that exclude each other there are pairs, those of all samples for each of them.
    """

    confidence: np.ndarray
    hits: np.ndarray
    weight: np.ndarray | None = None
    unit: Any = None
    n_units: int = 0
    n_classes: int = 1

    @property
    def cluster(self):
        """Numbers that pairs of one unit and one class share."""
        return self.unit + self.n_units * np.arange(self.n_classes).repeat(len(self.unit) // self.n_classes)

    @property
    def residual(self):
        """Hits minus confidence: its mean is 0 on every set of confidences if they are calibrated."""
        return self.hits - self.confidence

    @cached_property
    def masses(self):
        """Weight of each sample."""
        return np.ones(len(self.confidence)) if self.weight is None else self.weight

    def above(self, threshold):
        """Return the pairs that have weight and whose confidence exceeds a threshold; None keeps all of these."""
        if threshold is None and self.weight is None:
            return self
        kept = self.masses > 0
        if threshold is not None:
            kept &= self.confidence > threshold
        weight = None if self.weight is None else self.weight[kept]
        return Pairs(self.confidence[kept], self.hits[kept], weight, self.unit[kept], self.n_units)

    def in_units(self, groups, values):
        """Sums of values, and of weights, of each unit in each group: sparse matrices of shape (n_units, n_groups).

        `groups`, sparse and of shape (n_pairs, n_groups), is the share of each pair in each.
        """
        of_units = csr_array((self.masses, (self.unit, np.arange(len(self.unit)))), (self.n_units, len(self.unit)))
        return of_units @ groups.multiply(values[:, None]), of_units @ groups

    def table(self, edges, include_lowest=True):
        """Bins of the confidence, and how often it came true; `include_lowest` as in `counted_hits`."""
        place = bin_indices(self.confidence, edges)
        n_bins = len(edges) - 1
        sums = [
            np.bincount(place, self.masses * values, n_bins)
            for values in (self.confidence, self.counted_hits(edges, include_lowest))
        ]
        return BinTable.from_sums(edges, np.bincount(place, self.weight, n_bins), *sums)

    def counted_hits(self, edges, include_lowest):
        """Hits, those on the lowest edge replaced by their confidence where they are to count as exactly calibrated.

        That is with ``include_lowest=False``, or "auto" where there is one alone.
        """
        at_lowest = self.confidence <= edges[0]
        if include_lowest == "auto":
            # A weight of several times the least stands for several samples.
            lowest = self.masses[at_lowest].sum()
            include_lowest = len(at_lowest) == 1 or lowest > self.masses[self.masses > 0].min()
        return self.hits if include_lowest else np.where(at_lowest, self.confidence, self.hits)


class Probabilities:
    """Class probabilities of one data set, and what a pass over them yields, computed once and kept.

    Every metric takes one in the place of an array, beside column indices, so that several metrics, or many draws of
    labels, share a pass.

    Parameters
    ----------
    y_proba : array-like or tensor of shape (n_samples, n_classes, *places) or (n_samples,)
        Probabilities of any floating-point dtype; one dimension, or one column, holds those of the second of two
        classes, which is then the event that `pairs` are about. Each place of a sample is a row, for which "sample"
        stands below.
    sample_weight : array-like of shape (n_samples,) or (n_samples, *places), default=None
        Weights of the samples, or of their places.
    rows_a_sample : int, default=1
        How many rows in succession are of one sample, and resampled together, where `y_proba` is of rows already.

    Attributes
    ----------
    unit : ndarray of shape (n_rows,)
        Number that rows share which depend on each other and are resampled together: those of a sample or, once
        `in_units` has been told them, of a group. They are in the order of the rows.
    n_units : int
        How many numbers there are.
    prediction : ndarray of shape (n_rows,)
        Column index of the most probable class; the first of equals.
    """

    def __init__(self, y_proba, sample_weight=None, rows_a_sample=1):
        tensor = as_probability_matrix(y_proba)
        wide = tensor.to(at_least_single(tensor))
        self.values = np.ascontiguousarray(wide.cpu().numpy())
        self.n_samples, self.n_classes = self.values.shape
        tolerance = row_sum_tolerance(tensor.dtype)
        predictions = []
        for _, chunk in self.chunks():
            if not are_distributions(chunk, tolerance):
                check_probability_rows(tensor, "y_proba", tolerance, below=0.0)
            predictions.append(chunk.argmax(1))
        self.prediction = np.concatenate(predictions)
        self.dtype = tensor.dtype
        self.shape = shape = np.shape(y_proba)
        self.names = names_of_columns(y_proba)
        self.rows_a_sample = math.prod(shape[2:]) if len(shape) > 2 else rows_a_sample
        self.is_event = len(shape) == 1 or shape[1] == 1
        # Counting is faster than adding up ones.
        self.weight = None if sample_weight is None else weights_of_rows(sample_weight, (shape[0], *shape[2:]))
        self.n_units = self.n_samples // self.rows_a_sample
        self.unit = np.arange(self.n_units).repeat(self.rows_a_sample)
        # By the number of edges, as many draws of labels share them.
        self._class_sums = {}

    def in_units(self, groups):
        """Return these, the samples of a group one unit; None leaves each one by itself."""
        if groups is not None:
            units = group_numbers(groups, self.n_samples // self.rows_a_sample)
            self.unit = units.repeat(self.rows_a_sample)
            self.n_units = units.max() + 1
            if self.n_units < 2:
                raise ValueError("groups must name 2 groups at least, as one says nothing of how they vary; got one")
        return self

    @property
    def masses(self):
        """Weight of each sample."""
        return np.ones(self.n_samples) if self.weight is None else self.weight

    def chunks(self):
        """Yield (slice of rows, their probabilities) over all rows."""
        step = max(1, _CHUNK_SIZE // self.n_classes)
        for start in range(0, self.n_samples, step):
            rows = slice(start, start + step)
            yield rows, self.values[rows]

    def of_event(self):
        """Of two classes the probabilities of the second alone, which is then the event; else these."""
        if self.n_classes != 2 or self.is_event:
            return self
        other = copy.copy(self)
        other.is_event = True
        return other

    @cached_property
    def confidence(self):
        """Probability (float64) of each sample's most probable class."""
        return self.of_label(self.prediction)

    @cached_property
    def ties(self):
        """Distinct confidences, descending, and the place of each sample's own among them."""
        descending, group = np.unique(-self.confidence, return_inverse=True)
        return -descending, group

    def equal_width_edges(self, n_bins):
        """Edges k/n_bins rounded to the probabilities' dtype, so that a probability of k/n_bins closes bin k in any."""
        return rounded(np.arange(check_whole_number(n_bins, "n_bins") + 1) / n_bins, self.dtype)

    def pairs(self, y_encoded, top_k=1, threshold=None):
        """Probability of the `top_k` most probable classes together, and whether the label is among them.

        Of probabilities in one dimension, that of the second class, and whether it is the label.
        """
        top_k = check_whole_number(top_k, "top_k")
        if self.is_event:
            if top_k != 1:
                raise ValueError(
                    f"top_k must be 1 where y_proba has one dimension, the probability of one event; got {top_k}"
                )
            (confidence,) = self.columns([1])
            hits = y_encoded == 1
        elif top_k == 1:
            confidence = self.confidence
            hits = self.prediction == y_encoded
        else:
            confidence, predictions = self._top_labels(top_k)
            hits = (predictions == y_encoded[:, None]).any(1)
        return self._pairs(confidence, hits, threshold)

    def _pairs(self, confidence, hits, threshold):
        return Pairs(confidence, hits.astype(float), self.weight, self.unit, self.n_units).above(threshold)

    def class_pairs(self, y_encoded, threshold=None):
        """Yield the pairs of each class: its probability, and whether it is the label."""
        for k in range(self.n_classes):
            (column,) = self.columns([k])
            yield self._pairs(column, y_encoded == k, threshold)

    def parts(self, y_encoded, of_labels=False):
        """Yield column indices and probabilities of each sample's rows or, of several labels, of each label's."""
        size = self.rows_a_sample
        for first in range(size) if of_labels else range(0, self.n_samples, size):
            rows = slice(first, None, size) if of_labels else slice(first, first + size)
            own = Probabilities(self.values[rows])
            own.is_event = self.is_event
            own.weight = None if self.weight is None else self.weight[rows]
            yield y_encoded[rows], own

    def columns(self, classes):
        """Probabilities (float64) of some classes, a contiguous row of each."""
        return self.values[:, classes].T.astype(float, order="C")

    def reweighted(self, weight):
        """The same samples under other weights."""
        other = copy.copy(self)
        other.weight = weight
        other._class_sums = {}
        return other

    def classwise_table(self, y_encoded, edges):
        """Bins of every class's probability, class by class, and how often the class is the right one."""
        if len(edges) not in self._class_sums:
            self._class_sums[len(edges)] = self._sums_by_class(edges)
        count, total = self._class_sums[len(edges)]
        # Of each sample's own class and its probability.
        places = bin_indices(self.of_label(y_encoded), edges) * self.n_classes + y_encoded
        hits = np.bincount(places, self.weight, count.size).reshape(count.shape)
        return BinTable.from_sums(edges, count, total, hits)

    def _sums_by_class(self, edges):
        """Count and sum of probabilities, shape (n_bins, n_classes).

        A row has fewer than n_bins entries beyond the first bin however many classes there are: only they are looked at
        singly.
        """
        masses = self.masses
        row, column = np.divmod(np.flatnonzero(self.values > float(edges[1])), self.n_classes)
        values = self.values[row, column].astype(float)
        places = bin_indices(values, edges) * self.n_classes + column
        shape = len(edges) - 1, self.n_classes
        count, total = (
            np.bincount(places, weight, math.prod(shape)).reshape(shape).astype(float)
            for weight in (masses[row], masses[row] * values)
        )
        whole = sum(masses[rows] @ chunk for rows, chunk in self.chunks())
        rest = masses.sum() - count[1:].sum(0)
        # Of an empty first bin rounding leaves something, whose mean could be anything.
        holds = rest > ROUNDING * masses.sum()
        count[0] = np.where(holds, rest, 0)
        total[0] = np.where(holds, whole - total[1:].sum(0), 0)
        return count, total

    def of_label(self, y_encoded):
        """Probability (float64) of each sample's own class."""
        return self.values[np.arange(self.n_samples), y_encoded].astype(float)

    def average(self, values):
        """Mean of one value per sample, weighted."""
        return float(np.average(values, weights=self.weight))

    def _top_labels(self, top_k):
        """Sum (float64) and column indices of each sample's `top_k` largest probabilities."""
        if top_k > self.n_classes:
            raise ValueError(f"top_k must be at most the number of classes, {self.n_classes}; got {top_k}")
        tops = tensor_over(self.values).topk(top_k, 1)
        return tops.values.double().sum(1).numpy(), tops.indices.numpy()


def rounded(values, dtype):
    """Values as a dtype of torch has them, in float64."""
    return torch.from_numpy(values).to(dtype).double().numpy()


def ratios(sums, masses):
    """Sums over their weights; the sums themselves where there is none."""
    return sums / np.where(masses > 0, masses, 1)


def weights_of_rows(sample_weight, shape):
    """Weights of rows, in float64, from those of samples or of their places, of which `shape` tells how many."""
    if len(shape) == 1 or n_axes(sample_weight, "sample_weight") < 2:
        return check_sample_weight(sample_weight, shape[0]).repeat_interleave(math.prod(shape[1:])).numpy()
    if np.shape(sample_weight) != shape:
        raise ValueError(
            f"sample_weight must have shape ({shape[0]},), or that of y_true, {shape}; got {np.shape(sample_weight)}"
        )
    return check_sample_weight(tensor_of(sample_weight, "sample_weight").ravel(), math.prod(shape)).numpy()


def bin_indices(values, edges):
    """Index of the right-closed bin of each value; what lies outside goes to the first or last bin."""
    return edges[1:-1].searchsorted(values, side="left")


def equal_mass_edges(confidence, weight, n_bins, side="left"):
    """Edges, all of them confidences, between which equal weights of samples lie, ties aside.

    Edge k is the last confidence before which less than k/n_bins of the weight comes; with ``side="right"`` at most
    k/n_bins, so that of equal weights the first bin has one sample more and the last one less.
    """
    check_whole_number(n_bins, "n_bins")
    order = confidence.argsort(kind="stable")
    weight = weight[order]
    before = weight.cumsum() - weight
    total = weight.sum()
    noise = ROUNDING * n_bins * total
    wanted = np.arange(n_bins + 1) * total + (noise if side == "right" else -noise)
    place = (before * n_bins).searchsorted(wanted, side=side) - 1
    return confidence[order][np.maximum(place, 0)]
