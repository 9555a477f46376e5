"""Looks at labels that don't exclude each other: in another order, upside down, all 1, or a sigmoid twice."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from .._judging.paired import deviations
from .._utils.arrays import counted_rows
from .._utils.warnings import Finding
from ..exceptions import TrainingDataWarning
from . import words

# Looks at more samples, or at more labels, would take long.
_MAX_SAMPLES = 5000
_MAX_LABELS = 2048
# So many times as well must labels fit in another order.
_TIMES = 2
# Standard errors beyond chance: of an order, and of one of many labels.
_OF_ORDER = 3.09
_OF_LABEL = 4.0
# To tell guesses: how much more often than half a 1 has the higher probability of a 1 and a 0, at most, and at so many
# standard errors above what is found; and from how many on a label by itself is none.
_ADVANTAGE = 0.1
_OF_ANY = 1.645
_OF_ONE = 2.5
# The log-odds of sigmoid(1) are 1, but for rounding; and how often labels are 1 whose probabilities are all above that.
_MOST = 1.001
_HALF = 0.5
# How improbable it must be that a label has no error, in nats.
_OF_NO_ERROR = 7


def look_at_labels(samples):
    """Findings of labels that the columns fit in another order, the other way round, or not; at places, of one each."""
    rows = samples.rows(most_places=1)
    drawn = counted_rows(samples.weight, _MAX_SAMPLES).numpy()
    arrays = [
        values.cpu().numpy().reshape(len(samples.weight), -1)
        for values in (rows.logits[:, 1] - rows.logits[:, 0], rows.y, rows.weight > 0)
    ]
    log_odds, y, known = (array[drawn] for array in arrays)
    if len(y) < words.MIN_SAMPLES_PER_PARAMETER or y.shape[1] > _MAX_LABELS:
        return []
    mistake = _mistake_of(log_odds, y, known, samples.classes, samples.backbone.guesses_response)
    if mistake is not None:
        return [Finding(mistake, explains=True)]
    findings = []
    unknown = ~arrays[2].any(0)
    # At places it may be known of others.
    if unknown.any() and not samples.outputs.is_dense:
        findings.append(Finding(words.unknown_labels(samples.classes[unknown])))
    # How improbable so few errors are by what the probabilities promise.
    surprise = (known * np.logaddexp(0, -abs(log_odds))).sum(0)
    flawless = ~(known & ((log_odds > 0) != y)).any(0) & (surprise > _OF_NO_ERROR + np.log(y.shape[1]))
    names = samples.classes[flawless].tolist()
    if names:
        findings.append(Finding(words.FLAWLESS_LABELS.format(names), TrainingDataWarning))
    return findings


def _mistake_of(log_odds, y, known, names, guesses_response):
    """The first mistake that log-odds of labels (n, L) show beside these, in words; None where there is none.

    An order is found on one half of the samples and tested on the other.
    """
    n_samples, n_labels = y.shape
    n_known = known.sum(0)
    share = (known * y).sum(0) / n_known.clip(1)
    if known.any() and y[known].all():
        return words.ALL_ONES
    if 0 <= log_odds.min() <= log_odds.max() <= _MOST and share.mean() < _HALF and not guesses_response:
        return words.SIGMOID_TWICE
    deviation = known * (y - share)
    ranks = rankdata(log_odds, axis=0) - n_samples / 2
    fit = deviation * ranks
    second = np.random.default_rng(0).random(n_samples) < _HALF
    # Against the sample's other labels: such as come together fit each other's columns.
    apart = ranks - ranks.mean(1, keepdims=True)
    order = linear_sum_assignment(deviation[~second].T @ apart[~second], maximize=True)[1]
    moved = order != np.arange(n_labels)
    before, after = ((deviation * each)[second][:, moved].sum(1) for each in (apart, apart[:, order]))
    if after.sum() > _TIMES * abs(before.sum()) and deviations(after - before) > _OF_ORDER:
        shown = order.argsort().tolist() if n_labels <= words.MAX_SHOWN else "..."
        return words.LABELS_IN_ANOTHER_ORDER.format(shown)
    by_label = deviations(fit)
    against = names[by_label < -_OF_LABEL].tolist()
    if against:
        return words.UPSIDE_DOWN.format(against)
    sums = fit.sum(1)
    n_pairs = n_known**2 @ (share * (1 - share))
    most = sums.sum() + _OF_ANY * np.linalg.norm(sums)
    guesses = most < _ADVANTAGE * n_pairs and by_label.max() < _OF_ONE
    return words.GUESSES_OF_LABELS.format(n_samples) if guesses else None
