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


def answers_of(confidence, prediction, y_encoded, classes, units, n_samples):
    """A calibrator's answers as a page takes them, by name; `units` are the samples that they are of.

    They are the wrong ones given with most confidence, the surest first; the worst classes, the worst first; some
    samples' at equal distances: the share of right ones where each has several.
    """
    names = [str(name) for name in classes]
    hits, sampled = prediction == y_encoded, _sampled(n_samples)

    def answers(places):
        return [_answer(units[k], names[y_encoded[k]], names[prediction[k]], confidence[k]) for k in places]

    return {
        "wrong": answers(_surest(~hits, confidence)),
        "classes": _worst_classes(prediction, confidence, y_encoded, names),
        "sampled": answers(sampled) if len(hits) == n_samples else [_share_right(k, hits[units == k]) for k in sampled],
    }


def _share_right(row, hits):
    return {"row": int(row), "label": f"row {row}", "right": float(hits.mean()) if len(hits) else None}


def _answer(row, label, prediction, confidence=None):
    confidence = None if confidence is None else float(confidence)
    return {"row": int(row), "label": label, "prediction": prediction, "confidence": confidence}


def answers_of_labels(proba, labels, losses, classes):
    """The same where labels don't exclude each other: an answer for each, whether a sample has it.

    Parameters
    ----------
    proba, labels, losses : ndarray of shape (n_samples, n_labels)
        Probabilities; 0, 1, or -1 where it isn't known; and negative log-probabilities of what is true.
    classes : ndarray of shape (n_labels,)
        Names of the labels.
    """
    names = [str(name) for name in classes]
    known, predicted, confidence = labels >= 0, proba >= 0.5, np.maximum(proba, 1 - proba)
    false = known & (predicted != labels)

    def words(k, is_there):
        return names[k] if is_there else f"no {names[k]}"

    def those(has):
        return ", ".join(name for name, there in zip(names, has, strict=True) if there) or "none"

    wrong = [divmod(int(place), len(names)) for place in _surest(false.ravel(), confidence.ravel())]
    means = np.where(known, losses, 0).sum(0) / known.sum(0)
    return {
        "wrong": [
            _answer(row, words(k, labels[row, k]), words(k, predicted[row, k]), confidence[row, k]) for row, k in wrong
        ],
        "classes": [
            {
                "name": names[k],
                "count": int(known[:, k].sum()),
                "positives": int((labels[:, k] == 1).sum()),
                "nll": float(means[k]),
                "probability": float(proba[known[:, k], k].mean()),
                "missed": int((false & ~predicted)[:, k].sum()),
                "false_alarms": int((false & predicted)[:, k].sum()),
            }
            for k in np.argsort(-means, kind="stable")[:_N_CLASSES]
        ],
        "sampled": [
            _answer(row, those(labels[row] == 1), those(predicted[row] & known[row])) for row in _sampled(len(labels))
        ],
    }


def _surest(wrong, confidence):
    """Places of the wrong answers given with most confidence, the surest first."""
    places = np.flatnonzero(wrong)
    return places[np.argsort(-confidence[places], kind="stable")[:_N_WRONG]]


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
