"""The campaign's cases: what hypothesis draws for each kind of them, and what must hold whatever was drawn.

The fast run draws a few of each kind, always the same; ``make fuzz`` draws others for as long as it is told to.
"""

import os
import random
import signal
import threading
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import sklearn
import torch
from _small_networks import bytes_of, snapshot
from hypothesis import HealthCheck, Phase, given, settings
from sklearn.exceptions import DataConversionWarning

import skclamp
from skclamp.exceptions import CalibrationWarning

PATIENT = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
FAST = settings(PATIENT, derandomize=True)
# torch gives some warnings once in a program, which then say nothing of the case at hand.
torch.set_warn_always(True)
OURS = tuple(os.path.dirname(package.__file__) + os.sep for package in (skclamp, sklearn))
# After so many seconds a case counts as hanging; 0 is never.
DEADLINE = float(os.environ.get("SKCLAMP_DEADLINE", 0))
# How many cases of each kind have been run.
DONE: Counter = Counter()
KINDS: dict = {}


class Kind(NamedTuple):
    """A property, what it is drawn from, and how many cases of it the fast run has."""

    check: object
    strategies: dict
    n_cases: int

    def test(self, options):
        return settings(options)(given(**self.strategies)(self.check))


def cases(n_cases, **strategies):
    """Makes a property a test of so many cases, and a kind of ``make fuzz``."""

    def decorate(check):
        @wraps(check)
        def counted(**drawn):
            DONE[check.__name__] += 1
            with in_time():
                check(**drawn)

        kind = KINDS[check.__name__] = Kind(counted, strategies, n_cases)
        return kind.test(settings(FAST, max_examples=n_cases))

    return decorate


@contextmanager
def in_time():
    """Raise TimeoutError in what hangs."""
    if not DEADLINE or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_late(*_):
    raise TimeoutError(f"a case takes more than {DEADLINE} seconds")


# What must hold


def is_ours(error):
    """Whether a `raise` of the package or of scikit-learn's raised an error, on purpose therefore."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.filename.startswith(OURS) and frame.line.startswith("raise")


@contextmanager
def keeping(*given, network=None, sound=False):
    """What is called within must leave as they were what it is given, the network and the random states.

    It may give warnings of the package's own, and unless all is sound it may refuse by an error of its own, which is
    then in ``outcome.refusal``.
    """
    outcome, before = SimpleNamespace(refusal=None), _state(given, network)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # scikit-learn's word for a column of labels, and below for folds that miss a class.
            for category in (CalibrationWarning, DataConversionWarning):
                warnings.simplefilter("ignore", category)
            warnings.filterwarnings("ignore", "The least populated class in y has only", UserWarning)
            yield outcome
    except (ValueError, TypeError) as error:
        if sound or not is_ours(error):
            raise
        outcome.refusal = error
    finally:
        after = _state(given, network)
    assert after == before


def _state(given, network):
    network = torch.nn.Identity() if network is None else network
    return snapshot(network), random.getstate(), [_bytes(each) for each in given]


def _bytes(given):
    if isinstance(given, torch.Tensor):
        return given.dtype, given.shape, given.stride(), given.requires_grad, given.grad, bytes_of(given)
    if isinstance(given, np.ma.MaskedArray):
        return _bytes(given.data), _bytes(given.mask)
    if isinstance(given, pd.Series | pd.DataFrame):
        return repr(given.to_numpy().tolist())
    if isinstance(given, np.ndarray):
        return given.dtype, given.shape, given.strides, given.flags.writeable, repr(given.tolist())
    return repr(given)


def check_probabilities(proba, n_samples=None):
    """Rows of float64 that sum to 1."""
    assert isinstance(proba, np.ndarray) and proba.dtype == np.float64 and proba.ndim == 2
    assert n_samples is None or len(proba) == n_samples
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(1), 1, rtol=0, atol=1e-9)


def check_fitted(calibrator, X, n_samples):
    """What it says of X in each of its ways is the same, and is sound."""
    proba, log_proba = calibrator.predict_proba(X), calibrator.predict_log_proba(X)
    check_probabilities(proba, n_samples)
    assert len(calibrator.classes_) == proba.shape[1]
    assert np.isfinite(log_proba).all()
    np.testing.assert_allclose(np.exp(log_proba), proba, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(calibrator.predict(X), calibrator.classes_[log_proba.argmax(1)])
    return proba
