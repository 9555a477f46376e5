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
_N_WRONG, _N_CLASSES = 12, 10
# Images shown before and after a perturbation, with the wrong answers, and with a class at each of their pixels.
_N_SAMPLED, _MAX_WRONG_IMAGES, _MAX_SCENES = 8, 40, 8


def answers_of(confidence, prediction, y_encoded, losses, *, classes, are_labels):
    """A calibrator's answers as a page takes them, by name: one a sample, or one for each of its labels or places.

    They are the wrong ones given with most confidence, the surest first; the worst classes or labels, the worst first;
    some samples' at equal distances: the share of right ones where each has several places.

    Parameters
    ----------
    confidence, prediction, y_encoded, losses : ndarray of shape (n_samples, n_answers)
        Column indices of classes or, of labels that don't exclude each other, whether a sample has them, -1 where it
        isn't known; negative log-probabilities of what is true.
    classes : ndarray of shape (n_classes,) or (n_labels,)
        Names of the columns.
    are_labels : bool
        Whether each answer is about a label of its own.
    """
    names = [str(name) for name in classes]
    known = y_encoded >= 0
    hits = prediction == y_encoded
    places = np.flatnonzero(known & (prediction != y_encoded))
    surest = places[np.argsort(-confidence.ravel()[places], kind="stable")[:_N_WRONG]]

    def word(k, column):
        if are_labels:
            return names[k] if column else f"no {names[k]}"
        return names[column]

    def answer(row, k):
        return _answer(row, word(k, y_encoded[row, k]), word(k, prediction[row, k]), confidence[row, k])

    def of_sample(row):
        if are_labels:
            both = (y_encoded[row] == 1), known[row] & (prediction[row] == 1)
            return _answer(row, *(", ".join(names[k] for k in np.flatnonzero(those)) or "none" for those in both))
        if known.shape[1] == 1 and known[row, 0]:
            return answer(row, 0)
        right = float(hits[row][known[row]].mean()) if known[row].any() else None
        return {"row": int(row), "label": f"row {row}", "right": right}

    if are_labels:
        worst = _worst_labels(confidence, prediction, y_encoded, losses, names)
    else:
        worst = _worst_classes(prediction[known], confidence[known], y_encoded[known], names)
    return {
        "wrong": [answer(*divmod(place, known.shape[1])) for place in surest.tolist()],
        "classes": worst,
        "sampled": [of_sample(row) for row in _sampled(len(known))],
    }


def _answer(row, label, prediction, confidence=None):
    confidence = None if confidence is None else float(confidence)
    return {"row": int(row), "label": label, "prediction": prediction, "confidence": confidence}


def _worst_labels(confidence, prediction, y_encoded, losses, names):
    """Labels of the largest mean losses."""
    known = y_encoded >= 0
    missed = (y_encoded == 1) & (prediction == 0)
    alarmed = (y_encoded == 0) & (prediction == 1)
    proba = np.where(prediction == 1, confidence, 1 - confidence)
    means = np.where(known, losses, 0).sum(0) / known.sum(0)
    return [
        {
            "name": names[k],
            "count": int(known[:, k].sum()),
            "positives": int((y_encoded[:, k] == 1).sum()),
            "nll": float(means[k]),
            "probability": float(proba[known[:, k], k].mean()),
            "missed": int(missed[:, k].sum()),
            "false_alarms": int(alarmed[:, k].sum()),
        }
        for k in np.argsort(-means, kind="stable")[:_N_CLASSES]
    ]


def _worst_classes(prediction, confidence, y_encoded, names):
    """Classes with wrong answers by the upper end of their accuracy's interval: few samples lead no list."""
    count, right = (np.bincount(y_encoded, values, len(names)) for values in (None, prediction == y_encoded))
    mistaken = np.flatnonzero(right < count)
    upper_ends = wilson(right[mistaken] / count[mistaken], count[mistaken])[1]
    worst = []
    for k in mistaken[np.argsort(upper_ends, kind="stable")[:_N_CLASSES]]:
        own = y_encoded == k
        others, times = np.unique(prediction[own & (prediction != k)], return_counts=True)
        worst.append(
            {
                "name": names[k],
                "count": int(count[k]),
                "hits": int(right[k]),
                "confidence": float(confidence[own].mean()),
                "taken_for": names[others[times.argmax()]],
                "times": int(times.max()),
            }
        )
    return worst


def _sampled(n_samples):
    return np.unique(np.linspace(0, n_samples - 1, _N_SAMPLED).astype(int))


def page_content(scoring, n_calibration, cells, answers, samples, calibrators, order, fields=None):
    """Content of a page beside the scores, under the names of its script.

    `cells` and `answers` are by calibrator, cells first of the most probable class, then of the `scoring`'s events.
    Of wrong answers those of calibrators named first in `order` are pictured first. `fields` is as in `thumbnails_of`.
    The date has ISO 8601's format.
    """
    wrong = list(dict.fromkeys(answer["row"] for name in order for answer in answers[name]["wrong"]))
    sampled = _sampled(len(samples.logits))
    wrong = wrong[: _MAX_WRONG_IMAGES if fields is None else _MAX_SCENES]
    rows = np.union1d(wrong, sampled).astype(int)
    return {
        "nCalibration": n_calibration,
        "nSamples": len(samples.logits),
        # 0 where each sample is one.
        "nGroups": len(np.unique(scoring.units)) % len(scoring.units),
        "nClasses": len(scoring.classes),
        "areLabels": scoring.are_labels,
        "nPlaces": scoring.n_places,
        "columns": [str(name) for name in scoring.classes] if fields is not None else None,
        "classNames": scoring.events,
        "event": scoring.event,
        "nBins": scoring.n_bins,
        "counts": scoring.counts,
        "thresholds": THRESHOLDS,
        "cells": cells,
        "answers": answers,
        "thumbnails": thumbnails_of(samples, calibrators, rows, sampled, wrong, fields),
        "versions": {
            "skclamp": __version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }
