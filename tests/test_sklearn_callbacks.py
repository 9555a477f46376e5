"""Scikit-learn's callbacks: every calibrator tells them of its fit."""

from collections import Counter

import pytest
from _calibrators import CALIBRATORS, IMAGES, LOGITS, VECTORS, every_map
from _small_networks import labels_of, perceptron
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from skclamp import (
    CalibratorSelector,
    MatrixScaling,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
    compare_calibrators,
)

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

Y = labels_of(LOGITS)
CANDIDATES = [("temperature", TemperatureScaling()), ("matrix", MatrixScaling())]


class Recorder:
    """Writes down what it is told of; whatever is fitted inside is told it, too."""

    max_propagation_depth = None

    def __init__(self):
        self.told = []

    def setup(self, estimator, context):
        self.told.append(("setup", type(estimator).__name__))

    def teardown(self, estimator, context):
        self.told.append(("teardown", type(estimator).__name__))

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context):
        self.told.append(("end", context.task_name))

    def names(self):
        return Counter(name for kind, name in self.told if kind == "begin")


@every_map()
def test_every_calibrator_tells_of_its_fit_once(case):
    recorder, monitor = Recorder(), callback.ScoringMonitor(scoring="neg_log_loss")
    calibrator = case.make()
    before = calibrator.get_params()
    fitted = calibrator.set_callbacks(recorder, monitor).fit(case.X, case.y)
    assert fitted.get_params() == before
    (row,) = monitor.get_logs().data
    assert row["neg_log_loss"] == pytest.approx(-log_loss(case.y, fitted.predict_proba(case.X)))
    name = type(calibrator).__name__
    assert recorder.told[:2] == [("setup", name), ("begin", "fit")]
    assert recorder.told[-2:] == [("end", "fit"), ("teardown", name)]
    assert sum(kind == "setup" for kind, _ in recorder.told) == 1
    begun, ended = (Counter(task for kind, task in recorder.told if kind == each) for each in ("begin", "end"))
    assert begun == ended
    assert "_callback_fit_ctx" not in vars(fitted)


def test_bars_are_drawn_as_without_them(capfd):
    recorder = Recorder()
    selector = CalibratorSelector(perceptron(), candidates=CANDIDATES, n_folds=3, verbose=1, batch_size=30)
    selector.set_callbacks(recorder).fit(VECTORS, Y)
    assert "200/200" in capfd.readouterr().err
    assert recorder.names() == {"fit": 1}


def test_threads_tell_the_same():
    told = {}
    for n_jobs in (None, 2):
        inside = Recorder()
        calibrators = {"vector": VectorScaling().set_callbacks(inside), "temperature": TemperatureScaling()}
        few = {"n_draws": 2, "n_resamples": 2, "n_jobs": n_jobs}
        compare_calibrators(None, LOGITS, Y, LOGITS + 0.1, Y, calibrators=calibrators, **few)
        told[n_jobs] = inside.told
    assert told[None] == told[2]
    assert told[2]


def test_epochs_are_told_to_skorchs_callbacks():
    class Epochs(Callback):
        n = 0

        def on_epoch_end(self, net, **kwargs):
            self.n += 1

    epochs = Epochs()
    calibrator = CALIBRATORS["clamping without guard"].make().set_params(training=TorchTraining(callbacks=[epochs]))
    calibrator.set_callbacks(Recorder()).fit(IMAGES, Y)
    assert calibrator.n_iter_ == epochs.n > 0
    assert calibrator.get_params()["training__callbacks"] == [epochs]


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_in_a_search_and_a_pipeline(n_jobs):
    # A monitor of the calibrator's own, and one that the search hands on.
    recorder, monitor = Recorder(), callback.ScoringMonitor(scoring="neg_log_loss")
    pipeline = make_pipeline(FunctionTransformer(), TemperatureScaling(perceptron()).set_callbacks(monitor))
    search = GridSearchCV(pipeline, {"temperaturescaling__gamma": [0.0, 1.0]}, cv=2, n_jobs=n_jobs)
    if n_jobs is None:
        search.set_callbacks(recorder)
        with pytest.warns(UserWarning, match="FunctionTransformer does not support callbacks") as caught:
            search.fit(VECTORS, Y)
        assert not [each for each in caught if "TemperatureScaling does" in str(each.message)]
        assert [each for each in recorder.told if each[0] in ("setup", "teardown")] == [
            ("setup", "GridSearchCV"),
            ("teardown", "GridSearchCV"),
        ]
    else:
        search.fit(VECTORS, Y)
    assert len(monitor.get_logs().data) == 5
    assert "_skl_callbacks" not in vars(search.best_estimator_)


def test_an_error_keeps_an_earlier_fit_and_tears_down():
    recorder = Recorder()
    calibrator = TemperatureScaling(perceptron()).fit(VECTORS, Y)
    before = calibrator.temperature_
    calibrator.set_callbacks(recorder)
    with pytest.raises(ValueError, match="samples"):
        calibrator.fit(VECTORS, Y[:-1])
    assert calibrator.temperature_ == before
    assert recorder.told[-1] == ("teardown", "TemperatureScaling")
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(calibrator))
    assert recorder.names()["fit"] == 1
    calibrator.set_callbacks().fit(VECTORS, Y)
    assert recorder.names()["fit"] == 1
