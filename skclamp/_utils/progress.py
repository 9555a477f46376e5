"""Progress bars, which show themselves where work takes long and somebody watches, or tasks in their place."""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from .parameters import Choices
from .sklearn_private import callback_management_context

#: The rule of a parameter `verbose`.
VERBOSE = [Choices("auto"), "verbose"]
# Seconds of work after which "auto" shows a bar.
_PATIENCE = 5
# Steps of a task: of so many samples, callbacks hear of each hundredth.
_MOST_STEPS = 100


def progress_bar(iterable=None, *, verbose, **options):
    """Tqdm's bar: not at 0; at "auto" after five seconds, where a terminal or a notebook listens; else at once.

    In a fit of which callbacks are told, `Tasks` instead.
    """
    fit = _FIT.get()
    if fit is not None:
        return Tasks(fit, iterable, **options)
    if verbose == "auto":
        # To tqdm None says: unless this isn't a terminal.
        return tqdm(iterable, disable=None, delay=_PATIENCE, leave=False, **options)
    return tqdm(iterable, disable=not verbose, **options)


@dataclass
class Fit:
    """A fit of which an estimator's callbacks are told; it is busy while one of its tasks is open."""

    estimator: Any
    context: Any
    is_busy: bool = False


_FIT: ContextVar[Fit | None] = ContextVar("fit", default=None)


@contextmanager
def fit_task(estimator, X, y=None, sample_weight=None):
    """Tell the callbacks of an estimator, if it has any, of the fit in the body, and of its end if it succeeds."""
    if not hasattr(estimator, "_skl_callbacks"):
        yield
        return
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
    with callback_management_context(estimator):
        context = estimator._init_callback_context(max_subtasks=None).call_on_fit_task_begin(**told)
        token = _FIT.set(Fit(estimator, context))
        try:
            yield
        finally:
            _FIT.reset(token)
        context.call_on_fit_task_end(**told, reconstruction_attributes={})


class Tasks:
    """Has the methods of a bar; tells callbacks of a task for each description, and of its steps.

    Within another task it tells nothing.
    """

    def __init__(self, fit, iterable, *, total=None, desc=None, unit="it", **_options):
        self.fit, self.iterable, self.total, self.unit = fit, iterable, total, unit
        self.n = 0
        self.n_told = 0
        self.task = None
        if total is None and hasattr(iterable, "__len__"):
            self.total = len(iterable)
        if desc is not None:
            self.set_description(desc, None if self.total is None else min(int(self.total), _MOST_STEPS))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __iter__(self):
        with self:
            for each in self.iterable:
                yield each
                self.update()

    def set_description(self, desc, n_steps=None):
        """Begin another task, of so many steps, if that is known."""
        self.close()
        if not self.fit.is_busy:
            self.task = self.fit.context.subcontext(task_name=desc, max_subtasks=n_steps)
            self.fit.is_busy = True
            self.n_told = 0
            self.task.call_on_fit_task_begin(estimator=self.fit.estimator)

    def update(self, n=1):
        """Tell of the steps that are done by now."""
        self.n += n
        if self.task is not None:
            most = self.task.max_subtasks
            done = self.n_told + 1 if most is None else min(most, most * self.n // self.total)
            for _ in range(done - self.n_told):
                step = self.task.subcontext(task_name=self.unit)
                step.call_on_fit_task_begin(estimator=self.fit.estimator)
                step.call_on_fit_task_end(estimator=self.fit.estimator)
            self.n_told = done

    def set_postfix(self, *values, **named):
        """Leave aside what a bar shows beside."""

    def refresh(self):
        """Leave all as it is: nothing is drawn."""

    def close(self):
        """End the task."""
        if self.task is not None:
            task = self.task
            self.task = None
            self.fit.is_busy = False
            task.call_on_fit_task_end(estimator=self.fit.estimator)
