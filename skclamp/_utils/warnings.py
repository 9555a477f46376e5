"""Warnings on behalf of whoever called the package, those of a fit in one."""

import contextlib
import inspect
import os
import warnings
from contextvars import ContextVar
from typing import NamedTuple

from ..exceptions import CalibrationSetWarning, NotConvergedWarning

# The package's folder, and what leaves its context managers.
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_NOT_CALLERS = _PACKAGE, contextlib.__file__
_SCALE = "X is on another scale than what trained the network"
_ORDER = "y is in another order than X, or than the columns (pass classes=...)"
_PROBABILITIES = 'what is taken for logits is probabilities (response="probabilities")'
_TRAINING = "the samples trained the network"
_FEW = "there are too few samples"
# What makes temperatures extreme, the likeliest first: logits that say little of the labels, and such as fit them too
# well, or are too flat.
CAUSES_OF_LARGE_T = _SCALE, _ORDER, _FEW, _PROBABILITIES, _TRAINING
CAUSES_OF_SMALL_T = _PROBABILITIES, _TRAINING, _FEW, _SCALE, _ORDER
# Nothing but what is right on all samples.
CAUSES_OF_FLAWLESSNESS = _FEW, _TRAINING


def warn_caller(message, category):
    """Warn as if the first line outside the package had caused it, however deep within a fit another one is."""
    notes = _NOTES.get()
    if notes is not None and notes.silent:
        return
    frame = inspect.currentframe()
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_CALLERS):
        frame = frame.f_back
        level = level + 1
    warnings.warn(message, category, stacklevel=level)


class Finding(NamedTuple):
    """Something found: a cause (`explains`), a symptom with its likely causes, the likeliest first, or neither."""

    message: str
    category: type = CalibrationSetWarning
    explains: bool = False
    puzzles: tuple = ()


class _Notes(list):
    """Notes of the fits that are going on, one within the other."""

    silent = False
    # Whether a cause was noted, beside which what it leads to is no news; and what may have any of the usual causes.
    explained = puzzled = False


_NOTES: ContextVar[_Notes | None] = ContextVar("skclamp_notes", default=None)


def note(message, category, *, explains=False, puzzles=()):
    """Tell a `Finding`."""
    tell([Finding(message, category, explains, puzzles)])


def tell(findings):
    """Have findings said in the one warning of the fit that is going on; outside of fits they are said at once.

    A cause makes guesses at the causes of others needless, and gives the warning its category.
    """
    notes = _NOTES.get()
    for finding in findings:
        if notes is None:
            warn_caller(finding.message, finding.category)
        else:
            notes.append(finding)
            notes.explained = notes.explained or finding.explains
            notes.puzzled = notes.puzzled or bool(finding.puzzles)


def note_unconverged(converged, cause="the data may be separable"):
    """Have it said that a search of the fit that is going on ended early, if one did."""
    if not converged:
        note(f"the loss hadn't converged when the solver stopped; {cause}", NotConvergedWarning)


@contextlib.contextmanager
def _noting(*, silent=False):
    """Yield notes, in which all is told from now on."""
    notes = _Notes()
    notes.silent = silent
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


@contextlib.contextmanager
def one_warning():
    """Give one warning of all that is noted in a fit, and in fits within it, once it has succeeded; yield the notes."""
    around = _NOTES.get()
    if around is not None:
        yield around
        return
    with _noting() as notes:
        yield notes
    if notes:
        _tell(list(dict.fromkeys(notes)))


def silenced():
    """Leave aside what the package warns of, in this thread alone, as Python's filters couldn't."""
    return _noting(silent=True)


def _tell(notes):
    notes.sort(key=lambda each: not each.explains)
    message = "; ".join(each.message for each in notes)
    causes = next((each.puzzles for each in notes if each.puzzles), ())
    if causes and not notes[0].explains:
        message += f". Likely causes, the likeliest first: {'; '.join(causes)}"
    warn_caller(message, notes[0].category)
