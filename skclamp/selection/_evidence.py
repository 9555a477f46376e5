"""What stood behind a comparison beside its scores: samples and their answers, versions, and the day."""

import platform
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import sklearn
import torch

from .._version import __version__
from ..metrics._binning import Probabilities
from ._thumbnails import Thumbnails, thumbnails_of

# Of each calibrator: wrong answers, and classes, that a page shows.
_N_WRONG, _N_CLASSES = 12, 10
# Images shown before and after a perturbation, and with the wrong answers.
_N_SAMPLED, _MAX_WRONG_IMAGES = 8, 40
_Z = 1.96


@dataclass(frozen=True)
class Answer:
    """What a calibrator says of one sample: its row in the test set, the label, the prediction and its confidence."""

    row: int
    label: str
    prediction: str
    confidence: float


@dataclass(frozen=True)
class ClassAnswers:
    """A calibrator's answers to the samples of one class.

    Attributes
    ----------
    name : str
        Of the class.
    count, hits : int
        Number of its samples, and of those that were told right.
    confidence : float
        Mean confidence of the answers, whatever they were.
    taken_for : str
        The class that its samples are most often taken for by mistake.
    times : int
        How often.
    """

    name: str
    count: int
    hits: int
    confidence: float
    taken_for: str
    times: int


@dataclass(frozen=True)
class Answers:
    """What is kept of one calibrator's answers to the test set.

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
class Evidence:
    """What a page tells of a comparison beside its scores.

    Attributes
    ----------
    n_calibration : int
        Samples of the calibration set.
    answers : dict of Answers
        By the calibrator's name.
    thumbnails : Thumbnails or None
        Of some test images; None where the inputs aren't images.
    versions : dict of str
        By the package's name.
    date : str
        When the comparison was made, in the format of ISO 8601.
    has_samples : bool
        Whether single samples are in it.
    """

    n_calibration: int
    answers: dict[str, Answers]
    thumbnails: Thumbnails | None
    versions: dict[str, str]
    date: str
    has_samples: bool = True

    def without_samples(self):
        """The same without anything of single samples."""
        answers = {name: replace(own, wrong=[], sampled=[]) for name, own in self.answers.items()}
        return replace(self, answers=answers, thumbnails=None, has_samples=False)


class Examiner:
    """Looks through calibrators' answers to one test set, the uncalibrated network's first.

    Parameters
    ----------
    y_encoded : ndarray of shape (n_samples,)
        Column index of each label.
    classes : ndarray of shape (n_classes,)
        Names of the columns.
    """

    def __init__(self, y_encoded, classes):
        self._y_encoded = y_encoded
        self._names = [str(name) for name in classes]
        self._sampled = np.unique(np.linspace(0, len(y_encoded) - 1, _N_SAMPLED).astype(int))
        self._first_hits = None
        self.answers = {}

    def look_at(self, name, y_proba):
        """Keep what a page shows of a calibrator's answers."""
        confidence, prediction = (np.asarray(own) for own in Probabilities(y_proba).top_label)
        hits = prediction == self._y_encoded
        if self._first_hits is None:
            self._first_hits = hits
        gains = hits.astype(float) - self._first_hits
        wrong = np.flatnonzero(~hits)
        surest = wrong[np.argsort(-confidence[wrong], kind="stable")[:_N_WRONG]]
        self.answers[name] = Answers(
            float(gains.mean()),
            float(gains.std(ddof=1) / np.sqrt(len(gains))),
            [self._answer(row, prediction, confidence) for row in surest],
            self._worst_classes(prediction, confidence, hits),
            [self._answer(row, prediction, confidence) for row in self._sampled],
        )

    def _answer(self, row, prediction, confidence):
        names = self._names[self._y_encoded[row]], self._names[prediction[row]]
        return Answer(int(row), *names, float(confidence[row]))

    def _worst_classes(self, prediction, confidence, hits):
        """Classes with wrong answers by the upper end of their accuracy's interval: few samples lead no list."""
        count, right, total = (self._per_class(own) for own in (None, hits, confidence))
        some = np.flatnonzero(right < count)
        worst = some[np.argsort(_upper_ends(right[some], count[some]), kind="stable")[:_N_CLASSES]]
        return [
            ClassAnswers(
                name=self._names[k],
                count=int(count[k]),
                hits=int(right[k]),
                confidence=float(total[k] / count[k]),
                **self._taken_for(k, prediction),
            )
            for k in worst
        ]

    def _per_class(self, values):
        """Sums of samples' values over those of each class; None counts them."""
        return np.bincount(self._y_encoded, values, len(self._names))

    def _taken_for(self, k, prediction):
        mistaken = np.bincount(prediction[self._y_encoded == k], minlength=len(self._names))
        mistaken[k] = 0
        return {"taken_for": self._names[mistaken.argmax()], "times": int(mistaken.max())}

    def evidence(self, n_calibration, reading, calibrators, order):
        """All of it, with pictures of the images in `reading`; the calibrators named first in `order` come first."""
        rows = list(dict.fromkeys(answer.row for name in order for answer in self.answers[name].wrong))
        shown = np.union1d(rows[:_MAX_WRONG_IMAGES], self._sampled).astype(int)
        thumbnails = thumbnails_of(reading, calibrators, shown, self._sampled)
        date = datetime.now().astimezone().isoformat(timespec="minutes")
        return Evidence(n_calibration, self.answers, thumbnails, _versions(), date)


def _upper_ends(hits, count):
    """Upper ends of Wilson's intervals, of 95 %."""
    share, square = hits / count, _Z**2 / count
    half = _Z * np.sqrt((share * (1 - share) + square / 4) / count)
    return (share + square / 2 + half) / (1 + square)


def _versions():
    return {
        "skclamp": __version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }
