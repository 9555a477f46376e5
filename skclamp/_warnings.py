"""Warnings on behalf of whoever called the package.

Imports nothing of the package.
"""

import inspect
import os
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

_PACKAGE = os.path.dirname(__file__) + os.sep
_SILENT = ContextVar("_SILENT", default=False)


@contextmanager
def no_warnings():
    """Keep the package's own warnings to itself, in this thread alone, as Python's filters couldn't."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def warn_caller(message, category):
    """Warn as if the first line outside the package had caused it, however deep within a fit another one is.

    Parameters
    ----------
    message : str
        What to say.
    category : type
        A subclass of `CalibrationWarning`.
    """
    if _SILENT.get():
        return
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
