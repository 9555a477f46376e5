"""Work shared among threads: what `n_jobs` leaves as it is, and what it passes on."""

import contextlib
import threading
import warnings
from functools import partial

import joblib
import numpy as np
import pytest
import sklearn
import torch
from _small_networks import labels_of, logits

from skclamp import CalibratorSelector, TemperatureScaling, VectorScaling, compare_calibrators
from skclamp._utils.parallel import in_parallel
from skclamp._utils.warnings import note, one_warning, silenced, warn_caller
from skclamp.exceptions import CalibrationSetWarning, NotConvergedWarning
from skclamp.metrics import (
    area_under_risk_coverage,
    bootstrap_interval,
    classwise_calibration_error,
    expected_calibration_error,
)

FEW = {"n_resamples": 20, "n_draws": 10, "random_state": 0}
Z, Z_TEST = logits(400, seed=0), logits(300, seed=1)
Y, Y_TEST = labels_of(Z, seed=2), labels_of(Z_TEST, seed=3)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
def test_results_come_in_order(n_jobs):
    assert list(in_parallel(lambda k: k**2, iter(range(20)), n_jobs)) == [k**2 for k in range(20)]


def test_jobs_run_side_by_side_with_their_share_of_torchs_threads(three_threads):
    both, at_once = threading.Barrier(3), set()

    def meet(_):
        both.wait(timeout=30)
        at_once.add(threading.get_ident())
        return torch.get_num_threads()

    assert list(in_parallel(meet, range(3), 3)) == [1, 1, 1]
    assert len(at_once) == 3 and threading.get_ident() not in at_once


def test_none_asks_joblib():
    def is_another_thread():
        return next(in_parallel(lambda _: threading.get_ident(), [0])) != threading.get_ident()

    assert not is_another_thread()
    with joblib.parallel_config("threading", n_jobs=2):
        assert is_another_thread()
        # Within its own tasks there is one.
        assert joblib.Parallel()(2 * [joblib.delayed(is_another_thread)()]) == [False, False]
    with joblib.parallel_config("loky", n_jobs=2):
        assert not is_another_thread()


def test_errors_come_through(three_threads):
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda k: 1 / k, [1, 0, 1], 2))


def told(k):
    warn_caller(f"at once {k}", NotConvergedWarning)
    note(f"noted {k}", CalibrationSetWarning)
    return sklearn.get_config()["assume_finite"]


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("around", [one_warning, contextlib.nullcontext, silenced])
def test_warnings_are_the_callers(n_jobs, around):
    filters = warnings.filters[:]
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        with around(), sklearn.config_context(assume_finite=True):
            assert list(in_parallel(told, range(2), n_jobs)) == [True, True]
    assert warnings.filters == filters
    one_by_one = ["at once 0", "noted 0", "at once 1", "noted 1"]
    expected = {
        one_warning: ["at once 0", "at once 1", "noted 0; noted 1"],
        contextlib.nullcontext: one_by_one,
        silenced: [],
    }
    found = [part for each in recorded for part in str(each.message).split("; ")]
    wanted = [part for each in expected[around] for part in each.split("; ")]
    # Of several threads each tells in its own time.
    assert (found == wanted) if n_jobs is None else (sorted(found) == sorted(wanted))
    assert {each.filename for each in recorded} <= {__file__}


def compared(n_jobs):
    maps = {"t": TemperatureScaling(), "v": VectorScaling(), "s": CalibratorSelector(n_folds=2)}
    comparison = compare_calibrators(None, Z, Y, Z_TEST, Y_TEST, calibrators=maps, **FEW, n_jobs=n_jobs)
    assert list(comparison.calibrators) == ["t", "v", "s"]
    return comparison.to_frame().drop(columns=["fit_time", "predict_time"]).to_numpy(dtype=float)


def selected(n_jobs):
    selector = CalibratorSelector(n_folds=3, n_jobs=n_jobs).fit(Z, Y)
    scores = [selector.cv_results_[f"split{k}_test_score"] for k in range(3)]
    return np.concatenate([selector.weights_, *scores, selector.predict_proba(Z_TEST).ravel()])


def interval(metric, n_jobs):
    proba = torch.softmax(torch.as_tensor(Z_TEST), 1)
    return np.array(bootstrap_interval(metric, Y_TEST, proba, n_resamples=30, random_state=0, n_jobs=n_jobs))


def foreign(y_true, y_proba):
    return np.mean(y_proba.argmax(1) == y_true)


WORK = {
    "comparison": compared,
    "selector": selected,
    "blocks": partial(interval, expected_calibration_error),
    "replicates": partial(interval, partial(classwise_calibration_error, strategy="quantile")),
    "areas": partial(interval, area_under_risk_coverage),
    "another package's": partial(interval, foreign),
}


@pytest.mark.parametrize("name", WORK)
def test_nothing_changes(name, monkeypatch):
    # Several blocks of replicates.
    monkeypatch.setattr("skclamp.metrics._resampling.BLOCK_SIZE", 3000)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        np.testing.assert_array_equal(WORK[name](2), WORK[name](None))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["comparison", "selector", "blocks"])
@pytest.mark.parametrize("n_jobs", [0, 1.5, "all"])
def test_numbers_that_are_none(name, n_jobs):
    with pytest.raises(ValueError, match=f"'n_jobs' parameter .* Got {n_jobs!r}"):
        WORK[name](n_jobs)
