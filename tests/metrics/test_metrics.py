"""Metrics, their noise floor and the scorers: naive definitions, the reference, bad input."""

import pickle
from functools import partial

import numpy as np
import pytest
import sklearn
import torch
from _metrics import METRICS, draw
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import KFold, cross_val_score, cross_validate

from skclamp.metrics import (
    adaptive_expected_calibration_error,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
    make_calibration_scorer,
    neg_brier_score_scorer,
    neg_expected_calibration_error_scorer,
    neg_log_likelihood_scorer,
    predictive_entropy,
)

SCORERS = {
    "nll": neg_log_likelihood_scorer,
    "ece": neg_expected_calibration_error_scorer,
    "brier": neg_brier_score_scorer,
}
# One value per sample can move a maximum far.
of_four = pytest.mark.parametrize("name", ["ece", "aece", "sce", "brier"])
every_scorer = pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)


# Values


def test_binary_brier_score_is_scikit_learns():
    y, proba = draw(200, 2)
    assert brier_score(y, proba[:, 1]) == pytest.approx(brier_score_loss(y, proba[:, 1]), rel=1e-12)


@pytest.mark.parametrize("temperature", ["1", "2.35"])
@pytest.mark.parametrize("n_bins", [10, 15, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_metrics_agree_with_the_reference(reference, temperature, n_bins, dtype):
    logits = torch.from_numpy(reference["cifar10_resnet20/logits"]).to(dtype)
    y = reference["cifar10_resnet20/labels"]
    names = ("ece", "aece", "sce", "entropy")
    expected = [float(reference[f"metrics/bins{n_bins}_T{temperature}/{name}"]) for name in names]
    proba = torch.softmax(logits / float(temperature), 1)
    ours = [
        expected_calibration_error(y, proba, n_bins=n_bins),
        adaptive_expected_calibration_error(y, proba, n_bins=n_bins),
        classwise_calibration_error(y, proba, n_bins=n_bins),
        predictive_entropy(proba),
    ]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


def test_a_constant_confidence_has_an_error():
    y, proba = np.zeros(10, int), np.full((10, 2), 0.5)
    assert adaptive_expected_calibration_error(y, proba) == 0.5
    assert adaptive_expected_calibration_error(y, proba, include_lowest=False) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@of_four
def test_tensors_may_be_on_another_device(name):
    y, drawn = (torch.from_numpy(values) for values in draw())
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        proba = drawn.to(dtype)
        assert METRICS[name](y.cuda(), proba.cuda()) == METRICS[name](y, proba)


# Bad input


@pytest.mark.parametrize("proba", [np.full((4, 5), np.nan), 0.9 * draw()[1], np.zeros((0, 5))])
def test_entropy_refuses_what_are_no_probabilities(proba):
    with pytest.raises(ValueError, match="y_proba must"):
        predictive_entropy(proba)


def test_refuses_unknown_options():
    with pytest.raises(ValueError, match="average must be 'macro', 'samples' or None; got 'micro'"):
        classwise_calibration_error(*draw(), average="micro")
    with pytest.raises(ValueError, match="scale_by_half must be True, False or 'auto'; got 'no'"):
        brier_score(*draw(), scale_by_half="no")


# The noise floor


def test_labels_are_drawn_from_the_probabilities():
    proba = np.array([[0.2, 0.0, 0.5, 0.3], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    draws = []
    calibration_noise_floor(lambda y, p: draws.append(y) or 0.0, proba, n_draws=40_000, random_state=0)
    shares = np.stack([np.bincount(column, minlength=4) / 40_000 for column in np.array(draws).T])
    np.testing.assert_allclose(shares, proba, rtol=0, atol=4 * np.sqrt(0.25 / 40_000))
    assert not shares[proba == 0].any()


def test_floor_of_a_brier_score_is_its_expectation():
    _, proba = draw(n=2000)
    floor = calibration_noise_floor(brier_score, proba, n_draws=300, random_state=0)
    assert floor.mean == pytest.approx(1 - (proba**2).sum(1).mean(), abs=2e-3)
    assert floor.mean < floor.quantile


def test_floor_is_mean_and_quantile_of_the_draws():
    values = []

    def metric(y, proba):
        values.append(expected_calibration_error(y, proba))
        return values[-1]

    floor = calibration_noise_floor(metric, draw()[1], n_draws=30, quantile=0.9, random_state=0)
    assert floor == (np.mean(values), np.quantile(values, 0.9))


def test_floor_takes_options_weights_and_quantile():
    _, proba = draw()
    metric = partial(expected_calibration_error, n_bins=5)
    run = partial(calibration_noise_floor, metric, proba, n_draws=20, random_state=0)
    assert run(quantile=1, sample_weight=np.ones(len(proba))) == pytest.approx(run(quantile=1))
    assert run(quantile=0).quantile < run().mean < run(quantile=1).quantile


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_draws": 0}, ValueError, "n_draws must be a whole number of at least 1; got 0"),
        ({"n_draws": 1.5}, TypeError, "n_draws must be a whole number of at least 1; got 1.5"),
        ({"quantile": 1.5}, ValueError, r"quantile must be .*\[0.0, 1.0\]; got 1.5"),
        ({"metric": "ece"}, TypeError, r"metric must be a callable metric\(y_true, y_proba\); got 'ece'"),
        ({"metric": log_loss, "sample_weight": np.ones(400)}, TypeError, "sample_weight must be None for a metric of"),
        ({"y_proba": 2 * draw()[1]}, ValueError, "y_proba must hold probabilities"),
    ],
)
def test_floor_refuses_bad_parameters(options, error, match):
    options = {"metric": expected_calibration_error, "y_proba": draw()[1], **options}
    with pytest.raises(error, match=match):
        calibration_noise_floor(**options)


# Scorers


class _Fixed(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose X are its probabilities."""

    def __init__(self, classes=(0, 1, 2)):
        self.classes = classes

    def fit(self, X, y):
        return self

    @property
    def classes_(self):
        return np.array(self.classes)

    def predict_proba(self, X):
        return X


def _iris():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order]


@every_scorer
def test_scorers_pickle_and_take_weights(scorer):
    X, y = _iris()
    model = LogisticRegression(max_iter=1000).fit(X, y)
    weight = np.random.default_rng(0).integers(3, size=len(y))
    copy = pickle.loads(pickle.dumps(scorer))
    repeated = scorer(model, np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert copy(model, X, y, sample_weight=weight) == pytest.approx(repeated, rel=1e-9)
    assert repr(copy) == repr(scorer) and "object at" not in repr(scorer)


@every_scorer
def test_scorers_score_folds_that_miss_a_class(scorer):
    X, y = load_iris(return_X_y=True)
    # The samples are in the classes' order: no test fold holds all three classes.
    scores = cross_val_score(LogisticRegression(max_iter=1000), X, y, scoring=scorer, cv=KFold(5))
    assert np.isfinite(scores).all() and len(scores) == 5
    # Here it is the training fold that misses one.
    folds = [(np.arange(100), np.arange(25, 150))]
    assert np.isfinite(cross_val_score(LogisticRegression(max_iter=1000), X, y, scoring=scorer, cv=folds)).all()


def test_a_class_that_the_estimator_never_saw_has_probability_zero():
    proba = np.array([[0.6, 0.4], [0.6, 0.4]])
    model = _Fixed(classes=(0, 1))
    assert neg_brier_score_scorer(model, proba, [0, 2]) == pytest.approx(-(0.16 + 0.16 + 0.36 + 0.16 + 1) / 2)
    # Of two classes the error asks for the second, which neither sample is of; of three, for the most probable one.
    assert neg_expected_calibration_error_scorer(model, proba, [0, 2]) == pytest.approx(-0.4)
    of_three = _Fixed(classes=(0, 1, 2))
    assert neg_expected_calibration_error_scorer(of_three, np.c_[proba, [0, 0]], [0, 3]) == pytest.approx(-0.1)
    worst = neg_log_likelihood_scorer(model, proba, [0, 2])
    assert worst == pytest.approx((np.log(0.6) + np.log(np.finfo(float).eps)) / 2)


@every_scorer
def test_scorers_refuse_labels_of_another_kind(scorer):
    with pytest.raises(ValueError, match=r"y_true must hold labels among the classes \[0, 1\]"):
        scorer(_Fixed(classes=(0, 1)), np.array([[0.6, 0.4], [0.6, 0.4]]), ["a", "b"])


def test_weights_are_routed():
    X, y = _iris()
    weight = np.where(np.arange(len(y)) % 2, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        weighted = make_calibration_scorer(brier_score).set_score_request(sample_weight=True)
        model = DummyClassifier().set_fit_request(sample_weight=True)
        result = cross_validate(model, X, y, scoring=weighted, cv=3, params={"sample_weight": weight})
        plain = cross_validate(DummyClassifier(), X, y, scoring=make_calibration_scorer(brier_score), cv=3, params={})
    assert not np.allclose(result["test_score"], plain["test_score"])


def test_scorers_of_any_metric():
    X, y = _iris()
    model = LogisticRegression(max_iter=1000).fit(X, y)
    make = partial(make_calibration_scorer, classwise_calibration_error, n_bins=7)
    assert repr(make()) == "make_calibration_scorer(classwise_calibration_error, n_bins=7)"
    assert make()(model, X, y) == -classwise_calibration_error(y, model.predict_proba(X), n_bins=7)
    assert make(greater_is_better=True)(model, X, y) == -make()(model, X, y)
    with pytest.raises(TypeError, match="metric must be a callable"):
        make_calibration_scorer("ece")
