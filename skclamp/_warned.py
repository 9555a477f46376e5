"""Warnings of a fit within a fit, on behalf of who called the outer one.

Imports nothing of the package.
"""

import warnings
from contextlib import contextmanager

# Of the caller of the function that holds the `with`: this generator, contextlib's __exit__, that function, its caller.
_CALLER = 4


@contextmanager
def warned_from(depth):
    """Give the body's warnings again when it ends, each text once, as if the code `depth` calls up had caused them.

    Parameters
    ----------
    depth : int
        1 for the caller of the function that holds the ``with``, 2 for the caller's caller, and so on.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in {str(each.message): each.message for each in caught}.values():
        warnings.warn(message, stacklevel=_CALLER - 1 + depth)
