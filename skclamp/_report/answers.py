"""Content of a page beside the scores: cells, single answers, the worst classes, versions, and the day."""

import platform
from datetime import datetime

import numpy as np
import sklearn
import torch

from .._version import __version__
from ..display._curves import wilson
from .cells import THRESHOLDS
from .thumbnails import thumbnails_of

# Of each calibrator: wrong answers, and classes, that a page shows.
_N_WRONG = 12
_N_CLASSES = 10
# Images shown before and after a perturbation, and with the wrong answers.
_N_SAMPLED = 8
_MAX_WRONG_IMAGES = 40


def answers_of(confidence, prediction, y_encoded, *, classes, are_labels):
    """A calibrator's answers as a page takes them, by name: one a sample, or one for each of its labels or places.

    They are the wrong ones given with most confidence, the surest first; the worst classes or labels, the worst first;
    some samples' at equal distances: the share of right ones where each has several.

    Parameters
    ----------
    confidence, prediction, y_encoded : ndarray of shape (n_samples, n_answers)
        Column indices of classes or, of labels that don't exclude each other, whether a sample has them, -1 where it
        isn't known.
    classes : ndarray of shape (n_classes,) or (n_labels,)
        Names of the columns.
    are_labels : bool
        Whether each answer is about a label of its own.
    """
    names = [str(name) for name in classes]
    known = y_encoded >= 0
    hits = prediction == y_encoded
    places = np.flatnonzero(known & ~hits)
    surest = places[(-confidence.ravel()[places]).argsort(kind="stable")[:_N_WRONG]]

    def answer(row, k):
        words = [f"no {names[k]}", names[k]] if are_labels else names
        label, predicted = (words[columns[row, k]] for columns in (y_encoded, prediction))
        return {"row": row, "label": label, "prediction": predicted, "confidence": float(confidence[row, k])}

    def of_sample(row):
        there = known[row]
        if there.tolist() == [True]:
            return answer(row, 0)
        right = float(hits[row][there].mean()) if there.any() else None
        return {"row": row, "label": f"row {row}", "right": right}

    of_class = np.broadcast_to(np.arange(len(names)), known.shape) if are_labels else y_encoded
    taken_for = None if are_labels else prediction[known]
    return {
        "wrong": [answer(*divmod(place, known.shape[1])) for place in surest.tolist()],
        "classes": _worst_classes(of_class[known], hits[known], confidence[known], taken_for, names),
        "sampled": [of_sample(row) for row in _sampled(len(known))],
    }


def _worst_classes(of_class, hits, confidence, taken_for, names):
    """Classes or labels with wrong answers by the upper end of their accuracy's interval: few samples lead no list."""
    count, right = (np.bincount(of_class, values, len(names)) for values in (None, hits))
    mistaken = np.flatnonzero(right < count)
    upper_ends = wilson(right[mistaken] / count[mistaken], count[mistaken])[1]
    worst = []
    for k in mistaken[upper_ends.argsort(kind="stable")[:_N_CLASSES]].tolist():
        own = of_class == k
        told = {"name": names[k], "count": int(count[k]), "hits": int(right[k]), "confidence": confidence[own].mean()}
        if taken_for is not None:
            times = np.bincount(taken_for[own & ~hits])
            told.update(taken_for=names[times.argmax()], times=int(times.max()))
        worst.append(told)
    return worst


def _sampled(n_samples):
    return np.unique(np.linspace(0, n_samples - 1, _N_SAMPLED).astype(int)).tolist()


def page_content(scoring, n_calibration, cells, answers, samples, calibrators, order):
    """Content of a page beside the scores, under the names of its script.

    `cells` and `answers` are by calibrator, cells first of the most probable class, then of the `scoring`'s events.
    Of wrong answers those of calibrators named first in `order` are pictured first. The date has ISO 8601's format.
    """
    n_samples = len(samples.logits)
    wrong = list(dict.fromkeys(answer["row"] for name in order for answer in answers[name]["wrong"]))
    return {
        "nCalibration": n_calibration,
        "nSamples": n_samples,
        # 0 where each sample is one.
        "nGroups": len(np.unique(scoring.units)) % len(scoring.units),
        "nClasses": len(scoring.classes),
        "areLabels": scoring.are_labels,
        "nPlaces": scoring.n_places,
        "classNames": scoring.events,
        "event": scoring.event,
        "nBins": scoring.n_bins,
        "counts": scoring.counts,
        "thresholds": THRESHOLDS,
        "cells": cells,
        "answers": answers,
        "thumbnails": thumbnails_of(samples, calibrators, _sampled(n_samples), wrong[:_MAX_WRONG_IMAGES]),
        "versions": {
            "skclamp": __version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }
