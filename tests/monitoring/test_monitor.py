"""The monitor as its user meets it: estimators, inputs, labels that are missing, files, words and messages."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import skclamp
from skclamp import CalibrationMonitor, NeuralClampingCalibrator, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=2.5, size=(600, 3))
Y = (LOGITS / 1.7 + RNG.gumbel(size=LOGITS.shape)).argmax(1)
FITTED = ("log_e_value_", "p_value_", "alarm_", "n_samples_", "temperature_", "gain_", "since_", "n_missing_")


def facts(monitor):
    return {name: getattr(monitor, name) for name in FITTED}


def watch(X, y, estimator=None, groups=None, **params):
    return CalibrationMonitor(estimator, **params).partial_fit(X, y, groups=groups)


def same(one, other):
    """Whether two monitors say the same, up to rounding of float32."""
    if one.since_ != other.since_:
        return False
    numbers = [[value for value in facts(monitor).values() if value is not None] for monitor in (one, other)]
    return np.allclose(*numbers, rtol=1e-4, atol=1e-4)


def test_logits_and_their_probabilities_say_the_same():
    p = torch.from_numpy(LOGITS).softmax(1)
    assert same(watch(p, Y, response="probabilities"), watch(LOGITS, Y))
    with pytest.warns(CalibrationSetWarning, match='response="probabilities"'):
        watch(p, Y)


def test_a_calibrator_is_watched_by_its_probabilities():
    network, X = convolutional(), images(500)
    y = labels_of(bare_logits(network, X), 1.5)
    calibrator = TemperatureScaling(network).fit(X[:200], y[:200])
    expected = watch(calibrator.predict_log_proba(X[200:]), y[200:])
    assert same(watch(X[200:], y[200:], calibrator), expected)
    assert same(watch(X[200:], y[200:], FrozenEstimator(calibrator)), expected)
    tensors = TensorDataset(torch.from_numpy(X[200:]), torch.from_numpy(y[200:]))
    assert same(watch(tensors, None, calibrator), expected)
    assert same(watch(DataLoader(tensors, batch_size=32), None, calibrator), expected)
    assert same(watch(tensors, y[200:], calibrator), expected)
    for fit in (CalibrationMonitor(calibrator).fit, CalibrationMonitor(calibrator).partial_fit):
        with pytest.warns(CalibrationSetWarning, match="that TemperatureScaling was fitted to, about 100%"):
            fit(X[:200], y[:200])
    late = np.where(np.arange(300) < 100, y[200:], np.nan)
    assert watch(tensors, late, calibrator).n_missing_ == 200

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(tensors)

    assert same(watch(Stream(), None, calibrator), expected)
    with pytest.raises(ValueError, match="y must be the labels that X brings"):
        watch(tensors, (y[200:] + 1) % 3, calibrator)


@pytest.mark.parametrize(
    "y",
    [
        [1, None, 0, float("nan"), 2],
        np.array([1, np.nan, 0, np.nan, 2]),
        np.array([1, None, 0, np.nan, 2], dtype=object),
        pd.Series([1, None, 0, None, 2], dtype="Int64"),
        torch.tensor([1.0, float("nan"), 0.0, float("nan"), 2.0]),
    ],
    ids=["list", "floats", "objects", "nullable", "tensor"],
)
def test_missing_labels_are_skipped_and_counted(y):
    monitor = watch(LOGITS[:5], y)
    assert monitor.n_missing_ == 2
    monitor.n_missing_ = 0
    assert facts(monitor) == facts(watch(LOGITS[[0, 2, 4]], [1, 0, 2]))


def test_an_error_keeps_what_was_seen():
    monitor = watch(LOGITS, Y)
    before = facts(monitor)
    for X, y in ((LOGITS[:, :2], Y), (LOGITS, Y + 5), (LOGITS * np.nan, Y), (LOGITS, Y[:-1])):
        with pytest.raises(ValueError, match=r"X|y"):
            monitor.fit(X, y) if X.shape[1] == 3 else monitor.partial_fit(X, y)
        assert facts(monitor) == before


CALM = (LOGITS + np.random.default_rng(3).gumbel(size=LOGITS.shape)).argmax(1)


def test_fit_forgets():
    monitor = watch(LOGITS, Y, average_run_length=100).fit(LOGITS[:50], CALM[:50])
    assert facts(monitor) == facts(watch(LOGITS[:50], CALM[:50]))
    assert monitor.set_params(tolerance=0.3).fit(LOGITS, CALM).n_samples_ == 600


@pytest.mark.parametrize("way", ["itself", "pickle", "file"])
def test_the_watch_begins_after_held_out_samples(way, tmp_path):
    monitor = CalibrationMonitor().fit(LOGITS, CALM)
    assert not monitor.never_true_
    if way == "pickle":
        monitor = pickle.loads(pickle.dumps(monitor))
    elif way == "file":
        monitor.save(tmp_path / "monitor.safetensors")
        monitor = skclamp.load(tmp_path / "monitor.safetensors")
    changed = (LOGITS / 3 + np.random.default_rng(4).gumbel(size=LOGITS.shape)).argmax(1)
    monitor.partial_fit(LOGITS[:20], [None] * 20).partial_fit(LOGITS, changed)
    assert facts(monitor) == {**facts(watch(LOGITS, changed)), "n_missing_": 20}
    assert monitor.alarm_ and not monitor.never_true_
    assert "were true on 600 labels before the watch, and have changed since: the" in monitor.summary()
    assert "were never true, or changed before labels could tell" in watch(LOGITS, changed).summary()


def test_what_was_never_true_is_another_alarm():
    with pytest.warns(CalibrationSetWarning, match=r"aren't true on the 600 samples given \(p .*\), before any watch"):
        monitor = CalibrationMonitor().fit(LOGITS, Y)
    assert monitor.never_true_ and monitor.alarm_
    monitor.partial_fit(LOGITS[:10], Y[:10])
    assert monitor.never_true_ and not monitor.alarm_
    monitor.partial_fit(LOGITS[10:], Y[10:])
    assert "were never true, as held-out labels say: the classifier has been over-confident" in monitor.summary()
    assert not hasattr(watch(LOGITS, Y), "never_true_")


def test_duplicates_count_once_as_groups_do():
    thrice = np.repeat(np.arange(40), 3)
    once = watch(LOGITS[:40], CALM[:40])
    for groups in (None, thrice):
        monitor = watch(LOGITS[thrice], CALM[thrice], groups=groups)
        assert monitor.n_samples_ == 40
        assert monitor.log_e_value_ == pytest.approx(once.log_e_value_)


def test_equal_probabilities_with_labels_of_their_own_are_samples_of_their_own():
    rng = np.random.default_rng(0)
    proba = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [1, 0, 0]])[rng.integers(3, size=2000)]
    y = (np.log(proba + 1e-300) + rng.gumbel(size=proba.shape)).argmax(1)
    assert watch(proba, y, response="probabilities").n_samples_ == 2000


def test_the_estimator_stays_until_fit(tmp_path):
    one, other = LogisticRegression().fit(LOGITS, Y), LogisticRegression(C=0.1).fit(LOGITS, Y)
    monitor = watch(LOGITS, Y, one)
    monitor.save(tmp_path / "monitor.safetensors")
    loaded = skclamp.load(tmp_path / "monitor.safetensors", one)
    for each in (monitor, pickle.loads(pickle.dumps(monitor)), loaded):
        each.set_params(estimator=FrozenEstimator(each.estimator)).partial_fit(LOGITS, Y)
        for another in (other, None):
            with pytest.raises(ValueError, match="estimator must stay the one .*; got another .*. fit starts a new"):
                each.set_params(estimator=another).partial_fit(LOGITS, Y)
        assert each.n_samples_ == 1200
        assert each.set_params(estimator=other).fit(LOGITS, Y).n_samples_ == 600


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "file"])
def test_copies_watch_on(way, tmp_path):
    network, X = convolutional(), images(400)
    y = labels_of(bare_logits(network, X), 1.5)
    calibrator = TemperatureScaling(network).fit(X[:200], y[:200])
    monitor = watch(X[200:300], y[200:300], calibrator, average_run_length=500)
    if way == "file":
        monitor.save(tmp_path / "monitor.safetensors")
        again = skclamp.load(tmp_path / "monitor.safetensors", calibrator)
        assert again.estimator is calibrator
    else:
        again = pickle.loads(pickle.dumps(monitor)) if way == "pickle" else copy.deepcopy(monitor)
    assert facts(again) == facts(monitor)
    np.testing.assert_array_equal(again.trajectory_, monitor.trajectory_)
    monitor.partial_fit(X[300:], y[300:])
    again.partial_fit(X[300:], y[300:])
    assert facts(again) == facts(monitor)
    assert again.summary() == monitor.summary()


def test_a_file_knows_its_estimator(tmp_path):
    path = tmp_path / "monitor.safetensors"
    classifier = LogisticRegression().fit(LOGITS, Y)
    watch(LOGITS, Y, classifier).save(path)
    with pytest.raises(ValueError, match="estimator must be the network that the calibrator was fitted around"):
        skclamp.load(path, LogisticRegression(C=0.1).fit(LOGITS, Y))
    watch(LOGITS, Y).save(path)
    assert facts(skclamp.load(path)) == facts(watch(LOGITS, Y))
    names = pd.Index(["a", "b", "c"])
    watch(LOGITS, names[Y].to_numpy(), classes=names).save(path)
    assert skclamp.load(path).partial_fit(LOGITS[:3], ["a", "b", "c"]).n_samples_ == 603


def test_clones_have_seen_nothing_and_share_the_estimator():
    classifier = LogisticRegression().fit(LOGITS, Y)
    monitor = watch(LOGITS, Y, classifier, alpha=0.05)
    twin = clone(monitor)
    assert twin.estimator is classifier
    assert twin.get_params() == monitor.get_params()
    assert twin.alpha == 0.05
    for use in (twin.summary, twin.plot, lambda: twin.save("nowhere")):
        with pytest.raises(NotFittedError):
            use()


def test_summary_says_what_changed():
    calm = (LOGITS + RNG.gumbel(size=LOGITS.shape)).argmax(1)
    assert watch(LOGITS, calm).summary().startswith("No alarm after 600 labels: the p value is ")
    sure = watch(LOGITS, (LOGITS / 3 + RNG.gumbel(size=LOGITS.shape)).argmax(1))
    assert sure.alarm_
    assert "over-confident" in sure.summary()
    assert "no more than T alone; other changes aren't tested" in sure.summary()
    unsure = watch(LOGITS, LOGITS.argmax(1)).summary()
    assert "under-confident" in unsure
    frequent = watch(LOGITS / 3, (LOGITS / 3 + [3, 0, 0] + RNG.gumbel(size=LOGITS.shape)).argmax(1))
    assert "T alone would not do" in frequent.summary()
    assert frequent.summary() in frequent._repr_html_()
    restarted = watch(LOGITS, calm, average_run_length=20).summary()
    assert restarted.startswith("Change alarm, one in 20 labels by chance, after ")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": 0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": 1.5}, "tolerance"),
        ({"average_run_length": 0}, "average_run_length"),
        ({"response": "logit"}, "'logits'.* Got 'logit' instead"),
        ({"classes": ["a", "b"]}, "classes must name the 3 columns"),
    ],
)
def test_parameters_have_rules(params, message):
    with pytest.raises(ValueError, match=message):
        watch(LOGITS, Y, **params)


def test_messages():
    with pytest.raises(TypeError, match="groups and by alone, each sample once; got 'sample_weight'"):
        CalibrationMonitor().partial_fit(LOGITS, Y, sample_weight=np.ones(600))
    with pytest.raises(TypeError, match="a monitor takes X, y, groups and by alone, .* got 'cluster'"):
        CalibrationMonitor().fit(LOGITS, Y, cluster=Y)
    with pytest.raises(ValueError, match=r"groups must have shape \(600,\), .* got shape \(599,\)"):
        watch(LOGITS, Y, groups=Y[1:])
    with pytest.raises(ValueError, match="groups must name the group of every sample; got nan"):
        watch(LOGITS, Y, groups=np.where(Y, Y, np.nan))
    with pytest.raises(TypeError, match="got a network alone, Linear: give a fitted calibrator"):
        watch(LOGITS, Y, torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="estimator must be fitted: a monitor fits none; got LogisticRegression"):
        watch(LOGITS, Y, LogisticRegression())
    with pytest.raises(ValueError, match="estimator must be fitted: a monitor fits none; got NeuralClampingCalibrator"):
        watch(LOGITS, Y, NeuralClampingCalibrator(torch.nn.Linear(3, 3)))
    with pytest.raises(TypeError, match="estimator must be None"):
        watch(LOGITS, Y, "calibrator")
    with pytest.raises(ValueError, match="response must be what is watched, .* got 'logits' for LogisticRegression"):
        watch(LOGITS, Y, LogisticRegression().fit(LOGITS, Y), response="logits")
    with pytest.raises(ValueError, match="requires y to be passed"):
        watch(LOGITS, None)
    with pytest.raises(ValueError, match="y must have one value per sample"):
        watch(LOGITS, Y[:-1])
    with pytest.raises(ValueError, match=r"exactly one 1 in each row: .* give y.argmax\(1\)"):
        watch(LOGITS, np.eye(3)[Y])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        watch(LOGITS, Y + 0.5)
    with pytest.raises(ValueError, match="X has 2 features"):
        watch(LOGITS, Y).partial_fit(LOGITS[:, :2], Y)
