"""Work shared among threads, as an `n_jobs` asks for it."""

from contextvars import copy_context
from numbers import Integral

import torch
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from sklearn import config_context, get_config

from .parameters import COUNT
from .sklearn_private import Interval

#: The rule of a parameter `n_jobs`.
N_JOBS = [COUNT, Interval(Integral, None, -1, closed="right"), None]


def in_parallel(function, items, n_jobs=None):
    """Yield what a function returns of each item, in their order, by as many threads at a time as `n_jobs` says.

    None is one, unless a `joblib.parallel_config` of threads says otherwise, and -1 as many as there are processors.
    Threads share arrays, networks and functions, which processes would copy or couldn't take; torch's own are divided
    among them. Each item sees the context and configuration of the caller.
    """
    backend, of_config = get_active_backend(require="sharedmem")
    n_threads = backend.effective_n_jobs(of_config if n_jobs is None else n_jobs)
    if n_threads == 1:
        yield from map(function, items)
        return
    config = get_config()
    of_torch = torch.get_num_threads()

    def run(item):
        # Not by scikit-learn's `delayed`, whose tasks reset the filters of warnings, which threads have in common.
        with config_context(**config):
            return function(item)

    # New threads take over the number.
    torch.set_num_threads(max(1, of_torch // n_threads))
    try:
        results = Parallel(n_threads, require="sharedmem", return_as="generator")
        yield from results([delayed(copy_context().run)(run, item) for item in items])
    finally:
        torch.set_num_threads(of_torch)
