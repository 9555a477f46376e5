"""Metadata reach whom they are for, with scikit-learn's routing and without."""

import inspect
import warnings

import numpy as np
import pytest
import sklearn
from _output_maps import PUBLIC
from _small_networks import bare_logits, labels_of, perceptron
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import GroupKFold, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object
from torch import nn

import skclamp
from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    SelectiveClassifier,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationWarning

RNG = np.random.default_rng(0)
N_SAMPLES = 300
X = RNG.normal(size=(N_SAMPLES, 6))
Y = labels_of(bare_logits(perceptron(), X.astype(np.float32)))
WEIGHT = RNG.integers(1, 5, N_SAMPLES).astype(float)
GROUPS = RNG.integers(0, 8, N_SAMPLES)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


class Recording(ClassifierMixin, BaseEstimator):
    """A logistic regression that notes what each of its clones' ``fit`` was given."""

    def __init__(self, notes=None):
        self.notes = notes

    def fit(self, X, y, sample_weight=None, costs=None):
        self.notes.append({"n": len(X), "sample_weight": sample_weight, "costs": costs})
        self.model_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def decision_function(self, X):
        return self.model_.decision_function(X)

    def __sklearn_clone__(self):
        twin = type(self)(self.notes)
        twin._metadata_request = self.get_metadata_routing()
        return twin


UNFITTED = {
    "vector": lambda classifier, cv: VectorScaling(classifier, cv=cv),
    "selector": lambda classifier, cv: CalibratorSelector(
        classifier, candidates=[("a", TemperatureScaling()), ("b", VectorScaling())], cv=cv
    ),
}


# With routing


@pytest.mark.parametrize("kind", UNFITTED)
@pytest.mark.parametrize("asked", [True, False])
def test_weights_reach_the_classifier_where_it_requests_them(kind, asked, routing):
    classifier = LogisticRegression().set_fit_request(sample_weight=asked)
    fitted = UNFITTED[kind](classifier, 3).fit(X, Y, sample_weight=WEIGHT)
    expected = LogisticRegression().fit(X, Y, sample_weight=WEIGHT if asked else None)
    np.testing.assert_array_equal(fitted.estimator_.coef_, expected.coef_)


@pytest.mark.parametrize("kind", UNFITTED)
def test_whoever_has_not_said_is_asked_as_in_scikit_learn(kind, routing):
    for meta in (UNFITTED[kind](LogisticRegression(), 3), CalibratedClassifierCV(LogisticRegression())):
        with pytest.raises(UnsetMetadataPassedError, match=r"sample_weight\] are passed but are not explicitly set"):
            meta.fit(X, Y, sample_weight=WEIGHT)


@pytest.mark.parametrize("kind", UNFITTED)
def test_other_metadata_are_folded_with_the_samples(kind, routing):
    notes, costs = [], RNG.random(N_SAMPLES)
    classifier = Recording(notes).set_fit_request(sample_weight=False, costs=True)
    UNFITTED[kind](classifier, KFold(3)).fit(X, Y, sample_weight=WEIGHT, costs=costs)
    assert [note["n"] for note in notes] == [300, 200, 200, 200]
    assert all(note["sample_weight"] is None for note in notes)
    np.testing.assert_array_equal(notes[0]["costs"], costs)
    np.testing.assert_array_equal(notes[1]["costs"], costs[100:])


@pytest.mark.parametrize("kind", UNFITTED)
def test_groups_reach_the_splitter(kind, routing):
    fitted = UNFITTED[kind](LogisticRegression(), GroupKFold(3)).fit(X, Y, groups=GROUPS)
    splits = list(GroupKFold(3).split(X, Y, GROUPS))
    # A selector's own folds go by them too.
    given = {"groups": GROUPS} if kind == "selector" else {}
    expected = UNFITTED[kind](LogisticRegression(), splits).fit(X, Y, **given)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))
    other = UNFITTED[kind](LogisticRegression(), 3).fit(X, Y)
    assert np.abs(fitted.predict_proba(X) - other.predict_proba(X)).max() > 0


def test_groups_reach_the_guard_of_a_network(routing):
    guarded = NeuralClampingCalibrator(perceptron(), perturbation="affine", random_state=0)
    found = clone(guarded).set_params(validation_fraction=GroupKFold(3)).fit(X, Y, groups=GROUPS)
    splits = list(GroupKFold(3).split(X, Y, GROUPS))
    # The samples of a group are one to the guard, whoever splits them.
    expected = clone(guarded).set_params(validation_fraction=splits).fit(X, Y, groups=GROUPS)
    assert found.verdict_.difference == pytest.approx(expected.verdict_.difference, rel=1e-9)
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        clone(guarded).set_params(validation_fraction=GroupKFold(3)).fit(X, Y)


