"""Progress bars, which show themselves where work takes long and somebody watches."""

from tqdm.auto import tqdm

from .parameters import Choices

#: The rule of a parameter `verbose`.
VERBOSE = [Choices("auto"), "verbose"]
# Seconds of work after which "auto" shows a bar.
_PATIENCE = 5


def progress_bar(iterable=None, *, verbose, **options):
    """Tqdm's bar: not at 0; at "auto" after five seconds, where a terminal or a notebook listens; else at once."""
    if verbose == "auto":
        # To tqdm None says: unless this isn't a terminal.
        return tqdm(iterable, disable=None, delay=_PATIENCE, leave=False, **options)
    return tqdm(iterable, disable=not verbose, **options)
