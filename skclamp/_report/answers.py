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
    places = np.flatnonzero(known & ~hits)
    surest = places[np.argsort(-confidence.ravel()[places], kind="stable")[:_N_WRONG]]

    def word(k, column):
        if are_labels:
            return names[k] if column else f"no {names[k]}"
        return names[column]

    def answer(row, k):
        label, predicted = (word(k, columns[row, k]) for columns in (y_encoded, prediction))
        return {"row": row, "label": label, "prediction": predicted, "confidence": float(confidence[row, k])}

    def of_sample(row):
        there = known[row]
        if are_labels:
            both = (columns[row][there] == 1 for columns in (y_encoded, prediction))
            label, predicted = (", ".join(np.array(names)[there][those]) or "none" for those in both)
            return {"row": row, "label": label, "prediction": predicted, "confidence": None}
        if there.tolist() == [True]:
            return answer(row, 0)
        right = float(hits[row][there].mean()) if there.any() else None
        return {"row": row, "label": f"row {row}", "right": right}

    if are_labels:
        worst = _worst_labels(confidence, prediction, y_encoded, losses, names)
    else:
        worst = _worst_classes(prediction[known], confidence[known], y_encoded[known], names)
    return {
        "wrong": [answer(*divmod(place, known.shape[1])) for place in surest.tolist()],
        "classes": worst,
        "sampled": [of_sample(row) for row in _sampled(len(known))],
    }


def _worst_labels(confidence, prediction, y_encoded, losses, names):
    """Labels of the largest mean losses."""
    known = y_encoded >= 0
    means = losses.mean(0, where=known)
    columns = {
        "count": known.sum(0),
        "positives": (y_encoded == 1).sum(0),
        "nll": means,
        "probability": np.where(prediction == 1, confidence, 1 - confidence).mean(0, where=known),
        "missed": (y_encoded > prediction).sum(0),
        "false_alarms": (known & (y_encoded < prediction)).sum(0),
    }
    worst = np.argsort(-means, kind="stable")[:_N_CLASSES]
    return [{"name": names[k], **{key: values[k].item() for key, values in columns.items()}} for k in worst]


def _worst_classes(prediction, confidence, y_encoded, names):
    """Classes with wrong answers by the upper end of their accuracy's interval: few samples lead no list."""
    count, right = (np.bincount(y_encoded, values, len(names)) for values in (None, prediction == y_encoded))
    mistaken = np.flatnonzero(right < count)
    upper_ends = wilson(right[mistaken] / count[mistaken], count[mistaken])[1]
    worst = []
    for k in mistaken[np.argsort(upper_ends, kind="stable")[:_N_CLASSES]].tolist():
        own = y_encoded == k
        times = np.bincount(prediction[own], minlength=len(names))
        times[k] = 0
        worst.append(
            {
                "name": names[k],
                "count": int(count[k]),
                "hits": int(right[k]),
                "confidence": float(confidence[own].mean()),
                "taken_for": names[times.argmax()],
                "times": int(times.max()),
            }
        )
    return worst


def _sampled(n_samples):
    return np.unique(np.linspace(0, n_samples - 1, _N_SAMPLED).astype(int)).tolist()


def page_content(scoring, n_calibration, cells, answers, samples, calibrators, order, fields=None):
    """Content of a page beside the scores, under the names of its script.

    `cells` and `answers` are by calibrator, cells first of the most probable class, then of the `scoring`'s events.
    Of wrong answers those of calibrators named first in `order` are pictured first. `fields` is as in `thumbnails_of`.
    The date has ISO 8601's format.
    """
    n_samples = len(samples.logits)
    wrong = list(dict.fromkeys(answer["row"] for name in order for answer in answers[name]["wrong"]))
    wrong = wrong[: _MAX_WRONG_IMAGES if fields is None else _MAX_SCENES]
    sampled = _sampled(n_samples)
    return {
        "nCalibration": n_calibration,
        "nSamples": n_samples,
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
        "thumbnails": thumbnails_of(samples, calibrators, sampled, wrong, fields),
        "versions": {
            "skclamp": __version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }
