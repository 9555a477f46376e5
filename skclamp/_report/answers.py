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
# Images shown before and after a perturbation, and with the wrong answers.
_N_SAMPLED, _MAX_WRONG_IMAGES = 8, 40


def answers_of(confidence, prediction, y_encoded, classes, uncalibrated):
    """A calibrator's answers as a page takes them, by name.

    They are how much more often they are right than the `uncalibrated` predictions, with the standard error; the wrong
    ones given with most confidence, the surest first; the worst classes, the worst first; some samples' at equal
    distances.
    """
    names = [str(name) for name in classes]
    hits = prediction == y_encoded
    gains = hits.astype(float) - (uncalibrated == y_encoded)
    wrong = np.flatnonzero(~hits)

    def answers(rows):
        return [
            {
                "row": int(row),
                "label": names[y_encoded[row]],
                "prediction": names[prediction[row]],
                "confidence": float(confidence[row]),
            }
            for row in rows
        ]

    return {
        "accuracy_gain": float(gains.mean()),
        "accuracy_gain_se": float(gains.std(ddof=1) / np.sqrt(len(gains))),
        "wrong": answers(wrong[np.argsort(-confidence[wrong], kind="stable")[:_N_WRONG]]),
        "classes": _worst_classes(prediction, confidence, y_encoded, names),
        "sampled": answers(_sampled(len(hits))),
    }


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


def page_content(scoring, n_calibration, cells, answers, samples, calibrators, order):
    """Content of a page beside the scores, under the names of its script.

    `cells` and `answers` are by calibrator, cells first of the most probable class, then of the `scoring`'s columns.
    Of wrong answers those of calibrators named first in `order` are pictured first. The date has ISO 8601's format.
    """
    wrong = list(dict.fromkeys(answer["row"] for name in order for answer in answers[name]["wrong"]))
    sampled = _sampled(len(samples.logits))
    rows = np.union1d(wrong[:_MAX_WRONG_IMAGES], sampled).astype(int)
    n_classes, columns = len(scoring.classes), scoring.columns
    return {
        "nCalibration": n_calibration,
        "nSamples": len(samples.logits),
        "nClasses": n_classes,
        "classNames": [str(scoring.classes[k]) for k in columns],
        # Scores are about the second of two classes.
        "event": 1 if n_classes == 2 else -1,
        "nBins": scoring.n_bins,
        "counts": scoring.counts,
        "thresholds": THRESHOLDS,
        "cells": cells,
        "answers": answers,
        "thumbnails": thumbnails_of(samples, calibrators, rows, sampled),
        "versions": {
            "skclamp": __version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
    }