def test_what_nobody_requests_is_an_error(routing):
    for calibrator in (TemperatureScaling(perceptron()), TemperatureScaling(LogisticRegression())):
        with pytest.raises(TypeError, match="TemperatureScaling.fit got unexpected argument.* {'colour'}"):
            calibrator.fit(X, Y, colour=WEIGHT)
    with pytest.raises(TypeError, match="unexpected argument.* {'groups'}"):
        TemperatureScaling(perceptron()).set_fit_request(groups=False).fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_calibrator_can_request(name, routing):
    calibrator = PUBLIC[name]().set_fit_request(sample_weight="a").set_score_request(sample_weight="b")
    requests = calibrator.get_metadata_routing()
    assert requests.consumes("fit", ["a", "b", "sample_weight"]) == {"a"}
    assert requests.consumes("score", ["a", "b", "sample_weight"]) == {"b"}


def temperature():
    return TemperatureScaling().fit(bare_logits(perceptron(), X.astype(np.float32)), Y)


EVERY = {name: getattr(skclamp, name) for name in skclamp.__all__}
EVERY = {name: cls for name, cls in EVERY.items() if isinstance(cls, type) and hasattr(cls, "fit")}
MONITORS = {"CalibrationMonitor", "RiskMonitor"}
AROUND = {
    "nothing": lambda: None,
    "unfitted": LogisticRegression,
    "fitted": temperature,
    "a clone": lambda: clone(LogisticRegression().fit(X, Y)),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", EVERY)
def test_every_estimator_tells_scikit_learn_who_gets_what(name, around, routing):
    inner = AROUND[around]()
    estimator = EVERY[name](**({} if inner is None else {"estimator": inner}))
    # What learns no map from samples takes none.
    if "groups" not in inspect.signature(estimator.fit).parameters:
        return
    for owner in (estimator, clone(estimator)):
        routed = get_routing_for_object(owner)
        assert routed.consumes("fit", ["groups", "colour"]) == {"groups"}
        if name in MONITORS:
            assert routed.consumes("partial_fit", ["groups", "colour"]) == {"groups"}
        parts = {part for part, _ in routed} & {"estimator", "splitter"}
        fits = around in ("unfitted", "a clone") and name not in MONITORS
        assert parts == ({"estimator"} if fits else set())
        pipeline = make_pipeline(StandardScaler(), owner)
        assert "groups" in get_routing_for_object(pipeline).consumes("fit", ["groups"])


# scikit-learn's meta-estimators around ours


NETWORK = perceptron()


def calibrators():
    fitted = LogisticRegression().fit(X[:100], Y[:100])
    return {
        "a network": lambda: TemperatureScaling(NETWORK),
        "a fitted classifier": lambda: TemperatureScaling(fitted),
        "an unfitted classifier": lambda: TemperatureScaling(
            LogisticRegression().set_fit_request(sample_weight=True), cv=2
        ),
        "clamping": lambda: NeuralClampingCalibrator(NETWORK, random_state=0),
    }


@pytest.mark.parametrize("kind", calibrators())
def test_weights_through_a_pipeline(kind, routing):
    calibrator = calibrators()[kind]().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), calibrator)
    pipeline.fit(X, Y, sample_weight=WEIGHT)
    scaled = StandardScaler().fit_transform(X)
    expected = clone(calibrator).fit(scaled, Y, sample_weight=WEIGHT)
    np.testing.assert_array_equal(pipeline.predict_proba(X), expected.predict_proba(scaled))
    assert pipeline.score(X, Y, sample_weight=WEIGHT) == expected.score(scaled, Y, sample_weight=WEIGHT)
    unweighted = clone(calibrator).fit(scaled, Y)
    assert unweighted.temperature_ != expected.temperature_


@pytest.mark.parametrize("kind", calibrators())
def test_weights_and_groups_through_cross_validate(kind, routing):
    calibrator = calibrators()[kind]().set_fit_request(sample_weight=True)
    scorer = get_scorer("neg_log_loss").set_score_request(sample_weight=True)
    params = {"sample_weight": WEIGHT, "groups": GROUPS}
    found = cross_validate(calibrator, X, Y, scoring=scorer, cv=GroupKFold(2), params=params, error_score="raise")
    for score, (train, test) in zip(found["test_score"], GroupKFold(2).split(X, Y, GROUPS), strict=True):
        fitted = clone(calibrator).fit(X[train], Y[train], sample_weight=WEIGHT[train], groups=GROUPS[train])
        assert score == pytest.approx(scorer(fitted, X[test], Y[test], sample_weight=WEIGHT[test]))


