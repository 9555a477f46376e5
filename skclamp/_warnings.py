"""Warnings on behalf of whoever called the package: those of a fit in one.

Imports nothing of the package.
"""

import inspect
import os
import warnings
from contextvars import ContextVar
from typing import NamedTuple

_PACKAGE = os.path.dirname(__file__) + os.sep
_CAUSES = (
    "X is on another scale than what trained the network",
    "the labels are in another order than the columns (pass classes=...)",
    'what is taken for logits is probabilities (response="probabilities")',
    "the samples trained the network",
    "there are too few samples",
)


def warn_caller(message, category):
    """Warn as if the first line outside the package had caused it, however deep within a fit another one is.

    Parameters
    ----------
    message : str
        What to say.
    category : type
        A subclass of `CalibrationWarning`.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


class _Note(NamedTuple):
    """Something seen: a cause (`explains`), a symptom that several causes have (`puzzles`), or neither."""

    message: str
    category: type
    explains: bool
    puzzles: bool


class _Notes(list):
    """Those of the fits that are going on, one within the other."""

    depth = 0


_NOTES: ContextVar[_Notes | None] = ContextVar("skclamp_notes", default=None)


def note(message, category, *, explains=False, puzzles=False):
    """Have something said in the one warning of the fit that is going on; outside of fits it is said at once.

    Parameters
    ----------
    message : str
        What was seen and, where that is sure, what to do.
    category : type
        A subclass of `CalibrationWarning`.
    explains : bool, default=False
        Whether it is a cause, which makes guesses at the causes of other notes needless and gives the warning its
        category.
    puzzles : bool, default=False
        Whether it may have any of the usual causes.
    """
    notes = _NOTES.get()
    if notes is None:
        warn_caller(message, category)
    else:
        notes.append(_Note(message, category, explains, puzzles))


def puzzled():
    """Whether something that may have any of the usual causes was noted."""
    return any(each.puzzles for each in _NOTES.get() or ())


def within_another_fit():
    """Whether the fit that is going on is a part of another one, which has looked at the data."""
    notes = _NOTES.get()
    return notes is not None and notes.depth > 1


class one_warning:  # noqa: N801
    """Context of a fit: gives one warning of all that was noted in it, and in fits within it."""

    def __enter__(self):
        around = _NOTES.get()
        self._notes = _Notes() if around is None else around
        self._notes.depth += 1
        self._token = _NOTES.set(self._notes)

    def __exit__(self, kind, error, traceback):
        self._notes.depth -= 1
        _NOTES.reset(self._token)
        if self._notes and not self._notes.depth and kind is None:
            _tell(list(dict.fromkeys(self._notes)))


class unheard:  # noqa: N801
    """Context of fits to a part of the data within another fit: what they note is left aside."""

    def __enter__(self):
        notes = _Notes()
        notes.depth = 1
        self._token = _NOTES.set(notes)

    def __exit__(self, *_):
        _NOTES.reset(self._token)


def _tell(notes):
    notes.sort(key=lambda each: not each.explains)
    message = "; ".join(each.message for each in notes)
    if any(each.puzzles for each in notes) and not notes[0].explains:
        message += ". Likely causes, the likeliest first: " + "; ".join(_CAUSES)
    warn_caller(message, notes[0].category)
