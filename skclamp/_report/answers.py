"""Content of a page beside the scores: single answers, the worst classes, versions, and the day."""

import platform
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sklearn
import torch

from .._version import __version__
from ..display._curves import wilson
from .thumbnails import Thumbnails, thumbnails_of

# Of each calibrator: wrong answers, and classes, that a page shows.
_N_WRONG, _N_CLASSES = 12, 10
# Images shown before and after a perturbation, and with the wrong answers.
_N_SAMPLED, _MAX_WRONG_IMAGES = 8, 40


@dataclass(frozen=True)
class Answer:
    """Answer of a calibrator to one sample: its row in the test set, the label, the prediction and its confidence."""

    row: int
    label: str
    prediction: str
    confidence: float


@dataclass(frozen=True)
class ClassAnswers:
    """A calibrator's answers to a class's samples: their mean confidence, and what they are mostly mistaken for."""

    name: str
    count: int
    hits: int
    confidence: float
    taken_for: str
    times: int


@dataclass(frozen=True)
class Answers:
    """Answers of one calibrator to the test set, as a page keeps them.

    Attributes
    ----------
    accuracy_gain, accuracy_gain_se : float
        How much more often it is right than the uncalibrated network, and the standard error of that.
    wrong : list of Answer
        The wrong ones that it is surest of, the surest first.
    classes : list of ClassAnswers
        The worst classes, the worst first.
    sampled : list of Answer
        To some samples at equal distances.
    """

    accuracy_gain: float
    accuracy_gain_se: float
    wrong: list[Answer]
    classes: list[ClassAnswers]
    sampled: list[Answer]


@dataclass(frozen=True)
class PageContent:
    """Content of a page beside the scores: each calibrator's answers by its name, and some images if inputs are such.

    The date is that of the comparison, in the format of ISO 8601.
    """

    n_calibration: int
    answers: dict[str, Answers]
    thumbnails: Thumbnails | None
    versions: dict[str, str]
    date: str


def answers_of(confidence, prediction, y_encoded, classes, uncalibrated):
    """Return a calibrator's answers for a page, and those on the gain over the `uncalibrated` predictions."""
    hits = prediction == y_encoded
    gains = hits.astype(float) - (uncalibrated == y_encoded)
    wrong = np.flatnonzero(~hits)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")[:_N_WRONG]]

    def answer(row):
        names = str(classes[y_encoded[row]]), str(classes[prediction[row]])
        return Answer(int(row), *names, float(confidence[row]))

    return Answers(
        float(gains.mean()),
        float(gains.std(ddof=1) / np.sqrt(len(gains))),
        [answer(row) for row in surest],
        _worst_classes(prediction, confidence, y_encoded, [str(name) for name in classes]),
        [answer(row) for row in _sampled(len(y_encoded))],
    )


def _worst_classes(prediction, confidence, y_encoded, names):
    """Classes with wrong answers by the upper end of their accuracy's interval: few samples lead no list."""
    count, right, total = (
        np.bincount(y_encoded, values, len(names)) for values in (None, prediction == y_encoded, confidence)
    )
    mistaken = np.flatnonzero(right < count)
    upper_ends = wilson(right[mistaken] / count[mistaken], count[mistaken])[1]
    worst = mistaken[np.argsort(upper_ends, kind="stable")[:_N_CLASSES]]
    answers = []
    for k in worst:
        times = np.bincount(prediction[y_encoded == k], minlength=len(names))
        times[k] = 0
        taken_for = names[times.argmax()], int(times.max())
        answers.append(ClassAnswers(names[k], int(count[k]), int(right[k]), float(total[k] / count[k]), *taken_for))
    return answers


def _sampled(n_samples):
    return np.unique(np.linspace(0, n_samples - 1, _N_SAMPLED).astype(int))


def page_content(n_calibration, answers, samples, calibrators, order):
    """All of it, with pictures of the test set's images; wrong answers of those named first in `order` come first."""
    wrong = list(dict.fromkeys(answer.row for name in order for answer in answers[name].wrong))
    sampled = _sampled(len(samples.logits))
    rows = np.union1d(wrong[:_MAX_WRONG_IMAGES], sampled).astype(int)
    versions = {
        "skclamp": __version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }
    date = datetime.now().astimezone().isoformat(timespec="minutes")
    return PageContent(n_calibration, answers, thumbnails_of(samples, calibrators, rows, sampled), versions, date)
