"""Progress bars, which show themselves where work takes long and somebody watches, and callbacks, told of a fit."""

from contextlib import contextmanager

from tqdm.auto import tqdm

from .parameters import Choices
from .sklearn_private import callback_management_context

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


@contextmanager
def fit_task(estimator, X, y=None, sample_weight=None):
    """Tell the callbacks of an estimator, if it has any, of the fit in the body, and of its end if it succeeds."""
    if not hasattr(estimator, "_skl_callbacks"):
        yield
        return
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
    with callback_management_context(estimator):
        context = estimator._init_callback_context().call_on_fit_task_begin(**told)
        yield
        context.call_on_fit_task_end(**told, reconstruction_attributes={})