# A selector's scorer


def noting(notes):
    def score(y, proba, sample_weight=None, costs=None):
        notes.append((len(y), sample_weight, costs))
        return -float(len(notes))

    return make_scorer(score, response_method="predict_proba")


def selector(scorer):
    return CalibratorSelector(candidates=[("a", TemperatureScaling())], scoring=scorer, n_folds=3)


def test_a_selectors_scorer_gets_what_it_requests(routing):
    logits, costs, notes = bare_logits(NETWORK, X.astype(np.float32)), RNG.random(N_SAMPLES), []
    scorer = noting(notes).set_score_request(costs=True, sample_weight="importance")
    selector(scorer).fit(logits, Y, sample_weight=WEIGHT, costs=costs, importance=2 * WEIGHT)
    held_out = [np.flatnonzero(np.isin(costs, of_fold)) for _, _, of_fold in notes]
    for held, (n, weight, of_fold) in zip(held_out, notes, strict=True):
        assert n == len(held)
        np.testing.assert_array_equal(weight, 2 * WEIGHT[held])
        np.testing.assert_array_equal(of_fold, costs[held])
    assert len(notes) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), np.arange(N_SAMPLES))


# A comparison


def comparison(estimator, params, **options):
    maps = {"T": TemperatureScaling(), "clamped": NeuralClampingCalibrator(perturbation="affine", random_state=0)}
    options = {"n_resamples": 2, "n_draws": 1, "calibrators": maps, **options}
    return compare_calibrators(estimator, X, Y, X[::-1], Y[::-1], params=params, **options).calibrators


# Without routing


@pytest.mark.parametrize("kind", UNFITTED)
def test_without_routing_the_classifier_gets_the_weights_that_it_takes(kind):
    fitted = UNFITTED[kind](LogisticRegression(), 3).fit(X, Y, sample_weight=WEIGHT)
    expected = LogisticRegression().fit(X, Y, sample_weight=WEIGHT)
    np.testing.assert_array_equal(fitted.estimator_.coef_, expected.coef_)


@pytest.mark.parametrize("enabled", [True, False], ids=["routing", "without"])
@pytest.mark.parametrize("name", PUBLIC)
def test_every_calibrator_takes_groups(name, enabled):
    """Those that hold nothing out learn the same with them."""
    logits = np.repeat(bare_logits(NETWORK, X.astype(np.float32)), 2, axis=0) + RNG.normal(size=(2 * N_SAMPLES, 4))
    groups = np.repeat(np.arange(N_SAMPLES), 2).astype(str)
    with sklearn.config_context(enable_metadata_routing=enabled), warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        network = nn.Identity() if name == "NeuralClampingCalibrator" else None
        fitted = PUBLIC[name](network).fit(logits, np.repeat(Y, 2), groups=groups)
        assert "groups" in fitted.get_metadata_routing().consumes("fit", ["groups"])
    assert fitted.predict_proba(logits).shape == logits.shape


@pytest.mark.parametrize(
    "estimator",
    [
        TemperatureScaling(LogisticRegression(), cv=GroupKFold(3)),
        NeuralClampingCalibrator(perceptron(), validation_fraction=GroupKFold(3)),
        SelectiveClassifier(LogisticRegression(), target_risk=0.1),
        CalibratorSelector(perceptron()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("enabled", [False, True], ids=["without", "routing"])
def test_groups_name_the_group_of_every_sample(estimator, enabled):
    nameless = np.append(np.nan, GROUPS[1:])
    with sklearn.config_context(enable_metadata_routing=enabled):
        with pytest.raises(ValueError, match=r"^groups must have shape \(300,\), a name .* got shape \(2,\)$"):
            estimator.fit(X.astype(np.float32), Y, groups=[1, 2])
        with pytest.raises(ValueError, match="^groups must name the group of every sample; got nan for sample"):
            estimator.fit(X.astype(np.float32), Y, groups=nameless)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_weight_is_checked_before_a_network_runs(enabled):
    with (
        sklearn.config_context(enable_metadata_routing=enabled),
        pytest.raises(ValueError, match="one value per sample"),
    ):
        TemperatureScaling(perceptron()).fit(X, Y, sample_weight=WEIGHT[:-1])
